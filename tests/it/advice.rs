//! `claimgate check` and the log say the same about a denial. What they say is in
//! `tests/cases/hints.yaml`, but for tokens that are too long to be written there.

use std::sync::Arc;

use claimgate::config::Config;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::service::Service;
use claimgate::gate::Gate;
use claimgate::keyring::Algorithm::Es256;
use claimgate::time::SystemClock;
use serde_json::{Value, json};
use tonic::Request;

use crate::support::call::check;
use crate::support::command::run;
use crate::support::keys::signer;
use crate::support::log::Log;

const KEYCLOAK: &str = "https://sso.example.com/realms/acme";
const TENANT: &str = "8c1f6d2e-3b47-4a59-9e0d-5f7a2b6c4d10";

fn configuration() -> String {
    let keys = json!({"inline": {"keys": [signer(Es256, "a").jwk()]}});
    let provider = |name: &str, issuer: &str| {
        json!({
            "name": name, "issuer": issuer, "audiences": ["orders-api", "https://orders/"],
            "jwks": keys,
        })
    };
    let mut entra = provider("entra", "https://login.microsoftonline.com/{tenantid}/v2.0");
    entra["tenants"] = json!([TENANT]);
    json!({"providers": [provider("keycloak", KEYCLOAK), entra]}).to_string()
}

/// `Bearer` and a good token, changed.
fn bearer(change: &Value) -> String {
    let mut claims =
        json!({"iss": KEYCLOAK, "aud": "orders-api", "sub": "alice", "exp": 4_102_444_800_u64});
    let members = claims.as_object_mut().unwrap();
    members.extend(change.as_object().unwrap().clone());
    format!("Bearer {}", signer(Es256, "a").token(&claims).unwrap())
}

#[tokio::test]
async fn check_and_the_log_name_the_same_cause() {
    let entra = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
    let long_issuer = format!("https://{}example/", "é.".repeat(1_800));
    let many_audiences = [vec!["billing"; 20], vec!["https://orders"]].concat();
    let rows = [
        (bearer(&json!({})), None),
        (
            "Bearer 2YotnFZFEjr1zCsicMWpAA".to_owned(),
            Some("an opaque token"),
        ),
        (
            "Bearer {\"access_token\":\"a.b.c\",\"expires_in\":300}".to_owned(),
            Some("send only the text of `access_token`"),
        ),
        (
            bearer(&json!({"iss": format!("{KEYCLOAK}/")})),
            Some("only by a slash at the end"),
        ),
        (
            bearer(&json!({"iat": 999_999_700, "exp": 1_000_000_000})),
            Some("It lived for 5 min"),
        ),
        (
            bearer(&json!({"groups": vec![TENANT; 2000], "roles": ["a"]})),
            Some("leave out what makes it long, `groups` (78001 bytes)"),
        ),
        (
            bearer(&json!({"iss": entra, "groups": vec![TENANT; 2000]})),
            Some("only the groups that are assigned to the application"),
        ),
        (
            bearer(&json!({"iss": long_issuer})),
            Some("an issuer of 5416 bytes is unusual"),
        ),
        (
            bearer(&json!({"aud": many_audiences})),
            Some("the token is for another API"),
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, configuration()).unwrap();
    let config = Config::from_yaml(&configuration()).unwrap();
    let service = Service {
        gate: Gate::start(config, Arc::new(SystemClock)).await,
    };
    let log = Log::start("info");
    for (authorization, expected) in rows {
        let header = format!("authorization: {authorization}");
        let arguments = [
            "check",
            "--config",
            file.to_str().unwrap(),
            "--output",
            "json",
        ];
        let report = run(&[&arguments[..], &["--header", &header]].concat(), "").await;
        let report: Value =
            serde_json::from_str(&report.out).unwrap_or_else(|_| panic!("{}", report.err));
        let cause = report["likely_cause"].as_str();

        let asked = Request::new(check(&[("authorization", &authorization)]));
        service.check(asked).await.unwrap();
        let lines = log.take();
        let line = lines.iter().find(|line| line["message"] == "denied");
        let hint = line.and_then(|line| line["hint"].as_str());
        assert_eq!(hint.map(without_numbers), cause.map(without_numbers));
        assert_eq!(
            line.map_or(&Value::Null, |line| &line["see"]),
            &report["see"]
        );
        let says = |text: &str| cause.is_some_and(|cause| cause.contains(text));
        assert!(
            expected.map_or(cause.is_none(), says),
            "{expected:?}: {cause:?}"
        );
    }
}

/// Removes differences that a few seconds make.
fn without_numbers(text: &str) -> String {
    let words = text.split(|c: char| c.is_ascii_digit());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("#")
}
