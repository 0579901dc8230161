//! Calls of a real gRPC client, which asks claimgate by grpc-java's own `ext_authz` filter (gRFC A92). The
//! filter is that of deploy/callers/grpc-xds.json, and comes by xDS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use claimgate::dev::issuer::Issuer;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::process::servers;
use crate::setup::{Claimgate, bearer};

/// How long a call may take with the start of Java before it, on a busy machine. The client gives up
/// earlier.
const OUTCOME: Duration = Duration::from_mins(2);

/// grpc-java refuses the filter without it.
const PERMISSION: &str = "GRPC_EXPERIMENTAL_XDS_EXT_AUTHZ_ON_CLIENT";

const LIST: &str = "orders.Orders/List";
const CREATE: &str = "orders.Orders/Create";
/// The server does not answer it.
const WATCH: &str = "orders.Orders/Watch";
const HEALTH: &str = "grpc.health.v1.Health/Check";

/// Claim headers that a client would like to have.
const FORGED: [&str; 4] = [
    "x-auth-subject: root",
    "x_auth_subject: root",
    "x-auth-team: root",
    "x_auth_scope: admin",
];

/// What the filter is given besides deploy/callers/grpc-xds.json.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// Nothing.
    AsDeployed,
    /// A context in which a call outlives its check, which the filter cancels.
    ForkedContexts,
    /// An override for the route, which switches it off.
    Overridden,
    /// No permission to run: the variable is not set.
    NotPermitted,
}

/// claimgate with an issuer, and a policy for a gRPC service.
struct Backends {
    issuer: Issuer,
    claimgate: Claimgate,
    _directory: TempDir,
}

impl Backends {
    /// `sections` are the rules, and what else a test needs.
    async fn start(sections: Value) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let issuer = Issuer::start(any, "orders-api").await.unwrap();
        let mut configuration = json!({
            "providers": [{ "issuer": issuer.url(), "audiences": ["orders-api"] }],
            "upstream": {
                "claim_headers": [
                    { "header": "x-auth-subject", "claim": "sub" },
                    { "header": "x-auth-team", "claim": "team" },
                ],
                "scope_header": "x-auth-scope",
                "forward_token": false,
            },
        });
        let Value::Object(sections) = sections else {
            panic!("{sections}")
        };
        configuration.as_object_mut().unwrap().extend(sections);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        Self {
            issuer,
            claimgate,
            _directory: directory,
        }
    }

    async fn with_rules_by_path() -> Self {
        Self::start(json!({ "rules": [
            { "name": "health", "match": { "path": { "exact": format!("/{HEALTH}") } }, "access": "public" },
            { "name": "create", "match": { "path": { "exact": format!("/{CREATE}") } }, "scopes": ["orders:write"] },
        ] }))
        .await
    }

    fn token(&self) -> String {
        let claims = json!({ "sub": "alice", "scope": "orders:read" });
        self.issuer.mint(claims.as_object().unwrap()).unwrap()
    }

    fn client(&self, variant: Variant) -> Client {
        Client::start(self.claimgate.check, variant)
    }
}

/// A gRPC client in Java, and the server that it calls.
struct Client {
    _child: Child,
    calls: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
    _directory: TempDir,
}

impl Client {
    fn start(claimgate: SocketAddr, variant: Variant) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("settings.json");
        std::fs::write(&settings, settings_for(claimgate, variant).to_string()).unwrap();
        let log = directory.path().join("java.log");
        let mut command = Command::new("java");
        match variant {
            Variant::NotPermitted => command.env_remove(PERMISSION),
            _ => command.env(PERMISSION, "true"),
        };
        if variant == Variant::ForkedContexts {
            command.arg("-Dclaimgate.contexts=forked");
        }
        let mut child = command
            .arg("-jar")
            .arg(servers().join("bin/grpc-java/calls.jar"))
            .arg(&settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("java starts");
        Self {
            calls: child.stdin.take().unwrap(),
            outcomes: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
            log,
            _directory: directory,
        }
    }

    /// Calls a method with header lines, and with claim headers of the client's own.
    async fn call(&mut self, method: &str, lines: &[&str]) -> Outcome {
        let lines = lines.iter().copied().chain(FORGED);
        let headers: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        let call = json!({ "method": method, "headers": headers });
        let line = format!("{call}\n");
        self.calls.write_all(line.as_bytes()).await.unwrap();
        let outcome = timeout(OUTCOME, self.outcomes.next_line()).await;
        let Ok(Ok(Some(outcome))) = outcome else {
            let log = std::fs::read_to_string(&self.log).unwrap();
            panic!("{method}: {outcome:?}\n{log}")
        };
        Outcome(serde_json::from_str(&outcome).unwrap())
    }
}

