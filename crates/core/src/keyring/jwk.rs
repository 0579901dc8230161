//! One JSON Web Key (RFC 7517 §4), checked for everything that it must be before it verifies.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::document::{JwkSetDocument, Listed, PRIVATE_MEMBERS, matters};
use super::material::Material;
use super::public_key::PublicKey;
use super::{Algorithm, AlgorithmSet, Key, KeySetError, MAX_KEYS, ed25519, rsa};
use crate::escaped::Escaped;

/// The longest key id that is read, from a set or from a token, in bytes.
pub const MAX_KID_BYTES: usize = 256;

/// A key of the document that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitKey {
    /// Its id, if it has a readable one.
    pub kid: Option<String>,
    /// What is wrong with it.
    pub why: String,
    /// Whether it says that it is not for signatures, such as `use: enc`: nothing is wrong then.
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
    let JwkSetDocument {
        keys: Listed {
            keys: listed,
            count,
        },
    } = serde_json::from_slice(without_bom(json)).map_err(|error| {
        // It may quote the document.
        KeySetError::NotASet(Escaped::from(error.to_string().as_str()).to_string())
    })?;
    if count > MAX_KEYS {
        return Err(KeySetError::TooManyKeys(count));
    }
    let (mut keys, mut unfit) = (Vec::new(), Vec::new());
    for jwk in &listed {
        match read_key(jwk) {
            Ok(key) => keys.push(key),
            Err(why) => unfit.push(UnfitKey {
                kid: jwk.get("kid").and_then(Value::as_str).map(truncated),
                why,
                is_for_something_else: is_for_something_else(jwk),
            }),
        }
    }
    Ok((keys, unfit))
}

/// A parser may skip a byte order mark (RFC 8259 §8.1), which some servers send.
pub fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Whether a key says that it is not for signatures. One that is published with its private part
/// is a danger all the same.
fn is_for_something_else(jwk: &Value) -> bool {
    let has = |name: &&str| jwk.get(*name).is_some();
    if PRIVATE_MEMBERS.iter().any(has) {
        return false;
    }
    let text = |name| jwk.get(name).and_then(Value::as_str);
    match (text("use"), jwk.get("key_ops")) {
        (Some("sig" | "jwt-svid"), _) => false,
        (Some(_), _) => true,
        (None, Some(Value::Array(ops))) => !ops.iter().any(is_signing),
        // RFC 7518 §4.1 and RFC 8037 §3.2: key management has names and curves of its own.
        (None, _) => {
            let alg = text("alg").unwrap_or_default();
            let manages_keys = |name| alg.starts_with(name);
            ["RSA1_5", "RSA-OAEP", "ECDH-ES"].iter().any(manages_keys)
                || matches!(text("crv"), Some("X25519" | "X448"))
        }
    }
}

fn truncated(kid: &str) -> String {
    kid.chars().take(MAX_KID_BYTES).collect()
}

fn read_key(jwk: &Value) -> Result<Key, String> {
    let jwk = jwk.as_object().ok_or("it is not a JSON object")?;
    if let Some(name) = PRIVATE_MEMBERS.iter().find(|name| jwk.contains_key(**name)) {
        return Err(format!(
            "it holds the private member `{name}`, so whoever reads the set can sign with it"
        ));
    }
    let kid = optional_text(jwk, "kid")?;
    if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
        return Err(format!("its `kid` is over {MAX_KID_BYTES} bytes"));
    }
    check_purpose(jwk)?;
    let Material { algorithms, public } = read_material(jwk)?;
    let alg = optional_text(jwk, "alg")?;
    Ok(Key {
        kid: kid.map(Into::into),
        algorithms: restrict(algorithms, alg)?,
        names_alg: alg.is_some(),
        issuer: optional_text(jwk, "issuer")?.map(Into::into),
        public,
    })
}

/// `use` and `key_ops` must allow verifying, each if it is there, and agree (RFC 7517 §4.2, §4.3).
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), String> {
    let purpose = optional_text(jwk, "use")?;
    match purpose {
        // `jwt-svid` is what SPIFFE calls it (JWT-SVID §4).
        None | Some("sig" | "jwt-svid") => {}
        Some("enc") => return Err("it is for encryption (`use: enc`)".to_owned()),
        Some(other) => return Err(format!("its `use` is `{}`", Escaped::from(other))),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(ops)) if purpose.is_some() && ops.iter().any(|op| !is_signing(op)) => {
            Err("its `key_ops` is for something else than its `use`".to_owned())
        }
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => Ok(()),
        Some(_) => Err("its `key_ops` does not list `verify`".to_owned()),
    }
}

fn is_signing(operation: &Value) -> bool {
    operation == "sign" || operation == "verify"
}

/// Binds the key to the one algorithm of its `alg`, if it has one (RFC 7517 §4.4).
fn restrict(possible: AlgorithmSet, alg: Option<&str>) -> Result<AlgorithmSet, String> {
    let Some(name) = alg else {
        return Ok(possible);
    };
    match Algorithm::from_name(name) {
        Some(alg) if possible.contains(alg) => Ok([alg].into_iter().collect()),
        _ => Err(format!(
            "its `alg` is `{}`, this kind of key can be for {possible}",
            Escaped::from(name)
        )),
    }
}

fn read_material(jwk: &Map<String, Value>) -> Result<Material, String> {
    let curve = optional_text(jwk, "crv")?;
    match (text(jwk, "kty")?, curve) {
        ("RSA", _) => rsa::read(&octets(jwk, "n")?, &octets(jwk, "e")?),
        ("EC", Some("P-256")) => read_ec(jwk, 32, Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
        ("EC", Some("P-384")) => read_ec(jwk, 48, Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
        ("EC", Some("P-521")) => read_ec(jwk, 66, Algorithm::Es512, &ECDSA_P521_SHA512_FIXED),
        ("OKP", Some("Ed25519")) => ed25519::read(octets(jwk, "x")?),
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

/// Reads a point of a curve. RFC 7518 §6.2.1.2 gives each coordinate `field_bytes` octets; some
/// providers write it as a number, with fewer or more zeros in front. The number is the same, and
/// aws-lc refuses a point that is not on the curve.
fn read_ec(
    jwk: &Map<String, Value>,
    field_bytes: usize,
    alg: Algorithm,
    verification: &'static dyn VerificationAlgorithm,
) -> Result<Material, String> {
    let mut point = vec![0x04]; // uncompressed, SEC 1 §2.3.3
    for name in ["x", "y"] {
        let coordinate = octets(jwk, name)?;
        let number = without_zeros(&coordinate);
        let Some(zeros) = field_bytes.checked_sub(number.len()) else {
            return Err(format!(
                "its `{name}` has {} octets, the curve wants {field_bytes} (RFC 7518 §6.2.1.2)",
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

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    optional_text(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"))
}

fn optional_text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    // INVARIANT: what is not listed as a member that matters is not read from the document.
    debug_assert!(matters(name), "`{name}` is skipped when a set is read");
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is not a string")),
    }
}

/// A big-endian number without the zeros in front.
pub(super) fn without_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

/// Base64url; padding, which some providers send, is forgiven.
fn octets(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text(jwk, name)?.trim_end_matches('='))
        .map_err(|_| format!("its `{name}` is not base64url"))
}
