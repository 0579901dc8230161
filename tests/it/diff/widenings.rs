//! Widenings that a search overlooks easily: each is found, in words that show it.

use claimgate::diff::{Effect, Entry, Limits};

use super::{HEAD, compare, with_rules};

/// The report of a pair of configurations that must show a widening.
fn widened(old: &str, new: &str) -> String {
    let differences = compare(old, new, Limits::default());
    let text = differences.text();
    assert!(
        differences.has(Effect::Widened),
        "no widening for\n{old}\n{new}\n{text}"
    );
    text
}

fn check(pairs: &[(String, String)]) {
    for (old, new) in pairs {
        widened(old, new);
    }
}

fn rule(own: &str) -> String {
    with_rules(&format!(
        "  - {{ name: a, match: {{ path: {{ prefix: /a }} }}, {own} }}"
    ))
}

fn matching(own: &str) -> String {
    with_rules(&format!(
        "  - {{ name: a, match: {{ {own} }}, access: public }}"
    ))
}

fn provider(own: &str) -> String {
    with_provider(
        "audiences: [api]",
        own,
        "{ name: a, match: { path: { prefix: /a } } }",
    )
}

fn with_provider(audiences: &str, own: &str, rule: &str) -> String {
    format!(
        "providers:\n  - {{ name: acme, issuer: https://idp.example.com, {audiences}{own} }}\n\
         rules: [{rule}]\n"
    )
}

fn condition(expression: &str) -> String {
    rule(&format!("condition: {expression:?}"))
}

/// One more value in a list of any length. Its words show that value.
#[test]
fn a_value_more() {
    let names =
        |count: usize| -> Vec<String> { (0..count).map(|at| format!("client-{at:02}")).collect() };
    let list = |count: usize| names(count).join(", ");
    let quoted = |count: usize| format!("'{}'", names(count).join("', '"));
    let tenant = |at: usize| format!("11111111-1111-4111-8111-1111111111{at:02}");
    let tenants = |count: usize| (0..count).map(tenant).collect::<Vec<_>>().join(", ");
    let block = |at: usize| format!("cidr('10.{at}.0.0/16').containsIP(source.address)");
    let any = "{ name: a, match: { path: { prefix: /a } } }";
    let mcp = |own: &str| {
        with_rules(&format!(
            "  - {{ name: a, match: {{ mcp: {{ {own} }} }} }}\n  - {{ name: z, match: {{ path: {{ prefix: / }} }}, access: deny }}"
        ))
    };
    let of = |kind: &str, count: usize| match kind {
        "claims" => rule(&format!("claims: {{ azp: [{}] }}", list(count))),
        "any_scope" => rule(&format!("any_scope: [{}]", list(count))),
        "acr" => rule(&format!("acr: [{}]", list(count))),
        "regex" => matching(&format!(
            "path: {{ regex: '/({})' }}",
            names(count).join("|")
        )),
        "headers" => matching(&format!(
            "path: {{ prefix: /a }}, headers: {{ x-env: [{}] }}",
            list(count)
        )),
        "names" => mcp(&format!("methods: [tools/call], names: [{}]", list(count))),
        "methods" => mcp(&format!("methods: [{}]", list(count))),
        "audiences" => with_provider(&format!("audiences: [{}]", list(count)), "", any),
        "required_claims" => provider(&format!(", required_claims: {{ azp: [{}] }}", list(count))),
        "tenants" => format!(
            "providers:\n  - {{ name: acme, issuer: 'https://login.example.com/{{tenantid}}/v2.0', discovery_url: 'https://login.example.com/.well-known/openid-configuration', audiences: [api], tenants: [{}] }}\n",
            tenants(count)
        ),
        "in" => condition(&format!("claims.azp in [{}]", quoted(count))),
        "or" => {
            let each = names(count);
            let each = each.iter().map(|name| format!("claims.azp == '{name}'"));
            condition(&each.collect::<Vec<_>>().join(" || "))
        }
        "cidr" => {
            let each = (0..count).map(block);
            condition(&each.collect::<Vec<_>>().join(" || "))
        }
        other => panic!("{other}"),
    };
    for (kind, counts) in [
        ("claims", &[1, 12, 40][..]),
        ("any_scope", &[12, 40]),
        ("acr", &[12, 40]),
        ("regex", &[12, 40, 90]),
        ("headers", &[10, 40]),
        ("names", &[8, 40]),
        ("methods", &[6, 40]),
        ("audiences", &[16, 40]),
        ("required_claims", &[16, 40]),
        ("tenants", &[8, 40]),
        ("in", &[34, 90]),
        ("or", &[34]),
        ("cidr", &[34]),
    ] {
        for count in counts {
            let text = widened(&of(kind, *count), &of(kind, count + 1));
            let added = match kind {
                "tenants" => tenant(*count),
                "cidr" => format!("10.{count}.0.0/16"),
                _ => format!("client-{count:02}"),
            };
            assert!(
                text.lines()
                    .any(|line| line.contains(&added) && line.contains('`')),
                "{kind} {count}: {text}"
            );
        }
    }
}

