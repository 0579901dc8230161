//! Values of another shape than their field has.

use serde_json::Value;

use super::{Kind, imported, notes};

/// Istio's authentication for tokens of one issuer, with these fields, and this policy.
fn istio(rule: &str, policy: &str) -> String {
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
