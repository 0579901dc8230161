//! The admin page in a headless browser, on the real binary.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use claimgate::dev::issuer::Issuer;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::request::compose;
use claimgate::request::Request;
use serde_json::json;
use tokio::process::Command;
use tonic::transport::Channel;

use crate::setup::{Claimgate, http};

const REST: &str = "
  - name: gone
    issuer: https://gone.example.com
    audiences: [urn:orders-api]
    jwks: { uri: 'http://127.0.0.1:1/jwks' }
rules:
  - { name: health, match: { path: { exact: /healthz } }, access: public }
  - { name: unused, match: { path: { prefix: /unused } } }
upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }] }
";

/// Asks for checks until the future is dropped: allowed, without a token, and forged. Method, host
/// and path are what an attacker may choose.
async fn traffic(check: &str, good: &str) -> Infallible {
    let channel = Channel::from_shared(format!("http://{check}")).unwrap();
    let mut client = AuthorizationClient::new(channel.connect().await.unwrap());
    let bearer = format!("Bearer {good}");
    let forged = format!("{bearer}AAAA");
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    loop {
        pace.tick().await;
        for (credential, id, path) in [
            (bearer.as_str(), "allowed", "/orders"),
            ("", "denied-1", "/<script>alert(1)</script>"),
            (&forged, "denied-<script>", "/\"onmouseover=alert(1)"),
            ("", "public", "/healthz"),
        ] {
            let lines = [("authorization", credential), ("x-request-id", id)];
            let lines = lines.into_iter().filter(|(_, value)| !value.is_empty());
            let request = Request {
                method: "GET",
                host: "<script>alert(1)</script>",
                path,
                headers: lines
                    .map(|(name, value)| (name, value.as_bytes()))
                    .collect(),
                ..Request::default()
            };
            client.check(compose(&request)).await.unwrap();
        }
    }
}

/// Screenshots are in the folder that `SCREENSHOTS` names, or nowhere.
#[tokio::test]
#[ignore = "needs Chromium and playwright-core: run `make e2e`"]
async fn the_page_in_a_browser() {
    let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), "urn:orders-api")
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    let url = issuer.url();
    let first = format!("{{ name: dev, issuer: '{url}', audiences: ['urn:orders-api'] }}");
    std::fs::write(&file, format!("providers:\n  - {first}{REST}")).unwrap();
    let claimgate = Claimgate::start(&file).await;
    while !http(claimgate.admin, "GET /readyz?verbose", &[])
        .await
        .body
        .contains("provider `dev`: keys fetched")
    {}
    let mint = |claims: serde_json::Value| issuer.mint(claims.as_object().unwrap()).unwrap();
    let good = mint(json!({"sub": "alice"}));
    let expired = mint(json!({"sub": "alice", "exp": 1_700_000_000}));

    let folder = std::env::var_os("SCREENSHOTS").map_or(directory.path().to_owned(), PathBuf::from);
    let browser = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/browser");
    let mut node = Command::new("node");
    node.arg("admin.mjs")
        .arg(format!("http://{}", claimgate.admin))
        .args(["denied-1", &good, &expired])
        .arg(folder)
        .current_dir(browser)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let check = claimgate.check.to_string();
    let output = tokio::select! {
        output = node.output() => output.expect("node runs: run `make e2e`"),
        never = traffic(&check, &good) => match never {},
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    claimgate.stop().await;
}
