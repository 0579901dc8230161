//! What `claimgate import` makes of policies of Istio and Envoy Gateway decides as they do.
//!
//! Each source in `tests/import` has beside it what a real istiod or Envoy Gateway made of it (`tests/real` makes
//! that anew). One Envoy runs with these filters, another one asks claimgate with the imported configuration.
//! Both get the same generated requests. Every difference must be one of [`Difference`], all of which
//! docs/migrate.md explains.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::signer::Signer;
use claimgate::dev::upstream::Upstream;
use claimgate::import::model::{Kind, Note};
use claimgate::import::source::Source;
use claimgate::import::{Imported, Options, import};
use claimgate::keyring::Algorithm;
use claimgate::time::{Clock as _, SystemClock};
use fastrand::Rng;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::setup::{Answer, Claimgate, envoy_binary, http};

/// How many requests each source gets. `MIGRATION_REQUESTS` sets another number.
const REQUESTS: usize = 400;

/// The time limit for one answer.
const LIMIT: Duration = Duration::from_secs(10);

/// How many are under way at once.
const AT_ONCE: usize = 8;

const ISSUERS: [&str; 2] = [
    "https://idp.example.com/realms/acme",
    "https://partner.example.org/",
];

/// Why one side lets a request pass and the other one does not. The names are those of docs/migrate.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// claimgate refuses paths with two readings.
    AmbiguousPath,
    /// claimgate refuses hosts in upper case.
    AmbiguousHost,
    /// claimgate refuses a request with several tokens, or one in a place that some servers read, too.
    SeveralTokens,
    /// claimgate compares a header as a whole where it allows, and each of its values where it denies.
    RepeatedHeader,
    /// claimgate requires `exp`.
    NoExpiry,
    /// What has no equivalent is denied.
    LeftOut,
    /// claimgate takes the scheme `bearer` in any case (RFC 9110 §11.1), and so judges these tokens.
    SchemeCase,
    /// claimgate ignores the port of a host.
    HostPort,
    /// The token's claims show another kind of token.
    TokenKind,
    /// claimgate reads the first of `scope` and `scp` that is there, Envoy Gateway both.
    BothScopeClaims,
    /// Envoy does not look at the token of a preflight, so policies see none.
    Preflight,
}

