//! Requests made of random parts: those written here, and those of the cases in `tests/cases`.

use claimgate::dev::issuer::Issuer;
use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;
use fastrand::Rng;
use serde_json::{Value, json};

use super::clients::fits_http2;
use super::upstream::ID;

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// One request, whose parts are sent as they are.
#[derive(Clone, Debug)]
pub struct Request {
    pub version: Version,
    pub method: String,
    pub path: Vec<u8>,
    pub host: String,
    pub lines: Vec<(String, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// The bytes over HTTP/1.1.
    pub fn as_http1(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_bytes(), b" ", &self.path, b" HTTP/1.1\r\n"].concat();
        let host = [("host".to_owned(), self.host.clone().into_bytes())];
        let framing = match (&self.body, self.is_chunked()) {
            (_, true) => Some(("transfer-encoding".to_owned(), b"chunked".to_vec())),
            (Some(body), false) => {
                Some(("content-length".to_owned(), body.len().to_string().into()))
            }
            (None, false) => None,
        };
        let head = host.iter().chain(&self.lines).chain(&framing);
        add_lines(head, &mut bytes);
        if self.is_chunked() {
            if let Some(body) = &self.body {
                bytes.extend(format!("{:x}\r\n", body.len()).bytes());
                bytes.extend(body);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n");
            add_lines(self.trailers.iter(), &mut bytes);
        } else {
            bytes.extend(self.body.iter().flatten());
        }
        bytes
    }

    /// Over HTTP/1.1, trailers follow a body in chunks.
    fn is_chunked(&self) -> bool {
        !self.trailers.is_empty()
    }
}

/// Adds lines and the empty one.
fn add_lines<'l>(lines: impl Iterator<Item = &'l (String, Vec<u8>)>, bytes: &mut Vec<u8>) {
    for (name, value) in lines {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
}

const METHODS: [&str; 12] = [
    "GET", "GET", "GET", "GET", "POST", "PUT", "PATCH", "HEAD", "OPTIONS", "DELETE", "TRACE", "get",
];

const PATHS: [&str; 42] = [
    "/",
    "*",
    "/healthz",
    "/healthz?verbose=1",
    "/healthz/../orders",
    "/healthz;/../orders",
    "/catalogue/7",
    "/orders",
    "/orders?",
    "/orders/7?page=2",
    "/orders/%e4%b8%ad",
    "/orders/\u{e9}",
    "/orders/\u{c3}\u{a9}",
    "/orders/%2e%2e/internal",
    "/orders/..;/internal",
    "/orders%2f7",
    "/orders%5c7",
    "/orders\\7",
    "/orders//7",
    "//orders",
    "/orders;v=1",
    "/orders.",
    "/ORDERS",
    "/orders/a%20b?q=%zz",
    "/orders%00",
    "/orders/%",
    "/orders?access_token={token}",
    "/orders?a=1&access_token={token}&b&c=%26",
    "/orders?access_token={token}&access_token={token}",
    "/orders?Access_Token={token}",
    "/clients/dev-client",
    "/clients/other",
    "/internal/x",
    "/watched/x",
    "/pay",
    "/mcp",
    "/team/a",
    "/routed/x",
    "/misrouted/x",
    "/.well-known/oauth-protected-resource/mcp",
    "/.well-known/oauth-protected-resource",
    "/orders/./7",
];

const HOSTS: [&str; 10] = [
    "api.example.com",
    "api.example.com",
    "api.example.com",
    "api.example.com:8443",
    "api.example.com.",
    "API.Example.COM",
    "admin.example.com",
    "127.0.0.1:8000",
    "[::1]:8000",
    "xn--bcher-kva.example",
];

/// Lines that carry tokens. Those of one entry go together.
const CREDENTIALS: [&[&str]; 25] = [
    &["authorization: Bearer {token}"],
    &["authorization: Bearer {token}"],
    &["authorization: Bearer {token}"],
    &["authorization: Bearer {token}"],
    &[
        "authorization: Bearer {token}",
        "x-forwarded-for: 203.0.113.9",
    ],
    &["authorization: bearer {token}"],
    &["authorization: BEARER   {token}"],
    &["authorization: Bearer {token} "],
    &["authorization: Bearer\t{token}"],
    &["authorization: Bearer {token},Bearer {token}"],
    &["authorization: Basic YTpi"],
    &["authorization: Bearer"],
    &["authorization:"],
    &["authorization: DPoP {token}"],
    &[
        "authorization: Bearer {token}",
        "authorization: Bearer {token}",
    ],
    &["authorization: Basic YTpi", "authorization: Bearer {token}"],
    &["cookie: a=1; session={token}; b=2"],
    &["cookie: session={token}"],
    &["cookie: a=1", "cookie: session={token}; session_id=7"],
    &["cookie: session=\"{token}\"; Session=x"],
    &["authorization: Bearer {token}", "cookie: session={token}"],
    &["x-token: {token}"],
    &["sec-websocket-protocol: bearer, {token}, chat"],
    &["x-amzn-oidc-data: {token}"],
    &[],
];

const OTHERS: [&[&str]; 36] = [
    &["x-auth-subject: root"],
    &["x-auth-roles: admin", "x-auth-roles: root"],
    &["x_auth_subject: root"],
    &["x-auth_roles: root"],
    &["x-auth-claims: e30"],
    &["x-auth-scope: orders:write"],
    &["x-caller: root"],
    &[
        "origin: https://app.example",
        "access-control-request-method: POST",
    ],
    &["origin: https://shop.example"],
    &["origin: null", "sec-fetch-mode: cors"],
    &[
        "access-control-request-method: GET",
        "access-control-request-headers: authorization",
    ],
    &["content-type: application/grpc"],
    &["content-type: application/grpc+proto", "te: trailers"],
    &["content-type: application/grpc-web+proto"],
    &["content-type: application/json"],
    &["x-http-method-override: DELETE"],
    &["x-original-url: /internal"],
    &["x-rewrite-url: /internal"],
    &["x-forwarded-for: 203.0.113.9"],
    &[
        "x-forwarded-for: 203.0.113.9, 10.0.0.1",
        "x-forwarded-proto: https",
    ],
    &[
        "x-forwarded-host: admin.example.com",
        "x-forwarded-port: 443",
    ],
    &["forwarded: for=203.0.113.9;host=admin.example.com"],
    &[
        "x-envoy-external-address: 10.0.0.1",
        "x-envoy-original-path: /x",
    ],
    &[
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
    ],
    &["cookie: theme=dark"],
    &["cookie: tracking-1=x; theme=dark; tracking-2=y"],
    &["sec-websocket-protocol: chat, base64url.bearer.authorization.k8s.io.YQ"],
    &[
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==",
    ],
    &["connection: close, x-auth-subject"],
    &["x-request-id: 6f1c9e1e-3c1e-4f7a-8a54-0e6b3a3f6f10"],
    &["x-bytes: \u{e9}\u{ff}"],
    &[
        "mcp-protocol-version: 2026-07-28",
        "mcp-method: tools/call",
        "mcp-name: delete_order",
    ],
    &["mcp-method: tools/list"],
    &["x-api-version: 2"],
    &["x-long: {long}"],
    &["accept: text/html", "accept: */*", "expect-ct: a"],
];

const TRAILERS: [&[&str]; 3] = [
    &["x-auth-subject: root"],
    &["checksum: 1", "authorization: Bearer x"],
    &["grpc-status: 0"],
];

/// The lines of an entry.
fn lines(entry: &[&str]) -> Vec<(String, String)> {
    let pairs = entry.iter().map(|line| line.split_once(':').unwrap());
    pairs
        .map(|(name, value)| {
            (
                name.to_owned(),
                value.strip_prefix(' ').unwrap_or(value).to_owned(),
            )
        })
        .collect()
}

/// Lines that would say something else about the request than its other parts.
const FRAMING: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// What requests are made of.
pub struct Requests {
    tokens: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
    hosts: Vec<String>,
    credentials: Vec<Vec<(String, String)>>,
    others: Vec<Vec<(String, String)>>,
}

impl Requests {
    /// The parts, with these tokens.
    pub fn new(tokens: Vec<String>) -> Self {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut requests = Self {
            tokens,
            methods: own(&METHODS),
            paths: own(&PATHS),
            hosts: own(&HOSTS),
            credentials: CREDENTIALS.iter().map(|entry| lines(entry)).collect(),
            others: OTHERS.iter().map(|entry| lines(entry)).collect(),
        };
        requests.add_cases();
        requests
    }

    /// Adds the parts of all cases.
    fn add_cases(&mut self) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let file: Value = serde_saphyr::from_str(&text).unwrap();
            for case in file["cases"].as_array().unwrap() {
                self.add(&case["request"]);
            }
        }
    }

    fn add(&mut self, request: &Value) {
        let text = |name: &str| request[name].as_str().map(str::to_owned);
        // Envoy finds no route for `CONNECT`. Then it asks no service, but the module judges the request.
        let methods = text("method").filter(|method| is_token(method) && method != "CONNECT");
        self.methods.extend(methods);
        let paths = text("path").into_iter().chain(text("path_bytes"));
        self.paths.extend(
            paths.filter(|path| path.starts_with('/') && !path.contains([' ', '\r', '\n', '\0'])),
        );
        self.hosts
            .extend(text("host").filter(|host| host.parse::<http::uri::Authority>().is_ok()));
        let Some(lines) = request["header_lines"].as_array() else {
            return;
        };
        let lines: Vec<(String, String)> = lines
            .iter()
            .map(|line| {
                (
                    line[0].as_str().unwrap().to_owned(),
                    line[1].as_str().unwrap().to_owned(),
                )
            })
            .filter(|(name, value)| {
                is_token(name)
                    && !value.contains(['\r', '\n', '\0'])
                    && !FRAMING.contains(&name.as_str())
            })
            .collect();
        let has_token = lines.iter().any(|(_, value)| value.contains("{token}"));
        match has_token {
            true => self.credentials.push(lines),
            false => self.others.push(lines),
        }
    }

    /// A random request. Half of its parts are those of this file.
    pub fn generate(&self, number: usize, random: &mut Rng) -> Request {
        let token = part(&self.tokens, GOOD, random);
        let mut lines = vec![(ID.to_owned(), number.to_string())];
        lines.extend(part(&self.credentials, CREDENTIALS.len(), random).clone());
        let others = if random.bool() { 0 } else { random.usize(1..4) };
        for _ in 0..others {
            lines.extend(part(&self.others, OTHERS.len(), random).clone());
        }
        let method = part(&self.methods, METHODS.len(), random).clone();
        let has_body = match method.as_str() {
            "POST" | "PUT" | "PATCH" => random.u8(0..4) > 0,
            "GET" | "OPTIONS" | "DELETE" => random.u8(0..16) == 0,
            _ => false,
        };
        let path = part(&self.paths, PATHS.len(), random);
        let fill = |text: &str| {
            bytes(
                &text
                    .replace("{token}", token)
                    .replace("{long}", &"x".repeat(5_000)),
            )
        };
        let mut request = Request {
            version: Version::Http2,
            method,
            path: fill(path),
            host: part(&self.hosts, HOSTS.len(), random).clone(),
            lines: lines
                .into_iter()
                .map(|(name, value)| (name, fill(&value)))
                .collect(),
            body: has_body
                .then(|| br#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}"#.to_vec()),
            trailers: Vec::new(),
        };
        if request.lines.iter().any(|(name, _)| name == "upgrade") {
            // Otherwise the body would belong to the other protocol.
            request.body = None;
        } else if random.u8(0..8) == 0 {
            request.trailers = trailers(random);
        }
        if random.bool() || !fits_http2(&request) {
            request.version = Version::Http1;
        }
        request
    }
}

