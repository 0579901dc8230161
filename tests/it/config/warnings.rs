//! Warnings about settings that work but are probably not what the operator wants.

use super::{problems, warnings};
use crate::support::examples::configurations;

fn with(sections: &str) -> String {
    format!("providers: [{{ name: acme, issuer: https://a.example, audiences: a }}]\n{sections}")
}

fn rule(more: &str) -> String {
    with(&format!("rules: [{{ name: r, {more} }}]"))
}

fn provider(more: &str) -> String {
    format!("providers: [{{ issuer: https://a.example, audiences: a, {more} }}]\n")
}

#[test]
fn one_by_one() {
    for (yaml, expected) in [
        (
            provider("required: false"),
            "1:12: providers: warning: no provider is `required`, so the service is ready even without",
        ),
        (
            format!(
                "{}  - {{ issuer: https://b.example, audiences: b, required: false, \
                 fetch: {{ startup_grace: 1m }} }}\n",
                "providers:\n  - { issuer: https://a.example, audiences: a }\n"
            ),
            "3:89: providers[1].fetch.startup_grace: warning: has no effect, because `required: false`",
        ),
        (
            rule("audit: always"),
            "rules[0].audit: warning: nothing is written without a `decision_log`",
        ),
        (
            with("decision_log: { path: a, claims: ['*'] }"),
            "decision_log.claims[0]: warning: `*` is the name of one claim: list each claim to write",
        ),
        (
            with("decision_log: { path: a, claims: act.refresh_token }"),
            "decision_log.claims: warning: `act.refresh_token` looks like a secret, which must not be in a log",
        ),
        (
            rule("access: public"),
            "2:9: rules[0]: warning: without a `path`, every path is open to requests without a token",
        ),
        (rule("access: optional"), "without a `path`, every path is open"),
        (
            rule("access: public, match: { methods: [GET] }"),
            "without a `path`, every path is open",
        ),
        (
            rule("access: public, match: { path: { prefix: / } }"),
            "its `path` matches every path",
        ),
        (
            rule("access: public, match: { path: { regex: '/.*' } }"),
            "its `path` matches every path",
        ),
        (
            rule("access: public, match: { path: { regex: '/[^/]*(/.*)?' } }"),
            "its `path` matches every path",
        ),
        (
            rule("access: optional, match: { path: { regex: '/([a-z0-9_-]+/?)*' } }"),
            "its `path` matches every path",
        ),
        (
            rule("access: public, condition: 'request.path.startsWith(\"/\")'"),
            "without a `path`, every path is open",
        ),
        (
            rule("access: public, condition: 'size(request.method) > 0'"),
            "without a `path`, every path is open",
        ),
        (
            rule("access: public, condition: '!(\"x-internal\" in request.headers)'"),
            "without a `path`, every path is open",
        ),
        (
            rule("access: public, condition: '!request.path.startsWith(\"/admin\")'"),
            "without a `path`, every path is open",
        ),
        (
            with(
                "rules: [{ name: r, access: deny, match: { path: { prefix: /a }, headers: { x-a: b } } }, \
                 { name: open, access: public, match: { path: { prefix: /a } } }]",
            ),
            "rules[0]: warning: a client that omits its header gets the rule `open`",
        ),
        (
            with(
                "rules: [{ name: r, scopes: s, match: { path: { prefix: /a/b }, headers: { x-a: any } } }, \
                 { name: open, access: optional, match: { path: { prefix: /a } } }]",
            ),
            "rules[0]: warning: a client that omits its header gets the rule `open`",
        ),
        (
            with(
                "rules: [{ name: r, match: { path: { prefix: /a }, hosts: a.example } }, \
                 { name: open, access: public, match: { path: { prefix: /a } } }]",
            ),
            "rules[0]: warning: a client that names another host gets the rule `open`",
        ),
        (
            rule("condition: 'true'"),
            "rules[0].condition: warning: it holds for every request",
        ),
        (rule("condition: '1 < 2'"), "it holds for every request"),
        (
            rule("condition: 'claims.a == 1 || true'"),
            "it holds for every request",
        ),
        (
            rule(r"access: public, match: { path: { regex: '.*\.css' } }"),
            r"`.*\.css` opens every path with this ending",
        ),
        (
            rule(r"access: public, match: { path: { regex: '/.*\.(css|js)' } }"),
            "opens every path with this ending",
        ),
        (
            rule("access: optional, match: { path: { regex: '/public.*' } }"),
            "`/public.*` also matches `/public-x/x`; write `/public(/.*)?`",
        ),
        (
            provider("").replace("audiences: a", "audiences: any"),
            "providers[0].audiences: warning: tokens for any other API are accepted too",
        ),
        (
            provider("").replace("audiences: a", "audiences: [account]"),
            "providers[0].audiences[0]: warning: Keycloak puts the audience `account`",
        ),
        (
            "providers: [{ issuer: 'https://a.example/{tenantid}/', audiences: a, tenants: any, discovery_url: https://a.example/common }]".to_owned(),
            "providers[0].tenants: warning: tokens of every tenant are accepted",
        ),
        (
            provider("jwks: { uri: https://a.example/k }").replace(
                "https://a.example,",
                "https://a.example/.well-known/openid-configuration,",
            ),
            "providers[0].issuer: warning: this is the URL of metadata",
        ),
        (
            with("paths: as_is\nrules: [{ name: r, access: public, match: { path: { prefix: /a } } }]"),
            "with `paths: as_is`, `/a/…` also matches `..` below it",
        ),
        (
            with("paths: as_is\nrules: [{ name: r, access: optional, match: { path: { regex: '/a/.*' } } }]"),
            "with `paths: as_is`, `/a/.*` also matches `..` below it",
        ),
        (
            rule("access: deny, match: { headers: { x-debug: any } }"),
            "can omit the header",
        ),
        (
            rule("access: deny, match: { hosts: a.example }"),
            "can name another host",
        ),
        (
            provider("token_from: [{ cookie: session }]"),
            "providers[0].token_from[0].cookie: warning: a browser sends a cookie even if another",
        ),
        (
            provider("token_from: [{ cookie: session }]")
                + "rules: [{ name: r, condition: 'claims.original == \"origin\"' }]",
            "a browser sends a cookie even if another",
        ),
        (
            provider("required_claims: { a: 'b ' }"),
            "providers[0].required_claims.a: warning: `b ` has white space",
        ),
    ] {
        let found = warnings(&yaml);
        assert!(
            matches!(found.as_slice(), [one] if one.contains(expected)),
            "{yaml}\n{found:#?}"
        );
    }
}

