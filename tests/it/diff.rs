//! `claimgate diff`: what it says about two configurations, and that its examples are true.

use std::ops::Range;

use claimgate::config::Config;
use claimgate::diff::{self, Differences, Limits};
use claimgate::time::UnixTime;

mod command;
mod log_cases;
mod logs;
mod random;
mod unproven;
mod verify;
mod widenings;

use verify::Verifier;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// Compares two texts, and checks every example by a judge of its own.
fn compare(old: &str, new: &str, limits: Limits) -> Differences {
    let load = |text: &str| Config::from_yaml(text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let (old, new) = (load(old), load(new));
    let differences = diff::configs(&old, &new, NOW, limits).unwrap();
    Verifier::new(&old, &new).check(&differences);
    differences
}

const HEAD: &str = "
providers:
  - { name: acme, issuer: https://idp.example.com, audiences: [api] }
  - { name: beta, issuer: https://beta.example.com, audiences: [api] }
";

fn with_rules(rules: &str) -> String {
    format!("{HEAD}rules:\n{rules}")
}

/// Pairs of rules, and lines of the report.
#[test]
fn rules_in_words() {
    for (old, new, expected) in [
        (
            "  - { name: a, match: { path: { prefix: /a } }, scopes: [x, w] }",
            "  - { name: a, match: { path: { prefix: /a } }, scopes: [x] }",
            &[
                "widened: 1 rule",
                "rule `a`: widened",
                "`scopes`: `w` removed",
                "a token of `acme` with {\"scope\":\"x\"}",
                "before: deny, 403 insufficient_scope, by rule `a`",
                "after:  allow, by rule `a`",
            ][..],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, access: public }",
            "  - { name: a, match: { path: { prefix: /a } }, access: optional }",
            &[
                "narrowed: 1 rule",
                "`access`: `public` → `optional`",
                "a text that is not a token",
                "after:  deny, 401 malformed_token, by rule `a`",
            ],
        ),
        (
            "  - { name: a, match: { path: { regex: '/a/[0-9]+' } }, access: public }",
            "  - { name: a, match: { path: { regex: '/a/[0-9a-f]+' } }, access: public }",
            &["rule `a`: widened", "GET api.example.com/a/a", "no token"],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, access: deny }\n  - { name: b, match: { path: { exact: /b } }, access: public }",
            "  - { name: b, match: { path: { exact: /b } }, access: public }",
            &[
                "rule `a`: removed, widened",
                "was at position 1",
                "after:  allow, by rule `default`",
            ],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, scopes: [x] }\n  - { name: b, match: { methods: [POST] }, scopes: [w] }",
            "  - { name: b, match: { methods: [POST] }, scopes: [w] }\n  - { name: a, match: { path: { prefix: /a } }, scopes: [x] }",
            &[
                "rule `b`: widened, narrowed",
                "moved from position 2 to 1, before `a`",
                "POST api.example.com/a",
                "before: deny, 403 insufficient_scope, by rule `a`",
                "after:  allow, by rule `b`",
            ],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, condition: 'claims.level >= 3' }",
            "  - { name: a, match: { path: { prefix: /a } }, condition: 'claims.level >= 2' }",
            &[
                "rule `a`: widened",
                "with {\"level\":2}",
                "`condition`: `claims.level >= 3` → `claims.level >= 2`",
            ],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, condition: 'claims.orgs.exists(o, o.id == \"x\") && source.address == \"10.0.0.1\"' }",
            "  - { name: a, match: { path: { prefix: /a } }, condition: 'source.address == \"10.0.0.1\"' }",
            &["rule `a`: widened", "from the address 10.0.0.1"],
        ),
        (
            "  - { name: a, match: { path: { prefix: /users } }, condition: 'request.path.startsWith(\"/users/\" + claims.sub)' }",
            "  - { name: a, match: { path: { prefix: /users } } }",
            &["rule `a`: widened", "GET api.example.com/users"],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, condition: 'now < timestamp(\"2030-01-01T00:00:00Z\")' }",
            "  - { name: a, match: { path: { prefix: /a } }, condition: 'now < timestamp(\"2031-01-01T00:00:00Z\")' }",
            &["rule `a`: widened", "at 2030-"],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a }, headers: { x-env: [dev, test] } }, access: public }",
            "  - { name: a, match: { path: { prefix: /a }, headers: { x-env: dev } }, access: public }",
            &[
                "rule `a`: narrowed",
                "x-env: test",
                "after:  deny, 401 missing_token, by rule `default`",
            ],
        ),
        (
            "  - { name: a, match: { path: { prefix: /mcp }, mcp: { methods: [tools/call], names: [x] } }, scopes: [t] }",
            "  - { name: a, match: { path: { prefix: /mcp }, mcp: { methods: [tools/call], names: [x, z] } }, scopes: [t] }",
            &["rule `a`: narrowed", "mcp-name: z"],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, max_age: 1h }",
            "  - { name: a, match: { path: { prefix: /a } }, max_age: 10h }",
            &["rule `a`: widened", "`auth_time` "],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, providers: [acme] }",
            "  - { name: a, match: { path: { prefix: /a } }, providers: [acme, beta] }",
            &["rule `a`: widened", "a token of `beta`"],
        ),
        (
            "  - { name: a, only_by_name: true, access: public }",
            "  - { name: a, only_by_name: true, scopes: x }",
            &["rule `a`: narrowed", "with the context claimgate.rule=a"],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, scopes: x }",
            "  - { name: b, match: { path: { prefix: /a } }, scopes: x }",
            &[
                "the configurations differ, but no request was found that they judge otherwise",
                "renamed from `a`",
                "no proof",
            ],
        ),
        (
            "  - { name: a, match: { path: { prefix: /a } }, scopes: [x, w] }",
            "  # A comment.\n  - name: a\n    match: { path: { prefix: [/a] } }\n    scopes: [w, x]",
            &["no difference: providers, rules and all other settings are the same"],
        ),
        (
            "  - { name: a, match: { hosts: [a.example.com] }, scopes: x }",
            "  - { name: a, match: { path: { prefix: /a } }, scopes: x }",
            &["requests with an ambiguous host: widened"],
        ),
    ] {
        let (before, after) = (with_rules(old), with_rules(new));
        // The report of a missing rule is not asked for in pairs that are refused.
        let text = compare(&before, &after, Limits::default()).text();
        for line in expected {
            assert!(text.contains(line), "no {line:?} for\n{old}\n{new}\n{text}");
        }
    }
}

