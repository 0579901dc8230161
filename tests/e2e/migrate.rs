//! What `claimgate import` writes decides as the source does: a real Envoy with its own `jwt_authn`, beside an
//! Envoy that asks claimgate with the imported configuration, answers the same requests. Every difference must
//! be one of those in `docs/migrate.md`.
//!
//! `MIGRATION_REQUESTS` is the number of requests for each source, and `MIGRATION_SEED` repeats a run.

mod differences;
mod requests;
mod sources;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::issuer::Issuer as DevIssuer;
use claimgate::dev::upstream::Upstream;
use claimgate::import::source::Source as SourceFile;
use claimgate::import::{self as migration, Options};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::setup::{Answer, Claimgate, bearer, envoy_binary, http};
use differences::{DIFFERENCES, Seen};
use requests::{Issuer, Request};
use sources::{SOURCES, Source};

/// The number of requests for each source, if nothing else is said.
const REQUESTS: usize = 500;

/// The number of requests at the same time.
const AT_ONCE: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn imported_configurations_decide_as_jwt_authn_does() {
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let count = number("MIGRATION_REQUESTS", REQUESTS);
    let seed = number("MIGRATION_SEED", 7);
    let mut unexplained = Vec::new();
    for source in &SOURCES {
        let sides = Arc::new(Sides::start(source).await);
        let mut rng = Rng::with_seed(seed as u64);
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut passed, mut denied, mut sent) = (0, 0, 0);
        let mut running = JoinSet::new();
        while sent < count || !running.is_empty() {
            while sent < count && running.len() < AT_ONCE {
                let request = Request::random(source, &sides.issuers, &mut rng);
                let sides = Arc::clone(&sides);
                running.spawn(async move { sides.compare(request).await });
                sent += 1;
            }
            let Compared {
                request,
                reference,
                imported,
            } = running.join_next().await.unwrap().unwrap();
            passed += usize::from(reference.passed && imported.passed);
            denied += usize::from(!reference.passed && !imported.passed);
            for difference in differences::between(&request, &reference, &imported, &sides.promised)
            {
                match difference {
                    Ok(name) => *found.entry(name).or_default() += 1,
                    Err(what) => unexplained.push(format!(
                        "{what}\n  {request}\n  Envoy: {reference}\n  claimgate: {imported}"
                    )),
                }
            }
        }
        println!(
            "{}: {sent} requests, {passed} pass on both sides, {denied} on neither; differences: {found:?}",
            source.name
        );
        assert!(
            passed > sent / 20 && denied > sent / 20,
            "{}: the requests test little",
            source.name
        );
    }
    let first: Vec<&str> = unexplained.iter().take(4).map(String::as_str).collect();
    assert!(
        unexplained.is_empty(),
        "{} differences are not explained (seed {seed}):\n{}",
        unexplained.len(),
        first.join("\n")
    );
}