#[test]
fn no_cause_no_warning() {
    for yaml in [
        rule("access: public, match: { path: { prefix: /a } }"),
        rule("access: public, match: { path: { regex: '/public(/.*)?' } }"),
        rule("access: public, match: { path: { regex: '/public/.*' } }"),
        rule("access: public, match: { path: { regex: '/public/[^/]*' } }"),
        rule(r"access: public, match: { path: { regex: '/static/.*\.css' } }"),
        rule("access: public, match: { path: { regex: '/(a|b)' } }"),
        rule("match: { path: { regex: '/public.*' } }"),
        rule("access: public, match: { hosts: a.example, hosts_are_bound: true }"),
        rule("access: public, condition: 'request.path.startsWith(\"/a/\")'"),
        rule("access: public, only_by_name: true"),
        rule("access: deny, match: { hosts: a.example, hosts_are_bound: true }"),
        rule("access: deny, match: { headers: { x-a: b }, path: { prefix: /a } }"),
        rule("access: deny"),
        rule("access: public, condition: 'cidr(\"10.0.0.0/8\").containsIP(source.address)'"),
        rule("access: public, condition: 'now < timestamp(\"2030-01-01T00:00:00Z\")'"),
        rule("access: public, match: { path: { regex: '/[a-z]+' } }"),
        // A path without its header is still protected.
        with(
            "rules: [{ name: r, access: deny, match: { path: { prefix: /a }, headers: { x-a: b } } }, \
             { name: s, scopes: s, match: { path: { prefix: /a } } }, \
             { name: open, access: public, match: { path: { prefix: /b } } }]",
        ),
        with(
            "rules: [{ name: r, access: deny, match: { path: { prefix: /a }, headers: { x-a: b } } }, \
             { name: open, access: public, match: { path: { exact: /a/health } } }]",
        ),
        with(
            "rules: [{ name: r, match: { path: { prefix: /a }, hosts: a.example, hosts_are_bound: true } }, \
             { name: open, access: public, match: { path: { prefix: /a } } }]",
        ),
        with(
            "rules: [{ name: r, access: deny, match: { path: { prefix: /a }, headers: { x-a: b } } }, \
             { name: s, access: public, match: { path: { prefix: /a } }, \
             condition: 'cidr(\"10.0.0.0/8\").containsIP(source.address)' }]",
        ),
        rule("condition: 'claims.a == 1'"),
        with("paths: as_is\nrules: [{ name: r, access: public, match: { path: { exact: /a } } }]"),
        with(
            "paths: as_is\nrules: [{ name: r, access: public, match: { path: { regex: '/a/[^/]+' } } }]",
        ),
        provider("token_from: [{ cookie: session }]")
            + "rules: [{ name: r, condition: '!(\"origin\" in request.headers)' }]",
        provider("token_from: [{ cookie: session }]")
            + "rules: [{ name: r, match: { headers: { Sec-Fetch-Site: same-origin } } }]",
    ] {
        assert_eq!(warnings(&yaml), [""; 0], "{yaml}");
    }
}

/// The shipped configurations cause no warnings. What is imported means what its source means: if that
/// leaves something open, so does the result, and a warning says so.
#[test]
fn no_example_has_one() {
    let is_imported = |yaml: &str| yaml.starts_with("# `claimgate import` made this");
    for (origin, yaml) in configurations() {
        if is_imported(&yaml) {
            continue;
        }
        assert_eq!(warnings(&yaml), [""; 0], "{origin}\n{yaml}");
    }
}

/// Errors and warnings are reported together.
#[test]
fn they_do_not_hide_problems() {
    let yaml = rule("access: public, scopes: [a]");
    assert_eq!(problems(&yaml).len(), 1, "{:?}", problems(&yaml));
    let error = claimgate::config::Config::from_yaml(&yaml)
        .unwrap_err()
        .to_string();
    assert!(error.contains("warning: without a `path`"), "{error}");
}