/// Each of many changed rules gets its share of the work.
#[test]
fn a_value_more_in_each_of_many_rules() {
    let rules = |values: &str| {
        let rules = (0..25).map(|at| {
            format!("  - {{ name: r{at}, match: {{ path: {{ prefix: /r{at} }} }}, scopes: [s], claims: {{ a: [{values}], b: [{values}] }} }}\n")
        });
        with_rules(&rules.collect::<String>())
    };
    let limits = Limits {
        tokens: 800,
        ..Limits::default()
    };
    let differences = compare(&rules("t, u, v, w"), &rules("t, u, v, w, x"), limits);
    let is_widened = |entry: &&Entry| {
        let mut examples = entry.examples.iter();
        examples.any(|example| example.effect == Effect::Widened)
    };
    let widened = differences.entries.iter().filter(is_widened).count();
    assert_eq!(widened, 25, "{}", differences.summary());
}

#[test]
fn networks() {
    let inside = |block: &str| format!("cidr('{block}').containsIP(source.address)");
    let open = |block: &str| rule(&format!("access: public, condition: {:?}", inside(block)));
    for (old, new) in [
        ("10.0.0.0/16", "10.0.0.0/8"),
        ("10.0.0.0/8", "10.0.0.0/7"),
        ("10.1.0.0/16", "10.0.0.0/8"),
        ("10.0.0.1/32", "10.0.0.0/24"),
        ("10.0.0.0/8", "0.0.0.0/0"),
        ("fd00::/8", "fc00::/7"),
    ] {
        check(&[
            (condition(&inside(old)), condition(&inside(new))),
            (
                condition(&format!("!{}", inside(new))),
                condition(&format!("!{}", inside(old))),
            ),
            (open(old), open(new)),
        ]);
    }
}

/// `upstream.spoofed` from `refuse` to `remove`, with each kind of header that must not reach the
/// upstream.
#[test]
fn spoofed_headers() {
    let upstream = |spoofed: &str, own: &str| {
        format!("{HEAD}upstream: {{ spoofed: {spoofed}, {own}, forward_token: true }}\n")
    };
    let place = |spoofed: &str| {
        provider(", token_from: [{ header: x-token }]")
            + &format!("upstream: {{ spoofed: {spoofed} }}\n")
    };
    for own in [
        "claim_headers: [{ header: x-user, claim: sub }]",
        "claim_headers: [], scope_header: x-s",
        "claim_headers: [], payload_header: x-s",
        "claim_headers: [], payload_header: xs",
    ] {
        check(&[(upstream("refuse", own), upstream("remove", own))]);
    }
    check(&[(place("refuse"), place("remove"))]);
}

#[test]
fn times() {
    let login = |age: &str| rule(&format!("max_age: {age}"));
    for (old, new) in [
        ("15m", "15m1s"),
        ("15m", "15m30s"),
        ("15m", "16m"),
        ("15m", "1h"),
        ("1h", "90m"),
    ] {
        check(&[(login(old), login(new))]);
    }
    let with_skew = |skew: &str| {
        with_provider(
            "audiences: [api]",
            &format!(", clock_skew: {skew}"),
            "{ name: a, match: { path: { prefix: /a } }, max_age: 15m }",
        )
    };
    check(&[
        (with_skew("30s"), with_skew("31s")),
        (provider(", clock_skew: 30s"), provider(", clock_skew: 31s")),
        (
            provider(", max_lifetime: 1h"),
            provider(", max_lifetime: 3601s"),
        ),
        (provider(", max_lifetime: 1h"), provider("")),
        (
            condition("now < timestamp('2030-01-01T00:00:00Z')"),
            condition("now < timestamp('2030-01-01T00:00:01Z')"),
        ),
    ]);
}

