//! Envoy Gateway.

use super::{Row, check};

/// A provider of `https://idp.example.com` in a policy of Envoy Gateway.
const ACME: &str = "{ name: acme, issuer: 'https://idp.example.com', audiences: [a], remoteJWKS: { uri: 'https://idp.example.com/k' } }";

/// Another one, of `https://partner.example`.
const PARTNER: &str = "{ name: partner, issuer: 'https://partner.example', remoteJWKS: { uri: 'https://partner.example/k' } }";

/// A policy of Envoy Gateway.
fn security(name: &str, providers: &str, authorization: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  jwt: {{ providers: [{providers}] }}\n  authorization: {authorization}\n"
    )
}

fn gateway(authorization: &str) -> Row {
    Row::new("gateway", security("p", ACME, authorization))
}

/// A rule of Envoy Gateway for paths, as the only one that allows or denies.
fn paths(name: &'static str, action: &str, regex: &str) -> Row {
    let otherwise = if action == "Allow" { "Deny" } else { "Allow" };
    let operation =
        format!("operation: {{ path: {{ type: RegularExpression, value: '{regex}' }} }}");
    let all = "principal: { clientCIDRs: [0.0.0.0/0, '::/0'] }";
    let rules = format!("[{{ action: {action}, {operation}, {all} }}]");
    let authorization = format!("{{ defaultAction: {otherwise}, rules: {rules} }}");
    Row {
        name,
        ..gateway(&authorization)
    }
}

/// A scope is one word.
#[tokio::test]
async fn scopes_have_no_spaces() {
    let scopes = "{ rules: [{ action: Allow, principal: { jwt: { provider: acme, scopes: ['read write'] } } }] }";
    let named = "path: /, context: { claimgate.rule: shop.p }";
    check(vec![
        gateway(scopes)
            .denies(named, "claims: { scope: x read write y }")
            .denies(named, "claims: { scp: read write }"),
    ])
    .await;
}

/// A token of one provider does not count as a token of another.
#[tokio::test]
async fn providers_of_envoy_gateway_are_told_apart() {
    let by_claim = |values: &str| {
        format!(
            "{{ rules: [{{ action: Allow, principal: {{ jwt: {{ provider: acme, claims: [{{ name: iss, values: [{values}] }}] }} }} }}] }}"
        )
    };
    let of = |provider: &str| {
        format!(
            "{{ rules: [{{ action: Allow, principal: {{ jwt: {{ provider: {provider}, claims: [{{ name: sub, values: [x] }}] }} }} }}] }}"
        )
    };
    let named = "path: /, context: { claimgate.rule: shop.p }";
    let other_keys = PARTNER.replace("/k'", "/other'");
    let both = format!("{ACME}, {PARTNER}");
    let second = ACME
        .replace("name: acme", "name: second")
        .replace("audiences: [a]", "audiences: [b]");
    let same = format!("{ACME}, {second}");
    let denying = "{ defaultAction: Allow, rules: [{ action: Deny, principal: { jwt: { provider: second, claims: [{ name: sub, values: [x] }] } } }] }";
    check(vec![
        Row::new(
            "another issuer",
            security("p", ACME, &by_claim("'https://other.example'")),
        )
        .denies(named, "provider: acme"),
        Row::new(
            "one of two issuers",
            security(
                "p",
                ACME,
                &by_claim("'https://other.example', 'https://idp.example.com'"),
            ),
        )
        .allows(named, "provider: acme"),
        // Its provider is that of another policy, with other keys.
        Row::new(
            "a provider that is left out",
            security("a", &other_keys, "{}") + &security("p", &both, &of("partner")),
        )
        .left_out("are refused")
        .denies(named, "provider: acme, claims: { sub: x }")
        .denies(named, "provider: partner, claims: { sub: x }"),
        Row::new(
            "a provider of another policy",
            security("a", PARTNER, "{}")
                + &security("p", ACME, &by_claim("'https://partner.example'")),
        )
        .denies(named, "provider: acme")
        .denies(named, "provider: partner"),
        Row::new(
            "a provider that is not there",
            security("p", ACME, &of("other")),
        )
        .denies(named, "provider: acme, claims: { sub: x }"),
        Row::new("one issuer for two", security("p", &same, &of("second")))
            .left_out("the issuer of `second`")
            .denies(named, "provider: acme, claims: { sub: x, aud: a }")
            .denies(named, "provider: acme, claims: { sub: x, aud: [a, b] }")
            .allows(named, "provider: acme, claims: { sub: x, aud: b }"),
        Row::new(
            "one issuer for two, where a rule denies",
            security("p", &same, denying),
        )
        .left_out("the issuer of `second`")
        .denies(named, "provider: acme, claims: { sub: x, aud: b }")
        .allows(named, "provider: acme, claims: { sub: bob, aud: b }"),
    ])
    .await;
}

