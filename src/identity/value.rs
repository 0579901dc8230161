//! Claims as text for headers.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::token::json::{Array, Json};

/// Everything but the unreserved characters of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A claim as text for a header, or `None` if there is nothing to say: a string as it is, an
/// integer exactly, a boolean, an array of those joined by commas (as JSON if that would be
/// ambiguous), an object as JSON. Text that a header cannot carry as it is comes percent-encoded.
pub(super) fn header_value(claim: Json<'_>) -> Option<String> {
    let text = match claim {
        Json::Array(elements) => joined(elements).unwrap_or_else(|| encoded(claim.to_string())),
        Json::Object(_) => encoded(claim.to_string()),
        scalar => encoded(scalar.scalar_text()?.into_owned()),
    };
    (!text.is_empty()).then_some(text)
}

/// `None` when the elements could not be told apart again, or from JSON.
fn joined(elements: Array<'_>) -> Option<String> {
    let is_clear = |text: &Cow<'_, str>| {
        !text.is_empty() && !text.contains(',') && !text.starts_with(['[', '{', '"'])
    };
    let texts = elements
        .iter()
        .map(|element| element.scalar_text().filter(is_clear))
        .map(|text| text.map(|text| encoded(text.into_owned())))
        .collect::<Option<Vec<_>>>()?;
    Some(texts.join(","))
}

/// Text as it is when every hop passes it on unchanged: visible ASCII and inner spaces. All else,
/// and text with a `%`, so that nothing else can look the same, comes percent-encoded.
fn encoded(text: String) -> String {
    let plain = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && byte != b'%');
    if text.bytes().all(plain) && text.trim_ascii() == text {
        return text;
    }
    utf8_percent_encode(&text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::json::Document;
    use serde_json::json;

    #[test]
    fn claims_as_text() {
        for (claim, text) in [
            (json!("alice"), Some("alice")),
            (json!("Alice Doe"), Some("Alice Doe")),
            (json!(""), None),
            (json!(null), None),
            (json!(9_007_199_254_740_993_u64), Some("9007199254740993")),
            (json!(-3), Some("-3")),
            (json!(1.5), Some("1.5")),
            (json!(true), Some("true")),
            (json!([]), None),
            (json!(["a", "b"]), Some("a,b")),
            (json!(["a", 1, false]), Some("a,1,false")),
            (json!(["a,b", "c"]), Some(r#"["a,b","c"]"#)),
            (json!([""]), Some(r#"[""]"#)),
            (json!(["a", null]), Some(r#"["a",null]"#)),
            (json!([["a"]]), Some(r#"[["a"]]"#)),
            (json!({"b": 1, "a": [2]}), Some(r#"{"a":[2],"b":1}"#)),
            (json!("a\r\nx-admin: 1"), Some("a%0D%0Ax-admin%3A%201")),
            (json!("nul\u{0}"), Some("nul%00")),
            (json!("Zoë"), Some("Zo%C3%AB")),
            (json!(" admin"), Some("%20admin")),
            (json!("admin "), Some("admin%20")),
            (json!("100%"), Some("100%25")),
            (json!("Zo%C3%AB"), Some("Zo%25C3%25AB")),
            (json!(["é", "a"]), Some("%C3%A9,a")),
            (json!(["[x", "y]"]), Some(r#"["[x","y]"]"#)),
            (json!(["a,é"]), Some("%5B%22a%2C%C3%A9%22%5D")),
        ] {
            let claims = json!({"it": claim}).to_string();
            let claims = Document::object(claims.as_bytes()).unwrap();
            let found = header_value(claims.members().get("it").unwrap());
            assert_eq!(found.as_deref(), text, "{claim}");
        }
    }
}
