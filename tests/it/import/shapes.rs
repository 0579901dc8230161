//! Values of another shape than their field has.

use serde_json::Value;

use super::{Kind, imported, notes};
use crate::support::command::run;

/// Istio's authentication for tokens of one issuer, with these fields, and this policy.
pub fn istio(rule: &str, policy: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: idp, namespace: shop }}
spec: {{ jwtRules: [{{ issuer: 'https://idp.example.com', {rule} }}] }}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: p, namespace: shop }}
spec: {policy}
"
    )
}

/// Envoy Gateway's policy with these fields in its provider and beside `jwt`.
fn gateway(provider: &str, beside: &str) -> String {
    format!(
        "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{ name: p, namespace: shop }}
spec:
  jwt: {{ providers: [{{ name: acme, issuer: 'https://idp.example.com', remoteJWKS: {{ uri: 'https://idp.example.com/jwks' }}, {provider} }}] }}
  {beside}
"
    )
}

/// Kubernetes refuses such an object, so nobody knows what it was meant to allow.
#[test]
fn objects_of_another_shape_deny() {
    let allow = |rule: &str| istio("", &format!("{{ rules: [{rule}] }}"));
    let deny = |rule: &str| istio("", &format!("{{ action: DENY, rules: [{rule}] }}"));
    let rules = |rule: &str| gateway("", &format!("authorization: {{ rules: [{rule}] }}"));
    let cases = [
        (allow("{ to: [{ operation: { paths: /a } }] }"), "paths"),
        (
            allow("{ to: [{ operation: { methods: GET } }] }"),
            "methods",
        ),
        (
            allow("{ to: [{ operation: { notPaths: /a } }] }"),
            "notPaths",
        ),
        (
            allow("{ to: [{ operation: { paths: [/a, {}] } }] }"),
            "paths[1]",
        ),
        (allow("{ to: { operation: { paths: [/a] } } }"), "to"),
        (allow("{ from: { source: { namespaces: [a] } } }"), "from"),
        (
            allow("{ when: { key: source.namespace, values: [a] } }"),
            "when",
        ),
        (
            allow("{ when: [{ key: source.namespace, values: a }] }"),
            "values",
        ),
        (istio("", "{ rules: { to: [] } }"), "rules"),
        (istio("", "{ action: DENY, rules: { to: [] } }"), "rules"),
        (deny("{ to: [{ operation: { paths: /a } }] }"), "paths"),
        (
            deny("{ to: [{ operation: { paths: [/a, {}] } }] }"),
            "paths[1]",
        ),
        (istio("", "{ action: [DENY], rules: [{}] }"), "action"),
        (istio("", "{ selector: a, rules: [{}] }"), "selector"),
        (
            istio("", "{ selector: { matchLabels: a }, rules: [{}] }"),
            "matchLabels",
        ),
        (
            istio(
                "",
                "{ targetRefs: { kind: Service, name: a }, rules: [{}] }",
            ),
            "targetRefs",
        ),
        (
            rules("{ action: Allow, operation: { methods: GET } }"),
            "methods",
        ),
        (
            rules("{ action: Allow, principal: { headers: { name: a, values: [b] } } }"),
            "headers",
        ),
        (
            rules("{ action: Allow, principal: { headers: [{ name: a, values: b }] } }"),
            "values",
        ),
        (
            rules("{ action: Allow, principal: { jwt: { provider: acme, scopes: a } } }"),
            "scopes",
        ),
        (
            rules(
                "{ action: Allow, principal: { jwt: { provider: acme, claims: { name: a, values: [b] } } } }",
            ),
            "claims",
        ),
        (
            rules(
                "{ action: Allow, principal: { jwt: { provider: acme, claims: [{ name: a, values: b }] } } }",
            ),
            "values",
        ),
        (
            gateway(
                "",
                "authorization: { defaultAction: Allow, rules: { action: Deny } }",
            ),
            "rules",
        ),
        (
            gateway(
                "",
                "authorization: { defaultAction: Allow, rules: [{ action: Deny, principal: { headers: [{ name: a, values: [b, {}] }] } }] }",
            ),
            "values[1]",
        ),
    ];
    for (source, field) in cases {
        let found = imported(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let configuration: Value = serde_saphyr::from_str(&found.configuration).unwrap();
        let rules = configuration["rules"].as_array().unwrap();
        let opens = rules.iter().any(|rule| rule["access"] != "deny");
        assert!(!opens, "{source}\n{}", found.configuration);
        let left_out = notes(&found, Kind::LeftOut);
        let is_named = left_out.iter().any(|note| note.contains(field));
        assert!(is_named, "{field}: {left_out:?}");
    }
}

/// Without its list, a provider would accept more tokens.
#[test]
fn providers_of_another_shape_accept_nothing() {
    let envoy = |fields: &str| {
        format!(
            "providers: {{ acme: {{ issuer: 'https://idp.example.com', local_jwks: {{ filename: k }}, {fields} }} }}\n\
             rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: acme }} }}]"
        )
    };
    for source in [
        istio("audiences: a", "{ rules: [{}] }"),
        istio("audiences: [{}]", "{ rules: [{}] }"),
        istio("fromHeaders: { name: x-t }", "{ rules: [{}] }"),
        gateway("audiences: a", ""),
        gateway("audiences: [{}]", ""),
        envoy("audiences: [{}]"),
        envoy("audiences: [~]"),
        envoy("audiences: [1.10]"),
        envoy("audiences: { a: b }"),
        envoy("audiences: [a], Audiences: [b]"),
        envoy("from_headers: [{ name: x-a }], fromHeaders: [{ name: x-b }]"),
        envoy("from_headers: [{ name: x-a, only_for: b }]"),
        envoy("max_lifetime: long"),
        envoy("remote_jwks: { http_uri: { uri: 'https://a.example.com' } }"),
        envoy("subjects: { exact: a, prefix: b }"),
    ] {
        let found = imported(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let configuration: Value = serde_saphyr::from_str(&found.configuration).unwrap();
        let issuer = configuration["providers"][0]["issuer"].as_str().unwrap();
        assert!(
            issuer.ends_with(".invalid"),
            "{source}\n{}",
            found.configuration
        );
        assert!(!notes(&found, Kind::LeftOut).is_empty(), "{source}");
    }
}

/// What claimgate does not accept is replaced by something stricter, and the note names its place in the source.
#[test]
fn values_that_claimgate_refuses_are_left_out() {
    let long = "x".repeat(1100);
    let two = |first: &str, second: &str| {
        format!(
            "providers:\n  acme: {{ issuer: 'https://idp.example.com', local_jwks: {{ filename: k }}, {first} }}\n  \
             other: {{ issuer: 'https://other.example.com', local_jwks: {{ filename: k }}, {second} }}\n\
             rules: [{{ match: {{ prefix: / }}, requires: {{ provider_name: acme }} }}]"
        )
    };
    for (source, line, written) in [
        ("providers: { acme: { issuer: ' https://idp.example.com', local_jwks: { filename: k } } }".to_owned(), 1, "issuer: https://acme.invalid"),
        ("providers: { acme: { issuer: \"https://idp.example.com/\\uFFFE\", local_jwks: { filename: k } } }".to_owned(), 0, "\\ufffe"),
        (two("audiences: [' a', b]", ""), 2, "audiences: [b]"),
        (two("audiences: ['', b]", ""), 2, "audiences: [b]"),
        (two("audiences: [any, b]", ""), 2, "audiences: [b]"),
        (two("audiences: [any]", ""), 2, "issuer: https://acme.invalid"),
        (two("audiences: [a]", "audiences: ['']"), 3, "issuer: https://other.invalid"),
        (two("audiences: [\"\\uFFFF\"]", ""), 0, "\\uffff"),
        (two("from_headers: [{ name: Authorization }]", ""), 3, "tokens are not taken from the header `authorization` with `Bearer`"),
        (two("", "from_headers: [{ name: Authorization }]"), 3, "`x-token-of-other` only stands for a place"),
        (two("from_headers: [{ name: x-t }, { name: x-t, value_prefix: 'T ' }]", ""), 2, "tokens are not taken from the header `x-t` with `T`"),
        (two(&format!("claim_to_headers: [{{ header_name: x-a, claim_name: {long} }}]"), ""), 2, "the header `x-a` is only removed"),
        (
            format!("providers: {{ acme: {{ issuer: 'https://idp.example.com', local_jwks: {{ filename: k }} }} }}\n\
                     rules:\n- {{ match: {{ prefix: /, headers: [{{ name: {long}, exact_match: a }}] }}, requires: {{ provider_name: acme }} }}"),
            0,
            "headers: { ? x",
        ),
    ] {
        let found = imported(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let text = found.configuration.replace("\n    #   ", " ").replace("\n  #   ", " ");
        assert!(text.contains(written), "{source}: no `{written}` in\n{text}");
        let left_out: Vec<_> = found.notes.iter().filter(|note| note.kind == Kind::LeftOut).collect();
        assert_eq!(left_out.is_empty(), line == 0, "{source}: {left_out:?}");
        if let Some(note) = left_out.first() {
            assert_eq!(note.place.line, line, "{source}: {note:?}");
        }
        let parsed: Result<Value, _> = serde_saphyr::from_str(&found.tests);
        assert!(parsed.is_ok(), "{source}\n{}", found.tests);
    }
}

/// Conditions that no valid token can meet, and conditions on what a test cannot send, still leave cases that pass.
#[tokio::test]
async fn tests_of_odd_conditions_pass() {
    let directory = tempfile::tempdir().unwrap();
    let when = |key: &str, value: &str| {
        istio(
            "audiences: [api]",
            &format!("{{ rules: [{{ when: [{{ key: '{key}', values: ['{value}'] }}] }}] }}"),
        )
    };
    let deny = |source: &str| {
        istio(
            "",
            &format!("{{ action: DENY, rules: [{{ from: [{{ source: {source} }}] }}] }}"),
        )
    };
    let claims = |name: &str, kind: &str| {
        gateway(
            "audiences: [api]",
            &format!(
                "authorization: {{ rules: [{{ action: Allow, principal: {{ jwt: {{ provider: acme, claims: [{{ name: {name}, valueType: {kind}, values: [x] }}] }} }} }}] }}"
            ),
        )
    };
    let long = "x".repeat(1100);
    for (index, source) in [
        when("request.auth.claims[exp]", "s"),
        when("request.auth.claims[iat]", "*"),
        when("request.auth.audiences", "other"),
        when("request.auth.claims[sub]", "a"),
        when(&format!("request.auth.claims[{long}]"), "a"),
        deny("{ namespaces: [evil] }"),
        deny("{ ipBlocks: [10.0.0.0/8] }"),
        claims("sub", "StringArray"),
        claims("aud", "StringArray"),
        claims("exp", "String"),
    ]
    .into_iter()
    .enumerate()
    {
        let found = imported(&source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let own = directory.path().join(index.to_string());
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("claimgate.yaml"), &found.configuration).unwrap();
        let file = own.join("policy.test.yaml").display().to_string();
        std::fs::write(&file, &found.tests).unwrap();
        let outcome = run(&["test", &file], "").await;
        assert_eq!(
            outcome.code,
            Some(0),
            "{source}\n{}{}\n{}",
            outcome.out,
            outcome.err,
            found.tests
        );
    }
}
