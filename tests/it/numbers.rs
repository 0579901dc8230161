//! A number reaches headers, rules, conditions and metadata as the token spells it, and two numbers
//! never become one.

use claimgate::ext_authz::proto::auth::CheckResponse;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::keyring::Algorithm::EdDsa;
use prost_types::value::Kind;
use serde_json::json;

use crate::support::call::{Answer, bearer};
use crate::support::gate::{Gate, NOW};
use crate::support::keys::signer;

/// Two ids of a real provider that round to the same double.
const ONE: &str = "104567890123456789012";
const OTHER: &str = "104567890123456789013";

/// A gate that trusts one provider, with further settings inside and after the provider's section.
async fn gate(provider: &str, more: &str) -> Gate {
    let keys = json!({"keys": [signer(EdDsa, "numbers").jwk()]});
    Gate::start(&format!(
        "providers: [{{ name: acme, issuer: https://idp.example.com, audiences: [api], jwks: {{ inline: {keys} }}{provider} }}]\n{more}\n"
    ))
    .await
}

/// A token whose claim `it` is this JSON.
fn token(it: &str) -> String {
    with(&format!(r#""exp":{},"it":{it}"#, NOW + 60))
}

fn with(claims: &str) -> String {
    let claims = format!(r#"{{"iss":"https://idp.example.com","aud":"api",{claims}}}"#);
    let key = signer(EdDsa, "numbers");
    key.sign(&key.header().to_string(), &claims).unwrap()
}

async fn answer(gate: &Gate, token: &str) -> CheckResponse {
    let answer = gate.service.check(tonic::Request::new(bearer(token))).await;
    answer.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn headers() {
    let more = "upstream: { claim_headers: [{ header: x-it, claim: it }] }\n\
                response_headers: [{ header: x-back, claim: it }]";
    let gate = gate("", more).await;
    let googol = format!("1{}", "0".repeat(100));
    for (it, text) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("1e3", "1000"),
        ("1.683061093e+09", "1683061093"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740993.0", "9007199254740993"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "18446744073709551616"),
        (ONE, ONE),
        (OTHER, OTHER),
        ("1e100", &googol),
        ("-105.92576737390631", "-105.92576737390631"),
        ("1.50", "1.50"),
        ("1.5E-7", "1.5E-7"),
        (
            "[1e3,104567890123456789012,1.50]",
            "1000,104567890123456789012,1.50",
        ),
        (
            r#"{"b":[104567890123456789012],"a":{"lat":-105.92576737390631},"c":1.0}"#,
            r#"{"a":{"lat":-105.92576737390631},"b":[104567890123456789012],"c":1}"#,
        ),
        (
            r#"[[1e3],"é\"\n"]"#,
            "%5B%5B1000%5D%2C%22%C3%A9%5C%22%5Cn%22%5D",
        ),
        (r#"{"9":"8","\\":7}"#, r#"{"9":"8","\\":7}"#),
    ] {
        let answer = Answer::read(answer(&gate, &token(it)).await);
        let Answer::Allow { set, response, .. } = answer else {
            panic!("{it}: {answer:?}")
        };
        assert!(
            set.contains(&("x-it".to_owned(), text.to_owned())),
            "{it}: {set:?}"
        );
        assert_eq!(response, [("x-back".to_owned(), text.to_owned())], "{it}");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_and_required_claims() {
    for (wanted, it, has) in [
        (ONE, ONE, true),
        (ONE, OTHER, false),
        (ONE, "1.04567890123456789012e20", true),
        (ONE, "\"104567890123456789012\"", true),
        ("'104567890123456789012'", ONE, true),
        ("1000", "1e3", true),
        ("1e3", "1000", true),
        ("1.0", "1", true),
        ("1", "1.0", true),
        ("1.50", "1.5", true),
        ("-0.0", "0", true),
        ("1.5", "1.5000000000000000001", false),
        ("9007199254740992", "9007199254740993", false),
        ("9007199254740993.0", "9007199254740993", true),
        ("18446744073709551615", "18446744073709551616", false),
        ("18446744073709551616", "18446744073709551616", true),
        // Text is compared character by character. A number equals text that spells it the same
        // way.
        ("2.0", "\"2.0\"", true),
        ("'2.0'", "\"2.0\"", true),
        ("2.0", "\"2\"", false),
        ("2", "\"2.0\"", false),
        ("'07'", "7", false),
        ("'07'", "\"07\"", true),
        ("true", "true", true),
        ("'true'", "true", true),
        ("true", "\"true\"", true),
        ("[7, 104567890123456789012]", ONE, true),
        (
            "[7, 104567890123456789012]",
            "[1,104567890123456789012]",
            true,
        ),
        (
            "[7, 104567890123456789012]",
            "[1,104567890123456789013]",
            false,
        ),
    ] {
        let rule = format!("rules: [{{ name: rule, claims: {{ it: {wanted} }} }}]");
        let gate_of_rule = gate("", &rule).await;
        let allowed = gate_of_rule.check(&token(it)).await.is_allow();
        assert_eq!(allowed, has, "rule {wanted}, claim {it}");
        if it.starts_with('[') {
            continue;
        }
        let required = gate(&format!(", required_claims: {{ it: {wanted} }}"), "").await;
        let allowed = required.check(&token(it)).await.is_allow();
        assert_eq!(allowed, has, "required {wanted}, claim {it}");
    }
}

/// A number that CEL cannot represent equals only itself, and cannot be ordered.
#[tokio::test(start_paused = true)]
async fn conditions() {
    for (condition, it, holds) in [
        ("claims.it == 1000", "1e3", true),
        ("claims.it == 1683061093", "1.683061093e+09", true),
        ("type(claims.it) == int", "1.0", true),
        ("type(claims.it) == int", "-0.0", true),
        ("claims.it == 1.5", "1.50", true),
        (
            "claims.it == -105.92576737390631",
            "-105.92576737390631",
            true,
        ),
        ("claims.it == 9007199254740993", "9007199254740993", true),
        ("claims.it == 9007199254740992", "9007199254740993", false),
        (
            "claims.it == 18446744073709551615u",
            "18446744073709551615",
            true,
        ),
        (
            "claims.it == 18446744073709551615u",
            "18446744073709551616",
            false,
        ),
        (
            "claims.it == 9223372036854775807",
            "9223372036854775808",
            false,
        ),
        ("claims.it < 5", "18446744073709551616", false),
        ("claims.it > 5", "18446744073709551616", false),
        ("5 < claims.it", "18446744073709551616", false),
        ("!(claims.it < 5)", "18446744073709551616", false),
        ("claims.it + 1 > 5", "18446744073709551616", false),
        ("int(claims.it) > 5", "18446744073709551616", false),
        ("double(claims.it) > 5.0", "18446744073709551616", false),
        ("claims.it in [1, 2]", "18446744073709551616", false),
        ("claims.it == 'x'", "18446744073709551616", false),
        // A different number from those.
        ("claims.it != 5", "18446744073709551616", true),
        (
            "has(claims.it) && !(claims.it in [1, 2])",
            "18446744073709551616",
            true,
        ),
        (
            "claims.it[0] == claims.it[1]",
            "[1e20,100000000000000000000]",
            true,
        ),
        (
            "claims.it[0] == claims.it[1]",
            "[104567890123456789012,104567890123456789013]",
            false,
        ),
        (
            "claims.it[0] == claims.it[1]",
            "[104567890123456789012,\"104567890123456789012\"]",
            false,
        ),
        (
            "claims.it[0] < claims.it[1]",
            "[104567890123456789012,104567890123456789013]",
            false,
        ),
        ("string(claims.it) == '104567890123456789012'", ONE, true),
        ("string(claims.it) == '104567890123456789012'", OTHER, false),
        ("string(claims.it) == '1000'", "1e3", true),
        // A fraction that a double rounds is not equal to the whole number next to it.
        ("claims.it == 1", "0.99999999999999999999", false),
        ("claims.it == 0", "1e-400", false),
        ("claims.it == 1", "1.0000000000000000000", true),
    ] {
        let rule = json!([{"name": "rule", "condition": condition}]);
        let gate = gate("", &format!("rules: {rule}")).await;
        let allowed = gate.check(&token(it)).await.is_allow();
        assert_eq!(allowed, holds, "{condition}, claim {it}");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata() {
    let gate = gate("", "").await;
    for (it, kind) in [
        ("7", Kind::NumberValue(7.0)),
        ("1e3", Kind::NumberValue(1000.0)),
        ("-1.5", Kind::NumberValue(-1.5)),
        (
            "-105.92576737390631",
            Kind::NumberValue(-105.925_767_373_906_31),
        ),
        (
            "9007199254740992",
            Kind::NumberValue(9_007_199_254_740_992.0),
        ),
        (
            "-9007199254740992",
            Kind::NumberValue(-9_007_199_254_740_992.0),
        ),
        (
            "9007199254740993",
            Kind::StringValue("9007199254740993".to_owned()),
        ),
        (
            "-9007199254740993",
            Kind::StringValue("-9007199254740993".to_owned()),
        ),
        ("1e16", Kind::StringValue("10000000000000000".to_owned())),
        (ONE, Kind::StringValue(ONE.to_owned())),
        (OTHER, Kind::StringValue(OTHER.to_owned())),
        (
            "0.99999999999999999999",
            Kind::StringValue("0.99999999999999999999".to_owned()),
        ),
    ] {
        let token = token(it);
        // The second time, the measurements of the first time are reused.
        for _ in 0..2 {
            let fields = answer(&gate, &token).await.dynamic_metadata.unwrap().fields;
            let Some(Kind::StructValue(claims)) = &fields["claims"].kind else {
                panic!("{it}: no claims")
            };
            assert_eq!(claims.fields["it"].kind.as_ref(), Some(&kind), "{it}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn times() {
    let gate = gate("", "rules: [{ name: fresh, max_age: 10m }]").await;
    for (exp, auth_time, status) in [
        ("1767225660", "1767225600", 200),
        ("1.76722566e9", "1.7672256e+9", 200),
        ("1767225660.0", "1767225599.5", 200),
        ("1767225660.25", "17672256e2", 200),
        ("1.7672255e9", "1767225600", 401),
        ("1e20", "1767225600", 401),
        ("1767225660000", "1767225600", 401),
        ("-1", "1767225600", 401),
        ("1767225660", "1e20", 401),
        ("1767225660", "1.7672240e9", 401),
        ("1767225660", "-5", 401),
    ] {
        let token = with(&format!(r#""exp":{exp},"auth_time":{auth_time}"#));
        let answer = gate.check(&token).await;
        assert_eq!(answer.status(), status, "exp {exp}, auth_time {auth_time}");
    }
}

#[test]
fn impossible_configurations() {
    for (values, problem) in [
        ("0x10", "`0x10` is a number that is not written as in JSON"),
        ("007", "`007` is a number that is not written as in JSON"),
        (".5", "`.5` is a number that is not written as in JSON"),
        ("+5", "`+5` is a number that is not written as in JSON"),
        ("[1, +104567890123456789012]", "not written as in JSON"),
        (
            "yes",
            "`yes` is read as true; write it like that, or in quotes if it is text",
        ),
        ("{ a: 1 }", "expected a value, or a list of values"),
        ("[]", "expected a value, or a list of values"),
        ("[[1]]", "expected"),
        ("[1, ~]", "expected a value"),
    ] {
        for place in [
            format!("rules: [{{ name: rule, claims: {{ it: {values} }} }}]"),
            format!("rules: [{{ name: rule, match: {{ headers: {{ it: {values} }} }} }}]"),
        ] {
            let yaml = format!(
                "providers: [{{ issuer: https://idp.example.com, audiences: [api] }}]\n{place}\n"
            );
            let error = claimgate::config::Config::from_yaml(&yaml)
                .unwrap_err()
                .to_string();
            assert!(error.contains(problem), "{place}: {error}");
        }
    }
    for (condition, problem) in [
        ("claims.id == 9007199254740993.0", "equals several integers"),
        ("claims.id == -1e16", "equals several integers"),
        (
            "claims.id == 104567890123456789012",
            "as text: `string(claims.id) ==",
        ),
        (
            "claims.id == 18446744073709551616u",
            "as text: `string(claims.id) ==",
        ),
    ] {
        let rule = json!([{"name": "rule", "condition": condition}]);
        let yaml = format!(
            "providers: [{{ issuer: https://idp.example.com, audiences: [api] }}]\nrules: {rule}\n"
        );
        let error = claimgate::config::Config::from_yaml(&yaml)
            .unwrap_err()
            .to_string();
        assert!(error.contains(problem), "{condition}: {error}");
    }
}

#[test]
fn values_are_found_in_every_kind_of_file() {
    let yaml = "providers: [{ issuer: https://idp.example.com, audiences: [api] }]\n\
                rules:\n  - name: a\n    claims: { a: 1.50, b: [104567890123456789012, true] }\n";
    for (what, yaml) in [
        ("plain", yaml.to_owned()),
        ("byte order mark", format!("\u{feff}{yaml}")),
        ("line ends of Windows", yaml.replace('\n', "\r\n")),
        ("after a directive", format!("%YAML 1.2\n---\n{yaml}")),
        (
            "line ends of Windows and a byte order mark",
            format!("\u{feff}# é\n{yaml}").replace('\n', "\r\n"),
        ),
    ] {
        let config = claimgate::config::Config::from_yaml(&yaml);
        let config = config.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(config.policy.rules().names().next(), Some("a"), "{what}");
    }
}

/// A value is used as it is written, anywhere in the file.
#[tokio::test(start_paused = true)]
async fn values_are_found_where_they_stand() {
    let more = "# é, ü and 🦀 have more bytes than characters\n\
                rules:\n  - name: e\n    match: { headers: { x-version: [1.10, &v 2.50] } }\n    \
                claims: { it: *v, ü: 104567890123456789012 }\n  - { name: rest, access: deny }";
    let gate = gate("", more).await;
    let with_version = |version: &str| {
        let token = with(&format!(r#""exp":{},"it":2.5,"ü":{ONE}"#, NOW + 60));
        let lines = [
            ("authorization", format!("Bearer {token}")),
            ("x-version", version.to_owned()),
        ];
        crate::support::call::check(
            &lines
                .each_ref()
                .map(|(name, value)| (*name, value.as_str())),
        )
    };
    for (version, allowed) in [
        ("1.10", true),
        ("2.50", true),
        ("1.1", false),
        ("2.5", false),
    ] {
        let check = tonic::Request::new(with_version(version));
        let answer = gate.service.check(check).await.unwrap().into_inner();
        assert_eq!(Answer::read(answer).is_allow(), allowed, "{version}");
    }
}
