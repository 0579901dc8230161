//! `claimgate test`: operators' own tests.

use std::path::Path;

use claimgate::keyring::Algorithm::Es256;
use serde_json::{Value, json};

use crate::support::command::{Outcome, run};
use crate::support::keys::signer;

const CONFIG: &str = "
providers:
  - { name: acme, issuer: https://idp.example.com, audiences: [orders-api], jwks: { file: keys.json } }
  - name: entra
    issuer: https://login.example.com/{tenantid}/v2.0
    tenants: [11111111-1111-1111-1111-111111111111]
    discovery_url: https://login.example.com/common
    audiences: [orders-api]
    required_claims: { ver: '2.0' }
    token_from: [{ cookie: session }]
  - { name: mesh, issuer: spiffe://example.org, audiences: [orders-api], jwks: { file: keys.json }, token_from: [{ query: jwt }] }
upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }], forward_token: false }
response_headers: [{ header: x-user, claim: sub }]
rules:
  - { name: health, match: { path: { exact: /healthz } }, access: public }
  - { name: write, match: { methods: [POST] }, scopes: write, condition: 'source.address == \"10.0.0.1\" && context.team == \"a\"' }
";

fn write(directory: &Path, cases: &Value) -> String {
    std::fs::write(directory.join("claimgate.yaml"), CONFIG).unwrap();
    let keys = json!({"keys": [signer(Es256, "real").jwk()]});
    std::fs::write(directory.join("keys.json"), keys.to_string()).unwrap();
    let file = directory.join("policy.test.yaml");
    let suite = json!({"config": "claimgate.yaml", "now": "2026-01-01T00:00:00Z", "cases": cases});
    std::fs::write(&file, suite.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

async fn test(cases: Value, more: &[&str]) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), &cases);
    let arguments: Vec<&str> = ["test", &file]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    run(&arguments, "").await
}

#[tokio::test]
async fn cases_pass() {
    let claims = json!({"iss": "https://idp.example.com", "aud": "orders-api", "exp": 1_767_229_200, "sub": "alice"});
    let real = signer(Es256, "real").token(&claims).unwrap();
    let forged = signer(Es256, "forged").token(&claims).unwrap();
    let outcome = test(
        json!([
            {"name": "public", "request": {"path": "/healthz"},
             "expect": {"decision": "allow", "rule": "health", "removed": ["x-auth-subject"]}},
            {"name": "no token", "expect": {"reason": "missing_token", "status": 401, "rule": "default",
             "headers": {"www-authenticate": "Bearer realm=\"localhost\""},
             "body": "{\"error\":\"Missing or invalid Authorization header\",\"reason\":\"missing_token\"}"}},
            {"name": "minted", "token": {"provider": "acme", "claims": {"sub": "alice"}},
             "expect": {"decision": "allow", "provider": "acme", "headers": {"x-auth-subject": "alice"},
             "response_headers": {"x-user": "alice"}, "removed": ["authorization"]}},
            {"name": "a tenant's, in its cookie", "token": {"provider": "entra", "claims": {"sub": "bob"}},
             "request": {"headers": {"cookie": "a=b"}},
             "expect": {"decision": "allow", "provider": "entra", "headers": {"x-auth-subject": "bob", "cookie": "a=b"}}},
            {"name": "another tenant's", "token": {"provider": "entra", "claims": {"tid": "22222222-2222-2222-2222-222222222222"}},
             "expect": {"reason": "unknown_issuer"}},
            {"name": "a workload's, in the query", "token": {"provider": "mesh"}, "request": {"path": "/x?a=b"},
             "expect": {"decision": "allow", "headers": {"x-auth-subject": "spiffe://example.org/test"}}},
            {"name": "a claim is taken away", "token": {"provider": "acme", "claims": {"aud": null}},
             "expect": {"reason": "missing_claim"}},
            {"name": "the header is changed", "token": {"provider": "acme", "header": {"typ": "logout+jwt"}},
             "expect": {"reason": "unsupported_type"}},
            {"name": "a real token", "raw_token": real, "expect": {"decision": "allow", "headers": {"x-auth-subject": "alice"}}},
            {"name": "a forged one", "raw_token": forged, "expect": {"reason": "unknown_key"}},
            {"name": "source and context", "token": {"provider": "acme", "claims": {"scope": "write"}},
             "request": {"method": "POST", "host": "a.example", "source": {"address": "10.0.0.1", "principal": "p", "certificate": "c"}, "context": {"team": "a"}},
             "expect": {"decision": "allow", "rule": "write"}},
            {"name": "another source", "token": {"provider": "acme", "claims": {"scope": "write"}},
             "request": {"method": "POST", "context": {"team": "a"}}, "expect": {"reason": "access_denied", "status": 403}},
            {"name": "two lines of a header", "request": {"headers": {"authorization": ["Bearer a", "Bearer b"]}},
             "expect": {"reason": "malformed_authorization"}},
        ]),
        &[],
    )
    .await;
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.out, outcome.err);
    assert!(
        outcome.out.ends_with("\n13 passed, 0 failed\n"),
        "{}",
        outcome.out
    );
}