impl Difference {
    /// Its name in docs/migrate.md.
    fn name(self) -> &'static str {
        match self {
            Self::AmbiguousPath => "ambiguous-path",
            Self::AmbiguousHost => "ambiguous-host",
            Self::SeveralTokens => "several-tokens",
            Self::RepeatedHeader => "repeated-header",
            Self::NoExpiry => "no-expiry",
            Self::LeftOut => "left-out",
            Self::SchemeCase => "scheme-case",
            Self::HostPort => "host-port",
            Self::TokenKind => "kind-of-token",
            Self::BothScopeClaims => "scope-and-scp",
            Self::Preflight => "preflight",
        }
    }
}

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn istio_decides_as_the_imported_configuration() {
    let mut counts = Counts::default();
    for source in sources("istio") {
        let kept = kept(&source);
        let routes = json!([{ "name": "all", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": {} }] }]);
        let own = Side {
            settings: kept.clone(),
            filters: kept["http_filters"].clone(),
            hosts: routes.clone(),
        };
        let ours = Side {
            settings: kept,
            filters: json!([ext_authz("envoy.filters.http.ext_authz")]),
            hosts: routes,
        };
        compare(&source, own, ours, &mut counts).await;
    }
    counts.report("istio");
}

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn envoy_gateway_decides_as_the_imported_configuration() {
    let mut counts = Counts::default();
    for source in sources("envoy_gateway") {
        let kept = kept(&source);
        let side = |name: &str| Side {
            settings: kept[name].clone(),
            filters: kept[name]["http_filters"].clone(),
            hosts: kept[name]["virtual_hosts"].clone(),
        };
        let (own, mut ours) = (side("source"), side("changed"));
        for filter in ours.filters.as_array_mut().unwrap() {
            filter["typed_config"]["grpc_service"]["envoy_grpc"] =
                json!({ "cluster_name": "claimgate", "authority": "claimgate" });
        }
        name_rules(&mut ours.hosts);
        compare(&source, own, ours, &mut counts).await;
    }
    counts.report("envoy_gateway");
}

/// Envoy does not show context extensions. A filter is named for its policy, and so is the policy's rule.
fn name_rules(hosts: &mut Value) {
    match hosts {
        Value::Object(members) => {
            for (name, value) in members {
                let policy = name.strip_prefix("envoy.filters.http.ext_authz//");
                match (
                    policy,
                    value.pointer_mut("/check_settings/context_extensions/claimgate.rule"),
                ) {
                    (Some(policy), Some(rule)) => *rule = policy.replace('/', ".").into(),
                    _ => name_rules(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(name_rules),
        _ => {}
    }
}

/// What a control plane, or our own documentation, makes of one side.
struct Side {
    /// Fields of the connection manager.
    settings: Value,
    filters: Value,
    hosts: Value,
}

fn ext_authz(name: &str) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": { "cluster_name": "claimgate", "authority": "claimgate" },
                "timeout": "5s",
            },
            "status_on_error": { "code": "ServiceUnavailable" },
            "encode_raw_headers": true,
            "validate_mutations": true,
        },
    })
}

impl Side {
    /// The bootstrap of an Envoy. The clusters are in the order that [`Envoy::start`] expects.
    fn bootstrap(mut self) -> String {
        to_upstream(&mut self.hosts);
        let mut filters = self.filters.as_array().unwrap().clone();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }));
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "compared",
            // The answer ends when the connection does.
            "delayed_close_timeout": "0s",
            "route_config": { "name": "compared", "virtual_hosts": self.hosts },
            "http_filters": filters,
        });
        for (name, value) in self.settings.as_object().unwrap() {
            if !["http_filters", "virtual_hosts"].contains(&name.as_str()) {
                manager[name] = value.clone();
            }
        }
        let nowhere = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 0 } });
        let cluster = |name: &str| {
            json!({
                "name": name,
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": nowhere } }] }] },
            })
        };
        let mut claimgate = cluster("claimgate");
        claimgate["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        });
        json!({
            "admin": { "address": nowhere },
            "static_resources": {
                "listeners": [{
                    "name": "compared",
                    "address": nowhere,
                    "filter_chains": [{ "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }] }],
                }],
                "clusters": [claimgate, cluster("upstream")],
            },
        })
        .to_string()
    }
}

/// Every route leads to the one upstream.
fn to_upstream(hosts: &mut Value) {
    for host in hosts.as_array_mut().unwrap() {
        for route in host["routes"].as_array_mut().unwrap() {
            route["route"] = json!({ "cluster": "upstream" });
        }
    }
}

/// The sources of a format.
fn sources(format: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/import")
        .join(format);
    let files = std::fs::read_dir(directory).unwrap();
    let mut sources: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    sources.sort();
    assert!(!sources.is_empty());
    let only = std::env::var("MIGRATION_SOURCE").ok();
    sources.retain(|source| only.as_deref().is_none_or(|only| source.ends_with(only)));
    sources
}

fn kept(source: &Path) -> Value {
    let text = std::fs::read_to_string(source.with_extension("json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Sends the same requests to both sides.
async fn compare(source: &Path, mut own: Side, mut ours: Side, counts: &mut Counts) {
    let name = source.file_stem().unwrap().to_str().unwrap().to_owned();
    let keys = Keys::generate();
    let text = std::fs::read_to_string(source).unwrap();
    let mut documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for value in documents
        .iter_mut()
        .chain([&mut own.filters, &mut ours.filters])
    {
        keys.put_into(value);
    }
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    let file = Source {
        name: name.clone(),
        text: texts.join("\n---\n"),
    };
    let Imported {
        configuration,
        notes,
        ..
    } = import(&[file], &Options::default()).unwrap();
    let left_out = LeftOut::of(&notes);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("claimgate.yaml");
    std::fs::write(&path, &configuration).unwrap();
    let claimgate = Claimgate::start(&path).await;
    claimgate.is_ready().await;
    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        claimgate: claimgate.check.into(),
        upstream: upstream.address(),
    };
    let [own, ours] = [own, ours].map(Side::bootstrap);
    let own = Envoy::start(&envoy_binary(), &own, &wiring).await.unwrap();
    let ours = Envoy::start(&envoy_binary(), &ours, &wiring).await.unwrap();

    let seed = name
        .bytes()
        .fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut generator = Generator::new(Rng::with_seed(seed), &documents, &keys);
    let number = std::env::var("MIGRATION_REQUESTS")
        .ok()
        .map_or(REQUESTS, |it| it.parse().unwrap());
    let mut left = number;
    while left > 0 {
        let requests: Vec<Request> = (0..left.min(AT_ONCE)).map(|_| generator.next()).collect();
        left -= requests.len();
        let answers = requests.iter().map(async |request| {
            (
                request.sent(own.address()).await,
                request.sent(ours.address()).await,
            )
        });
        for (request, (own, ours)) in requests.iter().zip(join_all(answers).await) {
            counts.add(&name, request, &own, &ours, left_out);
        }
    }
}

/// What has no equivalent.
#[derive(Clone, Copy)]
struct LeftOut {
    rules: bool,
    headers: bool,
}

impl LeftOut {
    fn of(notes: &[Note]) -> Self {
        let left_out = notes.iter().filter(|note| note.kind == Kind::LeftOut);
        let (headers, rules): (Vec<&Note>, Vec<&Note>) =
            left_out.partition(|note| note.text.contains("is only removed"));
        Self {
            rules: !rules.is_empty(),
            headers: !headers.is_empty(),
        }
    }
}

/// A key for each issuer, and one that nobody trusts.
struct Keys {
    signers: Vec<Signer>,
    stranger: Signer,
}

impl Keys {
    fn generate() -> Self {
        let signer = |kid: &str| Signer::generate(Algorithm::Es256, kid).unwrap();
        Self {
            signers: vec![signer("key-1"), signer("key-2")],
            stranger: signer("key-1"),
        }
    }

    /// Replaces the key sets of the source.
    fn put_into(&self, value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(|it| self.put_into(it)),
            Value::Array(values) => values.iter_mut().for_each(|it| self.put_into(it)),
            Value::String(text) if text.contains("\"keys\"") => {
                for signer in &self.signers {
                    if text.contains(signer.kid()) {
                        *text = json!({ "keys": [signer.jwk()] }).to_string();
                        break;
                    }
                }
            }
            _ => {}
        }
    }
}

/// A request, and what is known of it.
struct Request {
    line: String,
    headers: Vec<String>,
    marks: BTreeSet<&'static str>,
}

impl Request {
    async fn sent(&self, to: SocketAddr) -> Answer {
        let answer = timeout(LIMIT, http(to, &self.line, &self.headers)).await;
        answer.unwrap_or_else(|_| panic!("no answer to {} {:#?}", self.line, self.headers))
    }
}

struct Generator<'k> {
    rng: Rng,
    keys: &'k Keys,
    paths: Vec<String>,
    methods: Vec<String>,
    hosts: Vec<String>,
    /// Headers that policies look at, with values.
    headers: BTreeMap<String, Vec<String>>,
    now: u64,
}

impl<'k> Generator<'k> {
    fn new(rng: Rng, documents: &[Value], keys: &'k Keys) -> Self {
        let mut generator = Self {
            rng,
            keys,
            paths: [
                "/",
                "/healthz",
                "/orders",
                "/orders/7",
                "/orders/7/items/a/b",
                "/other",
            ]
            .map(str::to_owned)
            .to_vec(),
            methods: [
                "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS",
            ]
            .map(str::to_owned)
            .to_vec(),
            hosts: ["api.example.com", "other.example.net"]
                .map(str::to_owned)
                .to_vec(),
            headers: BTreeMap::new(),
            now: SystemClock.now().as_secs(),
        };
        for document in documents {
            generator.learn("", document);
        }
        generator
    }

    /// Takes paths, hosts and headers from the source, so that requests hit its rules.
    fn learn(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) => {
                let header = members
                    .get("key")
                    .or(members.get("name"))
                    .and_then(Value::as_str);
                let header = header.map(|key| {
                    key.trim_start_matches("request.headers[")
                        .trim_end_matches(']')
                });
                for list in ["values", "notValues"] {
                    let is_header = members
                        .get("key")
                        .is_none_or(|key| key.as_str().unwrap().starts_with("request.headers"))
                        && members.get("valueType").is_none();
                    if let (true, Some(header), Some(Value::Array(values))) =
                        (is_header, header, members.get(list))
                    {
                        let values = values.iter().filter_map(Value::as_str).flat_map(expanded);
                        self.headers
                            .entry(header.to_owned())
                            .or_default()
                            .extend(values);
                    }
                }
                for (name, value) in members {
                    self.learn(name, value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.learn(name, value)),
            Value::String(text) => match name {
                "paths" | "notPaths" => self.paths.extend(paths(text)),
                "value" if text.starts_with('/') => {
                    let text = text.replace("[0-9]+", "7");
                    self.paths
                        .extend([text.clone(), format!("{text}/x"), format!("{text}x")]);
                }
                "hosts" | "notHosts" => self.hosts.extend(expanded(text)),
                _ => {}
            },
            _ => {}
        }
    }

    fn one_in(&mut self, number: u32) -> bool {
        self.rng.u32(..number) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.rng.usize(..from.len())]
    }

    fn next(&mut self) -> Request {
        let mut marks = BTreeSet::new();
        let method = self.methods[self.rng.usize(..self.methods.len())].clone();
        let mut path = self.paths[self.rng.usize(..self.paths.len())].clone();
        if self.one_in(12) {
            path = match self.rng.u32(..10) {
                0 => format!("/{path}"),
                1 => format!("{path};v=1"),
                2 => format!("{path}/../admin/x"),
                3 => path.replacen('o', "%6f", 1),
                4 => format!("{path}/%C3%A9"),
                5 => format!("{path}%2Fx"),
                6 => format!("{path}/"),
                7 => format!("{path}%20"),
                8 => format!("{path}%7C{path}"),
                _ => path.to_uppercase(),
            };
        }
        let mut query: Vec<String> = Vec::new();
        if self.one_in(5) {
            query.push("page=2".to_owned());
        }
        let mut headers = Vec::new();
        let mut host = self.hosts[self.rng.usize(..self.hosts.len())].clone();
        if self.one_in(20) {
            host = match self.rng.bool() {
                true => {
                    marks.insert("port");
                    format!("{host}:8443")
                }
                false => {
                    marks.insert("upper");
                    host.to_uppercase()
                }
            };
        }
        let names: Vec<String> = self.headers.keys().cloned().collect();
        for name in names {
            let values = self.headers[&name].clone();
            for _ in 0..self.pick(&[&0, &1, &1, &1, &2]).to_owned() {
                let value = match self.one_in(4) {
                    true => "other".to_owned(),
                    false => values[self.rng.usize(..values.len())].clone(),
                };
                headers.push(format!("{name}: {value}"));
            }
            if headers
                .iter()
                .filter(|line| line.starts_with(&format!("{name}: ")))
                .count()
                > 1
            {
                marks.insert("repeated");
            }
        }
        if method == "OPTIONS" && self.one_in(3) {
            headers.push("origin: https://shop.example.com".to_owned());
            headers.push("access-control-request-method: POST".to_owned());
            marks.insert("preflight");
        }
        let tokens = match self.one_in(25) {
            true => 2,
            false => usize::from(!self.one_in(6)),
        };
        for _ in 0..tokens {
            let token = self.token(&mut marks);
            self.put(&token, &mut headers, &mut query, &mut marks);
        }
        if tokens > 1 {
            marks.insert("several");
        }
        if self.one_in(10) {
            headers.push("x-user: root".to_owned());
            headers.push("x-tenant: root".to_owned());
            headers.push("x-partner: root".to_owned());
            headers.push("x-jwt-payload: root".to_owned());
        }
        self.rng.shuffle(&mut query);
        let query = match query.is_empty() {
            true => String::new(),
            false => format!("?{}", query.join("&")),
        };
        // An absolute URL replaces the header that the helper sends.
        Request {
            line: format!("{method} http://{host}{path}{query}"),
            headers,
            marks,
        }
    }

    fn put(
        &mut self,
        token: &str,
        headers: &mut Vec<String>,
        query: &mut Vec<String>,
        marks: &mut BTreeSet<&'static str>,
    ) {
        match self.rng.u32(..16) {
            0 => {
                marks.insert("scheme");
                headers.push(format!("authorization: bearer {token}"));
            }
            1 => headers.push(format!("authorization: Basic {token}")),
            2 => headers.push(format!("x-access-token: {token}")),
            3 | 4 => headers.push(format!("x-partner-token: {token}")),
            5 => query.push(format!("access_token={token}")),
            6 => query.push(format!("token={token}")),
            7 => headers.push(format!("cookie: a=1; session-token={token}")),
            _ => headers.push(format!("authorization: Bearer {token}")),
        }
    }

    fn token(&mut self, marks: &mut BTreeSet<&'static str>) -> String {
        let issuer = usize::from(self.one_in(4));
        let mut claims = self.claims();
        claims.insert("iss".to_owned(), ISSUERS[issuer].into());
        if claims.contains_key("scope") && claims.contains_key("scp") {
            marks.insert("both scopes");
        }
        let mut signer = &self.keys.signers[issuer];
        match self.rng.u32(..24) {
            0 => {
                claims.insert("exp".to_owned(), (self.now - 3600).into());
            }
            1 => {
                claims.insert("nbf".to_owned(), (self.now + 3600).into());
            }
            2 => signer = &self.keys.stranger,
            3 => {
                claims.insert("iss".to_owned(), "https://stranger.example".into());
            }
            4 => {
                claims.remove("exp");
                marks.insert("no-exp");
            }
            5 => return "x".to_owned(),
            6 => return "a.b.c".to_owned(),
            7 => {
                let token = signer.token(&claims.into()).unwrap();
                return token.rsplit_once('.').unwrap().0.to_owned() + ".";
            }
            _ => {}
        }
        signer.token(&claims.into()).unwrap()
    }

    /// Claims that policies look at, in every type.
    fn claims(&mut self) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("exp".to_owned(), (self.now + 3600).into());
        let texts = [
            "readers",
            "writers",
            "admins",
            "operators",
            "team-a",
            "root",
            "x",
        ];
        let values = [
            (
                "sub",
                vec![
                    json!("alice"),
                    json!("bob"),
                    json!("mallory"),
                    json!("root"),
                    json!("idp-x"),
                    json!(""),
                ],
            ),
            (
                "aud",
                vec![
                    json!("orders-api"),
                    json!("orders-api"),
                    json!(["orders-api", "other"]),
                    json!("billing-api"),
                    json!("partner-api"),
                    json!(["catalog-api"]),
                    json!("x-gateway"),
                    json!([]),
                ],
            ),
            (
                "groups",
                texts
                    .iter()
                    .map(|text| json!(text))
                    .chain([
                        json!(["a", "admins"]),
                        json!(["team-b"]),
                        json!(["writers", 1]),
                        json!(5),
                        json!([[]]),
                    ])
                    .collect(),
            ),
            (
                "email",
                vec![
                    json!("a@example.com"),
                    json!("a@example.org"),
                    json!(["b@example.com"]),
                    json!(1),
                ],
            ),
            (
                "blocked",
                vec![json!("yes"), json!("no"), json!(true), json!(["yes"])],
            ),
            (
                "realm_access",
                vec![
                    json!({ "roles": ["admin"] }),
                    json!({ "roles": "5" }),
                    json!({ "roles": [5] }),
                    json!("x"),
                    json!({ "roles": { "admin": 1 } }),
                ],
            ),
            (
                "https://example.com/tier",
                vec![json!("gold"), json!("silver"), json!(["gold"])],
            ),
            (
                "scope",
                vec![
                    json!("orders:read"),
                    json!("orders:read orders:write"),
                    json!("catalog:write x"),
                    json!(["orders:write"]),
                    json!("orders:none orders:x"),
                    json!("xorders:read"),
                    json!(["orders:read orders:write"]),
                    json!(""),
                ],
            ),
            (
                "scp",
                vec![
                    json!(["orders:read", "orders:write"]),
                    json!("catalog:write"),
                    json!("orders:write"),
                ],
            ),
            ("azp", vec![json!("web"), json!("app"), json!(["web"])]),
            (
                "tier",
                vec![
                    json!("gold"),
                    json!("5"),
                    json!(5),
                    json!(""),
                    json!(["x"]),
                    json!([""]),
                ],
            ),
            (
                "org",
                vec![
                    json!({ "tenant": "blue" }),
                    json!({ "tenant": ["green"] }),
                    json!({ "tenant": 7 }),
                    json!("x"),
                    json!({}),
                ],
            ),
        ];
        for (name, values) in values {
            let is_usual = ["sub", "aud"].contains(&name);
            if is_usual || self.one_in(2) {
                if is_usual && self.one_in(12) {
                    continue;
                }
                claims.insert(
                    name.to_owned(),
                    values[self.rng.usize(..values.len())].clone(),
                );
            }
        }
        claims
    }
}

