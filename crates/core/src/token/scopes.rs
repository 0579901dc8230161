//! The scopes of a token (RFC 6749 §3.3).

use std::collections::HashSet;

use super::claims::{ClaimPath, Claims};
use super::json::Json;

/// The scopes in the first of these claims that is present: a string with spaces between scopes
/// (RFC 9068 §2.2.3), or an array. Invalid scopes are dropped, because they grant nothing. The
/// result has each scope once, separated by one space.
pub(super) fn scopes(claims: &Claims, paths: &[ClaimPath]) -> Box<str> {
    let texts: Vec<&str> = match paths.iter().find_map(|path| claims.at(path)) {
        Some(Json::String(text)) => text.split(' ').collect(),
        Some(Json::Array(elements)) => elements.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let mut seen = HashSet::new();
    let scopes: Vec<&str> = texts
        .into_iter()
        .filter(|text| is_scope(text) && seen.insert(*text))
        .collect();
    scopes.join(" ").into()
}

/// Whether the text is a `scope-token` (RFC 6749 appendix A.4).
pub fn is_scope(text: &str) -> bool {
    let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !text.is_empty() && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::json::ClaimsDocument;
    use super::*;

    #[test]
    fn scopes_of_many_forms() {
        let paths = ["scope", "scp"].map(|path| path.parse().unwrap());
        for (claims, expected) in [
            (json!({}), ""),
            (json!({"scope": "a b"}), "a b"),
            (json!({"scope": "  a  b a "}), "a b"),
            (json!({"scp": ["a", "b:c/d"]}), "a b:c/d"),
            (json!({"scope": "a", "scp": ["b"]}), "a"),
            (json!({"scope": null, "scp": "b"}), "b"),
            (json!({"scp": ["a b", "", 1, "c\"d", "e\\f", "ö"]}), ""),
            (json!({"scope": {"a": true}}), ""),
        ] {
            let members = ClaimsDocument::object(claims.to_string().as_bytes()).unwrap();
            let found = scopes(&Claims::new(members).unwrap(), &paths);
            assert_eq!(&*found, expected, "{claims}");
        }
    }
}