fn trailers(random: &mut Rng) -> Vec<(String, Vec<u8>)> {
    let entry = random.choice(TRAILERS).unwrap();
    lines(entry)
        .into_iter()
        .map(|(name, value)| (name, bytes(&value)))
        .collect()
}

/// One of the first `own` parts, or one of all.
fn part<'p, T>(parts: &'p [T], own: usize, random: &mut Rng) -> &'p T {
    let among = if random.bool() { own } else { parts.len() };
    &parts[random.usize(..among)]
}

/// Each character as a byte, if that is possible, else UTF-8.
fn bytes(text: &str) -> Vec<u8> {
    let narrow: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    narrow.unwrap_or_else(|_| text.as_bytes().to_vec())
}

/// Whether a text is a name that HTTP allows (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// How many of the tokens are good.
const GOOD: usize = 13;

/// Tokens of the issuer, of keys in a file, and of strangers. Good ones come first.
pub fn tokens(issuer: &Issuer, keys: &[Signer], stranger: &Issuer, down: &str) -> Vec<String> {
    let mint = |claims: &Value| issuer.mint(claims.as_object().unwrap()).unwrap();
    let now =
        json!({"iss": FILES, "aud": "urn:orders-api", "sub": "erin", "exp": 4_000_000_000_u64});
    let mut tokens: Vec<_> = keys.iter().map(|key| key.token(&now).unwrap()).collect();
    tokens.extend(claims().iter().map(mint));
    let good = tokens[keys.len()].clone();
    let [header, payload, signature]: [&str; 3] =
        good.split('.').collect::<Vec<_>>().try_into().unwrap();
    tokens.extend([
        format!("{}AA", &good[..good.len() - 2]),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("eyJhbGciOiJub25lIn0.{payload}."),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.e30.{signature}"),
        stranger.mint(&serde_json::Map::new()).unwrap(),
        "nonsense".to_owned(),
        "x".repeat(17_000),
        String::new(),
    ]);
    let mut late = now.clone();
    late["exp"] = 1_700_000_000.into();
    tokens.extend(keys.iter().map(|key| key.token(&late).unwrap()));
    let key = &keys[0];
    for header in [
        json!({"alg": key.alg().name(), "kid": "unknown"}),
        json!({"alg": key.alg().name()}),
        json!({"alg": key.alg().name(), "kid": key.kid(), "typ": "refresh"}),
        json!({"alg": key.alg().name(), "kid": key.kid(), "typ": "at+jwt"}),
        json!({"alg": key.alg().name(), "kid": key.kid(), "crit": ["b64"], "b64": false}),
        json!({"alg": "HS256", "kid": key.kid()}),
    ] {
        tokens.push(key.sign(&header.to_string(), &now.to_string()).unwrap());
    }
    let mut lost = now;
    lost["iss"] = down.into();
    tokens.push(key.token(&lost).unwrap());
    tokens
}