/// Texts that a pattern with `*` at one end matches, and one that it does not match.
fn expanded(pattern: &str) -> Vec<String> {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => vec![
            format!("x{suffix}"),
            suffix.trim_start_matches('.').to_owned(),
        ],
        (None, Some(prefix)) => vec![prefix.to_owned(), format!("{prefix}x")],
        _ => vec![pattern.to_owned(), format!("{pattern}x")],
    }
}

/// Paths that Istio's pattern matches, and some beside them.
fn paths(pattern: &str) -> Vec<String> {
    if pattern.contains("{*") {
        let one = pattern.replace("{**}", "a/b").replace("{*}", "7");
        let star = pattern.replace("{**}", "*").replace("{*}", "a*b");
        let none = pattern.replace("{**}", "").replace("{*}", "");
        return vec![one, star, none];
    }
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => vec![
            format!("/a{suffix}"),
            format!("/assets/a{suffix}"),
            format!("/a{suffix}x"),
        ],
        (None, Some(prefix)) => vec![
            prefix.to_owned(),
            format!("{prefix}x"),
            format!("{prefix}x/y"),
            prefix.trim_end_matches('/').to_owned(),
        ],
        _ => vec![
            pattern.to_owned(),
            format!("{pattern}/"),
            format!("{pattern}/x"),
        ],
    }
}

