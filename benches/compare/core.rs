//! `decide` alone: what it costs by rules, providers and keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use claimgate::config::{Config, KeySource};
use claimgate::decision::{Decision, decide};
use claimgate::dev::signer::Signer;
use claimgate::ext_authz::wire;
use claimgate::keyring::{Algorithm, Keyring, Keys};
use claimgate::telemetry::metrics::TokenCacheMetrics;
use claimgate::time::UnixTime;
use claimgate::token_cache::TokenCache;
use serde_json::{Value, json};

use crate::report::{Bar, Row, Sample};
use crate::tokens::Provider;

/// The figures of `decide`.
pub fn rows() -> Vec<Row> {
    let few = Core::new(10, 1, 1);
    let grown = [
        ("10,000 rules against 10", Core::new(10_000, 1, 1)),
        ("1,000 providers against 1", Core::new(10, 1_000, 1)),
        ("200 keys against 1", Core::new(10, 1, 200)),
    ];
    grown
        .iter()
        .map(|(what, many)| Row {
            what: format!("`decide`, remembered token, {what}: time"),
            sample: Sample::of(|| many.nanoseconds() / few.nanoseconds()),
            unit: "×",
            bar: Bar::AtMost(1.5),
        })
        .collect()
}

/// A policy with its keys and its memory, and a check under it.
struct Core {
    config: Config,
    keyring: Keyring,
    cache: TokenCache,
    check: Vec<u8>,
}

impl Core {
    /// So many rules, of which the last one is about the request; so many providers, of which the
    /// last one signed the token; so many keys of each.
    fn new(rules: usize, providers: usize, keys: usize) -> Self {
        let signers: Vec<Provider> = (0..providers)
            .map(|number| Provider::new(number, Algorithm::EdDsa))
            .collect();
        let more: Vec<Value> = (1..keys)
            .map(|number| Signer::generate(Algorithm::EdDsa, &format!("other-{number}")))
            .map(|signer| signer.unwrap().jwk())
            .collect();
        let configured: Vec<Value> = signers
            .iter()
            .map(|provider| {
                let mut keys = more.clone();
                keys.push(provider.signer.jwk());
                json!({
                    "name": provider.name,
                    "issuer": provider.issuer(),
                    "audiences": ["orders-api"],
                    "jwks": {"inline": {"keys": keys}},
                })
            })
            .collect();
        let rule = |number: usize| {
            let path = match number + 1 == rules {
                true => "/orders".to_owned(),
                false => format!("/service-{number}"),
            };
            json!({"name": format!("r{number}"), "match": {"path": {"prefix": path}}})
        };
        let rules: Vec<Value> = (0..rules).map(rule).collect();
        let config = json!({"providers": configured, "rules": rules});
        let config = Config::from_yaml(&config.to_string()).unwrap();
        let mut keyring = Keyring::empty(providers);
        for ((id, _), keys) in config.policy.providers().zip(&config.keys) {
            let KeySource::Inline(known) = &keys.source else {
                panic!("inline keys were given")
            };
            keyring = keyring.with(id, Keys::Known(Arc::clone(known)));
        }
        Self {
            keyring,
            cache: TokenCache::new(&config.token_cache, TokenCacheMetrics::default()),
            config,
            check: signers.last().unwrap().check(0),
        }
    }

    fn decide(&self) -> bool {
        let request = wire::read(&self.check).unwrap();
        let now = UnixTime::from_secs(1_767_225_600);
        let (policy, keyring) = (&self.config.policy, &self.keyring);
        let decision = decide(policy, keyring, &self.cache, &request, now, &mut ());
        matches!(decision, Decision::Allow(_))
    }

    /// Nanoseconds for one decision about a token that is remembered: the best of some rounds.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    fn nanoseconds(&self) -> f64 {
        const ROUNDS: usize = 50;
        const TIMES: u32 = 1_000;
        assert!(self.decide());
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..TIMES {
                std::hint::black_box(self.decide());
            }
            best = best.min(start.elapsed());
        }
        best.as_secs_f64() * 1e9 / f64::from(TIMES)
    }
}

/// Microseconds of one RSA-2048 signature check of aws-lc, by a key that is parsed already.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn rsa_verify() -> f64 {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{
        KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    };

    const ROUNDS: usize = 10;
    const TIMES: u32 = 1_000;
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let message = [b'a'; 700];
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        &message,
        &mut signature,
    )
    .unwrap();
    let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    let public = public.unwrap();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..TIMES {
            assert!(public.verify_sig(&message, &signature).is_ok());
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e6 / f64::from(TIMES)
}