/// The filter, the control plane's resources around it, and the bootstrap that permits it.
fn settings_for(claimgate: SocketAddr, variant: Variant) -> Value {
    let text = std::fs::read_to_string(crate::file("deploy/callers/grpc-xds.json")).unwrap();
    let text = text.replace("claimgate:9001", &claimgate.to_string());
    let mut deployed: Value = serde_json::from_str(&text).unwrap();
    let mut filters = deployed["http_filters"].take();
    let router = json!({
        "name": "router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    filters.as_array_mut().unwrap().push(router);
    let mut route = json!({ "match": { "prefix": "" }, "route": { "cluster": "api" } });
    if variant == Variant::Overridden {
        route["typed_per_filter_config"] = json!({ "envoy.filters.http.ext_authz": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
            "check_settings": { "context_extensions": { "claimgate.rule": "create" } },
        } });
    }
    let listener = json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "api",
        "api_listener": { "api_listener": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "route_config": {
                "name": "api",
                "virtual_hosts": [{ "name": "api", "domains": ["*"], "routes": [route] }],
            },
            "http_filters": filters,
        } },
    });
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": "{api}" } });
    let cluster = json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "api",
        "type": "LOGICAL_DNS",
        "load_assignment": {
            "cluster_name": "api",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    });
    json!({ "bootstrap": deployed["bootstrap"], "resources": [listener, cluster] })
}

/// How a call ended for its client.
#[derive(Debug)]
struct Outcome(Value);

impl Outcome {
    fn code(&self) -> &str {
        self.0["code"].as_str().unwrap()
    }

    fn description(&self) -> &str {
        self.0["description"].as_str().unwrap_or_default()
    }

    /// The trailers of this name.
    fn trailers(&self, name: &str) -> Vec<&str> {
        values(&self.0["trailers"], name)
    }

    /// Whether the server has seen the call and answered it.
    fn is_answered(&self) -> bool {
        self.0["received"].is_array()
    }

    /// The headers of this name that reached the server.
    fn received(&self, name: &str) -> Vec<&str> {
        values(&self.0["received"], name)
    }

    /// The claim headers that reached the server, in any spelling.
    fn claim_headers(&self) -> Value {
        let mut found = Map::new();
        for header in self.0["received"].as_array().unwrap() {
            let name = header[0].as_str().unwrap();
            if name.replace('_', "-").starts_with("x-auth-") {
                found.insert(name.to_owned(), self.received(name).into());
            }
        }
        found.into()
    }
}

fn values<'v>(headers: &'v Value, name: &str) -> Vec<&'v str> {
    let headers = headers.as_array().into_iter().flatten();
    let of_this_name = headers.filter(|header| header[0] == name);
    of_this_name
        .map(|header| header[1].as_str().unwrap())
        .collect()
}