#[derive(Default)]
struct Counts {
    both: [usize; 2],
    differences: BTreeMap<Difference, usize>,
    unexplained: Vec<String>,
    headers: usize,
}

impl Counts {
    fn add(
        &mut self,
        source: &str,
        request: &Request,
        own: &Answer,
        ours: &Answer,
        left_out: LeftOut,
    ) {
        let [own_passes, ours_passes] = [own, ours].map(passes);
        if own_passes == ours_passes {
            self.both[usize::from(own_passes)] += 1;
            if own_passes && !request.line.starts_with("HEAD ") {
                self.headers += 1;
                if let Some(what) = other_headers(own, ours, request, left_out) {
                    self.unexplained.push(format!(
                        "{source}: {}\n{:?}\n{what}",
                        request.line, request.headers
                    ));
                }
            }
            return;
        }
        match explained(request, own, ours, left_out) {
            Some(difference) => *self.differences.entry(difference).or_default() += 1,
            None => self.unexplained.push(format!(
                "{source}: {}\n{:#?}\n{:?}\nsource {} {:?}\nclaimgate {} {}",
                request.line,
                request.headers,
                request.marks,
                own.status,
                own.body.get(..80),
                ours.status,
                ours.body
            )),
        }
    }

    fn report(&self, format: &str) {
        let mut text = format!(
            "{format}: both deny {}, both allow {} (headers compared {})",
            self.both[0], self.both[1], self.headers
        );
        let documented = include_str!("../../docs/migrate.md");
        for (difference, count) in &self.differences {
            let name = difference.name();
            let _ = write!(text, ", {name} {count}");
            assert!(
                documented.contains(&format!("| `{name}` |")),
                "docs/migrate.md explains {name}"
            );
        }
        println!("{text}");
        assert!(self.both.iter().all(|count| *count > 0), "{text}");
        let few: Vec<&str> = self
            .unexplained
            .iter()
            .take(10)
            .map(String::as_str)
            .collect();
        assert!(
            few.is_empty(),
            "{text}\n{} unexplained:\n{}",
            self.unexplained.len(),
            few.join("\n\n")
        );
    }
}

