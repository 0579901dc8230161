//! The module does to every request what the service does.
//!
//! `MODULE_REQUESTS` is the number of requests, and `MODULE_SEED` repeats a run.

pub mod clients;
mod requests;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::signer::Signer;
use fastrand::Rng;
use futures_util::future::join_all;
use regex::Regex;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use self::clients::{Client, Response};
use self::requests::{ALGORITHMS, FILES, Request, Requests, tokens};
use self::upstream::Upstream;
use crate::mesh::{MANAGER, Place, access_log, metrics};
use crate::setup::{Claimgate, LINE_TIMEOUT, envoy_binary, eventually};

/// How many requests both are asked, by all configurations together.
const REQUESTS: usize = 4_000;

/// A provider whose keys cannot be fetched.
const DOWN: &str = "http://127.0.0.1:9";

/// A configuration of claimgate, and whether Envoy makes paths normal.
struct Row {
    name: &'static str,
    is_normal: bool,
    /// In each provider.
    provider: &'static str,
    sections: &'static str,
}

const ROWS: [Row; 4] = [
    Row {
        name: "rules",
        is_normal: true,
        provider: "token_from: [{ header: authorization, scheme: Bearer }, { cookie: session }, { query: access_token }]",
        sections: r#"
upstream:
  claim_headers:
    - { header: x-auth-subject, claim: sub }
    - { header: x-auth-roles, claim: realm_access.roles }
  payload_header: x-auth-claims
  forward_token: false
response_headers: [{ header: x-checked-by, value: claimgate }, { header: x-caller, claim: sub }]
cors_preflight: allow
protected_resources:
  - { resource: 'http://127.0.0.1/mcp', scopes_supported: [orders:read], resource_name: Orders }
rules:
  - { name: health, match: { path: { exact: /healthz }, methods: [GET] }, access: public }
  - { name: catalogue, match: { path: { prefix: /catalogue } }, access: optional }
  - { name: read, match: { path: { prefix: /orders }, methods: [GET, HEAD] }, scopes: orders:read, condition: source.address == "127.0.0.1" }
  - { name: write, match: { path: { prefix: /orders } }, scopes: orders:write }
  - { name: own, match: { path: { prefix: /clients } }, condition: 'request.path == "/clients/" + claims.client_id && source.address == "127.0.0.1"' }
  - { name: team, match: { path: { prefix: /team } }, condition: context.team == "orders" }
  - { name: closed, match: { path: { prefix: /internal } }, access: deny }
  - { name: watched, match: { path: { prefix: /watched } }, scopes: orders:write, enforce: false }
  - { name: login, match: { path: { prefix: /pay } }, max_age: 15m }
  - { name: mcp, match: { path: { prefix: /mcp } }, scopes: [mcp:tools] }
  - { name: routed, only_by_name: true, scopes: orders:write }
"#,
    },
    Row {
        name: "answers",
        is_normal: false,
        provider: "token_from: [{ header: authorization, scheme: Bearer }, { header: x-token }, { websocket_protocol: bearer }]",
        sections: r#"
upstream:
  claim_headers: [{ header: x-auth-subject, claim: sub }, { header: x-auth-team, claim: team }]
  scope_header: x-auth-scope
  max_header_bytes: 1KiB
  forward_token: false
  remove_cookies: [theme, tracking-*]
  spoofed: refuse
protected_resources: [{ resource: 'http://127.0.0.1/mcp' }]
rules:
  - name: delete
    match: { path: { exact: /mcp }, mcp: { methods: [tools/call], names: [delete_order] } }
    scopes: [mcp:admin]
  - { name: admin, match: { hosts: [admin.example.com, 'xn--bcher-kva.example'] }, claims: { team: orders } }
  - { name: versioned, match: { path: { prefix: /orders }, headers: { x-api-version: ['2'] } }, acr: [phr] }
  - { name: shop, match: { path: { regex: '/orders/[0-9]+' } }, condition: '!has(request.headers.origin) || request.headers.origin.startsWith("https://")' }
  - { name: catalogue, match: { path: { prefix: /catalogue } }, access: optional }
denials:
  body: problem
  realm: orders
  headers: [{ header: x-robots-tag, value: noindex }]
  cors: { origins: ['https://shop.example'], credentials: true }
"#,
    },
    Row {
        name: "observed",
        is_normal: true,
        provider: "clock_skew: 5s, also_accept: [id_token]",
        sections: "
upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }], payload_header: x-auth-claims }
response_headers: [{ header: x-caller, claim: sub }]
paths: as_is
rules:
  - { name: health, match: { path: { exact: /healthz } }, access: public }
  - { name: write, match: { methods: [POST, PUT] }, scopes: orders:write }
  - { name: closed, match: { path: { prefix: /internal } }, access: deny }
