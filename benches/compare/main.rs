//! Measures claimgate beside its references, in one run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a harness fails by panicking, and its output is its result"
)]

mod constant;
mod message;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    match arguments.as_slice() {
        ["constant", address] => runtime.block_on(constant::serve(address.parse().unwrap())),
        ["message", file] => {
            use claimgate::dev::signer::Signer;
            use prost::Message as _;
            let signer = Signer::generate(claimgate::keyring::Algorithm::Rs256, "bench").unwrap();
            std::fs::write(
                "/tmp/bench/keys.json",
                serde_json::json!({"keys":[signer.jwk()]}).to_string(),
            )
            .unwrap();
            let token = signer.token(&serde_json::json!({
                "iss": "https://idp.example.com/realms/acme", "aud": ["orders-api", "account"], "exp": 4_102_444_800_u64, "iat": 1_767_225_600,
                "sub": "9f0c1a52-6f3d-4a77-8b1e-0d5f3b0f8c11", "azp": "shop", "scope": "openid profile orders:read orders:write",
                "realm_access": {"roles": ["customer", "offline_access", "uma_authorization"]}, "email": "alice@example.com", "email_verified": true,
                "name": "Alice Example", "preferred_username": "alice", "sid": "1d6b9b6e-7f5f-4a3d-9a0e-4a3f9f8f7b11", "jti": "c6f8e7d4-1111-4222-8333-444455556666"
            })).unwrap();
            let bytes = message::check(Some(&token)).encode_to_vec();
            let mut framed = vec![0];
            framed.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
            framed.extend(bytes);
            std::fs::write(file, framed).unwrap();
        }
        other => panic!("{other:?}"),
    }
}