#[tokio::test]
#[ignore = "needs grpc-java: run `make test-real`"]
async fn grpc_java_carries_out_what_claimgate_answers() {
    let backends = Backends::with_rules_by_path().await;
    let mut client = backends.client(Variant::ForkedContexts);
    let good = bearer(&backends.token());
    let expired = json!({ "sub": "alice", "exp": 1 });
    let expired = bearer(&backends.issuer.mint(expired.as_object().unwrap()).unwrap());
    let bad = bearer("x");
    let [good, expired, bad] = [&good, &expired, &bad].map(String::as_str);

    let allowed = [
        (HEALTH, &[][..], json!({})),
        (
            LIST,
            &[good][..],
            json!({ "x-auth-subject": ["alice"], "x-auth-scope": ["orders:read"] }),
        ),
    ];
    for (method, lines, expected) in allowed {
        let outcome = client.call(method, lines).await;
        assert_eq!(outcome.code(), "OK", "{method}: {outcome:?}");
        assert_eq!(outcome.claim_headers(), expected, "{method}");
        assert!(outcome.received("authorization").is_empty(), "{outcome:?}");
    }

    let challenge = |error: &str, reason: &str| {
        format!(r#"Bearer error="{error}", error_description="{reason}""#)
    };
    let denied = [
        (
            LIST,
            &[][..],
            "UNAUTHENTICATED",
            "missing_token",
            "Bearer".to_owned(),
        ),
        (
            LIST,
            &[bad][..],
            "UNAUTHENTICATED",
            "malformed_token",
            challenge("invalid_token", "malformed_token"),
        ),
        (
            LIST,
            &[expired][..],
            "UNAUTHENTICATED",
            "expired",
            challenge("invalid_token", "expired"),
        ),
        (
            LIST,
            &[good, good][..],
            "UNAUTHENTICATED",
            "malformed_authorization",
            challenge("invalid_request", "malformed_authorization"),
        ),
        (
            CREATE,
            &[good][..],
            "PERMISSION_DENIED",
            "insufficient_scope",
            challenge("insufficient_scope", "insufficient_scope") + r#", scope="orders:write""#,
        ),
        (
            "orders.Orders/..",
            &[good][..],
            "INTERNAL",
            "ambiguous_path",
            String::new(),
        ),
    ];
    for (method, lines, code, reason, expected) in denied {
        let outcome = client.call(method, lines).await;
        assert_eq!(outcome.code(), code, "{method} {reason}: {outcome:?}");
        let description = format!("RPC denied by external authorization server: {reason}");
        assert_eq!(outcome.description(), description, "{method}");
        assert_eq!(outcome.trailers("www-authenticate").concat(), expected);
        assert_eq!(outcome.trailers("x-request-id").len(), 1, "{outcome:?}");
        assert!(!outcome.is_answered(), "{method} {reason}: {outcome:?}");
    }

    // With claimgate gone, no call passes, not even to a public method.
    backends.claimgate.kill().await;
    for method in [LIST, HEALTH] {
        let outcome = client.call(method, &[good]).await;
        assert_eq!(outcome.code(), "UNAVAILABLE", "{method}: {outcome:?}");
        assert!(!outcome.is_answered(), "{method}: {outcome:?}");
    }
}

/// The filter starts an allowed call in the context of its check, and cancels that context.
#[tokio::test]
#[ignore = "needs grpc-java: run `make test-real`"]
async fn grpc_java_cancels_what_claimgate_allows() {
    let backends = Backends::with_rules_by_path().await;
    let mut client = backends.client(Variant::AsDeployed);
    let good = bearer(&backends.token());
    let denied = client.call(WATCH, &[]).await;
    assert_eq!(denied.code(), "UNAUTHENTICATED", "{denied:?}");
    let allowed = client.call(WATCH, &[&good]).await;
    assert_eq!(
        allowed.code(),
        "CANCELLED",
        "does grpc-java let allowed calls end? Then docs/callers.md should say so: {allowed:?}"
    );
}

/// As gRFC A92 has it.
#[tokio::test]
#[ignore = "needs grpc-java: run `make test-real`"]
async fn an_override_of_a_route_switches_the_filter_off() {
    let backends = Backends::with_rules_by_path().await;
    let mut client = backends.client(Variant::Overridden);
    let outcome = client.call(LIST, &[]).await;
    assert_eq!(outcome.code(), "OK", "{outcome:?}");
    assert_eq!(outcome.received("x-auth-subject"), ["root"]);
}

#[tokio::test]
#[ignore = "needs grpc-java: run `make test-real`"]
async fn a_rule_on_hosts_denies_each_call_of_grpc_java() {
    let backends = Backends::start(json!({
        "rules": [
            { "name": "health", "match": { "path": { "exact": format!("/{HEALTH}") } }, "access": "public" },
            { "name": "site", "match": { "hosts": ["api.example.com"] }, "scopes": ["orders:read"] },
        ],
        // The filter shows the reason nevertheless.
        "denials": { "expose_reason": false },
    }))
    .await;
    let mut client = backends.client(Variant::ForkedContexts);
    let good = bearer(&backends.token());
    for method in [LIST, HEALTH] {
        let outcome = client.call(method, &[&good]).await;
        assert_eq!(outcome.code(), "INTERNAL", "{method}: {outcome:?}");
        assert!(
            outcome.description().ends_with(": ambiguous_host"),
            "{outcome:?}"
        );
        assert!(!outcome.is_answered(), "{outcome:?}");
    }
}

#[tokio::test]
#[ignore = "needs grpc-java: run `make test-real`"]
async fn no_call_passes_without_an_answer() {
    // It takes connections, and does not answer.
    let hanging = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = hanging.local_addr().unwrap();
    for (variant, description) in [
        (Variant::AsDeployed, "503"),
        (Variant::NotPermitted, "unsupported for client"),
    ] {
        let mut client = Client::start(address, variant);
        for method in [LIST, HEALTH] {
            let outcome = client.call(method, &[]).await;
            assert_eq!(outcome.code(), "UNAVAILABLE", "{outcome:?}");
            assert!(outcome.description().contains(description), "{outcome:?}");
            assert!(!outcome.is_answered(), "{outcome:?}");
        }
    }
}
