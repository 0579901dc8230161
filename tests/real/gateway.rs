//! What must hold behind every gateway and sidecar that asks claimgate.

use std::net::SocketAddr;
use std::path::PathBuf;

use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::setup::{Answer, Claimgate, bearer, eventually, http};

/// An issuer, claimgate with the configuration of a guide, and an API that echoes what it receives.
pub struct Backends {
    pub upstream: Upstream,
    /// Where claimgate serves `Check`.
    pub check: SocketAddr,
    claimgate: Option<Claimgate>,
    issuer: Issuer,
    directory: TempDir,
}

impl Backends {
    /// `guide` is a document with a block `yaml title=claimgate.yaml`.
    pub async fn start(guide: &str) -> Self {
        Self::run(guide, None).await
    }

    /// The same, with this section `server`.
    pub async fn with_server(guide: &str, server: &Value) -> Self {
        Self::run(guide, Some(server)).await
    }

    async fn run(guide: &str, server: Option<&Value>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let issuer = Issuer::start(any, "orders-api").await.unwrap();
        let mut configuration = crate::guide(guide, "claimgate.yaml").remove(0);
        configuration["providers"][0]["issuer"] = issuer.url().into();
        if let Some(server) = server {
            configuration["server"] = server.clone();
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        Self {
            upstream: Upstream::start().await.unwrap(),
            check: claimgate.check,
            claimgate: Some(claimgate),
            issuer,
            directory,
        }
    }

    /// The file with claimgate's configuration.
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("claimgate.yaml")
    }

    pub fn token(&self, claims: &Value) -> String {
        self.issuer.mint(claims.as_object().unwrap()).unwrap()
    }

