//! Encodes claims as text for headers.

use std::fmt::{self, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::token::json::{Array, Json};

/// Every character except the unreserved ones of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The text would be longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl From<fmt::Error> for TooLong {
    /// Safe to convert, because [`Bounded`] has no other error.
    fn from(fmt::Error: fmt::Error) -> Self {
        Self
    }
}

/// A claim as text for a header. `None` if there is nothing to send: `null`, an empty string or an
/// empty array.
///
/// A string stays as it is, an integer is exact, and an array of scalars is joined by commas (or is
/// JSON if that would be ambiguous). An object is JSON. Text that a header cannot carry is
/// percent-encoded.
///
/// # Errors
///
/// Fails if the text is longer than `max_bytes`; at most that much is written to find out.
pub(super) fn header_value(claim: Json<'_>, max_bytes: usize) -> Result<Option<String>, TooLong> {
    if claim.min_text_bytes() > max_bytes {
        return Err(TooLong);
    }
    let mut text = Bounded::of(max_bytes);
    match claim {
        Json::Null => {}
        Json::Array(elements) if elements.iter().all(is_clear) => joined(elements, &mut text)?,
        Json::Array(_) | Json::Object(_) => {
            let mut json = Bounded::of(max_bytes);
            write!(json, "{claim}")?;
            match is_plain(&json.text) {
                true => text = json,
                false => encoded(&json.text, &mut text)?,
            }
        }
        scalar => put_scalar(scalar, &mut text)?,
    }
    Ok((!text.text.is_empty()).then_some(text.text))
}

/// Whether the element stays distinct from its neighbours when joined by commas, and the joined
/// text cannot be mistaken for JSON.
fn is_clear(element: Json<'_>) -> bool {
    match element {
        Json::String(text) => {
            !text.is_empty() && !text.contains(',') && !text.starts_with(['[', '{', '"'])
        }
        Json::Number(_) | Json::Bool(_) => true,
        Json::Null | Json::Array(_) | Json::Object(_) => false,
    }
}

fn joined(elements: Array<'_>, into: &mut Bounded) -> fmt::Result {
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            into.write_char(',')?;
        }
        put_scalar(element, into)?;
    }
    Ok(())
}

fn put_scalar(scalar: Json<'_>, into: &mut Bounded) -> fmt::Result {
    match scalar {
        Json::String(text) => encoded(text, into),
        // Numbers and booleans are visible ASCII, so they need no encoding.
        other => write!(into, "{other}"),
    }
}

/// Writes text unchanged if every hop passes it on unchanged, and percent-encoded otherwise. Text
/// with a `%` is always encoded, so that plain text never looks like encoded text.
fn encoded(text: &str, into: &mut Bounded) -> fmt::Result {
    match is_plain(text) {
        true => into.write_str(text),
        false => write!(into, "{}", utf8_percent_encode(text, ENCODED)),
    }
}

/// Whether text has only visible ASCII and inner spaces, and no `%`.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && byte != b'%');
    text.bytes().all(plain) && text.trim_ascii() == text
}

/// Text with a maximum length in bytes; writing more fails.
struct Bounded {
    text: String,
    max_bytes: usize,
}

impl Bounded {
    fn of(max_bytes: usize) -> Self {
        Self {
            text: String::new(),
            max_bytes,
        }
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if more.len() > self.max_bytes - self.text.len() {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::json::ClaimsDocument;
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
            let claims = ClaimsDocument::object(claims.as_bytes()).unwrap();
            let it = claims.members().get("it").unwrap();
            let found = header_value(it, usize::MAX).unwrap();
            assert_eq!(found.as_deref(), text, "{claim}");
            // A text of exactly the maximum length fits.
            let length = text.map_or(0, str::len);
            assert_eq!(header_value(it, length), Ok(found), "{claim}");
            if let Some(less) = length.checked_sub(1) {
                assert_eq!(header_value(it, less), Err(TooLong), "{claim}");
            }
        }
    }
}
