//! The module inside Envoy.

mod changes;
mod faults;
mod process;
mod start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use fastrand::Rng;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::mesh::{MANAGER, Mesh, Place, inside, metrics, of_file, per_route, series};
use crate::setup::{LINE_TIMEOUT, bearer, configure_for, envoy_binary, eventually, http};

/// How many requests both are asked.
const REQUESTS: usize = 2_000;

async fn run(configuration: &str, upstream: SocketAddr) -> Envoy {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let wiring = Wiring {
        listen: any,
        claimgate: any.into(),
        upstream,
    };
    Envoy::start(&envoy_binary(), configuration, &wiring)
        .await
        .unwrap()
}

async fn issuer() -> Issuer {
    let any = "127.0.0.1:0".parse().unwrap();
    Issuer::start(any, "urn:orders-api").await.unwrap()
}

fn mint(issuer: &Issuer, claims: &Value) -> String {
    issuer.mint(claims.as_object().unwrap()).unwrap()
}

/// A changed file is in force without a restart, a wrong one changes nothing, and a new key is fetched
/// while the request waits.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn files_and_keys_change_while_it_runs() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let with = |sections: &str| configure_for(issuer.url(), "", sections);
    std::fs::write(&file, with("")).unwrap();
    let envoy = run(&inside(EXAMPLE, &of_file(&file)), upstream.address()).await;
    let ask = async |lines: &[String]| http(envoy.address(), "GET /orders", lines).await;

    let answer = ask(&[]).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let token = mint(&issuer, &json!({"sub": "alice"}));
    let answer = ask(&[bearer(&token), "x-auth-roles: admin".to_owned()]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["headers"]["x-auth-subject"], "alice");
    assert_eq!(seen["headers"]["x-auth-roles"], Value::Null);
    assert_eq!(seen["headers"]["authorization"], Value::Null);

    issuer.rotate().unwrap();
    let newer = mint(&issuer, &json!({"sub": "bob"}));
    let answer = ask(&[bearer(&newer)]).await;
    assert_eq!(
        answer.status, 200,
        "the first request with a new key: {answer:?}"
    );

    std::fs::write(&file, with("rules: [{ name: open, access: public }]")).unwrap();
    eventually("the new rules are in force", async || {
        ask(&[]).await.status == 200
    })
    .await;
    std::fs::write(&file, with("rules: [{ name: open, access: nobody }]")).unwrap();
    eventually("the wrong file is read", async || {
        metric(envoy.admin(), "claimgate_config_last_reload_successful", "").await == Some(0)
    })
    .await;
    assert_eq!(ask(&[]).await.status, 200, "a wrong file changes nothing");
    std::fs::write(&file, with("rules: [{ name: closed, access: deny }]")).unwrap();
    eventually("the last rules are in force", async || {
        ask(&[]).await.status == 403
    })
    .await;
    for (name, labels, expected) in [
        ("claimgate_config_last_reload_successful", "", 1),
        ("claimgate_config_reloads_total", "result=\"success\"", 2),
        ("claimgate_config_reloads_total", "result=\"failure\"", 1),
        ("claimgate_jwks_keys", "provider=\"acme\"", 2),
    ] {
        eventually(name, async || {
            metric(envoy.admin(), name, labels).await == Some(expected)
        })
        .await;
    }
    eventually("the denial is counted", async || {
        let reason = "reason=\"access_denied\"";
        metric(envoy.admin(), "claimgate_denials_total", reason).await > Some(0)
    })
    .await;
}

/// The sum of series among Envoy's own.
async fn metric(admin: SocketAddr, name: &str, labels: &str) -> Option<u64> {
    series(&metrics(admin).await, name, labels)
}