/// Whether the request reached the upstream.
fn passes(answer: &Answer) -> bool {
    answer.status == 200
}

/// The reason in claimgate's body. A HEAD request gets none.
fn reason(answer: &Answer) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["reason"].as_str().unwrap_or_default().to_owned()
}

fn explained(
    request: &Request,
    own: &Answer,
    ours: &Answer,
    left_out: LeftOut,
) -> Option<Difference> {
    let has = |mark: &str| request.marks.contains(mark);
    let reason = reason(ours);
    let challenge = ours
        .header("www-authenticate")
        .unwrap_or_default()
        .to_owned();
    let is = |wanted: &str| reason == wanted || challenge.contains(wanted);
    if passes(own) {
        // claimgate is stricter.
        return match () {
            () if is("ambiguous_path") || ours.status == 400 && !has("upper") => {
                Some(Difference::AmbiguousPath)
            }
            () if is("ambiguous_host") || ours.status == 400 => Some(Difference::AmbiguousHost),
            () if has("several") => Some(Difference::SeveralTokens),
            () if has("no-exp") => Some(Difference::NoExpiry),
            () if is("unsupported_type") => Some(Difference::TokenKind),
            () if has("preflight") => Some(Difference::Preflight),
            () if has("both scopes") && is("insufficient_scope") => {
                Some(Difference::BothScopeClaims)
            }
            () if has("scheme") => Some(Difference::SchemeCase),
            () if has("repeated") => Some(Difference::RepeatedHeader),
            () if left_out.rules => Some(Difference::LeftOut),
            () => None,
        };
    }
    match () {
        () if has("scheme") => Some(Difference::SchemeCase),
        () if has("port") => Some(Difference::HostPort),
        () if has("preflight") => Some(Difference::Preflight),
        () => None,
    }
}

