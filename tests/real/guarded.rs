//! An API behind a real Envoy, which asks claimgate.

use std::net::SocketAddr;
use std::path::Path;

use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::run;
use crate::setup::{Answer, Claimgate, bearer, envoy_binary, http};

/// Claim headers that a client would like to have.
const FORGED: [&str; 3] = [
    "x-auth-subject: root",
    "x-auth-scope: admin",
    "x-auth-roles: admin",
];

pub struct Guarded {
    directory: TempDir,
    pub claimgate: Claimgate,
    envoy: Envoy,
    _upstream: Upstream,
}

/// What an operator reads about a denial.
pub struct Why {
    pub reason: String,
    pub rule: String,
    pub hint: String,
}

impl Guarded {
    /// Runs deploy/envoy/envoy.yaml and this configuration of claimgate.
    pub async fn start(configuration: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let valid = run(&["validate", "--strict", file.to_str().unwrap()], "").await;
        assert_eq!(valid.code, Some(0), "{}{}", valid.out, valid.err);
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        let upstream = Upstream::start().await.unwrap();
        let wiring = Wiring {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claimgate: claimgate.check.into(),
            upstream: upstream.address(),
        };
        let envoy = Envoy::start(&envoy_binary(), EXAMPLE, &wiring)
            .await
            .unwrap();
        Self {
            directory,
            claimgate,
            envoy,
            _upstream: upstream,
        }
    }

    /// Sends a request with a token, and with claim headers of the client's own.
    pub async fn ask(&self, request: &str, token: &str) -> Answer {
        let mut lines: Vec<_> = FORGED.map(str::to_owned).into();
        lines.push(bearer(token));
        http(self.envoy.address(), request, &lines).await
    }

    /// A request that must pass, and the headers that reach the API, by name in lower case.
    pub async fn passes(&self, what: &str, request: &str, token: &str) -> Value {
        let answer = self.ask(request, token).await;
        if answer.status != 200 {
            let why = self.why(&answer).await;
            panic!("{what}: {answer:?}: {}: {}", why.reason, why.hint);
        }
        let mut seen: Value = serde_json::from_str(&answer.body).unwrap();
        seen["headers"].take()
    }

    /// A token that must be refused with this reason, and with a hint that contains `hint`.
    pub async fn refuses(&self, what: &str, token: &str, reason: &str, hint: &str) {
        let answer = self.ask("GET /orders", token).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        let why = self.why(&answer).await;
        assert_eq!(why.reason, reason, "{what}: {}", why.hint);
        assert!(why.hint.contains(hint), "{what}: the hint is: {}", why.hint);
    }

    /// What `claimgate why` prints of a denial.
    pub async fn why(&self, answer: &Answer) -> Why {
        let body: Value = serde_json::from_str(&answer.body)
            .unwrap_or_else(|_| panic!("not claimgate's answer: {answer:?}"));
        let id = body["request_id"].as_str().unwrap();
        let admin = self.claimgate.admin.to_string();
        let asked = run(&["why", id, "--admin", &admin, "--output", "json"], "").await;
        let record: Value = serde_json::from_str(&asked.out)
            .unwrap_or_else(|_| panic!("{}{}", asked.out, asked.err));
        let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        Why {
            reason: text("reason"),
            rule: text("rule"),
            hint: text("hint"),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.envoy.address()
    }

    /// Where claimgate's configuration is, as `claimgate.yaml`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A file of deploy/providers for the provider that has this issuer here. Loopback answers within the
/// time that a request may wait for a new key, even on a busy machine.
pub fn provider(file: &str, issuer: &str) -> Value {
    let mut configuration = crate::read(file).remove(0);
    let provider = &mut configuration["providers"][0];
    provider["issuer"] = issuer.into();
    provider["refresh"] = json!({ "unknown_key_wait": "400ms" });
    configuration
}

/// The header or the claims of a token.
pub fn part(token: &str, index: usize) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(index).unwrap();
    let decoded = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(part);
    serde_json::from_slice(&decoded.unwrap()).unwrap()
}
