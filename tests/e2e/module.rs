//! The module inside Envoy.

mod changes;
mod faults;
mod process;
mod same;
mod start;
mod versions;

use std::net::SocketAddr;
use std::path::Path;

use claimgate::dev::envoy::{EXAMPLE, Envoy, EnvoyError, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::mesh::{MANAGER, inside, metrics, of_file, per_route, series};
use crate::setup::{bearer, configure_for, envoy_binary, eventually, http};

async fn run(configuration: &str, upstream: SocketAddr) -> Envoy {
    started(&envoy_binary(), configuration, upstream)
        .await
        .unwrap()
}

async fn started(
    binary: &Path,
    configuration: &str,
    upstream: SocketAddr,
) -> Result<Envoy, EnvoyError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let wiring = Wiring {
        listen: any,
        claimgate: any.into(),
        upstream,
    };
    Envoy::start(binary, configuration, &wiring).await
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

/// `claimgate doctor` sees a module as it sees the service.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_finds_nothing_wrong() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let configuration = inside(EXAMPLE, &configure_for(issuer.url(), "", ""));
    let envoy = run(&configuration, upstream.address()).await;
    let output = Command::new(env!("CARGO_BIN_EXE_claimgate"))
        .args(["doctor", "--output", "json", "--through"])
        .arg(format!("http://{}/orders", envoy.address()))
        .output()
        .await
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let mut findings = report["findings"].as_array().unwrap().iter();
    let is_wrong = |it: &Value| it["verdict"] != "ok" && it["verdict"] != "unseen";
    assert!(!findings.any(is_wrong), "{report:#}");
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
    // Only for routes that say nothing.
    manager["route_config"]["virtual_hosts"][0]["typed_per_filter_config"] =
        json!({"claimgate": per_route(&text("open"))});
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
        ("GET /team/c", &[], 200),
        ("GET /other", &[], 200),
    ] {
        let answer = http(envoy.address(), request, lines).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
}
