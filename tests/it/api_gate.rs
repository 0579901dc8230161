//! The gate for the tests of an API.

use std::time::Duration;

use claimgate::dev::Gate;
use claimgate::dev::gate::ResponseHeaders;
use http::Request;
use serde_json::json;

const CONFIGURATION: &str = "
providers:
  - name: acme
    issuer: https://idp.example.com/realms/acme
    audiences: [orders-api]
    required_claims: { token_use: access }
    token_from: [{ header: authorization, scheme: Bearer }, { query: access_token }]
  - { name: partner, issuer: https://partner.example.com, audiences: [orders-api] }
rules:
  - { name: health, match: { path: { exact: /healthz } }, access: public }
  - { name: partners, match: { path: { prefix: /partners } }, providers: [partner] }
  - { name: write, match: { methods: [POST] }, scopes: [orders:write] }
upstream:
  forward_token: false
  claim_headers: [{ header: x-auth-subject, claim: sub }]
response_headers: [{ header: x-served-to, claim: sub }]
";

/// A request, and what becomes of it: 200 with the subject that the API sees, or a status and reason.
struct Case {
    name: &'static str,
    request: fn(&str) -> http::request::Builder,
    provider: &'static str,
    claims: serde_json::Value,
    later: u64,
    expected: (u16, &'static str),
}

fn get(token: &str) -> http::request::Builder {
    Request::get("https://api.example.com/orders?page=2")
        .header("authorization", format!("Bearer {token}"))
        .header("x-auth-subject", "mallory")
}

#[tokio::test]
async fn requests_are_decided_as_in_production() {
    let alice = || json!({"sub": "alice"});
    for case in [
        Case {
            name: "a token",
            request: get,
            provider: "acme",
            claims: alice(),
            later: 0,
            expected: (200, "alice"),
        },
        Case {
            name: "without a subject",
            request: get,
            provider: "acme",
            claims: json!({}),
            later: 599,
            expected: (200, ""),
        },
        Case {
            name: "later",
            request: get,
            provider: "acme",
            claims: alice(),
            later: 660,
            expected: (401, "expired"),
        },
        Case {
            name: "a claim removed",
            request: get,
            provider: "acme",
            claims: json!({"token_use": null}),
            later: 0,
            expected: (401, "missing_claim"),
        },
        Case {
            name: "another API",
            request: get,
            provider: "acme",
            claims: json!({"aud": "billing"}),
            later: 0,
            expected: (401, "wrong_audience"),
        },
        Case {
            name: "no scope",
            request: |token| {
                Request::post("/orders")
                    .header("host", "api.example.com")
                    .header("authorization", format!("Bearer {token}"))
            },
            provider: "acme",
            claims: alice(),
            later: 0,
            expected: (403, "insufficient_scope"),
        },
        Case {
            name: "a public path",
            request: |_| Request::get("/healthz").header("x-auth-subject", "mallory"),
            provider: "acme",
            claims: alice(),
            later: 0,
            expected: (200, ""),
        },
        Case {
            name: "another provider",
            request: |token| {
                Request::get("/partners/1").header("authorization", format!("Bearer {token}"))
            },
            provider: "partner",
            claims: alice(),
            later: 0,
            expected: (200, "alice"),
        },
        Case {
            name: "the wrong provider",
            request: |token| {
                Request::get("/partners/1").header("authorization", format!("Bearer {token}"))
            },
            provider: "acme",
            claims: alice(),
            later: 0,
            expected: (403, "access_denied"),
        },
    ] {
        let gate = Gate::start(CONFIGURATION).await.unwrap();
        let token = gate.mint_as(case.provider, &case.claims).unwrap();
        gate.advance(Duration::from_secs(case.later));
        let found = match gate.check((case.request)(&token).body(()).unwrap()).await {
            Ok(passed) => {
                assert!(
                    !passed.headers().contains_key("authorization"),
                    "{}",
                    case.name
                );
                let mut subjects = passed.headers().get_all("x-auth-subject").iter();
                let subject = subjects.next().map_or("", |value| value.to_str().unwrap());
                assert!(subjects.next().is_none(), "{}", case.name);
                (200, subject.to_owned())
            }
            Err(denied) => {
                let body: serde_json::Value = serde_json::from_str(denied.body()).unwrap();
                let reason = body["reason"].as_str().unwrap().to_owned();
                (denied.status().as_u16(), reason)
            }
        };
        let (status, text) = case.expected;
        assert_eq!(found, (status, text.to_owned()), "{}", case.name);
    }
}

#[tokio::test]
async fn queries_and_responses_change_as_behind_envoy() {
    let gate = Gate::start(CONFIGURATION).await.unwrap();
    let token = gate.mint(&json!({"sub": "alice"})).unwrap();
    for (query, left) in [
        (format!("?a=1&access_token={token}&b=2"), "/orders?a=1&b=2"),
        (format!("?access_token={token}"), "/orders"),
    ] {
        let request = Request::get(format!("https://api.example.com/orders{query}"));
        let passed = gate.check(request.body("body").unwrap()).await.unwrap();
        assert_eq!(
            passed.uri().to_string(),
            format!("https://api.example.com{left}")
        );
        assert_eq!(*passed.body(), "body");
        let ResponseHeaders(added) = passed.extensions().get().unwrap();
        assert_eq!(added["x-served-to"], "alice");
    }
}

#[tokio::test]
async fn mistakes_are_named() {
    let wrong = Gate::start("providers: [{ issuer: https://idp.example.com }]").await;
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("audiences"), "{wrong}");
    let gate = Gate::start(CONFIGURATION).await.unwrap();
    let nobody = gate.mint_as("nobody", &json!({})).unwrap_err();
    assert_eq!(
        nobody.to_string(),
        "the configuration has no provider `nobody`"
    );
    let list = gate.mint(&json!([])).unwrap_err();
    assert_eq!(list.to_string(), "claims must be a JSON object");
}
