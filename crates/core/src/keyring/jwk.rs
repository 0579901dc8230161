//! One JSON Web Key (RFC 7517 §4), checked completely before it may verify anything.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::document::{self, Jwk, Member};
use super::fingerprint::Thumbprint;
use super::material::{Material, without_zeros};
use super::public_key::PublicKey;
use super::{Algorithm, AlgorithmSet, Key, KeySetError, LastUse, MAX_KEYS, ed25519, rsa};
use crate::escaped::Escaped;

/// The maximum length in bytes of a `kid`, in a key set or in a token.
pub(crate) const MAX_KID_BYTES: usize = 256;

/// A key in the document that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitKey {
    /// The `kid`, if it is a string; cut to 256 bytes.
    pub kid: Option<String>,
    /// Why the key is not used.
    pub why: String,
    /// Whether the key declares another purpose, such as `use: enc`. Then nothing is wrong with it.
    pub is_for_something_else: bool,
}

impl fmt::Display for UnfitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "key `{}`: {}", Escaped::from(kid.as_str()), self.why),
            None => write!(f, "key without id: {}", self.why),
        }
    }
}

/// The usable and the unfit keys of a JWK Set.
pub(super) fn read_set(json: &[u8]) -> Result<(Vec<Key>, Vec<UnfitKey>), KeySetError> {
    let listed = document::keys(without_bom(json)).map_err(|error| {
        // The parser's message may quote the document.
        KeySetError::NotASet(Escaped::from(error.as_str()).to_string())
    })?;
    if listed.count > MAX_KEYS {
        return Err(KeySetError::TooManyKeys(listed.count));
    }
    let (mut keys, mut unfit) = (Vec::new(), Vec::new());
    let mut leaked = Vec::new();
    for json in listed.elements {
        let jwk = Jwk::read(json);
        leaked.extend(jwk.as_ref().ok().and_then(leaked_key));
        match jwk.as_ref().map_err(String::clone).and_then(read_key) {
            Ok(key) => keys.push(key),
            Err(why) => unfit.push(UnfitKey {
                kid: jwk.as_ref().ok().and_then(kid),
                why,
                is_for_something_else: jwk.is_ok_and(|jwk| is_for_something_else(&jwk)),
            }),
        }
    }
    let is_leaked = |key: &mut Key| leaked.contains(&Thumbprint::of(&key.public));
    unfit.extend(keys.extract_if(.., is_leaked).map(|key| {
        UnfitKey {
            kid: key.kid.as_deref().map(str::to_owned),
            why:
                "another entry holds its private part, so anyone who reads the set can sign with it"
                    .to_owned(),
            is_for_something_else: false,
        }
    }));
    Ok((keys, unfit))
}

/// The public part of a key that is published with its private part. Another entry may repeat it
/// alone.
fn leaked_key(jwk: &Jwk<'_>) -> Option<Thumbprint> {
    jwk.private_member()?;
    let Material { public, .. } = read_material(jwk).ok()?;
    Some(Thumbprint::of(&public))
}

/// Strips a byte order mark: some servers send one, and a parser may skip it (RFC 8259 §8.1).
pub fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Whether the key declares a purpose other than signatures. False for a key published with its
/// private part, which is dangerous whatever its purpose.
fn is_for_something_else(jwk: &Jwk<'_>) -> bool {
    if jwk.private_member().is_some() {
        return false;
    }
    let text = |member| jwk.optional_text(member).ok().flatten();
    match (text(Member::Use).as_deref(), jwk.operations()) {
        (Some("sig" | "jwt-svid"), _) => false,
        (Some(_), _) => true,
        (None, Some(ops)) if !ops.is_empty() => !ops.iter().any(|op| is_signing(op)),
        // Key management has its own algorithm names and curves (RFC 7518 §4.1, RFC 8037 §3.2).
        (None, _) => {
            let alg = text(Member::Alg).unwrap_or_default();
            let manages_keys = |name| alg.starts_with(name);
            ["RSA1_5", "RSA-OAEP", "ECDH-ES"].iter().any(manages_keys)
                || matches!(text(Member::Crv).as_deref(), Some("X25519" | "X448"))
        }
    }
}

fn kid(jwk: &Jwk<'_>) -> Option<String> {
    let mut kid = jwk.optional_text(Member::Kid).ok()??.into_owned();
    kid.truncate(kid.floor_char_boundary(MAX_KID_BYTES));
    Some(kid)
}