/// Envoy Gateway compares the path as the client wrote it. Where claimgate cannot tell, it denies.
#[tokio::test]
async fn expressions_meet_no_escapes() {
    macro_rules! at {
        ($path:literal) => {
            concat!("path: '", $path, "', context: { claimgate.rule: shop.p }")
        };
    }
    let token = "provider: acme";
    check(vec![
        paths("an escape is denied", "Deny", "/a%20b.*")
            .denies(at!("/a%20b"), token)
            .denies(at!("/c%20d"), token)
            .allows(at!("/c"), token),
        paths("words are those of ASCII", "Allow", r"/v\w+")
            .denies(at!("/v%C3%A4"), token)
            .allows(at!("/va"), token),
        paths("anything", "Allow", "/v.{3}")
            .denies(at!("/va%20"), token)
            .denies(at!("/v%C3%A4bc"), token)
            .allows(at!("/vabc"), token),
        paths("all but an escape", "Allow", "/[^%]+")
            .denies(at!("/a%7Cb"), token)
            .allows(at!("/a"), token),
        paths("digits", "Allow", "/orders/[0-9]+")
            .denies(at!("/orders/7%20"), token)
            .denies(at!("/orders/7?a"), token)
            .allows(at!("/orders/7"), token),
        paths("a query", "Allow", "/orders[?]a=[a-z]+")
            .denies(at!("/orders?a=%20"), token)
            .denies(at!("/orders"), token)
            .allows(at!("/orders?a=b"), token),
    ])
    .await;
}

/// A value of another type than Envoy Gateway expects allows nothing.
#[tokio::test]
async fn other_types_allow_nothing() {
    check(vec![
        gateway("{ defaultAction: Allow, rules: [{ action: Deny, principal: { headers: [{ name: x, values: [true] }] } }] }")
            .left_out("values[0]")
            .denies("path: /, headers: { x: z }, context: { claimgate.rule: shop.p }", "provider: acme")
            .denies("path: /, headers: { x: 'true' }, context: { claimgate.rule: shop.p }", "provider: acme"),
        gateway("{ defaultAction: Allow, rules: [{ action: Deny, principal: { headers: [{ name: host, values: [a] }] } }] }")
            .left_out("host")
            .denies("path: /, host: a, context: { claimgate.rule: shop.p }", "provider: acme"),
        gateway("{ rules: [{ action: Allow, principal: { jwt: { provider: acme, scopes: [true] } } }] }")
            .left_out("scopes[0]")
            .denies("path: /, context: { claimgate.rule: shop.p }", "provider: acme"),
        gateway("{ rules: [{ action: Allow, operation: { path: { value: [/a] } }, principal: { clientCIDRs: [0.0.0.0/0, '::/0'] } }] }")
            .left_out("path.value")
            .denies("path: /b, context: { claimgate.rule: shop.p }", "provider: acme"),
        gateway("{ defaultAction: Allow, rules: { action: Deny } }")
            .left_out("expected a list")
            .denies("path: /, context: { claimgate.rule: shop.p }", "provider: acme"),
        Row::new("audiences of Envoy Gateway", security("p", &ACME.replace("[a]", "[true]"), "{}").replace("  authorization: {}\n", ""))
            .left_out("audiences[0]")
            .denies("path: /, context: { claimgate.rule: shop.p }", "claims: { iss: 'https://idp.example.com' }"),
        gateway("{ defaultAction: [Allow] }")
            .left_out("defaultAction")
            .denies("path: /, context: { claimgate.rule: shop.p }", "provider: acme"),
        gateway("{ defaultAction: Allow, rules: [{ action: Allw, principal: { headers: [{ name: x, values: [z] }] } }] }")
            .left_out("action")
            .denies("path: /, headers: { x: z }, context: { claimgate.rule: shop.p }", "provider: acme"),
    ])
    .await;
}

