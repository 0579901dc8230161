//! Creates private keys and signs tokens with them.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use claimgate_core::keyring::Algorithm;

/// A fresh private key for one algorithm. It signs with `jsonwebtoken`, so that signing shares no
/// code with verification. Only ES512, which `jsonwebtoken` does not support, is signed by aws-lc.
#[derive(Debug)]
pub struct Signer {
    alg: Algorithm,
    kid: String,
    key: PrivateKey,
    public: Value,
}

/// A key together with the library that signs with it.
enum PrivateKey {
    Registered(EncodingKey),
    P521(EcdsaKeyPair),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl Signer {
    /// Generates a key. An RSA key has 2048 bits and takes a moment.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness.
    pub fn generate(alg: Algorithm, kid: &str) -> Result<Self, Unspecified> {
        let (key, public) = match alg {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => rsa()?,
            Algorithm::Es256 => ec("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING)?,
            Algorithm::Es384 => ec("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING)?,
            Algorithm::Es512 => p521()?,
            Algorithm::EdDsa | Algorithm::Ed25519 => ed25519()?,
        };
        Ok(Self {
            alg,
            kid: kid.to_owned(),
            key,
            public,
        })
    }

    /// The key's algorithm.
    pub fn alg(&self) -> Algorithm {
        self.alg
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// A JOSE header that names this key: `alg`, `kid` and `typ`.
    pub fn header(&self) -> Value {
        json!({"alg": self.alg.name(), "kid": self.kid, "typ": "at+jwt"})
    }

    /// A token with the usual header.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness.
    pub fn token(&self, claims: &Value) -> Result<String, Unspecified> {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// Signs any header and payload, whether they form a valid token or not.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness.
    pub fn sign(&self, header: &str, payload: &str) -> Result<String, Unspecified> {
        self.sign_as(self.alg, header, payload)
    }

    /// Like [`Signer::sign`], but with another algorithm of the key's family, as an attacker or a
    /// careless provider may do.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness, or if the key is of another family.
    pub fn sign_as(
        &self,
        alg: Algorithm,
        header: &str,
        payload: &str,
    ) -> Result<String, Unspecified> {
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(payload.as_bytes())
        );
        let signature = match (&self.key, registered(alg)) {
            (PrivateKey::Registered(key), Some(alg)) => {
                let sign = jsonwebtoken::crypto::sign(signed.as_bytes(), key, alg);
                sign.map_err(|_| Unspecified)?
            }
            (PrivateKey::P521(key), None) => {
                encode(key.sign(&SystemRandom::new(), signed.as_bytes())?.as_ref())
            }
            (PrivateKey::Registered(_), None) | (PrivateKey::P521(_), Some(_)) => {
                return Err(Unspecified);
            }
        };
        Ok(format!("{signed}.{signature}"))
    }

    /// The public key, as a member of a JWK Set.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), self.kid.as_str().into());
            members.insert("alg".to_owned(), self.alg.name().into());
            members.insert("use".to_owned(), "sig".into());
        }
        jwk
    }
}

/// The length in bytes of the part before the RSA key in a PKCS #8 document (RFC 5208 §5): lengths,
/// version and algorithm.
const PKCS8_RSA_BYTES: usize = 26;

fn rsa() -> Result<(PrivateKey, Value), Unspecified> {
    let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let document: Pkcs8V1Der<'_> = key.as_der()?;
    let private = document
        .as_ref()
        .get(PKCS8_RSA_BYTES..)
        .ok_or(Unspecified)?;
    let public = key.public_key();
    Ok((
        PrivateKey::Registered(EncodingKey::from_rsa_der(private)),
        json!({
            "kty": "RSA",
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
        }),
    ))
}

fn ec(
    curve: &str,
    algorithm: &'static EcdsaSigningAlgorithm,
) -> Result<(PrivateKey, Value), Unspecified> {
    let key = EcdsaKeyPair::generate(algorithm)?;
    let private = EncodingKey::from_ec_der(key.to_pkcs8v1()?.as_ref());
    Ok((PrivateKey::Registered(private), point(curve, &key)?))
}

fn p521() -> Result<(PrivateKey, Value), Unspecified> {
    let key = EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING)?;
    let public = point("P-521", &key)?;
    Ok((PrivateKey::P521(key), public))
}

fn point(curve: &str, key: &EcdsaKeyPair) -> Result<Value, Unspecified> {
    // The point is 0x04 followed by two coordinates of equal length.
    let point = key.public_key().as_ref().get(1..).ok_or(Unspecified)?;
    let (x, y) = point.split_at(point.len() / 2);
    Ok(json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)}))
}

fn ed25519() -> Result<(PrivateKey, Value), Unspecified> {
    let key = Ed25519KeyPair::generate()?;
    Ok((
        PrivateKey::Registered(EncodingKey::from_ed_der(key.to_pkcs8()?.as_ref())),
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())}),
    ))
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The algorithm in `jsonwebtoken`'s terms. `None` if it does not support it.
fn registered(alg: Algorithm) -> Option<jsonwebtoken::Algorithm> {
    Some(match alg {
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::Es512 => return None,
        Algorithm::EdDsa | Algorithm::Ed25519 => jsonwebtoken::Algorithm::EdDSA,
    })
}