/// Envoy refuses a wrong configuration, and says what is wrong where.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn problems_are_named_with_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.yaml");
    for (filter_config, expected) in [
        (
            "providers:\n  - { issuer: 'https://idp.example.com', audience: a }\nrule: []",
            &[
                "configuration:2:5: providers[0]: missing field `audiences`",
                "configuration:2:42: providers[0].audience: unknown field",
                "configuration:3:1: rule: unknown field",
            ][..],
        ),
        ("", &["`filter_config` is empty"]),
        (&of_file(&missing), &["cannot read", "missing.yaml"]),
    ] {
        let file = directory.path().join("envoy.json");
        std::fs::write(&file, inside(EXAMPLE, filter_config)).unwrap();
        let validated = Command::new(envoy_binary())
            .args(["--mode", "validate", "--config-path"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&validated.stderr);
        assert!(!validated.status.success(), "{said}");
        for expected in expected {
            assert!(said.contains(expected), "no {expected:?} in {said}");
        }
    }
}

/// With the name `claimgate_fail_closed`, a running Envoy takes a configuration with a problem, and denies
/// everything. A configuration without one is used as always.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn a_filter_may_fail_closed() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let token = [bearer(&mint(&issuer, &json!({"sub": "alice"})))];
    let fails_closed = |filter_config: &str| {
        let mut whole: Value = serde_json::from_str(&inside(EXAMPLE, filter_config)).unwrap();
        let filter = whole.pointer_mut(&format!("{MANAGER}/http_filters/0/typed_config"));
        filter.unwrap()["filter_name"] = "claimgate_fail_closed".into();
        whole.to_string()
    };
    let usable = configure_for(issuer.url(), "", "");
    for (filter_config, statuses) in [
        (usable.as_str(), [401, 200]),
        ("rules: []", [500; 2]),
        ("file:/nonexistent", [500; 2]),
        ("", [500; 2]),
    ] {
        let configuration = fails_closed(filter_config);
        let envoy = run(&configuration, upstream.address()).await;
        for (lines, status) in [(&[][..], statuses[0]), (&token, statuses[1])] {
            let answer = http(envoy.address(), "GET /healthz", lines).await;
            assert_eq!(answer.status, status, "{filter_config}: {answer:?}");
        }
    }
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), fails_closed("rules: []")).unwrap();
    let validated = Command::new(envoy_binary())
        .args(["--mode", "validate", "--config-path"])
        .arg(file.path())
        .output();
    assert!(!validated.await.unwrap().status.success());
}

