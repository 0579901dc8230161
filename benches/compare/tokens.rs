//! Tokens, and the configurations for which they are valid.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;
use prost::Message as _;
use serde_json::{Value, json};

use crate::message;

/// A provider with one key.
pub struct Provider {
    pub name: String,
    pub signer: Arc<Signer>,
}

impl Provider {
    pub fn new(number: usize, alg: Algorithm) -> Self {
        let name = format!("idp{number}");
        let signer = Signer::generate(alg, &format!("{name}-key")).unwrap();
        let signer = Arc::new(signer);
        Self { name, signer }
    }

    /// Another issuer with the key of this one. Generating a thousand RSA keys takes minutes.
    pub fn sharing_key(&self, number: usize) -> Self {
        Self {
            name: format!("idp{number}"),
            signer: Arc::clone(&self.signer),
        }
    }

    pub fn issuer(&self) -> String {
        format!("https://{}.example.com/realms/acme", self.name)
    }

    /// A token of ordinary shape: about 1 KB with an RSA signature.
    pub fn token(&self, number: usize) -> String {
        self.signer.token(&self.claims(number)).unwrap()
    }

    /// A token of about `bytes` bytes.
    pub fn token_of(&self, bytes: usize) -> String {
        let mut claims = self.claims(0);
        let missing = bytes.saturating_sub(self.token(0).len());
        // Base64url turns three bytes into four characters.
        claims["more"] = "x".repeat(missing * 3 / 4).into();
        self.signer.token(&claims).unwrap()
    }

    /// A token that names a key its provider does not have.
    pub fn token_of_unknown_key(&self, number: usize) -> String {
        let mut header = self.signer.header();
        header["kid"] = format!("unknown-{number}").into();
        let claims = self.claims(number).to_string();
        self.signer.sign(&header.to_string(), &claims).unwrap()
    }

    /// The claims of a token.
    pub fn claims(&self, number: usize) -> Value {
        json!({
            "iss": self.issuer(),
            "aud": ["orders-api", "account"],
            "exp": 4_102_444_800_u64,
            "iat": 1_767_225_600,
            "jti": format!("c6f8e7d4-1111-4222-8333-{number:012}"),
            "sub": format!("9f0c1a52-6f3d-4a77-8b1e-{number:012}"),
            "azp": "shop",
            "scope": "openid profile orders:read orders:write",
            "realm_access": {"roles": ["customer", "offline_access"]},
            "email": "alice@example.com",
            "email_verified": true,
            "preferred_username": "alice",
            "sid": "1d6b9b6e-7f5f-4a3d-9a0e-4a3f9f8f7b11",
        })
    }

    /// The `CheckRequest` that Envoy sends for a request with this token.
    pub fn check(token: &str) -> Vec<u8> {
        message::check(Some(token)).encode_to_vec()
    }

    /// The same for a request without a token.
    pub fn check_without_token() -> Vec<u8> {
        message::check(None).encode_to_vec()
    }

    pub fn key_set(&self) -> Value {
        json!({"keys": [self.signer.jwk()]})
    }

    pub fn key_file(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.json", self.name))
    }

    /// The provider as a configuration describes it, with its key in a file.
    pub fn with_key_file(&self, directory: &Path) -> Value {
        let file = self.key_file(directory);
        std::fs::write(&file, self.key_set().to_string()).unwrap();
        self.configured(&json!({"file": file}))
    }

    /// The provider as a configuration describes it, with these keys.
    pub fn configured(&self, jwks: &Value) -> Value {
        json!({
            "name": self.name,
            "issuer": self.issuer(),
            "audiences": ["orders-api"],
            "jwks": jwks,
        })
    }
}

/// A token with the signature of another.
pub fn with_signature_of(token: &str, other: &str) -> String {
    let [(signed, _), (_, signature)] = [token, other].map(|token| token.rsplit_once('.').unwrap());
    format!("{signed}.{signature}")
}

/// Configurations for these providers, with keys in files: one with claims for the upstream and
/// Envoy, one without, and one without a token cache.
pub fn configurations(directory: &Path, providers: &[Provider]) -> [PathBuf; 3] {
    let providers: Vec<Value> = providers
        .iter()
        .map(|provider| provider.with_key_file(directory))
        .collect();
    let alone = json!({"providers": &providers, "upstream": {"dynamic_metadata": false}});
    [
        with_claims(directory, "claimgate", &providers),
        written(directory, "alone", &alone),
        forgetful(directory, "forgetful", &providers),
    ]
}

/// Writes a configuration without a token cache, so that every token is verified.
pub fn forgetful(directory: &Path, name: &str, providers: &[Value]) -> PathBuf {
    let config = json!({"providers": providers, "token_cache": {"max_entries": 0}});
    written(directory, name, &config)
}

/// Writes a configuration with two claims as headers, and metadata.
pub fn with_claims(directory: &Path, name: &str, providers: &[Value]) -> PathBuf {
    let config = json!({
        "providers": providers,
        "upstream": {"claim_headers": [
            {"header": "x-auth-subject", "claim": "sub"},
            {"header": "x-auth-roles", "claim": "realm_access.roles"},
        ]},
    });
    written(directory, name, &config)
}

/// Writes a configuration.
pub fn written(directory: &Path, name: &str, config: &Value) -> PathBuf {
    let file = directory.join(format!("{name}.yaml"));
    std::fs::write(&file, config.to_string()).unwrap();
    file
}
