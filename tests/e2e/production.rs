//! What an operator does while requests flow: certificates, configurations and instances change, and
//! no caller notices.

use std::fs;
use std::net::SocketAddr;
use std::slice::from_ref;

use claimgate::dev::envoy::{Address, EXAMPLE, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::change;
use crate::load::Load;
use crate::mesh::{Mesh, Place, in_both_places};
use crate::setup::{Claimgate, bearer, configure_for, envoy_binary, eventually, http};

in_both_places! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] configurations_change_under_load,
    observing_lets_no_spoofed_header_through,
}

/// An issuer that mints any claims, and a token of it as a header line.
pub async fn issuer() -> (Issuer, String) {
    let any = "127.0.0.1:0".parse().unwrap();
    let issuer = Issuer::start(any, "urn:orders-api").await.unwrap();
    let claims = json!({"sub": "alice"});
    let token = issuer.mint(claims.as_object().unwrap()).unwrap();
    (issuer, bearer(&token))
}

/// Mutual TLS as the documents show it. Connections end every second, so that each of the server's
/// certificates is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn certificates_rotate_under_load() {
    let (issuer, line) = issuer().await;
    let certificates = Certificates::create();
    let plain = configure_for(issuer.url(), "", "");
    let server = certificates.server("max_connection_age: 1s");
    let configured = change(&plain, "server: { drain: 0s }\n", &server);
    let envoy = certificates.envoy();
    let mesh = Mesh::configured(Place::Service, &envoy, configured).await;
    eventually("Envoy has a connection", async || {
        http(mesh.envoy.address(), "GET /orders", from_ref(&line))
            .await
            .status
            == 200
    })
    .await;

    let load = Load::start(mesh.envoy.address(), &line);
    for rotation in 1..=3 {
        load.goes_on().await;
        certificates.rotate();
        eventually("the certificate is read again", async || {
            mesh.claimgate.logged("TLS certificate reloaded") >= rotation
        })
        .await;
        load.goes_on().await;
    }
    load.refused_nothing().await;

    // Without its certificate, Envoy gets nothing.
    let (_, without) = envoy.split_once("      tls_certificates:").unwrap();
    let (certificate, _) = without.split_once("        validation_context:").unwrap();
    let block = format!("        tls_certificates:{certificate}");
    let stranger = change(&envoy, &block, "");
    let wiring = wiring(mesh.claimgate.check.into(), mesh.upstream.as_ref().unwrap());
    let stranger = Envoy::start(&envoy_binary(), &stranger, &wiring)
        .await
        .unwrap();
    let refused = http(stranger.address(), "GET /orders", &[line]).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    eventually("it is counted", async || {
        let metrics = mesh.claimgate.metrics().await;
        !metrics.contains("claimgate_bad_connections_total{kind=\"tls_handshake\"} 0\n")
    })
    .await;
}

fn wiring(claimgate: Address, upstream: &Upstream) -> Wiring {
    Wiring {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        claimgate,
        upstream: upstream.address(),
    }
}

/// The configuration changes between two that answer differently. Each answer is that of one of them.
async fn configurations_change_under_load(place: Place) {
    let (issuer, line) = issuer().await;
    let plain = configure_for(issuer.url(), "", "");
    let other = plain.replace("x-auth-subject", "x-auth-user");
    let mesh = Mesh::configured(place, EXAMPLE, plain.clone()).await;
    let file = mesh.directory.path().join("claimgate.yaml");
    let load = Load::start(mesh.envoy.address(), &line);
    for round in 1..=4 {
        let text = if round % 2 == 0 { &plain } else { &other };
        fs::write(&file, text).unwrap();
        let reloads = ("claimgate_config_reloads_total", "result=\"success\"");
        while mesh.metric(reloads.0, reloads.1).await < Some(round) {
            let answer = http(mesh.envoy.address(), "GET /orders", from_ref(&line)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen: Value = serde_json::from_str(&answer.body).unwrap();
            let names = ["x-auth-subject", "x-auth-user"];
            let found = names.map(|name| seen["headers"].get(name).is_some());
            assert_ne!(found[0], found[1], "{seen}");
        }
        load.goes_on().await;
    }
    load.refused_nothing().await;
}

/// Two instances restart one after the other, with the default `drain`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn a_rolling_restart_refuses_nobody() {
    let (issuer, line) = issuer().await;
    let configured = configure_for(issuer.url(), "", "").replace("drain: 0s", "drain: 5s");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    fs::write(&file, &configured).unwrap();
    let mut second = Claimgate::start(&file).await;
    let endpoint = "              - endpoint:\n                  address:\n                    \
                    socket_address: { address: claimgate, port_value: 9001 }\n";
    let another = endpoint.replace(
        "address: claimgate, port_value: 9001",
        &format!("address: 127.0.0.1, port_value: {}", second.check.port()),
    );
    let envoy = change(EXAMPLE, endpoint, &format!("{endpoint}{another}"));
    let mut mesh = Mesh::configured(Place::Service, &envoy, configured).await;
    let load = Load::start(mesh.envoy.address(), &line);
    for _ in 0..2 {
        load.goes_on().await;
        second.restart().await;
        load.goes_on().await;
        healthy(&mesh.envoy, 2).await;
        mesh.claimgate.restart().await;
        load.goes_on().await;
        healthy(&mesh.envoy, 2).await;
    }
    load.refused_nothing().await;
}

/// Waits until Envoy considers this many instances of claimgate healthy.
async fn healthy(envoy: &Envoy, count: usize) {
    eventually("Envoy finds the instances healthy", async || {
        let stats = "GET /stats?filter=cluster.claimgate.membership_healthy";
        let found = http(envoy.admin(), stats, &[]).await.body;
        found.contains(&format!("membership_healthy: {count}"))
    })
    .await;
}

/// With `enforce: false`, the upstream gets no header that a client made up. With Envoy's own
/// `shadow_mode` it does.
async fn observing_lets_no_spoofed_header_through(place: Place) {
    let spoofed = ["x-auth-subject: root".to_owned()];
    let seen = async |mesh: &Mesh| {
        let answer = http(mesh.envoy.address(), "GET /orders", &spoofed).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let echoed: Value = serde_json::from_str(&answer.body).unwrap();
        echoed["headers"]["x-auth-subject"].clone()
    };
    let observing = Mesh::with_sections(place, EXAMPLE, "enforce: false").await;
    assert_eq!(seen(&observing).await, Value::Null);
    eventually("the denial is counted", async || {
        let reason = "reason=\"missing_token\"";
        observing.metric("claimgate_would_deny_total", reason).await == Some(1)
    })
    .await;
    if place == Place::Module {
        return;
    }

    let setting = "failure_mode_allow: false\n";
    let indent = EXAMPLE
        .lines()
        .find(|line| line.contains(setting.trim_end()));
    let indent = indent.unwrap().split('f').next().unwrap();
    let envoy = change(
        EXAMPLE,
        setting,
        &format!("{setting}{indent}shadow_mode: true\n"),
    );
    let shadowing = Mesh::with_sections(place, &envoy, "").await;
    assert_eq!(seen(&shadowing).await, "root");
}