#[test]
fn kinds_of_tokens_and_scope_claims() {
    let scopes = |claims: &str| {
        with_provider(
            "audiences: [api]",
            &format!(", scope_claims: [{claims}]"),
            "{ name: a, match: { path: { prefix: /a } }, scopes: [a] }",
        )
    };
    check(&[
        (provider(""), provider(", also_accept: [assertion]")),
        (provider(""), provider(", also_accept: [id_token]")),
        (
            provider(", also_accept: [id_token]"),
            provider(", also_accept: [assertion, id_token]"),
        ),
        (scopes("scope, scp"), scopes("scp, scope")),
        (scopes("scope"), scopes("scope, scp")),
    ]);
}

/// Conditions of which the second holds for more.
#[test]
fn conditions() {
    for (old, new) in [
        ("claims.a.b == 1.5", "claims.a.b >= 1.5"),
        ("claims.score == 2.5", "claims.score != 2.5"),
        ("claims.score == 2.5", "claims.score != 1.5"),
        ("claims.score > 2.5", "claims.score > 2.25"),
        ("claims.score < 2.5", "claims.score <= 2.5"),
        ("claims.score > 10", "claims.score > 9.5"),
        (
            "claims.level > 10 && claims.level < 20",
            "claims.level > 10 && claims.level < 100",
        ),
        (
            "claims.roles.exists_one(r, r == 'a')",
            "claims.roles.exists(r, r == 'a')",
        ),
        (
            "claims.orgs.exists_one(o, o.id == 7)",
            "claims.orgs.exists(o, o.id == 7)",
        ),
        (
            "'a' in claims.roles",
            "'a' in claims.roles || ('b' in claims.roles && 'c' in claims.roles)",
        ),
        (
            "!('a' in claims.roles)",
            "!('a' in claims.roles && 'b' in claims.roles)",
        ),
        (
            "claims.roles.all(r, r == 'a')",
            "claims.roles.all(r, r in ['a', 'b'])",
        ),
        (
            "'a' in claims.roles",
            "'a' in claims.roles || ('b' in claims.roles && 'c' in claims.roles && 'd' in claims.roles)",
        ),
        (
            "claims.orgs.exists(o, o.id == 7) && claims.orgs.exists(o, o.id == 8) && claims.x == 'a'",
            "claims.orgs.exists(o, o.id == 7) && claims.orgs.exists(o, o.id == 8)",
        ),
        ("claims.level % 2 == 0", "claims.level % 4 < 3"),
        (
            "claims.scope.split(' ').exists(s, s == 'a')",
            "claims.scope.split(' ').exists(s, s in ['a', 'b'])",
        ),
        (
            "claims.email.split('@')[1] == 'a.com'",
            "claims.email.split('@')[1] in ['a.com', 'b.com']",
        ),
        (
            "int(now) - claims.auth_time < 900",
            "int(now) - claims.auth_time < 3600",
        ),
        (
            "now - timestamp(claims.auth_time) < duration('15m')",
            "now - timestamp(claims.auth_time) < duration('1h')",
        ),
        (
            "request.headers['x-a'].matches('^[0-9]{3}$')",
            "request.headers['x-a'].matches('^[0-9]{3,5}$')",
        ),
    ] {
        check(&[(condition(old), condition(new))]);
    }
}

#[test]
fn regular_expressions() {
    let path = |regex: &str| matching(&format!("path: {{ regex: '{regex}' }}"));
    for (old, new) in [
        ("/a/[0-9]{1,5}", "/a/[0-9]{1,6}"),
        ("/a/[0-9]{1,5}", "/a/[0-9]+"),
        ("/a/[0-9]{8}", "/a/[0-9]{8,12}"),
        ("/a(/b)?", "/a(/b)*"),
        ("/a(/b)?", "/a(/b){0,2}"),
        ("/s/[a-m]+", "/s/[a-z]+"),
        ("/s/[^/]+", "/s/.+"),
    ] {
        check(&[(path(old), path(new))]);
    }
}

/// A header with two values is refused only while some rule looks at it.
#[test]
fn a_list_in_a_header() {
    check(&[(
        with_rules("  - { name: a, match: { headers: { tenant: [a] } } }"),
        HEAD.to_owned(),
    )]);
}

/// Requests that pass both times, but with other headers.
#[test]
fn cookies_for_the_upstream() {
    let upstream = |cookies: &str| format!("{HEAD}upstream: {{ remove_cookies: [{cookies}] }}\n");
    for (old, new) in [("a", "a, session"), ("session", "a"), ("'sess*'", "a")] {
        let differences = compare(&upstream(old), &upstream(new), Limits::default());
        let text = differences.text();
        assert!(differences.has(Effect::Identity), "{old} {new}: {text}");
        assert!(text.contains("cookie: "), "{old} {new}: {text}");
    }
}
