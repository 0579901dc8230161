//! `claimgate dev gate`, which answers the tests of an API in any language.

use serde_json::{Value, json};

use crate::support::command::{Outcome, run};

const CONFIGURATION: &str = "
server: { listen: ['0.0.0.0:9001'], tls: { certificate: absent.pem, key: absent.pem } }
providers:
  - name: acme
    issuer: https://idp.example.com/realms/acme
    audiences: [orders-api]
    token_from: [{ header: authorization, scheme: Bearer }, { query: access_token }]
rules:
  - { name: write, match: { methods: [POST] }, scopes: [orders:write] }
upstream:
  forward_token: false
  claim_headers: [{ header: x-auth-subject, claim: sub }]
";

/// The answers to these requests, after `start`.
async fn ask(start: &Value, requests: &[Value]) -> (Vec<Value>, Outcome) {
    let lines = [&[json!({ "start": start })], requests].concat();
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let outcome = run(&["dev", "gate", "--log-level", "off"], &lines.join("\n")).await;
    let answers = outcome
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")));
    (answers.collect(), outcome)
}

/// A token that `dev gate` mints, to be checked by another one: each makes its own keys.
async fn token() -> String {
    let start = json!({ "config": CONFIGURATION });
    let (answers, _) = ask(&start, &[json!({"mint": {}})]).await;
    answers[1]["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_line_has_an_answer() {
    let start = json!({ "config": CONFIGURATION });
    let foreign = format!("Bearer {}", token().await);
    let requests = [
        json!({"mint": {"claims": {"sub": "alice"}, "header": {"typ": "JWT"}, "expires_in": 60}}),
        json!({"check": {"path": "/orders"}}),
        json!({"check": {"method": "POST", "headers": [["Authorization", foreign]]}}),
        json!({"rotate": {}}),
        json!({"rotate": {"provider": "acme"}}),
        json!({"advance": {"seconds": 1_000_000}}),
        json!({"reset": {}}),
        json!({"mint": {"provider": "nobody"}}),
        json!({"start": {}}),
    ];
    let (answers, outcome) = ask(&start, &requests).await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let [
        started,
        minted,
        missing,
        foreign,
        second,
        third,
        later,
        now,
        nobody,
        again,
    ] = answers.as_slice()
    else {
        panic!("{answers:#?}")
    };
    let provider = &started["started"]["providers"][0];
    assert_eq!(provider["issuer"], "https://idp.example.com/realms/acme");
    for address in ["check", "admin"] {
        let address = started["started"][address].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
    assert_eq!(minted["token"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(missing["check"]["failed"]["reason"], "missing_token");
    assert_eq!(missing["check"]["response"]["status"], 401);
    assert_eq!(missing["check"]["upstream"], Value::Null);
    assert_eq!(foreign["check"]["failed"]["reason"], "bad_signature");
    assert_eq!(foreign["check"]["rule"], "write");
    assert_eq!(second["kid"], "claimgate-test-2");
    assert_eq!(third["kid"], "claimgate-test-3");
    let [later, now] = [later, now].map(|answer| answer["now"].as_u64().unwrap());
    assert!((999_990..=1_000_000).contains(&(later - now)));
    let unknown = "the configuration has no provider `nobody`";
    assert_eq!(nobody["error"], unknown);
    assert_eq!(again["error"], "it has started already");
}

#[tokio::test]
async fn mistakes_are_answered() {
    for (line, expected) in [
        ("nonsense", "not a request"),
        ("{}", "not a request"),
        (r#"{"mint": {}}"#, "the first request must be `start`"),
        (r#"{"check": {"pth": "/"}}"#, "unknown field `pth`"),
        (r#"{"start": {"yaml": ""}}"#, "unknown field `yaml`"),
        (r#"{"advance": {"seconds": -1}}"#, "not a request"),
        (r#"{"reset": {"x": 1}}"#, "unknown field `x`"),
    ] {
        let outcome = run(&["dev", "gate"], line).await;
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.err);
        let answer: Value = serde_json::from_str(&outcome.out).unwrap();
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[tokio::test]
async fn it_does_not_start_with_a_wrong_configuration() {
    for (start, kind, expected) in [
        (
            json!({"config": CONFIGURATION.replace("issuer", "isuer")}),
            json!("configuration"),
            "configuration:5:5: providers[0].isuer: unknown field; did you mean `issuer`?",
        ),
        (
            json!({"file": "absent.yaml"}),
            json!("configuration"),
            "cannot read `absent.yaml`",
        ),
        (
            json!({"file": "absent.yaml", "config": CONFIGURATION}),
            Value::Null,
            "not both",
        ),
    ] {
        let (answers, outcome) = ask(&start, &[json!({"check": {}})]).await;
        assert_eq!(outcome.code, Some(2), "{start}");
        let [answer] = answers.as_slice() else {
            panic!("{answers:#?}")
        };
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(answer["kind"], kind, "{error}");
        assert!(outcome.err.contains(error), "{}", outcome.err);
    }
}
