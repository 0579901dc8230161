//! Public keys, parsed once: parsing a key costs about a quarter of verifying a signature with it.

use std::sync::OnceLock;

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Algorithm;

/// A public key in the form in which aws-lc verifies with it.
#[derive(Clone)]
pub(super) enum PublicKey {
    /// An RSA key, parsed on first use per algorithm, because most keys are used with only one.
    Rsa {
        components: RsaPublicKeyComponents<Box<[u8]>>,
        parsed: Box<[OnceLock<Option<ParsedPublicKey>>; RSA.len()]>,
    },
    /// An EC or Ed25519 key. Its curve has only one algorithm, though possibly under two names.
    OnCurve {
        point: Box<[u8]>,
        parsed: ParsedPublicKey,
    },
}

/// The algorithms of RSA keys. Whether a key may use one is for the caller to check.
const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];

impl PublicKey {
    /// A key from its modulus and exponent, both big-endian and without leading zeros.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::Rsa {
            components: RsaPublicKeyComponents {
                n: modulus.into(),
                e: exponent.into(),
            },
            parsed: Box::default(),
        }
    }

    /// A key from a point, encoded as `algorithm` expects.
    ///
    /// # Errors
    ///
    /// Fails if `point` is not a point on the curve.
    pub(super) fn on_curve(
        algorithm: &'static dyn VerificationAlgorithm,
        point: Vec<u8>,
    ) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        Ok(Self::OnCurve {
            parsed: ParsedPublicKey::new(algorithm, &point)?,
            point: point.into(),
        })
    }

    /// The key's required members as JSON, in the form that RFC 7638 §3.2 and RFC 8037 §2 hash. Two
    /// keys have the same text only if they are the same key.
    pub(super) fn canonical_json(&self) -> String {
        let base64 = |octets: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(octets);
        match self {
            Self::Rsa { components, .. } => {
                let RsaPublicKeyComponents { n, e } = components;
                let (n, e) = (base64(n), base64(e));
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
            Self::OnCurve { point, .. } => match ec_point(point) {
                Some((curve, x, y)) => {
                    let (x, y) = (base64(x), base64(y));
                    format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
                }
                None => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, base64(point)),
            },
        }
    }

    /// The length of the modulus or point in bytes. Among keys for one algorithm, a longer one
    /// costs more to verify with.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rsa { components, .. } => components.n.len(),
            Self::OnCurve { point, .. } => point.len(),
        }
    }

    /// Whether verifying takes more than about 50 µs: RSA above 3072 bits, P-384 and P-521.
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Self::Rsa { components, .. } => components.n.len() > 3072 / 8,
            Self::OnCurve { point, .. } => matches!(ec_point(point), Some(("P-384" | "P-521", ..))),
        }
    }

    /// Whether both are the same key.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rsa { components: a, .. }, Self::Rsa { components: b, .. }) => {
                (&a.n, &a.e) == (&b.n, &b.e)
            }
            (Self::OnCurve { point: a, .. }, Self::OnCurve { point: b, .. }) => a == b,
            (Self::Rsa { .. }, Self::OnCurve { .. }) | (Self::OnCurve { .. }, Self::Rsa { .. }) => {
                false
            }
        }
    }

    /// Whether `signature` is this key's signature over `message`.
    ///
    /// INVARIANT: the caller has checked that the key may be used for `alg`, because a key on a
    /// curve ignores `alg`.
    pub(super) fn accepts(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let parsed = match self {
            Self::OnCurve { parsed, .. } => Some(parsed),
            Self::Rsa { components, parsed } => RSA
                .iter()
                .zip(parsed.iter())
                .find(|((name, _), _)| *name == alg)
                .and_then(|((_, parameters), parsed)| {
                    let parse = || components.to_parsed_public_key(parameters).ok();
                    parsed.get_or_init(parse).as_ref()
                }),
        };
        parsed.is_some_and(|parsed| parsed.verify_sig(message, signature).is_ok())
    }
}

/// The curve and the coordinates of an uncompressed point (SEC 1 §2.3.3). The length identifies the
/// curve. `None` for an Ed25519 key, which has 32 octets.
fn ec_point(point: &[u8]) -> Option<(&'static str, &[u8], &[u8])> {
    let curve = match point.len() {
        65 => "P-256",
        97 => "P-384",
        133 => "P-521",
        _ => return None,
    };
    let (_, coordinates) = point.split_first()?;
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    Some((curve, x, y))
}
