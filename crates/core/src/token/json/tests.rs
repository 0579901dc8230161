use serde_json::Value;

use super::*;

#[test]
fn strict() {
    for (json, error) in [
        (r#"{"a":1,"b":{"c":[{"d":null,"e":1.5,"f":true}]}}"#, None),
        (r#"{"a":1,"a":1}"#, Some("member `a` occurs twice")),
        (r#"{"a":1,"\u0061":2}"#, Some("member `a` occurs twice")),
        (r#"{"b":[{"a":1,"a":2}]}"#, Some("member `a` occurs twice")),
        ("[]", Some("not a JSON object")),
        ("\"{}\"", Some("not a JSON object")),
        ("{} {}", Some("trailing characters")),
        ("\u{feff}{}", Some("expected value")),
        (r#"{"a":NaN}"#, Some("expected value")),
        (r#"{"a":1e400}"#, Some("number out of range")),
        (r#"{"a":1e-99999}"#, Some("number out of range")),
        (r#"{"a":1e20,"b":1e-400,"c":-0.0}"#, None),
        (r#"{"a":"\ud800"}"#, Some("end of hex escape")),
        (r#"{"a":1,}"#, Some("trailing comma")),
        ("", Some("EOF")),
    ] {
        match (ClaimsDocument::object(json.as_bytes()), error) {
            (Ok(_), None) => {}
            (Err(found), Some(expected)) => {
                assert!(found.contains(expected), "{json}: {found}");
            }
            (found, expected) => panic!("{json}: {found:?}, expected {expected:?}"),
        }
    }
    let not_text = ClaimsDocument::object(b"{\"a\":\"\xff\"}");
    assert_eq!(not_text.unwrap_err(), "not UTF-8");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(
        ClaimsDocument::object(deep.as_bytes())
            .unwrap_err()
            .contains("recursion limit")
    );
}

#[test]
fn what_is_read_is_what_is_seen() {
    for json in [
        "{}",
        r#"{"a":[]}"#,
        r#"{"a":{},"b":[{}],"c":[[],[1,[2]],3]}"#,
        r#"{"a":null,"b":true,"c":false,"d":"","e":"\u00e9\n\"","f":-1.5}"#,
        r#"{"max":18446744073709551615,"min":-9223372036854775808,"é":"ö"}"#,
        r#"{"a":{"b":{"c":{"d":1},"e":2},"f":3},"g":4}"#,
    ] {
        let document = ClaimsDocument::object(json.as_bytes()).unwrap();
        let expected: Value = serde_json::from_str(json).unwrap();
        let found = Json::Object(document.members());
        assert_eq!(found.to_string(), expected.to_string(), "{json}");
        for (name, value) in expected.as_object().unwrap() {
            let found = document.members().get(name).unwrap();
            assert_eq!(found.to_string(), value.to_string(), "{json}: {name}");
        }
        assert!(document.members().get("x").is_none());
    }
}

#[test]
fn what_has_no_room_is_refused() {
    let long = "a".repeat(70_000);
    let many = vec!["null"; 70_000].join(",");
    let numbers = vec!["1"; 70_000].join(",");
    let fractions = vec!["1.5"; 30_000].join(",");
    for json in [
        format!(r#"{{"a":"{long}"}}"#),
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"a":["{}","b"]}}"#, &long[..65_536]),
        format!(r#"{{"a":[{many}]}}"#),
        format!(r#"{{"a":[{numbers}]}}"#),
        format!(r#"{{"a":[{fractions}]}}"#),
    ] {
        let error = ClaimsDocument::object(json.as_bytes()).unwrap_err();
        assert!(error.contains("too large"), "{error}");
    }
}

#[test]
fn numbers_keep_their_places() {
    let json = r#"{"1":"2\\\"3","a":[4,5.50,{"6":7e1,"b":[18446744073709551615,-8.25,1e-3]},"9"],"c":10.0}"#;
    let document = ClaimsDocument::object(json.as_bytes()).unwrap();
    let found = Json::Object(document.members()).to_string();
    let expected =
        r#"{"1":"2\\\"3","a":[4,5.50,{"6":70,"b":[18446744073709551615,-8.25,1e-3]},"9"],"c":10}"#;
    assert_eq!(found, expected);
}
