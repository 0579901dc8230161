//! The core alone: a policy and its trusted keys, without tasks or connections.

use std::sync::Arc;

use claimgate::advice;
use claimgate::config::{self, Config, KeySource};
use claimgate::decision::{Decision, Memory, decide};
use claimgate::keyring::{Keyring, Keys};
use claimgate::policy::Policy;
use claimgate::request::Request;
use claimgate::time::UnixTime;
use claimgate::trace::Trace;
use serde_json::{Value, json};

/// The trusted `iss`.
pub const ISSUER: &str = "https://idp.example.com";

pub struct Judge {
    policy: Arc<Policy>,
    keyring: Keyring,
    pub token_cache: config::TokenCache,
}

impl Judge {
    /// Trusts these keys of [`ISSUER`], for tokens with any of these audiences.
    pub fn trusting(keys: &[Value], audiences: &[&str]) -> Self {
        let config = json!({"providers": [{
            "name": "acme", "issuer": ISSUER, "audiences": audiences,
            "jwks": {"inline": {"keys": keys}},
        }]});
        let config = Config::from_yaml(&config.to_string()).unwrap();
        let KeySource::Inline(known) = &config.keys[0].source else {
            panic!("inline keys were given")
        };
        let (id, _) = config.policy.providers().next().unwrap();
        Self {
            keyring: Keyring::empty(1).with(id, Keys::Known(Arc::clone(known))),
            policy: config.policy,
            token_cache: config.token_cache,
        }
    }

    /// Whether these bytes are accepted as a bearer token at this time.
    pub fn allows(&self, memory: &impl Memory, token: &[u8], now: u64) -> bool {
        self.judge(memory, token, now, &mut ())
    }

    /// The same, and reports the checks to the trace.
    pub fn allows_traced(&self, token: &[u8], now: u64, trace: &mut impl Trace) -> bool {
        self.judge(&(), token, now, trace)
    }

    /// The likely cause of the denial of a request with this `Authorization` line.
    pub fn hint(&self, line: &[u8], now: u64) -> Option<String> {
        let request = Request {
            path: "/",
            headers: [("authorization", line)].into_iter().collect(),
            ..Request::default()
        };
        let now = UnixTime::from_secs(now);
        match decide(&self.policy, &self.keyring, &(), &request, now, &mut ()).by_what_is_known() {
            Decision::Deny(denial) => {
                advice::likely_cause(&denial, &self.policy, &self.keyring, &request)
            }
            Decision::Allow(_) | Decision::Respond(_) => None,
        }
    }

    fn judge(&self, memory: &impl Memory, token: &[u8], now: u64, trace: &mut impl Trace) -> bool {
        let line = [b"Bearer ", token].concat();
        let request = Request {
            path: "/",
            headers: [("authorization", line.as_slice())].into_iter().collect(),
            ..Request::default()
        };
        let now = UnixTime::from_secs(now);
        matches!(
            decide(&self.policy, &self.keyring, memory, &request, now, trace).by_what_is_known(),
            Decision::Allow(_)
        )
    }
}