/// Two rules or providers that would read alike if their values were shown without quotes, and the words
/// for the change.
#[test]
fn values_that_read_alike() {
    let rule = |own: &str| {
        with_rules(&format!(
            "  - {{ name: a, match: {{ path: {{ prefix: /a }} }}, {own} }}"
        ))
    };
    let matching = |own: &str| {
        with_rules(&format!(
            "  - {{ name: a, match: {{ path: {{ prefix: /a }}, {own} }}, access: public }}"
        ))
    };
    let provider = |own: &str| {
        format!(
            "providers:\n  - {{ name: acme, issuer: https://idp.example.com, {own} }}\n\
             rules: [{{ name: a, scopes: x, match: {{ path: {{ prefix: /a }} }} }}]\n"
        )
    };
    for (old, new, expected) in [
        (
            rule("claims: { team: ['a or b'] }"),
            rule("claims: { team: [a, b] }"),
            "`claims`: `team is \"a or b\"` removed, `team is a or b` added",
        ),
        (
            rule("claims: { a: ['b is c'] }"),
            rule("claims: { 'a is b': [c] }"),
            "`claims`: `a is \"b is c\"` removed, `\"a is b\" is c` added",
        ),
        (
            matching("headers: { x-env: ['any value'] }"),
            matching("headers: { x-env: any }"),
            "`match.headers`: `x-env: \"any value\"` removed, `x-env: any value` added",
        ),
        (
            matching("headers: { x-env: ['a or b'] }"),
            matching("headers: { x-env: [a, b] }"),
            "`match.headers`: `x-env: \"a or b\"` removed, `x-env: a or b` added",
        ),
        (
            provider("audiences: [api], scope_claims: ['a, b']"),
            provider("audiences: [api], scope_claims: [a, b]"),
            "`scope_claims`: `\"a, b\"` → `a, b`",
        ),
        (
            provider("audiences: [api], required_claims: { ver: ['1 or 2'] }"),
            provider("audiences: [api], required_claims: { ver: ['1', '2'] }"),
            "`required_claims`: `ver is \"1 or 2\"` removed, `ver is 1 or 2` added",
        ),
    ] {
        let differences = compare(&old, &new, Limits::default());
        let text = differences.text();
        for line in [expected, "widened"] {
            assert!(text.contains(line), "no {line:?} for\n{old}\n{new}\n{text}");
        }
    }
}

