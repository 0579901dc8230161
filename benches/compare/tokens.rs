//! Tokens, and the configurations under which they are good.

use std::path::{Path, PathBuf};

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;
use prost::Message as _;
use serde_json::{Value, json};

use crate::message;

/// A provider with one key.
pub struct Provider {
    pub name: String,
    pub signer: Signer,
}

impl Provider {
    pub fn new(number: usize, alg: Algorithm) -> Self {
        let name = format!("idp{number}");
        let signer = Signer::generate(alg, &format!("{name}-key")).unwrap();
        Self { name, signer }
    }

    pub fn issuer(&self) -> String {
        format!("https://{}.example.com/realms/acme", self.name)
    }

    /// A token of an ordinary shape: about 900 bytes with an RSA signature.
    pub fn token(&self, number: usize) -> String {
        let claims = json!({
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
        });
        self.signer.token(&claims).unwrap()
    }

    pub fn check(&self, number: usize) -> Vec<u8> {
        message::check(Some(&self.token(number))).encode_to_vec()
    }
}

/// A configuration for these providers, whose keys are in files.
pub fn configuration(directory: &Path, providers: &[Provider]) -> PathBuf {
    let providers: Vec<Value> = providers
        .iter()
        .map(|provider| {
            let file = directory.join(format!("{}.json", provider.name));
            let keys = json!({"keys": [provider.signer.jwk()]});
            std::fs::write(&file, keys.to_string()).unwrap();
            json!({
                "name": provider.name,
                "issuer": provider.issuer(),
                "audiences": ["orders-api"],
                "jwks": {"file": file},
            })
        })
        .collect();
    let config = json!({
        "providers": providers,
        "upstream": {"claim_headers": [
            {"header": "x-auth-subject", "claim": "sub"},
            {"header": "x-auth-roles", "claim": "realm_access.roles"},
        ]},
    });
    let file = directory.join("claimgate.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    file
}