enforce: false
",
    },
    Row {
        name: "terse",
        is_normal: false,
        provider: "max_token_bytes: 1KiB, algorithms: [RS256, ES384, PS256]",
        sections: "
upstream: { claim_headers: [], dynamic_metadata: false }
paths: as_is
rules:
  - { name: catalogue, match: { path: { prefix: /catalogue } }, access: optional }
  - { name: orders, match: { path: { prefix: /orders } }, any_scope: [orders:read, orders:write] }
denials:
  expose_reason: false
  cors: { origins: any }
  body:
    default: { content_type: text/html, template: '<p>{{status}} {{error}} {{request_id}}</p>' }
    '403': { content_type: text/plain, template: '{{error}}' }
",
    },
];

/// Every generated request gets the same status, headers and body from the service and from the module,
/// reaches the upstream in the same form, and leaves the same metadata.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn answers_are_those_of_the_service() {
    let (count, seed) = (
        number("MODULE_REQUESTS", REQUESTS),
        number("MODULE_SEED", 18),
    );
    let issuer = super::issuer().await;
    let stranger = super::issuer().await;
    let directory = tempfile::tempdir().unwrap();
    let keys = ALGORITHMS.map(|alg| Signer::generate(alg, alg.name()).unwrap());
    let published = json!({"keys": keys.each_ref().map(Signer::jwk)});
    std::fs::write(directory.path().join("keys.json"), published.to_string()).unwrap();
    let requests = Requests::new(tokens(&issuer, &keys, &stranger, DOWN));
    let rows = ROWS.iter().enumerate().map(async |(index, row)| {
        let configured = configuration(row, issuer.url());
        let pair = Pair::start(row, directory.path(), configured).await;
        let random = Rng::with_seed((seed + index).try_into().unwrap());
        let count = count / ROWS.len();
        pair.compare(row.name, count, &requests, random).await;
    });
    join_all(rows).await;
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// claimgate's configuration.
fn configuration(row: &Row, issuer: &str) -> String {
    let Row {
        provider, sections, ..
    } = row;
    let audiences = "audiences: [urn:orders-api]";
    format!(
        "
server: {{ drain: 0s }}
providers:
  - {{ name: acme, issuer: '{issuer}', {audiences}, {provider} }}
  - {{ name: files, issuer: '{FILES}', {audiences}, jwks: {{ file: keys.json }}, {provider} }}
  - {{ name: down, issuer: '{DOWN}', {audiences}, required: false, {provider} }}
{sections}"
    )
}

/// The example, with an access log of the metadata. Envoy refuses nothing by itself that claimgate can judge.
fn wired(row: &Row, log: &Path) -> String {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let upstream = example.pointer_mut("/static_resources/clusters/1").unwrap();
    // As the upstream understands it.
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = &mut upstream["typed_extension_protocol_options"][options];
    options
        .as_object_mut()
        .unwrap()
        .remove("use_downstream_protocol_config");
    options["explicit_http_config"] = json!({"http_protocol_options": {}});
    let manager = example.pointer_mut(MANAGER).unwrap();
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED".into();
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW".into();
    manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    manager["normalize_path"] = row.is_normal.into();
    manager["merge_slashes"] = row.is_normal.into();
    let format = json!({
        "id": "%REQ(X-TEST-ID)%",
        "metadata": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%",
    });
    manager["access_log"] = access_log(log, &format);
    let routes = &mut manager["route_config"]["virtual_hosts"][0]["routes"];
    for (prefix, extensions) in [
        ("/routed", json!({"claimgate.rule": "routed"})),
        ("/misrouted", json!({"claimgate.rule": "ruted"})),
        ("/team", json!({"team": "orders"})),
    ] {
        routes.as_array_mut().unwrap().insert(0, json!({
            "match": {"prefix": prefix},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": {"envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"context_extensions": extensions},
            }},
        }));
    }
    example.to_string()
}

