//! One JSON Web Key (RFC 7517 §4), checked completely before it may verify anything.

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

/// The maximum length in bytes of a `kid`, in a key set or in a token.
pub(crate) const MAX_KID_BYTES: usize = 256;

/// A key in the document that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitKey {
    /// The `kid`, if it is a string; cut to 256 characters.
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
    let JwkSetDocument {
        keys: Listed {
            keys: listed,
            count,
        },
    } = serde_json::from_slice(without_bom(json)).map_err(|error| {
        // The parser's message may quote the document.
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

/// Strips a byte order mark: some servers send one, and a parser may skip it (RFC 8259 §8.1).
pub fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Whether the key declares a purpose other than signatures. False for a key published with its
/// private part, which is dangerous whatever its purpose.
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
        // Key management has its own algorithm names and curves (RFC 7518 §4.1, RFC 8037 §3.2).
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
            "it holds the private member `{name}`, so anyone who reads the set can sign with it"
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

/// `use` and `key_ops` must allow verification if present, and must agree (RFC 7517 §4.2, §4.3).
fn check_purpose(jwk: &Map<String, Value>) -> Result<(), String> {
    let purpose = optional_text(jwk, "use")?;
    match purpose {
        // SPIFFE's name for a signing key (JWT-SVID §4).
        None | Some("sig" | "jwt-svid") => {}
        Some("enc") => return Err("it is for encryption (`use: enc`)".to_owned()),
        Some(other) => return Err(format!("its `use` is `{}`", Escaped::from(other))),
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(ops)) if purpose.is_some() && ops.iter().any(|op| !is_signing(op)) => {
            Err("its `key_ops` has an operation that its `use` rules out".to_owned())
        }
        Some(Value::Array(ops)) if ops.iter().any(|op| op == "verify") => Ok(()),
        Some(_) => Err("its `key_ops` does not list `verify`".to_owned()),
    }
}

fn is_signing(operation: &Value) -> bool {
    operation == "sign" || operation == "verify"
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

/// Reads a point on a curve. RFC 7518 §6.2.1.2 requires `field_bytes` octets for each coordinate,
/// but some providers drop or add leading zeros. The number is the same either way, and aws-lc
/// rejects a point that is not on the curve.
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
                "its `{name}` has {} octets; the curve needs {field_bytes} (RFC 7518 §6.2.1.2)",
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
    // INVARIANT: the parser skips members that `matters` does not list, so asking for another finds
    // nothing.
    debug_assert!(matters(name), "`{name}` is skipped when a set is read");
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is not a string")),
    }
}

/// A big-endian number without leading zeros.
pub(super) fn without_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

/// Decodes base64url and tolerates padding, which some providers send.
fn octets(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text(jwk, name)?.trim_end_matches('='))
        .map_err(|_| format!("its `{name}` is not base64url"))
}
