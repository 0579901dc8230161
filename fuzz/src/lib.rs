//! Shared by the targets: a gate that trusts four keys created for this run, and a good token of
//! each.

use std::sync::{Arc, LazyLock};

use claimgate::config::{Config, KeySource};
use claimgate::decision::{Decision, Fault, Memory, decide};
use claimgate::dev::signer::Signer;
use claimgate::identity::Bearer;
use claimgate::keyring::{Algorithm, Keyring, Keys, ProviderId};
use claimgate::policy::Policy;
use claimgate::request::Request;
use claimgate::telemetry::metrics::TokenCacheMetrics;
use claimgate::time::UnixTime;
use claimgate::token_cache::TokenCache;
use serde_json::{Value, json};

#[path = "../../tests/it/support/host.rs"]
pub mod host;
pub mod input;
#[path = "../../tests/cases/second_opinion/opinion.rs"]
mod second_opinion;

/// The trusted `iss`.
pub const ISSUER: &str = "https://idp.example.com";
/// The accepted `aud`.
pub const AUDIENCE: &str = "orders-api";
/// The time of every decision.
pub const NOW: u64 = 1_767_225_600;

/// A policy, its trusted keys, and tokens that they sign.
pub struct Gate {
    /// The configuration, as YAML.
    pub config: String,
    /// The policy.
    pub policy: Arc<Policy>,
    /// What a refused caller receives.
    pub denials: claimgate::answer::denials::Denials,
    keyring: Keyring,
    cache: TokenCache,
    /// The published keys.
    keys: Vec<Value>,
    /// The trusted keys.
    pub signers: Vec<Signer>,
    /// A good token of each key.
    pub good: Vec<String>,
}

/// The gate for all inputs of a run.
pub static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

impl Gate {
    fn new() -> Self {
        let signers: Vec<_> = [
            Algorithm::EdDsa,
            Algorithm::Es256,
            Algorithm::Rs256,
            // The module checks it on another thread than that of the stream.
            Algorithm::Es384,
        ]
        .map(|alg| Signer::generate(alg, alg.name()).unwrap())
        .into();
        let keys: Vec<Value> = signers.iter().map(Signer::jwk).collect();
        let config = json!({
            "providers": [{
                "name": "idp",
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "jwks": {"inline": {"keys": keys}},
            }],
            "upstream": {
                "claim_headers": [
                    {"header": "x-auth-subject", "claim": "sub"},
                    {"header": "x-auth-roles", "claim": "realm_access.roles"},
                ],
                "scope_header": "x-auth-scope",
                "payload_header": "x-auth-claims",
                "forward_token": false,
                "remove_cookies": ["IdToken", "session-*"],
                "dynamic_metadata": true,
            },
            "response_headers": [{"header": "x-checked-by", "value": "claimgate"}],
            "rules": [
                {"name": "removal", "match": {"methods": ["DELETE"]}, "access": "deny"},
                {"name": "public", "match": {"path": {"prefix": "/public"}}, "access": "public"},
                {"name": "closed", "match": {"path": {"regex": "/(closed|shut)/.*"}}, "access": "deny"},
                {"name": "hosts", "match": {"hosts": ["*.example.org"], "headers": {"x-a": "1"}},
                 "scopes": ["read"], "condition": "request.path.startsWith('/') && claims.sub == 'alice'"},
            ],
        });
        let text = config.to_string();
        let config = Config::from_yaml(&text).unwrap();
        let KeySource::Inline(known) = &config.keys[0].source else {
            panic!("inline keys were given")
        };
        let (id, _) = config.policy.providers().next().unwrap();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 600, "sub": "alice",
            "scope": "read write", "realm_access": {"roles": ["a", "b"]},
        });
        Self {
            config: text,
            good: signers
                .iter()
                .map(|signer| signer.token(&claims).unwrap())
                .collect(),
            keyring: Keyring::empty(1).with(id, Keys::Known(Arc::clone(known))),
            cache: TokenCache::new(&config.token_cache, TokenCacheMetrics::default()),
            policy: config.policy,
            denials: config.denials,
            keys,
            signers,
        }
    }

    /// Judges a request three times: without a memory, then twice with one. All decisions must
    /// agree.
    pub fn judge(&self, request: &Request<'_>) -> Decision {
        let fresh = self.decide(&(), request);
        for _ in 0..2 {
            let remembered = self.decide(&self.cache, request);
            assert_eq!(describe(&fresh), describe(&remembered));
        }
        fresh
    }

    fn decide(&self, memory: &impl Memory, request: &Request<'_>) -> Decision {
        let now = UnixTime::from_secs(NOW);
        decide(&self.policy, &self.keyring, memory, request, now, &mut ()).by_what_is_known()
    }

    /// Judges a request with these bytes as its bearer token, and compares the decision with that
    /// of `jsonwebtoken`.
    pub fn judge_token(&self, token: &[u8]) -> Decision {
        let line = [b"Bearer ", token].concat();
        let decision = self.judge(&Request {
            method: "GET",
            host: "api.example.com",
            path: "/",
            headers: [("authorization", line.as_slice())].into_iter().collect(),
            ..Request::default()
        });
        if let Some(accepted) = self.second_opinion(token) {
            match &decision {
                Decision::Allow(_) => assert!(accepted, "refused by jsonwebtoken"),
                Decision::Deny(denial) if matches!(denial.fault, Fault::Token(_)) => {
                    let reason = denial.reason().code();
                    let is_listed = second_opinion::STRICTER
                        .iter()
                        .any(|(code, _)| *code == reason);
                    assert!(!accepted || is_listed, "{reason}, accepted by jsonwebtoken");
                }
                Decision::Deny(_) | Decision::Respond(_) => {}
            }
        }
        decision
    }

    fn second_opinion(&self, token: &[u8]) -> Option<bool> {
        let token = std::str::from_utf8(token).ok()?;
        let (_, provider) = self.policy.providers().next()?;
        let now = UnixTime::from_secs(NOW);
        second_opinion::accepts(token, &provider.terms, &self.keys, now)
    }
}

fn describe(decision: &Decision) -> (Option<ProviderId>, String) {
    match decision {
        Decision::Allow(permit) => {
            let bearer = permit.bearer();
            let claims = bearer.map(|bearer| bearer.token().claims());
            let provider = bearer.map(Bearer::provider);
            (provider, format!("{:?} {claims:?}", permit.rule()))
        }
        Decision::Deny(denial) => (denial.provider, denial.fault.to_string()),
        Decision::Respond(resource) => (None, resource.document().to_owned()),
    }
}
