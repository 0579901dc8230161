//! Verified claims as headers that the upstream can trust.
//!
//! A header that claimgate manages is either set or removed, on every allow, so that no value of
//! the client's choosing can pass under its name.

use std::borrow::Cow;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

mod header_name;

use header_name::is_alias;
pub use header_name::{HeaderName, HeaderNameError};

use crate::request::Headers;
use crate::token::VerifiedToken;
use crate::token::claims::{ClaimPath, scalar_text};
use crate::token::source::{TokenSource, cookie};

/// The longest claim that is sent as a header, in bytes after encoding.
pub const MOST_VALUE_BYTES: usize = 4 * 1024;

/// Everything but the unreserved characters of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the upstream sees of a request that was allowed.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    claim_headers: Vec<(HeaderName, ClaimPath)>,
    scope_header: Option<HeaderName>,
    payload_header: Option<HeaderName>,
    forward_token: bool,
}

impl Upstream {
    /// Claims to be sent, each under a name of its own; the headers that carry the scopes and all
    /// claims, if any; whether the upstream gets the token too.
    pub fn new(
        claim_headers: Vec<(HeaderName, ClaimPath)>,
        scope_header: Option<HeaderName>,
        payload_header: Option<HeaderName>,
        forward_token: bool,
    ) -> Self {
        Self {
            claim_headers,
            scope_header,
            payload_header,
            forward_token,
        }
    }

    /// The changes to a request whose bearer is `token`, which was at `place`, one of `places`.
    pub fn changes<'a>(
        &'a self,
        token: &'a VerifiedToken,
        place: &'a TokenSource,
        places: &[Arc<TokenSource>],
        request: &Headers<'a>,
    ) -> HeaderChanges<'a> {
        let mut changes = HeaderChanges::default();
        for (name, path) in &self.claim_headers {
            let value = token.claims().at(path).and_then(header_value);
            changes.manage(name, value);
        }
        if let Some(name) = &self.scope_header {
            let scopes: Vec<&str> = token.scopes().collect();
            changes.manage(name, (!scopes.is_empty()).then(|| scopes.join(" ")));
        }
        if let Some(name) = &self.payload_header {
            changes.set.push((name.as_str(), token.payload().into()));
        }
        if !self.forward_token {
            self.take_token(place, request, &mut changes);
        }
        self.remove_aliases(places, request, &mut changes);
        changes
    }

    /// Servers in the tradition of CGI read `x_auth_subject`, or any mixture, as `x-auth-subject`;
    /// some read any other character in a hyphen's place like that. The same goes for the headers
    /// in which tokens are looked for.
    fn remove_aliases<'a>(
        &'a self,
        places: &[Arc<TokenSource>],
        request: &Headers<'a>,
        changes: &mut HeaderChanges<'a>,
    ) {
        for name in self.managed() {
            changes.remove.extend(name.underscored().map(Cow::Owned));
        }
        for sent in request.names() {
            let of_managed = self.managed().any(|name| is_alias(name.as_str(), sent));
            let mut of_places = places.iter().filter_map(|place| place.header());
            if of_managed || of_places.any(|name| is_alias(name, sent)) {
                let sent = Cow::Owned(sent.to_ascii_lowercase());
                if !changes.remove.contains(&sent) {
                    changes.remove.push(sent);
                }
            }
        }
    }

    /// Takes the token away from where it was, and nothing else.
    fn take_token<'a>(
        &self,
        place: &'a TokenSource,
        request: &Headers<'a>,
        changes: &mut HeaderChanges<'a>,
    ) {
        match place {
            // A header of that name is set or removed anyway.
            TokenSource::Header { name, .. } if self.managed().any(|own| own.as_str() == name) => {}
            TokenSource::Header { name, .. } => changes.remove.push(name.as_str().into()),
            TokenSource::Cookie(name) => match cookie::without(request, name) {
                Some(left) => changes.set.push(("cookie", Cow::Owned(left))),
                None => changes.remove.push("cookie".into()),
            },
            TokenSource::Query(name) => changes.remove_query.push(name),
        }
    }

    fn managed(&self) -> impl Iterator<Item = &HeaderName> {
        self.claim_headers
            .iter()
            .map(|(name, _)| name)
            .chain(&self.scope_header)
            .chain(&self.payload_header)
    }
}

/// Changes to the headers of a request. No name is in both lists: Envoy removes last.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges<'a> {
    /// Replaces whatever the client sent under the name.
    pub set: Vec<(&'a str, Cow<'a, str>)>,
    /// Removes every value under the name.
    pub remove: Vec<Cow<'a, str>>,
    /// Removes every query parameter of these names.
    pub remove_query: Vec<&'a str>,
    /// Those among `remove` whose claim was too long to be sent.
    pub oversized: Vec<&'a str>,
}

impl<'a> HeaderChanges<'a> {
    /// Sets a header, or removes it when there is no value that fits.
    fn manage(&mut self, name: &'a HeaderName, value: Option<String>) {
        match value {
            Some(value) if value.len() <= MOST_VALUE_BYTES => {
                self.set.push((name.as_str(), Cow::Owned(value)));
                return;
            }
            Some(_) => self.oversized.push(name.as_str()),
            None => {}
        }
        self.remove.push(name.as_str().into());
    }
}

/// A claim as text for a header, or `None` if there is nothing to say: a string as it is, an
/// integer exactly, a boolean, an array of those joined by commas (as JSON if that would be
/// ambiguous), an object as JSON. Text that a header cannot carry as it is comes percent-encoded.
fn header_value(claim: &Value) -> Option<String> {
    let text = match claim {
        Value::Array(elements) => joined(elements).unwrap_or_else(|| encoded(claim.to_string())),
        Value::Object(_) => encoded(claim.to_string()),
        scalar => encoded(scalar_text(scalar)?),
    };
    (!text.is_empty()).then_some(text)
}

/// `None` when the elements could not be told apart again, or from JSON.
fn joined(elements: &[Value]) -> Option<String> {
    let is_clear = |text: &String| {
        !text.is_empty() && !text.contains(',') && !text.starts_with(['[', '{', '"'])
    };
    let texts = elements
        .iter()
        .map(|element| scalar_text(element).filter(is_clear).map(encoded))
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
            assert_eq!(header_value(&claim).as_deref(), text, "{claim}");
        }
    }

    #[test]
    fn names() {
        for (text, fits) in [
            ("X-Auth-Subject", true),
            ("sub", true),
            ("", false),
            (":path", false),
            ("x_auth", false),
            ("x auth", false),
            ("x-aüth", false),
            ("Host", false),
            ("Connection", false),
            ("x-envoy-original-path", false),
            ("X-Forwarded-For", false),
            ("authorization", false),
        ] {
            assert_eq!(text.parse::<HeaderName>().is_ok(), fits, "{text}");
        }
    }
}