/// How the requests that reached the upstream differ.
fn other_headers(
    own: &Answer,
    ours: &Answer,
    request: &Request,
    left_out: LeftOut,
) -> Option<String> {
    let [own, ours] = [own, ours].map(|answer| {
        let seen: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        seen
    });
    // Envoy writes lists and objects as base64 of JSON.
    let is_encoded = |own: &Value| {
        let text = own.as_str().unwrap_or_default();
        let decoded = BASE64_STANDARD.decode(text).ok();
        decoded.is_some_and(|bytes| {
            serde_json::from_slice::<Value>(&bytes).is_ok_and(|it| it.is_array() || it.is_object())
        })
    };
    for name in [
        "x-user",
        "x-tenant",
        "x-partner",
        "x-jwt-payload",
        "authorization",
        "x-access-token",
    ] {
        let [own, ours] = [&own, &ours].map(|seen| seen["headers"][name].clone());
        // Headers that not every provider sets are only removed.
        let is_left_out = left_out.headers && name.starts_with("x-") && ours.is_null();
        let is_other_token = ["scheme", "several", "preflight"]
            .iter()
            .any(|mark| request.marks.contains(mark));
        if own != ours && !is_encoded(&own) && !is_left_out && !is_other_token {
            return Some(format!("{name}: source {own}, claimgate {ours}"));
        }
    }
    None
}