/// A route names its rule, or says what conditions compare. A name that no rule has opens nothing.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn routes_name_rules() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let sections = "
rules:
  - { name: open, only_by_name: true, access: public }
  - { name: team, match: { path: { prefix: /team } }, condition: context.team == \"orders\" && source.address == \"127.0.0.1\" }
  - { name: far, match: { path: { prefix: /far } }, condition: source.address == \"203.0.113.9\" }
  - { name: others, access: deny }";
    let configured = configure_for(issuer.url(), "", sections);
    let mut whole: Value = serde_json::from_str(&inside(EXAMPLE, &configured)).unwrap();
    let manager = whole.pointer_mut(MANAGER).unwrap();
    // Now Envoy believes what the client says. The module then does not know the address.
    manager["use_remote_address"] = false.into();
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut();
    let routes = routes.unwrap();
    let text = |name: &str| json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": name});
    let texts = |value: Value| json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": value});
    for (prefix, config) in [
        ("/open", text("open")),
        ("/typo", text("opne")),
        ("/struct", texts(json!({"claimgate.rule": "open"}))),
        ("/team/a", texts(json!({"team": "orders"}))),
        ("/team/b", texts(json!({"team": "other"}))),
        ("/far", texts(json!({"team": "orders"}))),
    ] {
        let route = json!({
            "match": {"prefix": prefix},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": {"claimgate": per_route(&config)},
        });
        routes.insert(0, route);
    }
    let envoy = run(&whole.to_string(), upstream.address()).await;
    let token = [bearer(&mint(&issuer, &json!({"sub": "alice"})))];
    let forwarded = |by: &str| [&token[..], &[format!("x-forwarded-for: {by}")]].concat();
    for (request, lines, status) in [
        ("GET /open", &[][..], 200),
        ("GET /struct", &[], 200),
        ("GET /typo", &token, 500),
        ("GET /team/a", &token, 200),
        ("GET /team/a", &[], 401),
        ("GET /team/a", &forwarded("127.0.0.1"), 403),
        ("GET /far", &token, 403),
        ("GET /far", &forwarded("203.0.113.9"), 403),
        ("GET /far", &forwarded("203.0.113.9:80"), 403),
        ("GET /team/b", &token, 403),
        ("GET /team/c", &token, 403),
        ("GET /other", &token, 403),
    ] {
        let answer = http(envoy.address(), request, lines).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
}

/// Where tokens may be.
const PLACES: &str = "clock_skew: 0s, token_from: [{ header: authorization, scheme: Bearer }, { cookie: session }, { query: access_token }]";

const SECTIONS: &str = "
response_headers: [{ header: x-checked-by, value: claimgate }, { header: x-caller, claim: sub }]
cors_preflight: allow
protected_resources:
  - { resource: 'http://127.0.0.1/mcp', scopes_supported: [orders:read], resource_name: Orders }
rules:
  - { name: health, match: { path: { exact: /healthz }, methods: [GET] }, access: public }
  - { name: catalogue, match: { path: { prefix: /catalogue } }, access: optional }
  - { name: read, match: { path: { prefix: /orders }, methods: [GET, HEAD] }, scopes: orders:read }
  - { name: write, match: { path: { prefix: /orders } }, scopes: orders:write }
  - name: own
    match: { path: { prefix: /clients } }
    condition: request.path == \"/clients/\" + claims.client_id && source.address == \"127.0.0.1\"
  - { name: closed, match: { path: { prefix: /internal } }, access: deny }
  - { name: watched, match: { path: { prefix: /watched } }, scopes: orders:write, enforce: false }
  - { name: login, match: { path: { prefix: /pay } }, max_age: 15m }
  - { name: mcp, match: { path: { prefix: /mcp } }, scopes: [mcp:tools] }
  - { name: routed, only_by_name: true, scopes: orders:write }
";

/// The example with an access log of the metadata.
fn logged(log: &Path) -> String {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example.pointer_mut(MANAGER).unwrap();
    // What Envoy refuses by itself tells nothing.
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED".into();
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW".into();
    manager["access_log"] = json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": log,
            "log_format": {"json_format": {
                "id": "%REQ(X-TEST-ID)%",
                "status": "%RESPONSE_CODE%",
                "metadata": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%",
            }},
        },
    }]);
    example.to_string()
}

/// The metadata of each request.
fn metadata(log: &Path) -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .map(|line: Value| {
            let mut metadata = line["metadata"].clone();
            // Envoy's own, of the call.
            if let Some(members) = metadata.as_object_mut() {
                members.remove("ext_authz_duration");
            }
            (line["id"].to_string(), metadata)
        })
        .collect()
}

/// Every generated request gets the same status, headers and body from the service and from the module,
/// reaches the upstream in the same form, and leaves the same metadata.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn answers_are_those_of_the_service() {
    let issuer = issuer().await;
    let directory = tempfile::tempdir().unwrap();
    let [asked, own] = ["service.log", "module.log"].map(|name| directory.path().join(name));
    let configured = configure_for(issuer.url(), PLACES, SECTIONS);
    let mesh = Mesh::configured(Place::Service, &logged(&asked), configured).await;
    let upstream = mesh.upstream.as_ref().unwrap().address();
    let file = mesh.directory.path().join("claimgate.yaml");
    let envoy = run(&inside(&logged(&own), &of_file(&file)), upstream).await;
    let requests = Requests::new(&issuer).await;
    let mut service = Client::new(mesh.envoy.address());
    let mut module = Client::new(envoy.address());
    let mut random = Rng::with_seed(18);
    let mut statuses = BTreeMap::<u16, usize>::new();
    for number in 0..REQUESTS {
        let request = requests.generate(number, &mut random);
        let by_service = Seen::of(&mut service, &request).await;
        let by_module = Seen::of(&mut module, &request).await;
        assert_eq!(by_service, by_module, "{request}");
        *statuses.entry(by_module.status).or_default() += 1;
    }
    println!("{statuses:?}");
    assert!(statuses.len() >= 4, "{statuses:?}");
    eventually("the access logs are written", async || {
        [&asked, &own].map(|log| metadata(log).len()) == [REQUESTS; 2]
    })
    .await;
    let [asked, own] = [asked, own].map(|log| metadata(&log));
    for (id, metadata) in &asked {
        assert_eq!(metadata, &own[id], "request {id}");
    }
}