/// Envoy with the service, and Envoy with the module.
struct Pair {
    claimgate: Claimgate,
    sides: [Side; 2],
}

struct Side {
    envoy: Envoy,
    upstream: Upstream,
    log: PathBuf,
}

impl Pair {
    async fn start(row: &Row, directory: &Path, configured: String) -> Self {
        let file = directory.join(format!("{}.yaml", row.name));
        std::fs::write(&file, configured).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        let mut sides = Vec::new();
        for place in [Place::Service, Place::Module] {
            let log = directory.join(format!("{}-{place:?}.log", row.name));
            let upstream = Upstream::start().await;
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let wiring = Wiring {
                listen: any,
                claimgate: claimgate.check.into(),
                upstream: upstream.address,
            };
            let configuration = place.configuration(&wired(row, &log), &file);
            let envoy = Envoy::start(&envoy_binary(), &configuration, &wiring).await;
            sides.push(Side {
                envoy: envoy.unwrap(),
                upstream,
                log,
            });
        }
        let sides = sides.try_into().unwrap_or_else(|_| panic!("two"));
        Self { claimgate, sides }
    }

    async fn compare(&self, name: &str, count: usize, requests: &Requests, mut random: Rng) {
        let [mut service, mut module] = self
            .sides
            .each_ref()
            .map(|side| Client::new(side.envoy.address()));
        let [of_service, of_module] = &self.sides;
        let mut statuses = BTreeMap::<Option<u16>, usize>::new();
        let (mut differing, mut judged) = (Vec::new(), Vec::new());
        for number in 0..count {
            let request = requests.generate(number, &mut random);
            let (by_service, by_module) = tokio::join!(
                Seen::of(&mut service, &of_service.upstream, number, &request),
                Seen::of(&mut module, &of_module.upstream, number, &request),
            );
            *statuses.entry(by_module.response.status).or_default() += 1;
            if by_module.is_judged() {
                judged.push(json!(number.to_string()).to_string());
            }
            if !by_service.is_same(&by_module) {
                differing.push(format!(
                    "{}\n{by_service:?}\n{by_module:?}",
                    shown(&request)
                ));
            }
        }
        println!("{name}: {statuses:?}");
        assert!(statuses.len() >= 3, "{statuses:?}");
        let some = &differing[..differing.len().min(5)];
        assert!(
            some.is_empty(),
            "{name}: {} differ: {}",
            differing.len(),
            some.join("\n\n")
        );
        self.compare_metadata(name, &judged).await;
        self.compare_counts(name).await;
    }

    /// Compares the metadata of these requests.
    async fn compare_metadata(&self, name: &str, judged: &[String]) {
        let logs = || self.sides.each_ref().map(|side| metadata(&side.log));
        eventually("the access logs are written", async || {
            let logs = logs();
            let mut ids = judged.iter();
            ids.all(|id| logs.iter().all(|log| log.contains_key(id)))
        })
        .await;
        let [asked, own] = logs();
        for id in judged {
            assert_eq!(asked[id], own[id], "{name}: request {id}");
        }
    }