/// Objects that are not known for certain may be for the same routes.
#[test]
fn unknown_objects_are_errors() {
    let security = security("p", ACME, "{}");
    let cases = [
        (
            security.clone() + &security,
            "the SecurityPolicy `shop/p` is also at policies.yaml:2",
        ),
        (
            security.clone() + &security.replace("kind: Security", "kind: Securty"),
            "`SecurtyPolicy` is not a kind of `gateway.envoyproxy.io`",
        ),
        (
            security.clone() + &security.replace("/v1alpha1", "/v7"),
            "`gateway.envoyproxy.io/v7` is an unknown version",
        ),
    ];
    for (source, expected) in cases {
        let error = Row::new("", source.clone()).imported().unwrap_err();
        assert!(error.contains(expected), "{source}{error}");
    }
}

/// Names of policies become names of rules, of which no two are one.
#[tokio::test]
async fn long_names_are_names_of_rules() {
    let long = "a".repeat(100);
    let [one, other] = ["x", "y"].map(|end| format!("{long}{end}"));
    let allow = "{ defaultAction: Allow }";
    let deny = "{ defaultAction: Deny }";
    let row = Row::new(
        "long",
        security(&one, ACME, allow) + &security(&other, ACME, deny),
    );
    let imported = row.imported().unwrap();
    let changes = &imported.changes;
    let rules: Vec<&str> = changes
        .lines()
        .filter_map(|line| line.split_once("claimgate.rule, type: Value, value: "))
        .map(|(_, rule)| rule.trim_end_matches(" }]"))
        .collect();
    assert_eq!(rules.len(), 2, "{changes}");
    assert!(
        rules[0] != rules[1] && rules.iter().all(|it| it.len() <= 64),
        "{rules:?}"
    );
    let request = |index: usize| -> &'static str {
        format!("path: /, context: {{ claimgate.rule: '{}' }}", rules[index]).leak()
    };
    row.allows(request(0), "provider: acme")
        .denies(request(1), "provider: acme")
        .check()
        .await;
}

/// Conditions stay short, and the time for them grows with their length.
#[tokio::test]
async fn many_rules_take_no_time() {
    let rules = |number: usize, action: fn(usize) -> &'static str| {
        let rules: Vec<String> = (0..number)
            .map(|index| {
                let action = action(index);
                format!("{{ action: {action}, principal: {{ headers: [{{ name: x, values: ['{index}'] }}] }} }}")
            })
            .collect();
        format!("{{ defaultAction: Deny, rules: [{}] }}", rules.join(", "))
    };
    let alternating: fn(usize) -> &'static str = |index| match index % 2 {
        0 => "Allow",
        _ => "Deny",
    };
    let named = "path: /, headers: { x: '1' }, context: { claimgate.rule: shop.p }";
    check(vec![
        gateway(&rules(40, alternating))
            .denies(named, "provider: acme")
            .allows(
                "path: /, headers: { x: '2' }, context: { claimgate.rule: shop.p }",
                "provider: acme",
            ),
        gateway(&rules(5_000, alternating))
            .left_out("change more than")
            .denies(
                "path: /, headers: { x: '2' }, context: { claimgate.rule: shop.p }",
                "provider: acme",
            ),
        gateway(&rules(5_000, |_| "Allow"))
            .left_out("bytes")
            .denies(named, "provider: acme"),
    ])
    .await;
}