/// What requests are made of.
struct Requests {
    tokens: Vec<String>,
}

const METHODS: [&str; 8] = [
    "GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE",
];
const PATHS: [&str; 24] = [
    "/",
    "/healthz",
    "/healthz?verbose=1",
    "/catalogue/7",
    "/orders",
    "/orders/7?page=2",
    "/orders/%e4%b8%ad",
    "/orders/%2e%2e/internal",
    "/orders%2f7",
    "/orders//7",
    "/orders;v=1",
    "/ORDERS",
    "/orders/a%20b?q=%zz",
    "/orders?access_token={token}",
    "/orders?a=1&access_token={token}&b&c=%26",
    "/clients/dev-client",
    "/clients/other",
    "/internal/x",
    "/watched/x",
    "/pay",
    "/mcp",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource",
    "/orders/./7",
];
const CREDENTIALS: [&str; 10] = [
    "authorization: Bearer {token}",
    "authorization: Bearer {token}",
    "authorization: Bearer {token}",
    "Authorization: bearer {token}",
    "authorization: Basic YTpi",
    "authorization: Bearer",
    "authorization: Bearer {token}\r\nauthorization: Bearer {token}",
    "cookie: a=1; session={token}; b=2",
    "AUTHORIZATION: Bearer {token}\r\ncookie: session={token}",
    "x-none: 1",
];
const OTHERS: [&str; 16] = [
    "x-auth-subject: root",
    "X-Auth-Roles: admin\r\nx-auth-roles: root",
    "x_auth_subject: root",
    "x-auth-claims: e30",
    "origin: https://app.example\r\naccess-control-request-method: POST",
    "content-type: application/grpc",
    "content-type: application/json",
    "x-http-method-override: DELETE",
    "x-original-url: /internal",
    "x-forwarded-for: 203.0.113.9",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "cookie: theme=dark",
    "sec-websocket-protocol: chat, base64url.bearer.authorization.k8s.io.YQ",
    "x-request-id: 6f1c9e1e-3c1e-4f7a-8a54-0e6b3a3f6f10",
    "accept: */*",
    "x-long: {long}",
];

impl Requests {
    async fn new(issuer: &Issuer) -> Self {
        let stranger = Issuer::start("127.0.0.1:0".parse().unwrap(), "urn:orders-api")
            .await
            .unwrap();
        let claims = [
            json!({"sub": "alice"}),
            json!({"sub": "bob", "scope": "orders:read orders:write"}),
            json!({"sub": "zoë\u{1}", "realm_access": {"roles": ["a,b", "c", 7]}}),
            json!({"sub": "carol", "realm_access": {"roles": vec!["x".repeat(100); 60]}}),
            json!({"sub": "dave", "big": 9_007_199_254_740_993_u64, "deep": {"a": [null, true, 1.5]}}),
            json!({"aud": "urn:other-api"}),
            json!({"exp": 1_700_000_000}),
            json!({"nbf": 4_000_000_000_u64}),
            json!({"auth_time": 1_700_000_000}),
        ];
        let mut tokens: Vec<_> = claims.iter().map(|claims| mint(issuer, claims)).collect();
        let tampered = format!("{}AA", &tokens[0][..tokens[0].len() - 2]);
        tokens.push(tampered);
        tokens.push(mint(&stranger, &claims[0]));
        tokens.push("nonsense".to_owned());
        Self { tokens }
    }

