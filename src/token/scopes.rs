//! What a token allows its bearer to do (RFC 6749 §3.3).

use std::collections::HashSet;

use serde_json::Value;

use super::claims::{ClaimPath, Claims};

/// The scopes in the first of these claims that is there: a text of scopes with spaces between
/// them (RFC 9068 §2.2.3), or an array. What is no scope is left out: it grants nothing.
pub(super) fn scopes(claims: &Claims, paths: &[ClaimPath]) -> Vec<Box<str>> {
    let texts: Vec<&str> = match paths.iter().find_map(|path| claims.at(path)) {
        Some(Value::String(text)) => text.split(' ').collect(),
        Some(Value::Array(elements)) => elements.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut seen = HashSet::new();
    texts
        .into_iter()
        .filter(|text| is_scope(text) && seen.insert(*text))
        .map(Into::into)
        .collect()
}

/// RFC 6749 appendix A.4, `scope-token`.
pub(crate) fn is_scope(text: &str) -> bool {
    let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scopes_of_many_forms() {
        let paths = ["scope", "scp"].map(|path| path.parse().unwrap());
        for (claims, expected) in [
            (json!({}), vec![]),
            (json!({"scope": "a b"}), vec!["a", "b"]),
            (json!({"scope": "  a  b a "}), vec!["a", "b"]),
            (json!({"scp": ["a", "b:c/d"]}), vec!["a", "b:c/d"]),
            (json!({"scope": "a", "scp": ["b"]}), vec!["a"]),
            (json!({"scope": null, "scp": "b"}), vec!["b"]),
            (json!({"scp": ["a b", "", 1, "c\"d", "e\\f", "ö"]}), vec![]),
            (json!({"scope": {"a": true}}), vec![]),
        ] {
            let members = claims.as_object().unwrap().clone();
            let found = scopes(&Claims::new(members).unwrap(), &paths);
            assert_eq!(
                found,
                expected
                    .into_iter()
                    .map(Box::from)
                    .collect::<Vec<Box<str>>>(),
                "{claims}"
            );
        }
    }
}