/// A setting of a provider, or of everything, and lines of the report.
#[test]
fn settings_in_words() {
    let provider = |more: &str| {
        format!(
            "providers:\n  - {{ name: acme, issuer: https://idp.example.com, audiences: [api]{more} }}\n"
        )
    };
    let all = |more: &str| format!("{HEAD}{more}\n");
    for (old, new, expected) in [
        (
            provider(""),
            provider("").replace("[api]", "[api, other]"),
            &[
                "provider `acme`: widened",
                "`audiences`: `other` added",
                "`aud`: \"other\"",
            ][..],
        ),
        (
            provider(", clock_skew: 30s"),
            provider(", clock_skew: 60s"),
            &["provider `acme`: widened", "`exp` 30 s ago"],
        ),
        (
            provider(""),
            provider(", max_lifetime: 5m"),
            &["provider `acme`: narrowed", "`exp` in 600 s"],
        ),
        (
            provider(", algorithms: [RS256, ES256]"),
            provider(", algorithms: [ES256]"),
            &["provider `acme`: narrowed", "signed with RS256"],
        ),
        (
            provider(", required_claims: { ver: '2' }"),
            provider(""),
            &["provider `acme`: widened", "no `ver`"],
        ),
        (
            provider(", token_types: [at+jwt]"),
            provider(", token_types: [at+jwt, jwt]"),
            &["provider `acme`: widened", "`typ: jwt`"],
        ),
        (
            provider(", token_from: [{ header: authorization, scheme: Bearer }]"),
            provider(", token_from: [{ header: authorization, scheme: Bearer }, { cookie: s }]"),
            &["provider `acme`: widened", "in the cookie `s`"],
        ),
        (
            provider(", scope_claims: [scope]")
                + "rules: [{ name: a, scopes: x, match: { path: { prefix: /a } } }]\n",
            provider(", scope_claims: [scp]")
                + "rules: [{ name: a, scopes: x, match: { path: { prefix: /a } } }]\n",
            &[
                "provider `acme`: widened, narrowed",
                "{\"scp\":\"x\"}",
                "{\"scope\":\"x\"}",
            ],
        ),
        (
            provider(""),
            provider(", jwks: { uri: 'https://idp.example.com/keys?secret=1' }"),
            &["`jwks.uri`: not set → ", "secret=(redacted:"],
        ),
        (
            provider(", jwks: { uri: 'https://idp.example.com/keys?secret=1' }"),
            provider(", jwks: { uri: 'https://idp.example.com/keys?secret=2' }"),
            &[
                "differ, but no request was found",
                "`jwks.uri`: `https://idp.example.com/keys?secret=(redacted:",
            ],
        ),
        (
            provider(", fetch: { proxy: 'http://user:1@proxy.example.com' }"),
            provider(", fetch: { proxy: 'http://user:2@proxy.example.com' }"),
            &["differ, but no request", "`fetch.proxy`: `"],
        ),
        (
            provider(""),
            all(""),
            &["provider `beta`: added, widened", "a token of `beta`"],
        ),
        (
            all(""),
            provider(""),
            &["provider `beta`: removed, narrowed", "401 unknown_issuer"],
        ),
        (
            all(""),
            all("enforce: false"),
            &[
                "setting `enforce`: widened",
                "after:  allow (not enforced: missing_token)",
            ],
        ),
        (
            all("upstream: { claim_headers: [{ header: x-user, claim: sub }] }"),
            all("upstream: { claim_headers: [{ header: x-who, claim: sub }] }"),
            &[
                "setting `upstream`: other headers",
                "only before: removes `x-user`",
            ],
        ),
        (
            all("rules: [{ name: a, match: { path: { prefix: /a } } }]"),
            all("rules: [{ name: a, match: { path: { prefix: /a } } }]\ncors_preflight: allow"),
            &[
                "setting `cors_preflight`: widened",
                "OPTIONS api.example.com",
            ],
        ),
        (
            all(""),
            all(
                "protected_resources: [{ resource: https://api.example.com/mcp, authorization_servers: [https://idp.example.com] }]",
            ),
            &[
                "setting `protected_resources`: other answer",
                "/.well-known/oauth-protected-resource/mcp",
            ],
        ),
        (
            all("rules: [{ name: a, match: { path: { prefix: /a } } }]"),
            all("rules: [{ name: a, match: { path: { prefix: /a } } }]\npaths: as_is"),
            &["setting `paths`: widened"],
        ),
        (
            all(""),
            all("log: { level: debug }"),
            &[
                "every request is judged alike; only settings that no decision uses differ",
                "`log.level`: `info` → `debug`",
            ],
        ),
        (
            all(""),
            all("denials: { realm: orders }"),
            &["`denials.realm`: not set → `orders`"],
        ),
    ] {
        let text = compare(&old, &new, Limits::default()).text();
        for line in expected {
            assert!(text.contains(line), "no {line:?} for\n{old}\n{new}\n{text}");
        }
    }
}

/// Each example of 200 random pairs is judged otherwise; equal pairs have none; and no other random
/// request is judged otherwise in a way that the search has not found.
#[test]
fn random_pairs() {
    random_pairs_of(0..100);
}

/// As above: the tests of a file run beside each other.
#[test]
fn more_random_pairs() {
    random_pairs_of(100..200);
}

fn random_pairs_of(seeds: Range<u64>) {
    let limits = Limits {
        shapes: 1000,
        trials: 400,
        tokens: 100,
    };
    let mut equal = 0;
    let mut with_examples = 0;
    for seed in seeds {
        let (old, new) = random::pair(seed);
        let load = |text: &str| Config::from_yaml(text).unwrap();
        let differences = compare(&old, &new, limits);
        let missed = Verifier::new(&load(&old), &load(&new)).missed(&differences, seed);
        assert!(
            missed.is_empty(),
            "seed {seed}: {missed:#?}\n{old}\n{new}\n{}",
            differences.text()
        );
        if differences.is_equal {
            equal += 1;
        }
        if differences.examples().next().is_some() {
            with_examples += 1;
        }
    }
    assert!(equal >= 5, "only {equal} pairs are equal");
    assert!(
        with_examples >= 60,
        "only {with_examples} pairs have examples"
    );
}