    /// A request over HTTP/1.1.
    fn generate(&self, number: usize, random: &mut Rng) -> String {
        let token = random.choice(&self.tokens).unwrap();
        let mut lines = vec![
            "host: api.example.com".to_owned(),
            format!("x-test-id: {number}"),
        ];
        let credentials = random.choice(CREDENTIALS).unwrap();
        let path = random.choice(PATHS).unwrap();
        lines.push(credentials.to_owned());
        for _ in 0..random.usize(0..3) {
            lines.push(random.choice(OTHERS).unwrap().to_owned());
        }
        let method = random.choice(METHODS).unwrap();
        let text = format!("{method} {path} HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
        text.replace("{token}", token)
            .replace("{long}", &"x".repeat(5_000))
    }
}

/// What a client and the upstream see, without what differs between any two requests.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    /// The body of a denial, or what the upstream got.
    body: Value,
}

/// A client that keeps its connection.
struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// The head and the body of the answer.
    async fn send(&mut self, request: &str) -> (String, Vec<u8>) {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.address).await.unwrap()),
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "{request}");
        }
        let is = |line: &str| head.lines().any(|other| other == line);
        let mut body = Vec::new();
        if is("transfer-encoding: chunked") && !request.starts_with("HEAD") {
            // RFC 9112 §7.1. The last chunk is empty.
            while !body.ends_with(b"0\r\n\r\n") {
                body.push(stream.read_u8().await.unwrap());
            }
        } else {
            let lengths = head.lines();
            let mut lengths = lengths.filter_map(|line| line.strip_prefix("content-length: "));
            let length = lengths.next().map_or(0, |length| length.parse().unwrap());
            body.resize(
                if request.starts_with("HEAD") {
                    0
                } else {
                    length
                },
                0,
            );
            stream.read_exact(&mut body).await.unwrap();
        }
        if !is("connection: close") {
            self.stream = Some(stream);
        }
        (head, body)
    }
}

impl Seen {
    async fn of(client: &mut Client, request: &str) -> Self {
        let answer = timeout(LINE_TIMEOUT, client.send(request)).await;
        let (head, body) = answer.unwrap_or_else(|_| panic!("no answer to {request}"));
        let body = String::from_utf8(body).unwrap();
        let mut head = head.lines();
        let status = head.next().unwrap().split(' ').nth(1).unwrap();
        let mut headers: Vec<_> = head
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.sort();
        for (name, value) in &mut headers {
            // Of this request, and Envoy's measurements.
            if ["date", "x-request-id", "x-envoy-upstream-service-time"].contains(&name.as_str()) {
                value.clear();
            }
        }
        let mut body: Value = match serde_json::from_str(&body) {
            Ok(body) => body,
            Err(_) => body.into(),
        };
        if let Some(members) = body.as_object_mut() {
            without_id(members);
            // `ext_authz` also writes `b` as `b=`, and sorts the parameters that are left.
            if request.contains("?a=1&access_token=")
                && members.get("path") == Some(&"/orders?a=1&b=&c=%26".into())
            {
                members.insert("path".to_owned(), "/orders?a=1&b&c=%26".into());
            }
        }
        let of_upstream = |(name, _): &(String, String)| name == "x-envoy-upstream-service-time";
        let is_echo = headers.iter().any(of_upstream);
        headers.retain(|(name, _)| !(is_echo && name == "content-length"));
        Self {
            status: status.parse().unwrap(),
            headers,
            body,
        }
    }
}

fn without_id(members: &mut Map<String, Value>) {
    members.remove("request_id");
    if let Some(headers) = members.get_mut("headers").and_then(Value::as_object_mut) {
        headers.remove("x-request-id");
    }
}
