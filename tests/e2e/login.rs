//! `deploy/envoy/login.yaml` with oidc-provider: a person in a headless browser, and programs.

use claimgate::dev::envoy::Envoy;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::configurations::snippet;
use crate::front::{APPLICATION, Front, block, browse};
use crate::setup::{Provider, bearer, http};

const FILE: &str = include_str!("../../deploy/envoy/login.yaml");

/// The audience of a machine's tokens. Those of the application have its address, see `provider.mjs`.
const API: &str = "urn:orders-api";

/// Starts the provider, and what stands around Envoy.
async fn start() -> (Provider, Front) {
    let provider = Provider::start(0).await;
    let front = Front::start(&provider.issuer, &[API, APPLICATION]).await;
    (provider, front)
}

/// An Envoy with the file, whose HTTP filters are changed after the login has the endpoints of oidc-provider.
async fn envoy(front: &Front, issuer: &str, change: impl FnOnce(&mut Vec<Value>)) -> Envoy {
    let envoy = front.envoy(|filters| {
        let login = &mut filters[0]["typed_config"]["config"];
        login["authorization_endpoint"] = format!("{issuer}/auth").into();
        login["token_endpoint"]["uri"] = format!("{issuer}/token").into();
        login["end_session_endpoint"] = format!("{issuer}/session/end").into();
        login["resources"] = json!([APPLICATION]);
        change(filters);
    });
    envoy.await
}

/// claimgate's configuration is in the file's comment as in the guide.
#[test]
fn the_file_and_the_guide_agree() {
    let sections = snippet(FILE);
    let guide: Value = serde_saphyr::from_str(&block("claimgate.yaml")).unwrap();
    for name in ["upstream", "rules"] {
        assert!(sections[name].is_object() || sections[name].is_array());
        assert_eq!(sections[name], guide[name], "{name}");
    }
}

#[tokio::test]
#[ignore = "needs Envoy, oidc-provider, Chromium and playwright-core: run `make e2e`"]
async fn a_person_logs_in_with_a_browser() {
    let (provider, front) = start().await;
    let envoy = envoy(&front, &provider.issuer, |_| {}).await;
    let application = format!("http://localhost:{}", envoy.address().port());
    let token = provider.token(API).await;
    front.is_at(&application, &envoy, &token).await;
    browse(&application, "oidc-provider", &provider.issuer).await;

    // Programs.
    let accept = |what: &str| format!("accept: {what}");
    let script = "sec-fetch-mode: cors".to_owned();
    for (request, lines, status, says) in [
        ("GET /orders", vec![bearer(&token)], 200, "machine"),
        ("POST /orders", vec![bearer(&token)], 200, "machine"),
        ("GET /orders", vec![bearer("x")], 401, "malformed_token"),
        ("GET /orders", vec![], 401, "OAuth flow failed"),
        (
            "GET /orders",
            vec![accept("application/json")],
            401,
            "OAuth flow failed",
        ),
        (
            "GET /orders",
            vec![accept("text/html"), script],
            401,
            "OAuth flow failed",
        ),
        ("GET /orders", vec![accept("text/html, */*")], 302, ""),
        // Nobody comes back to another host.
        (
            "GET http://evil.example/orders",
            vec![accept("text/html")],
            401,
            "OAuth flow failed",
        ),
    ] {
        let answer = http(envoy.address(), request, &lines).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.body.contains(says), "{request}: {answer:?}");
    }
}

/// `claimgate doctor` knows what a login in front does, and what is wrong with it.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_expects_a_login() {
    type Change = fn(&mut Vec<Value>);
    let (provider, front) = start().await;
    let cases: [(&str, Change, &[&str], i32); 4] = [
        ("the file", |_| {}, &[], 0),
        (
            "the other order",
            |filters| filters.swap(0, 1),
            &["login_order"],
            1,
        ),
        (
            "no pass_through_matcher",
            |filters| {
                let config = &mut filters[0]["typed_config"]["config"];
                config["pass_through_matcher"] = Value::Null;
            },
            &["bearer_ignored"],
            0,
        ),
        (
            "another host",
            |filters| {
                let config = &mut filters[0]["typed_config"]["config"];
                config["allowed_redirect_domains"] = json!(["app.example.com"]);
            },
            &["login_refused"],
            1,
        ),
    ];
    for (what, change, expected, code) in cases {
        let envoy = envoy(&front, &provider.issuer, change).await;
        let output = Command::new(env!("CARGO_BIN_EXE_claimgate"))
            .args(["doctor", "--expects-login", "--output", "json", "--through"])
            .arg(format!("http://{}/orders", envoy.address()))
            .output()
            .await
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let wrong = findings.filter(|it| it["verdict"] != "ok" && it["verdict"] != "unseen");
        let wrong: Vec<_> = wrong.map(|it| it["code"].as_str().unwrap()).collect();
        assert_eq!(wrong, expected, "{what}: {report:#}");
        assert_eq!(output.status.code(), Some(code), "{what}");
    }
}