/// The guide's Envoy, before and after its changes.
#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn the_guide_for_jwt_authn_is_enough() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let issuer = DevIssuer::start(any, "orders-api").await.unwrap();
    let guide = include_str!("../../docs/guides/migrate-from-envoy-jwt-authn.md");
    let (_, after) = guide.split_once("```yaml title=envoy.yaml\n").unwrap();
    let (yaml, _) = after.split_once("```").unwrap();
    let yaml = yaml
        .replace(
            "https://idp.example.com/realms/acme/certs",
            &format!("{}/jwks", issuer.url()),
        )
        .replace("https://idp.example.com/realms/acme", issuer.url());
    let mut original: Value = serde_saphyr::from_str(&yaml).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (_, changes) = import(&original, directory.path()).await;
    let claimgate = Claimgate::start(&directory.path().join("claimgate.yaml")).await;
    claimgate.is_ready().await;
    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: any,
        claimgate: claimgate.check.into(),
        upstream: upstream.address(),
    };
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = original.pointer_mut(manager).unwrap();
    manager["http_filters"][0] = changes["http_filter"].clone();
    manager["normalize_path"] = true.into();
    manager["route_config"] = changed(manager["route_config"].take(), &changes);
    let clusters = original["static_resources"]["clusters"]
        .as_array_mut()
        .unwrap();
    clusters.insert(0, changes["cluster"].clone());
    let envoy = Envoy::start(&envoy_binary(), &original.to_string(), &wiring)
        .await
        .unwrap();
    let token = |audience: &str| {
        let claims = json!({"sub": "alice", "aud": audience});
        let claims: serde_json::Map<String, Value> = claims.as_object().unwrap().clone();
        issuer.mint(&claims).unwrap()
    };
    for (request, audience, status) in [
        ("GET /healthz", None, 200),
        ("GET /orders", None, 401),
        ("GET /orders/7", Some("orders-api"), 200),
        ("GET /orders", Some("operators"), 403),
        ("GET /orders", Some("other"), 401),
        ("GET /orders-archive", None, 200),
        ("GET /orders-archive", Some("other"), 401),
        ("GET /operators", None, 401),
        ("GET /operators", Some("orders-api"), 403),
        ("GET /operators", Some("operators"), 200),
    ] {
        let mut lines = vec!["x-auth-subject: root".to_owned()];
        lines.extend(audience.map(|audience| bearer(&token(audience))));
        let answer = http(envoy.address(), request, &lines).await;
        assert_eq!(answer.status, status, "{request} {audience:?}: {answer:?}");
        if status == 200 {
            let seen: Value = serde_json::from_str(&answer.body).unwrap();
            let subject = audience.map(|_| "alice");
            assert_eq!(
                seen["headers"]["x-auth-subject"].as_str(),
                subject,
                "{request} {audience:?}"
            );
        }
    }
}

/// Each difference has a row in the document, and the document has no others.
#[test]
#[ignore = "belongs to the test above: run `make e2e`"]
fn differences_are_documented() {
    let document = include_str!("../../docs/migrate.md");
    let section = document.split("## What differs").nth(1).expect("a section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    for name in DIFFERENCES {
        assert!(documented.contains(&name), "`{name}` is not documented");
    }
}

struct Compared {
    request: Request,
    reference: Seen,
    imported: Seen,
}

/// Both sides, running.
struct Sides {
    issuers: Vec<Issuer>,
    reference: Envoy,
    imported: Envoy,
    /// The headers that the source sets, in lower case.
    promised: Vec<String>,
    _claimgate: Claimgate,
    _upstream: Upstream,
    _directory: tempfile::TempDir,
}

impl Sides {
    async fn start(source: &Source) -> Self {
        let issuers: Vec<Issuer> = source.issuers.iter().map(|url| Issuer::new(url)).collect();
        let keys: Vec<String> = issuers.iter().map(Issuer::key_set).collect();
        let mut filter = (source.filter)(&keys);
        filter["@type"] =
            "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
                .into();
        let filter = json!({"name": "envoy.filters.http.jwt_authn", "typed_config": filter});
        let routes = json!({"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": (source.routes)(),
        }]});
        let directory = tempfile::tempdir().unwrap();
        let original = envoy(&filter, &routes, None);
        let (yaml, changes) = import(&original, directory.path()).await;
        let claimgate = Claimgate::start(&directory.path().join("claimgate.yaml")).await;
        claimgate.is_ready().await;
        let upstream = Upstream::start().await.unwrap();
        let wiring = Wiring {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claimgate: claimgate.check.into(),
            upstream: upstream.address(),
        };
        let changed = envoy(
            &changes["http_filter"],
            &changed(routes, &changes),
            Some(&changes["cluster"]),
        );
        let binary = envoy_binary();
        let reference = Envoy::start(&binary, &original.to_string(), &wiring)
            .await
            .unwrap();
        assert_same_from_dump(&reference, directory.path()).await;
        let imported = Envoy::start(&binary, &changed.to_string(), &wiring)
            .await
            .unwrap();
        Self {
            issuers,
            reference,
            imported,
            promised: promised(&yaml),
            _claimgate: claimgate,
            _upstream: upstream,
            _directory: directory,
        }
    }

    async fn compare(&self, request: Request) -> Compared {
        let (line, headers) = (&request.line, &request.headers);
        let (reference, imported) = tokio::join!(
            http(self.reference.address(), line, headers),
            http(self.imported.address(), line, headers),
        );
        Compared {
            request,
            reference: seen(&reference),
            imported: seen(&imported),
        }
    }
}

