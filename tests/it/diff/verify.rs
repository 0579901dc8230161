//! Judges requests by both configurations, with keys and requests of its own: nothing here comes from
//! `claimgate::diff` except the examples, as JSON.

use std::sync::Arc;

use claimgate::config::Config;
use claimgate::decision::{Decision, decide};
use claimgate::diff::{Differences, Effect};
use claimgate::keyring::{Algorithm, KeySet, Keyring, Keys};
use claimgate::request::{Peer, Request};
use claimgate::time::UnixTime;
use serde_json::{Map, Value, json};

use super::{NOW, random};
use crate::support::keys::signer;

pub struct Verifier<'c> {
    configs: [&'c Config; 2],
    keyrings: [Keyring; 2],
}

/// The algorithms of the tests' tokens.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Es256, Algorithm::Rs256];

impl<'c> Verifier<'c> {
    pub fn new(old: &'c Config, new: &'c Config) -> Self {
        let keys = ALGORITHMS.map(|alg| signer(alg, "verify").jwk());
        let keys = json!({"keys": keys}).to_string();
        let keys = Arc::new(KeySet::from_json(keys.as_bytes()).unwrap());
        let keyring = |config: &Config| {
            let empty = Keyring::empty(config.keys.len());
            config.policy.providers().fold(empty, |keyring, (id, _)| {
                keyring.with(id, Keys::Known(Arc::clone(&keys)))
            })
        };
        Self {
            configs: [old, new],
            keyrings: [keyring(old), keyring(new)],
        }
    }

    /// Every example is judged as it says, by the configuration before and by the one after.
    pub fn check(&self, differences: &Differences) {
        let report = differences.json();
        for entry in report["differences"].as_array().unwrap() {
            for example in entry["examples"].as_array().unwrap() {
                let [before, after] = self.judge(example);
                for (what, decision) in [("before", &before), ("after", &after)] {
                    let said = &example[what];
                    let reason = decision.denial().map(|denial| denial.reason().code());
                    assert_eq!(said["decision"], word(decision), "{what}: {example:#}");
                    assert_eq!(said["reason"], json!(reason), "{what}: {example:#}");
                }
                let effect = example["effect"].as_str().unwrap();
                let is_other = match effect {
                    "widened" | "narrowed" => word(&before) != word(&after),
                    "other_answer" => example["before"] != example["after"],
                    "other_headers" => example["only_before"] != example["only_after"],
                    _ => false,
                };
                assert!(is_other, "{example:#}");
            }
        }
    }

    /// Random requests that one configuration lets pass and the other denies, although no example
    /// shows that this can happen.
    pub fn missed(&self, differences: &Differences, seed: u64) -> Vec<String> {
        let mut missed = Vec::new();
        for request in random::requests(seed) {
            let [before, after] = self.judge(&request);
            let effect = match (word(&before), word(&after)) {
                (one, other) if one == other => continue,
                (_, "allow") => Effect::Widened,
                _ => Effect::Narrowed,
            };
            if !differences.has(effect) {
                missed.push(format!("{effect:?}: {request}"));
            }
        }
        missed
    }

    fn judge(&self, example: &Value) -> [Decision; 2] {
        let request = &example["request"];
        let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        let pairs = |value: &Value| -> Vec<(String, String)> {
            let members = value.as_object().cloned().unwrap_or_default();
            let members = members.into_iter();
            members
                .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
                .collect()
        };
        let mut path = text(&request["path"], "/");
        let mut lines = pairs(&request["headers"]);
        let at = text(&example["at"], "");
        let now = humantime::parse_rfc3339(&at).map_or(NOW, |time| {
            UnixTime::from_duration(time.duration_since(std::time::UNIX_EPOCH).unwrap())
        });
        match &example["token"] {
            Value::Null => {}
            Value::String(text) => lines.push((
                "authorization".into(),
                format!("Bearer {}", text.replace(' ', "-")),
            )),
            token => {
                let alg = Algorithm::from_name(token["alg"].as_str().unwrap()).unwrap();
                let mut header = Map::new();
                header.insert("alg".into(), alg.name().into());
                header.insert("kid".into(), "verify".into());
                if !token["typ"].is_null() {
                    header.insert("typ".into(), token["typ"].clone());
                }
                let header = Value::Object(header).to_string();
                let signer = signer(alg, "verify");
                let signed = signer.sign(&header, &token["claims"].to_string()).unwrap();
                match token["place"].as_str().unwrap() {
                    "`Authorization: Bearer` header" => {
                        lines.push(("authorization".into(), format!("Bearer {signed}")));
                    }
                    "`x-token` header" => lines.push(("x-token".into(), signed)),
                    "cookie `s`" => lines.push(("cookie".into(), format!("s={signed}"))),
                    "query parameter `t`" => path = format!("{path}?t={signed}"),
                    other => panic!("an unknown place: {other}"),
                }
            }
        }
        let context = pairs(&request["context"]);
        let (method, host) = (text(&request["method"], "GET"), text(&request["host"], ""));
        let address = text(&request["source"]["address"], "192.0.2.1");
        let principal = text(&request["source"]["principal"], "");
        let request = Request {
            method: &method,
            host: &host,
            path: &path,
            path_bytes: Some(path.as_bytes()),
            headers: lines.iter().collect(),
            source: Peer {
                address: &address,
                principal: &principal,
                certificate: "",
            },
            context: context
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            conflict: None,
        };
        [0, 1].map(|side| {
            let (policy, keyring) = (&self.configs[side].policy, &self.keyrings[side]);
            decide(policy, keyring, &(), &request, now, &mut ()).by_what_is_known()
        })
    }
}

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Allow(_) => "allow",
        Decision::Deny(_) => "deny",
        Decision::Respond(_) => "metadata",
    }
}