/// Every expectation can fail.
#[tokio::test]
async fn cases_fail() {
    let expectations = json!([
        {"decision": "deny"},
        {"decision": "metadata"},
        {"reason": "expired"},
        {"decision": "allow", "rule": "health"},
        {"decision": "allow", "provider": "entra"},
        {"decision": "allow", "status": 401},
        {"decision": "allow", "headers": {"x-auth-subject": "bob"}},
        {"decision": "allow", "headers": {"x-other": "alice"}},
        {"decision": "allow", "removed": ["x-other"]},
        {"decision": "allow", "response_headers": {"x-user": "bob"}},
        {"decision": "allow", "body": "x"},
    ]);
    let token = json!({"provider": "acme", "claims": {"sub": "alice"}});
    let cases: Vec<Value> = expectations
        .as_array()
        .unwrap()
        .iter()
        .map(|expect| json!({"name": expect.to_string(), "token": token, "expect": expect}))
        .collect();
    let count = cases.len();
    let outcome = test(Value::from(cases), &["--output", "json"]).await;
    assert_eq!(outcome.code, Some(1), "{}{}", outcome.out, outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&0.into(), &count.into()),
        "{report:#}"
    );
    for case in report["files"][0]["cases"].as_array().unwrap() {
        assert_eq!(case["passed"], false, "{case}");
        assert!(
            case["explanation"].as_str().unwrap().contains("ALLOW"),
            "{case}"
        );
    }
}

#[tokio::test]
async fn reports() {
    let cases = json!([
        {"name": "good <&> \"quoted\"", "request": {"path": "/healthz"}, "expect": {"decision": "allow"}},
        {"name": "bad", "expect": {"reason": "expired", "status": 401}},
    ]);
    let text = test(cases.clone(), &[]).await;
    assert_eq!(text.code, Some(1));
    for part in [
        "  ok    good <&> \"quoted\"\n",
        "  FAIL  bad  (",
        "        reason\n        - expected  expired\n        + found     missing_token\n",
        "skip  rule        `health`: its path is `/healthz`",
        "FAIL  missing_token: the request has no `Authorization: Bearer` header",
        "\n1 passed, 1 failed\n",
    ] {
        assert!(text.out.contains(part), "{part}\n{}", text.out);
    }
    let junit = test(cases, &["--output", "junit"]).await;
    assert_eq!(junit.code, Some(1));
    for part in [
        "tests=\"2\" skipped=\"0\" failures=\"1\"",
        "name=\"good &lt;&amp;&gt; &quot;quoted&quot;\"",
        "<failure message=\"reason: expected expired, found missing_token\">",
    ] {
        assert!(junit.out.contains(part), "{part}\n{}", junit.out);
    }
}

#[tokio::test]
async fn a_wrong_file_is_refused_whole() {
    for (suite, expected) in [
        ("cases: []", "config: missing; name the configuration file"),
        (
            "config: claimgate.yaml",
            "cases: missing; a file without cases tests nothing",
        ),
        ("config: claimgate.yaml\ncases: []", "cases: empty"),
        ("config: other.yaml\ncases: []", "other.yaml"),
        (
            "config: claimgate.yaml\nnow: today\ncases: []",
            "2:6: now: `today` is not a time",
        ),
        (
            "config: claimgate.yaml\ncases: [{ expect: { decision: allow } }]",
            "cases[0]: missing field `name`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a }]",
            "cases[0]: missing field `expect`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: {} }]",
            "missing field `decision`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, token: { provider: acme, claims: { id: 104567890123456789012 } }, expect: { decision: allow } }]",
            "cases[0].token.claims.id: the nearest number that can be read here is 104567890123456790000",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: { decision: maybe } }]",
            "`maybe` is not one of `allow`, `deny`, `metadata`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: { decision: metadata, reason: expired } }]",
            "only a denial has a `reason`, enforced (`deny`) or not (`allow`)",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: { reason: late } }]",
            "`late` is not one of `missing_token`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: { decision: allow, rule: helth } }]",
            "`helth` is not one of `health`, `write`, `default`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, token: {}, expect: { decision: allow } }]",
            "missing field `provider`: name the provider of the token",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, token: { provider: b }, expect: { decision: allow } }]",
            "no provider is called `b`; configured: `acme`, `entra`, `mesh`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, token: { provider: acme }, raw_token: b, expect: { decision: allow } }]",
            "exclude each other",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: { decision: deny, removed: [~] } }]",
            "an entry is empty",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, expect: { decision: deny, headers: {} } }]",
            "empty; remove it",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, request: { headers: { x-a: [] } }, expect: { decision: deny } }]",
            "empty; remove it",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, request: { context: { a: ~ } }, expect: { decision: deny } }]",
            "`a` has no value",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: '', expect: { decision: deny } }]",
            "an empty `name`",
        ),
        (
            "config: claimgate.yaml\ncases: [{ name: a, reqest: {}, expect: { decision: allow } }]",
            "did you mean `request`?",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = write(directory.path(), &json!([]));
        std::fs::write(&file, suite).unwrap();
        let outcome = run(&["test", &file], "").await;
        assert_eq!(outcome.code, Some(2), "{suite}\n{}", outcome.out);
        assert!(outcome.err.contains(expected), "{suite}\n{}", outcome.err);
        assert_eq!(outcome.out, "");
    }
}