/// What became of a request.
fn seen(answer: &Answer) -> Seen {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    Seen {
        status: answer.status,
        passed: answer.status == 200,
        reason: body["reason"].as_str().unwrap_or(&answer.body).to_owned(),
        headers: body["headers"].as_object().cloned().unwrap_or_default(),
        path: body["path"].as_str().unwrap_or_default().to_owned(),
    }
}

/// An Envoy with this filter. Both sides treat paths alike, and change nothing in them.
fn envoy(filter: &Value, routes: &Value, claimgate: Option<&Value>) -> Value {
    let endpoint =
        json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}});
    let upstream = json!({
        "name": "upstream",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    });
    let clusters: Vec<&Value> = claimgate.into_iter().chain([&upstream]).collect();
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
                   HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}},
        "static_resources": {
            "listeners": [{
                "name": "ingress",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": manager,
                        "stat_prefix": "ingress",
                        "route_config": routes,
                        "http_filters": [
                            filter,
                            {"name": "envoy.filters.http.router", "typed_config": {"@type": router}},
                        ],
                    },
                }]}],
            }],
            "clusters": clusters,
        },
    })
}

/// Imports an Envoy's configuration, and runs the tests that come with it. Returns claimgate's configuration
/// and the changes.
async fn import(original: &Value, directory: &Path) -> (Value, Value) {
    let file = |name: &str| directory.join(name);
    std::fs::write(file("envoy.json"), original.to_string()).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claimgate"));
        let output = command
            .args(arguments)
            .current_dir(directory)
            .output()
            .await
            .unwrap();
        let said =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {said}");
    };
    let files = [
        "-o",
        "claimgate.yaml",
        "--tests",
        "policy.test.yaml",
        "--changes",
        "changes.yaml",
    ];
    run(&[&["import", "envoy.json", "--partial"][..], &files].concat()).await;
    run(&["test", "policy.test.yaml"]).await;
    let yaml = |name: &str| {
        let text = std::fs::read_to_string(file(name)).unwrap();
        serde_saphyr::from_str::<Value>(&text).unwrap()
    };
    (yaml("claimgate.yaml"), yaml("changes.yaml"))
}

/// What the running Envoy says about itself is imported as its file is.
async fn assert_same_from_dump(envoy: &Envoy, directory: &Path) {
    let url = format!("http://{}/config_dump", envoy.admin());
    let answer = reqwest::get(url).await.unwrap();
    let source = |name: &str, text: Vec<u8>| SourceFile {
        name: name.to_owned(),
        text: String::from_utf8(text).unwrap(),
    };
    let file = std::fs::read(directory.join("envoy.json")).unwrap();
    let sources = [
        source("file", file),
        source("dump", answer.bytes().await.unwrap().to_vec()),
    ];
    let [file, dump] = sources.map(|source| {
        let imported = migration::import(&[source], &Options::default()).unwrap();
        // Comments name places, which are others.
        let lines = imported.configuration.lines();
        let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    });
    assert_eq!(file, dump);
}

/// The routes with the changes that belong to them.
fn changed(mut routes: Value, changes: &Value) -> Value {
    for change in changes["routes"].as_array().into_iter().flatten() {
        let at = change["at"].as_str().unwrap();
        let (owner, _) = at.split_once(".typed_per_filter_config").unwrap();
        let pointer = format!("/{}", owner.replace(['.', '['], "/").replace(']', ""));
        let owner = routes.pointer_mut(&pointer).expect("the place is there");
        owner["typed_per_filter_config"] = change["typed_per_filter_config"].clone();
    }
    routes
}

fn promised(configuration: &Value) -> Vec<String> {
    let upstream = &configuration["upstream"];
    let listed = upstream["claim_headers"].as_array().into_iter().flatten();
    let headers = listed.filter_map(|entry| entry["header"].as_str());
    let payload = upstream["payload_header"].as_str();
    headers.chain(payload).map(str::to_owned).collect()
}