fn read_key(jwk: &Jwk<'_>) -> Result<Key, String> {
    if let Some(member) = jwk.private_member() {
        return Err(format!(
            "it holds the private member `{}`, so anyone who reads the set can sign with it",
            member.name()
        ));
    }
    let kid = jwk.optional_text(Member::Kid)?;
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
        return Err(format!("its `kid` is over {MAX_KID_BYTES} bytes"));
    }
    check_purpose(jwk)?;
    let Material { algorithms, public } = read_material(jwk)?;
    let alg = jwk.optional_text(Member::Alg)?;
    Ok(Key {
        kid: kid.map(Into::into),
        algorithms: restrict(algorithms, alg.as_deref())?,
        names_alg: alg.is_some(),
        issuer: jwk.optional_text(Member::Issuer)?.map(Into::into),
        public,
        last_use: LastUse::default(),
    })
}

/// `use` and `key_ops` must allow verification if present, and must agree (RFC 7517 §4.2, §4.3).
fn check_purpose(jwk: &Jwk<'_>) -> Result<(), String> {
    let purpose = jwk.optional_text(Member::Use)?;
    match purpose.as_deref() {
        // SPIFFE's name for a signing key (JWT-SVID §4).
        None | Some("sig" | "jwt-svid") => {}
        Some("enc") => return Err("it is for encryption (`use: enc`)".to_owned()),
        Some(other) => return Err(format!("its `use` is `{}`", Escaped::from(other))),
    }
    match jwk.operations() {
        None => Ok(()),
        Some(ops) if purpose.is_some() && ops.iter().any(|op| !is_signing(op)) => {
            Err("its `key_ops` has an operation that its `use` rules out".to_owned())
        }
        Some(ops) if ops.iter().any(|op| op == "verify") => Ok(()),
        Some(_) => Err("its `key_ops` does not list `verify`".to_owned()),
    }
}

fn is_signing(operation: &str) -> bool {
    matches!(operation, "sign" | "verify")
}

/// Binds the key to the one algorithm in its `alg`, if present (RFC 7517 §4.4).
fn restrict(possible: AlgorithmSet, alg: Option<&str>) -> Result<AlgorithmSet, String> {
    let Some(name) = alg else {
        return Ok(possible);
    };
    match Algorithm::from_name(name) {
        Some(alg) if possible.contains(alg) => Ok([alg].into_iter().collect()),
        _ => Err(format!(
            "its `alg` is `{}`; a key of this kind can be for {possible}",
            Escaped::from(name)
        )),
    }
}

fn read_material(jwk: &Jwk<'_>) -> Result<Material, String> {
    let curve = jwk.optional_text(Member::Crv)?;
    match (&*jwk.text(Member::Kty)?, curve.as_deref()) {
        ("RSA", _) => rsa::read(&octets(jwk, Member::N)?, &octets(jwk, Member::E)?),
        ("EC", Some("P-256")) => read_ec(jwk, 32, Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
        ("EC", Some("P-384")) => read_ec(jwk, 48, Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
        ("EC", Some("P-521")) => read_ec(jwk, 66, Algorithm::Es512, &ECDSA_P521_SHA512_FIXED),
        ("OKP", Some("Ed25519")) => ed25519::read(octets(jwk, Member::X)?),
        ("oct", _) => Err("it is symmetric (`kty: oct`)".to_owned()),
        ("EC" | "OKP", Some(curve)) => Err(format!(
            "its curve `{}` is not supported",
            Escaped::from(curve)
        )),
        ("EC" | "OKP", None) => Err("it has no `crv`".to_owned()),
        (kty, _) => Err(format!(
            "its `kty` `{}` is not supported",
            Escaped::from(kty)
        )),
    }
}

/// Reads a point on a curve. RFC 7518 §6.2.1.2 requires `field_bytes` octets for each coordinate,
/// but some providers drop or add leading zeros. The number is the same either way, and aws-lc
/// rejects a point that is not on the curve.
fn read_ec(
    jwk: &Jwk<'_>,
    field_bytes: usize,
    alg: Algorithm,
    verification: &'static dyn VerificationAlgorithm,
) -> Result<Material, String> {
    let mut point = vec![0x04]; // uncompressed, SEC 1 §2.3.3
    for member in [Member::X, Member::Y] {
        let coordinate = octets(jwk, member)?;
        let number = without_zeros(&coordinate);
        let Some(zeros) = field_bytes.checked_sub(number.len()) else {
            return Err(format!(
                "its `{}` has {} octets; the curve needs {field_bytes} (RFC 7518 §6.2.1.2)",
                member.name(),
                number.len()
            ));
        };
        point.extend(std::iter::repeat_n(0, zeros));
        point.extend(number);
    }
    Ok(Material {
        algorithms: [alg].into_iter().collect(),
        public: PublicKey::on_curve(verification, point)
            .map_err(|_| "its point is not on the curve")?,
    })
}

/// Decodes base64url and tolerates padding, which some providers send.
fn octets(jwk: &Jwk<'_>, member: Member) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD
        .decode(jwk.text(member)?.trim_end_matches('='))
        .map_err(|_| format!("its `{}` is not base64url", member.name()))
}
