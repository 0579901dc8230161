//! docs/guides/envoy.md, followed with an Envoy that serves an API already.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};

use crate::setup::{Claimgate, bearer, envoy_binary, eventually, http};

/// A block of the guide.
fn block(title: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/envoy.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, after) = text
        .split_once(&format!("```yaml title={title}\n"))
        .unwrap();
    let (yaml, _) = after.split_once("```").unwrap();
    serde_saphyr::from_str(yaml).unwrap()
}

/// An Envoy that serves an API, without any of the guide's settings.
fn existing() -> Value {
    let address = |address: &str, port: u16| json!({ "socket_address": { "address": address, "port_value": port } });
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let host = json!({
        "name": "api",
        "domains": ["*"],
        "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } }],
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": { "virtual_hosts": [host] },
        "http_filters": [router],
    });
    let filter =
        json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager });
    let upstream = json!({
        "name": "upstream",
        "type": "STRICT_DNS",
        "load_assignment": { "cluster_name": "upstream", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": address("upstream", 8080) } },
        ] }] },
    });
    json!({
        "admin": { "address": address("127.0.0.1", 9901) },
        "static_resources": {
            "listeners": [{
                "name": "ingress",
                "address": address("0.0.0.0", 8000),
                "filter_chains": [{ "filters": [filter] }],
            }],
            "clusters": [upstream],
        },
    })
}

#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn the_guide_for_envoy_is_enough() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let issuer = Issuer::start(any, "orders-api").await.unwrap();
    let mut configured = block("claimgate.yaml");
    configured["providers"][0]["issuer"] = issuer.url().into();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    fs::write(&file, configured.to_string()).unwrap();
    let claimgate = Claimgate::start(&file).await;
    claimgate.is_ready().await;

    let mut envoy = existing();
    let resources = &mut envoy["static_resources"];
    let manager = "/listeners/0/filter_chains/0/filters/0/typed_config";
    let manager = resources.pointer_mut(manager).unwrap();
    let settings = block("connection-manager.yaml");
    manager
        .as_object_mut()
        .unwrap()
        .extend(settings.as_object().unwrap().clone());
    let filters = manager["http_filters"].as_array_mut().unwrap();
    filters.insert(0, block("trailers-filter.yaml"));
    filters.insert(0, block("http-filter.yaml"));
    let clusters = resources["clusters"].as_array_mut().unwrap();
    // Where the development Envoy looks for it.
    clusters.insert(0, block("cluster.yaml"));
    let upstream = Upstream::start().await.unwrap();
    let wiring = Wiring {
        listen: any,
        claimgate: claimgate.check.into(),
        upstream: upstream.address(),
    };
    let envoy = Envoy::start(&envoy_binary(), &envoy.to_string(), &wiring)
        .await
        .unwrap();

    let mint = |claims: Value| bearer(&issuer.mint(claims.as_object().unwrap()).unwrap());
    let good = || mint(json!({ "sub": "alice", "scope": "orders:read" }));
    eventually("Envoy asks claimgate", async || {
        http(envoy.address(), "GET /orders", &[good()]).await.status == 200
    })
    .await;
    let forged = "x-auth-subject: root".to_owned();
    for (request, token, status, says) in [
        ("GET /healthz", None, 200, "/healthz"),
        ("GET /orders", None, 401, "missing_token"),
        ("GET //healthz", None, 200, "/healthz"),
        ("GET /healthz/../orders", None, 401, "missing_token"),
        ("GET /a%2Fb", Some(good()), 400, ""),
        ("GET /orders", Some(good()), 200, "alice"),
        ("POST /orders", Some(good()), 403, "insufficient_scope"),
    ] {
        let lines: Vec<_> = token.into_iter().chain([forged.clone()]).collect();
        let answer = http(envoy.address(), request, &lines).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.body.contains(says), "{request}: {answer:?}");
        assert!(!answer.body.contains("root"), "{request}: {answer:?}");
        assert!(
            !answer.body.to_lowercase().contains("bearer ey"),
            "{request}: {answer:?}"
        );
    }
    claimgate.kill().await;
    let answer = http(envoy.address(), "GET /healthz", &[]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
}