    /// Compares how often which decision was made. Envoy shows the module's counters a little later.
    async fn compare_counts(&self, name: &str) {
        let [_, of_module] = &self.sides;
        let counts = async || {
            let asked = self.claimgate.metrics().await;
            [asked, metrics(of_module.envoy.admin()).await].map(|metrics| decisions(&metrics))
        };
        let is_same = timeout(LINE_TIMEOUT, async {
            while let [asked, own] = counts().await
                && asked != own
            {
                sleep(Duration::from_millis(200)).await;
            }
        });
        let _ = is_same.await;
        let [asked, own] = counts().await;
        assert!(asked.len() > 5, "{name}: {asked:?}");
        assert_eq!(asked, own, "{name}: what was counted");
    }
}

fn shown(request: &Request) -> String {
    let lines: String = request
        .as_http1()
        .iter()
        .map(|byte| char::from(*byte))
        .collect();
    format!("{:?} {lines:.3000}", request.version)
}

/// What Envoy and the upstream make of a request.
#[derive(Debug)]
struct Seen {
    response: Response,
    /// Head and body of what the upstream got. `None` if the request was not passed on.
    arrived: Option<String>,
}

impl Seen {
    async fn of(
        client: &mut Client,
        upstream: &Upstream,
        number: usize,
        request: &Request,
    ) -> Self {
        let answer = timeout(LINE_TIMEOUT, client.send(request)).await;
        let mut response = answer.unwrap_or_else(|_| panic!("no answer to {}", shown(request)));
        let arrived = upstream.take(&number.to_string());
        if arrived.is_none() && (request.body.is_some() || !request.trailers.is_empty()) {
            // An answer may come before Envoy has read the rest. Then Envoy closes the connection.
            response.headers.retain(|(name, _)| name != "connection");
        }
        for (name, value) in &mut response.headers {
            // Envoy's measurements.
            if ["date", "x-envoy-upstream-service-time"].contains(&name.as_str()) {
                value.clear();
            }
            *value = without_ids(value);
        }
        response.body = without_ids(&response.body);
        Self {
            response,
            arrived: arrived.map(|text| without_ids(&text)),
        }
    }

    /// Whether claimgate has passed the request on, or has answered it.
    fn is_judged(&self) -> bool {
        let is_id = |(name, _): &(String, String)| name == "x-request-id";
        self.arrived.is_some() || self.response.headers.iter().any(is_id)
    }

    fn is_same(&self, other: &Self) -> bool {
        let arrived = [self, other].map(|seen| seen.arrived.as_deref().map(canonical));
        self.response == other.response && arrived[0] == arrived[1]
    }
}

/// Each request has an identifier of its own, which denials repeat.
fn without_ids(text: &str) -> String {
    let id = Regex::new("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    id.replace_all(text, "ID").into_owned()
}

/// A request whose query is as `ext_authz` writes it when it removes a parameter from it: `b` as `b=`, and all sorted.
fn canonical(request: &str) -> String {
    let (line, rest) = request.split_once("\r\n").unwrap();
    let Some((path, query)) = line.trim_end_matches(" HTTP/1.1").split_once('?') else {
        return request.to_owned();
    };
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut parameters: Vec<_> = parameters
        .map(|parameter| match parameter.contains('=') {
            true => parameter.to_owned(),
            false => format!("{parameter}="),
        })
        .collect();
    parameters.sort();
    format!("{path}?{} HTTP/1.1\r\n{rest}", parameters.join("&"))
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
                if members.is_empty() {
                    metadata = Value::Null;
                }
            }
            (line["id"].to_string(), metadata)
        })
        .collect()
}

/// How often which decision was made, by the labels of the series.
fn decisions(metrics: &str) -> BTreeMap<String, u64> {
    let names = [
        "claimgate_checks_total",
        "claimgate_denials_total",
        "claimgate_would_deny_total",
    ];
    let mut counts = BTreeMap::new();
    for line in metrics.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels: Vec<_> = labels.trim_end_matches('}').split(',').collect();
        labels.sort_unstable();
        match value.parse::<u64>() {
            Ok(value) if value > 0 && names.contains(&name) => {
                counts.insert(format!("{name} {labels:?}"), value);
            }
            _ => {}
        }
    }
    counts
}
