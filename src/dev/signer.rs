//! Private keys that sign tokens.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::keyring::Algorithm;

/// A fresh private key for one algorithm.
#[derive(Debug)]
pub struct Signer {
    alg: Algorithm,
    kid: String,
    key: PrivateKey,
}

#[derive(Debug)]
enum PrivateKey {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl Signer {
    /// Makes a key. RSA keys have 2048 bits, and take a moment.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn generate(alg: Algorithm, kid: &str) -> Result<Self, Unspecified> {
        let key = match alg {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => {
                PrivateKey::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048)?))
            }
            Algorithm::Es256 => PrivateKey::Ecdsa(Box::new(EcdsaKeyPair::generate(
                &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            )?)),
            Algorithm::Es384 => PrivateKey::Ecdsa(Box::new(EcdsaKeyPair::generate(
                &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            )?)),
            Algorithm::EdDsa | Algorithm::Ed25519 => {
                PrivateKey::Ed25519(Box::new(Ed25519KeyPair::generate()?))
            }
        };
        Ok(Self {
            alg,
            kid: kid.to_owned(),
            key,
        })
    }

    /// Its algorithm.
    pub fn alg(&self) -> Algorithm {
        self.alg
    }

    /// Its id.
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
    /// When the system has no randomness.
    pub fn token(&self, claims: &Value) -> Result<String, Unspecified> {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// Signs whatever it is given, be it a token or not.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn sign(&self, header: &str, payload: &str) -> Result<String, Unspecified> {
        self.sign_as(self.alg, header, payload)
    }

    /// Like [`Signer::sign`], by another algorithm of the key's family: what an attacker, or a
    /// careless provider, may do.
    ///
    /// # Errors
    ///
    /// When the system has no randomness, or the key is of another family.
    pub fn sign_as(
        &self,
        alg: Algorithm,
        header: &str,
        payload: &str,
    ) -> Result<String, Unspecified> {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(payload.as_bytes())
        );
        let signature = self.signature(alg, signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    fn signature(&self, alg: Algorithm, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match &self.key {
            PrivateKey::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = match alg {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_SHA512,
                    Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa | Algorithm::Ed25519 => {
                        return Err(Unspecified);
                    }
                };
                let mut bytes = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut bytes)?;
                Ok(bytes)
            }
            PrivateKey::Ecdsa(key) => Ok(key.sign(&random, message)?.as_ref().to_vec()),
            PrivateKey::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }

    /// The public key, as a member of a JWK Set.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.key {
            PrivateKey::Rsa(key) => {
                let public = key.public_key();
                json!({
                    "kty": "RSA",
                    "n": encode(public.modulus().big_endian_without_leading_zero()),
                    "e": encode(public.exponent().big_endian_without_leading_zero()),
                })
            }
            PrivateKey::Ecdsa(key) => {
                // 0x04, then two coordinates of equal length.
                let point = key.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            PrivateKey::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())})
            }
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), self.kid.as_str().into());
            members.insert("alg".to_owned(), self.alg.name().into());
            members.insert("use".to_owned(), "sig".into());
        }
        jwk
    }
}
