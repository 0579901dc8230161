//! Public keys, parsed once: to parse one costs about a quarter of what it costs to verify by it.

use std::sync::OnceLock;

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Algorithm;

/// A public key.
#[derive(Clone)]
pub(super) enum PublicKey {
    /// Of several algorithms; few keys are used by more than one.
    Rsa {
        components: RsaPublicKeyComponents<Box<[u8]>>,
        parsed: Box<[OnceLock<Option<ParsedPublicKey>>; RSA.len()]>,
    },
    /// On a curve that has one algorithm, whatever its names.
    OnCurve {
        point: Box<[u8]>,
        parsed: ParsedPublicKey,
    },
}

/// The algorithms of RSA keys. What is allowed besides is for the caller to know.
const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::Ps256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &RSA_PSS_2048_8192_SHA512),
];

impl PublicKey {
    /// A key of a modulus and an exponent, both big-endian and without leading zeros.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self::Rsa {
            components: RsaPublicKeyComponents {
                n: modulus.into(),
                e: exponent.into(),
            },
            parsed: Box::default(),
        }
    }

    /// A key that is a point, as the curve's algorithm encodes it.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(super) fn on_curve(
        algorithm: &'static dyn VerificationAlgorithm,
        point: Vec<u8>,
    ) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        Ok(Self::OnCurve {
            parsed: ParsedPublicKey::new(algorithm, &point)?,
            point: point.into(),
        })
    }

    /// Its required members as JSON in the form that is hashed (RFC 7638 §3.2, RFC 8037 §2): two
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

    /// The length of its modulus or point. Among keys for one algorithm, a longer one costs more.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rsa { components, .. } => components.n.len(),
            Self::OnCurve { point, .. } => point.len(),
        }
    }

    /// Whether it is the same key.
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

    /// Whether a signature is this key's.
    ///
    /// INVARIANT: the caller has found that the key may be used for `alg`: a curve is not asked
    /// for the name of its algorithm.
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

/// The curve and the coordinates of an uncompressed point (SEC 1 §2.3.3); `None` for an Ed25519
/// key, which has 32 octets. The length of a point tells its curve.
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
