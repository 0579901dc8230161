//! Changes of what decides must not read as if nothing were affected when the search finds nothing.

use claimgate::diff::Limits;

use super::{HEAD, compare, with_rules};

/// Pairs of rules, and why the change is unproven. Without a reason, it is not.
#[test]
fn rules() {
    let condition = |expression: &str| {
        format!("  - {{ name: a, match: {{ path: {{ prefix: /a }} }}, condition: {expression:?} }}")
    };
    let matching =
        |path: &str| format!("  - {{ name: a, match: {{ path: {{ {path} }} }}, access: public }}");
    for (old, new, expected) in [
        (
            matching("prefix: /a"),
            matching("prefix: /a, exact: /a/b"),
            Some("no request was found that this change judges otherwise"),
        ),
        (
            condition("source.certificate == 'x'"),
            condition("source.certificate == 'y'"),
            Some("reads `source.certificate`"),
        ),
        (
            condition("size(request.headers) < 3"),
            condition("size(request.headers) < 5"),
            Some("reads all of `request.headers`"),
        ),
        (
            condition("claims.a.substring(1, 3) == 'x'"),
            condition("claims.a.substring(1, 4) == 'x'"),
            Some("its condition calculates (`substring`)"),
        ),
        (
            condition("claims.a + ':' + claims.b == 'x:y' || claims.c"),
            condition("claims.a + ':' + claims.b == 'x:z' || (claims.c && claims.d)"),
            Some("its condition calculates (`+`)"),
        ),
        (
            matching("regex: '/a/[0-9]{1,5000}'"),
            matching("regex: '/a/[0-9]{1,6000}'"),
            Some("could not try all of its values"),
        ),
        (matching("prefix: /a"), matching("prefix: /b"), None),
        (
            condition("claims.a == 'x'"),
            condition("claims.a == 'x' && claims.b == 'y'"),
            None,
        ),
        (
            condition("claims.a.substring(1, 3) == 'x'"),
            condition("claims.a.substring(1, 3) == 'x'").replace("name: a", "name: b"),
            None,
        ),
    ] {
        let differences = compare(&with_rules(&old), &with_rules(&new), Limits::default());
        let text = differences.text();
        let json = differences.json();
        assert_eq!(json["unproven"], expected.is_some(), "{old}\n{new}\n{text}");
        match expected {
            Some(expected) => {
                assert!(
                    text.contains(expected),
                    "no {expected:?} for\n{old}\n{new}\n{text}"
                );
                assert!(
                    text.lines().next().unwrap().contains("unproven: 1 rule"),
                    "{text}"
                );
            }
            None => assert!(!text.contains("unproven"), "{old}\n{new}\n{text}"),
        }
        let calculates = expected.is_some_and(|why| !why.starts_with("no request"));
        assert_eq!(json["complete"], !calculates, "{old}\n{new}\n{text}");
    }
}

#[test]
fn providers_and_settings() {
    let provider = |own: &str| {
        format!(
            "providers:\n  - {{ name: acme, issuer: https://idp.example.com, audiences: [api]{own} }}\n"
        )
    };
    let closed = "rules: [{ name: a, match: { path: { prefix: / } }, access: deny }]\n";
    for (old, new, expected) in [
        (
            provider(""),
            provider(", jwks: { uri: 'https://idp.example.com/keys' }"),
            Some("unproven: no example can show what tokens of other keys say"),
        ),
        (
            provider("") + closed,
            provider(", clock_skew: 1m") + closed,
            None,
        ),
        (
            provider(", scope_claims: [scope, scp]"),
            provider(", scope_claims: [scp, scope]"),
            Some("unproven: `scope_claims`: no request was found"),
        ),
        (provider(""), provider(", fetch: { timeout: 3s }"), None),
        (
            HEAD.to_owned(),
            format!("{HEAD}log: {{ level: debug }}\n"),
            None,
        ),
        (
            HEAD.to_owned(),
            format!("{HEAD}denials: {{ realm: x }}\n"),
            None,
        ),
    ] {
        let text = compare(&old, &new, Limits::default()).text();
        match expected {
            Some(expected) => assert!(text.contains(expected), "{old}\n{new}\n{text}"),
            None => assert!(!text.contains("unproven"), "{old}\n{new}\n{text}"),
        }
    }
}