    /// The sum of the counters of claimgate whose names and labels begin so.
    pub async fn count(&self, series: &str) -> u64 {
        let metrics = self.claimgate.as_ref().unwrap().metrics().await;
        let lines = metrics.lines().filter(|line| line.starts_with(series));
        let counts = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>());
        counts.map(Result::unwrap).sum()
    }

    /// Waits until the gateway asks claimgate.
    pub async fn are_behind(&self, gateway: SocketAddr) {
        eventually("the gateway listens", async || {
            TcpStream::connect(gateway).await.is_ok()
        })
        .await;
        eventually("the gateway asks claimgate", async || {
            let answer = http(gateway, "GET /orders", &[]).await;
            answer.status == 401 && answer.body.contains("missing_token")
        })
        .await;
    }

    /// Requests with and without tokens, each with the claim headers that a client would like to have.
    /// `forged` are further such headers.
    pub async fn are_protected_by(&self, gateway: SocketAddr, forged: &[&str]) {
        let forged: Vec<_> = ["x-auth-subject: root", "X-Auth-Scope: admin"]
            .iter()
            .chain(forged)
            .map(ToString::to_string)
            .collect();
        let ask = async |request: &str, token: Option<&str>| {
            let mut lines = forged.clone();
            lines.extend(token.map(bearer));
            http(gateway, request, &lines).await
        };
        let reader = self.token(&json!({ "sub": "alice", "scope": "orders:read" }));
        let writer = self.token(&json!({ "sub": "bob", "scope": "orders:write" }));
        let expired = self.token(&json!({ "sub": "alice", "exp": 1 }));

        let allowed = [
            ("GET /healthz", None, json!({})),
            ("GET /healthz", Some(&reader), json!({})),
            (
                "GET /orders?page=2",
                Some(&reader),
                json!({ "x-auth-subject": "alice", "x-auth-scope": "orders:read" }),
            ),
            (
                "POST /orders",
                Some(&writer),
                json!({ "x-auth-subject": "bob", "x-auth-scope": "orders:write" }),
            ),
        ];
        for (request, token, expected) in allowed {
            let answer = ask(request, token.map(String::as_str)).await;
            assert_eq!(answer.status, 200, "{request}: {answer:?}");
            assert_eq!(Value::Object(claim_headers(&answer)), expected, "{request}");
        }

        let denied = [
            ("GET /orders", None, 401, "missing_token"),
            ("GET //orders", None, 401, "missing_token"),
            ("GET /healthz/../orders", None, 401, "missing_token"),
            ("DELETE /healthz", None, 401, "missing_token"),
            ("GET /orders", Some("x"), 401, "malformed_token"),
            ("GET /orders", Some(&expired), 401, "expired"),
            ("POST /orders", Some(&reader), 403, "insufficient_scope"),
        ];
        for (request, token, status, reason) in denied {
            let answer = ask(request, token).await;
            assert_eq!(answer.status, status, "{request}: {answer:?}");
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            assert_eq!(body["reason"], reason, "{request}: {answer:?}");
        }
    }

    /// What a client sees of requests, to compare it with what another gateway answers.
    pub async fn answers(&self, gateway: SocketAddr) -> Vec<Seen> {
        let reader = self.token(&json!({ "sub": "alice", "scope": "orders:read" }));
        let other = self.token(&json!({ "sub": "alice", "aud": "other" }));
        let [reader, other, garbage] = [&reader, &other, "x"].map(bearer);
        let (reader, other, garbage) = (reader.as_str(), other.as_str(), garbage.as_str());
        let mut seen = Vec::new();
        for (request, lines) in [
            ("GET /healthz", &[][..]),
            ("GET /orders", &[]),
            ("GET /orders", &[reader]),
            ("POST /orders", &[reader]),
            ("GET /orders", &[other]),
            ("GET /orders", &[garbage]),
            ("GET /orders", &[reader, reader]),
            ("GET /orders", &["content-type: application/grpc"]),
            ("GET //orders/../orders?a=1", &[reader]),
            ("GET /a%2fb", &[reader]),
            ("HEAD /orders", &[]),
            (
                "OPTIONS /orders",
                &[
                    "origin: https://shop.example.com",
                    "access-control-request-method: POST",
                ],
            ),
        ] {
            let forged = ["x-auth-subject: root"];
            let lines: Vec<_> = lines
                .iter()
                .chain(&forged)
                .map(ToString::to_string)
                .collect();
            let answer = http(gateway, request, &lines).await;
            seen.push(Seen::of(request, &answer, gateway));
        }
        seen
    }

    /// With claimgate frozen, and with claimgate gone, no request passes, not even to a public path.
    pub async fn are_closed_by(&mut self, gateway: SocketAddr, status: u16) {
        let token = self.token(&json!({ "sub": "alice" }));
        for is_gone in [false, true] {
            match is_gone {
                false => self.claimgate.as_ref().unwrap().freeze().await,
                true => self.claimgate_dies().await,
            }
            for request in ["GET /orders", "GET /healthz"] {
                let answer = http(gateway, request, &[bearer(&token)]).await;
                assert_eq!(
                    answer.status, status,
                    "{request}, gone: {is_gone}: {answer:?}"
                );
                assert_eq!(answer.body, "", "{request}, gone: {is_gone}");
            }
        }
    }

    pub async fn claimgate_dies(&mut self) {
        self.claimgate.take().unwrap().kill().await;
    }
}

/// An answer without what differs between any two requests, and between any two gateways.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    request: &'static str,
    status: u16,
    headers: Vec<String>,
    body: Value,
}

/// Headers of one request, and the length of a body that may have an id.
const OF_ONE_REQUEST: [&str; 4] = [
    "content-length",
    "date",
    "x-envoy-upstream-service-time",
    "x-request-id",
];

impl Seen {
    fn of(request: &'static str, answer: &Answer, gateway: SocketAddr) -> Self {
        let anywhere = |text: &str| text.replace(&gateway.to_string(), "gateway");
        let is_of_one = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default();
            OF_ONE_REQUEST.contains(&name)
        };
        let lines = answer.head.lines().filter(|line| !is_of_one(line));
        let mut headers: Vec<_> = lines.map(anywhere).collect();
        headers.sort();
        let text = anywhere(&answer.body);
        let mut body: Value = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
        if let Some(members) = body.as_object_mut() {
            members.remove("request_id");
            if let Some(headers) = members.get_mut("headers").and_then(Value::as_object_mut) {
                headers.remove("x-request-id");
            }
        }
        Self {
            request,
            status: answer.status,
            headers,
            body,
        }
    }
}

/// The claim headers that reached the API, in any spelling.
pub fn claim_headers(answer: &Answer) -> Map<String, Value> {
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    let headers = seen["headers"].as_object().unwrap().clone();
    let is_ours = |name: &str| name.to_lowercase().replace('_', "-").starts_with("x-auth-");
    headers
        .into_iter()
        .filter(|(name, _)| is_ours(name))
        .collect()
}