/// The issuer whose keys are in a file.
pub const FILES: &str = "https://files.example.com";

/// The algorithms of its keys: quick ones, and slow ones that leave Envoy's workers.
pub const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Rs512,
    Algorithm::Ps256,
];

fn claims() -> Vec<Value> {
    vec![
        json!({"sub": "alice"}),
        json!({"sub": "bob", "scope": "orders:read orders:write"}),
        json!({"sub": "bob", "scope": "orders:read mcp:tools", "acr": "phr", "team": "orders"}),
        json!({"sub": "zo\u{eb}\u{1}", "realm_access": {"roles": ["a,b", "c", 7]}}),
        json!({"sub": "carol", "realm_access": {"roles": vec!["x".repeat(100); 60]}}),
        json!({"sub": "dave", "big": 9_007_199_254_740_993_u64, "deep": {"a": [null, true, 1.5]}}),
        json!({"sub": "line\r\nx-auth-roles: admin", "client_id": "%0d%0a"}),
        json!({"sub": null, "scp": ["orders:write"], "scope": null}),
        json!({"aud": "urn:other-api"}),
        json!({"aud": ["urn:other-api", "urn:orders-api"]}),
        json!({"exp": 1_700_000_000}),
        json!({"exp": null}),
        json!({"nbf": 4_000_000_000_u64}),
        json!({"auth_time": 1_700_000_000}),
        json!({"nonce": "a", "at_hash": "b"}),
        json!({"cnf": {"x5t#S256": "a"}}),
    ]
}
