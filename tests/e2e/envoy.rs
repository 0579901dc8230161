//! Envoy's own settings, as in `deploy/envoy` and `docs/envoy.md`.

use claimgate::dev::envoy::EXAMPLE;
use claimgate::dev::issuer::Issuer;
use serde_json::{Value, json};

use crate::late_routes;
use crate::mesh::{MANAGER, Mesh, Place};
use crate::setup::{Claimgate, bearer, configure_for, eventually, http};

/// Killing an instance of claimgate costs only the requests that Envoy was sending to it.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn a_killed_instance_costs_hardly_a_request() {
    let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), "urn:orders-api")
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, configure_for(issuer.url(), "", "")).unwrap();
    let other = Claimgate::start(&file).await;
    let first = "              - endpoint:\n                  address:\n                    \
                 socket_address: { address: claimgate, port_value: 9001 }\n";
    let port = other.check.port();
    let second = first.replace(
        "address: claimgate, port_value: 9001",
        &format!("address: 127.0.0.1, port_value: {port}"),
    );
    let configuration = crate::change(EXAMPLE, first, &format!("{first}{second}"));
    let mesh = Mesh::of_issuer(Place::Service, &configuration, issuer.url(), "").await;
    let token = issuer
        .mint(json!({"sub": "alice"}).as_object().unwrap())
        .unwrap();
    let status = async || {
        http(mesh.envoy.address(), "GET /orders", &[bearer(&token)])
            .await
            .status
    };
    let checks = async |claimgate: &Claimgate| {
        let metrics = claimgate.metrics().await;
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("claimgate_checks_total"));
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum::<u64>()
    };
    // Both instances receive requests before one is killed.
    eventually("both instances are asked", async || {
        status().await == 200 && checks(&other).await > 0 && checks(&mesh.claimgate).await > 0
    })
    .await;
    other.kill().await;
    let mut refused = 0;
    for _ in 0..300 {
        refused += usize::from(status().await != 200);
    }
    // Each of Envoy's two workers may have to notice by itself.
    assert!(refused <= 4, "{refused} of 300 requests were refused");
}

/// An allow-list for mutations holds for removals, too: it lacks the spelling that a client invents.
#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn an_allow_list_for_mutations_lets_a_spelling_through() {
    let list = json!({ "google_re2": {}, "regex": "^(x-auth-|x_auth_).*" });
    let list = json!({ "disallow_all": true, "allow_expression": list });
    for (rules, arrives) in [(Value::Null, Value::Null), (list, json!("root"))] {
        let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
        let manager = example.pointer_mut(MANAGER).unwrap();
        manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW".into();
        let filter = &mut manager["http_filters"][0]["typed_config"];
        filter["decoder_header_mutation_rules"] = rules;
        let mesh = late_routes::Mesh::start(&example).await;
        let lines = [mesh.token(), "x-auth_subject: root".to_owned()];
        let answer = mesh.ask("/orders", &lines).await;
        let seen: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(seen["headers"]["x-auth-subject"], "alice", "{seen}");
        assert_eq!(seen["headers"]["x-auth_subject"], arrives, "{seen}");
    }
}
