//! The parts of a request in the form of records, without tokens.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::record::{HeaderValue, Part, PathBytes};
use crate::denials::without_tokens;
use claimgate_core::request::pseudo::Conflict;
use claimgate_core::request::{Request, path};
use claimgate_core::secrets::looks_like_token;
use claimgate_core::token::json::Json;

/// The maximum length of a path in bytes. Envoy accepts 60 KiB for all headers, but rules with regular
/// expressions read no more than this either.
const MAX_PATH_BYTES: usize = 8 * 1024;

/// The maximum length of any other text in bytes, and of a claim as JSON.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// The parts of a request that a record leaves out, each once.
#[derive(Debug, Default)]
pub(super) struct Withheld<'r>(pub(super) Vec<Cow<'r, str>>);

impl<'r> Withheld<'r> {
    pub(super) fn has(&self, part: &str) -> bool {
        self.0.iter().any(|known| known == part)
    }

    pub(super) fn note(&mut self, part: impl Into<Cow<'r, str>>) {
        let part = part.into();
        if !self.has(&part) {
            self.0.push(part);
        }
    }

    /// The text, or nothing if it looks like a token or is too long.
    pub(super) fn unless_secret(&mut self, part: &'static str, text: &'r str) -> Cow<'r, str> {
        match is_unfit(text) {
            true => {
                self.note(part);
                Cow::Borrowed("")
            }
            false => Cow::Borrowed(text),
        }
    }
}

/// Whether a text looks like a token, or is too long.
pub(super) fn is_unfit(text: &str) -> bool {
    text.len() > MAX_TEXT_BYTES || looks_like_token(text)
}

/// Whether a claim may be written.
pub(super) fn is_writable(value: Json<'_>) -> bool {
    match value {
        Json::String(text) => !is_unfit(text),
        Json::Null | Json::Bool(_) | Json::Number(_) => true,
        Json::Array(_) | Json::Object(_) => {
            value.min_text_bytes() <= MAX_TEXT_BYTES && !is_unfit(&value.to_string())
        }
    }
}

/// The path without tokens and an encoded query, and whether anything is missing.
pub(super) fn shown_path(path: &str) -> (Cow<'_, str>, bool) {
    let mut shown = without_tokens(path, MAX_PATH_BYTES);
    if shown == path {
        return (shown, false);
    }
    if shown.len() < path.len() && !shown.contains('…') {
        shown.to_mut().push('…');
    }
    (shown, true)
}

/// What the bytes of the path say beside its text.
pub(super) fn path_bytes(request: &Request<'_>) -> PathBytes {
    match request.path_bytes {
        Some(_) if path::as_sent(request).is_err() => PathBytes::Replaced,
        Some(sent) if sent != request.path.as_bytes() => PathBytes::QueryReplaced,
        Some(_) if request.split_path().0.contains('!') => PathBytes::Same,
        Some(_) | None => PathBytes::Usual,
    }
}

/// The part that a check describes twice.
pub(super) fn part(conflict: Conflict) -> Part {
    match conflict {
        Conflict::Method => Part::Method,
        Conflict::Host => Part::Host,
        Conflict::Path => Part::Path,
        Conflict::Query => Part::Query,
    }
}

/// The value of a header line, exactly.
pub(super) fn header_value(value: &[u8]) -> HeaderValue<'_> {
    match str::from_utf8(value) {
        Ok(text) => HeaderValue::Text(Cow::Borrowed(text)),
        Err(_) => HeaderValue::Bytes {
            base64: BASE64_STANDARD.encode(value).into(),
        },
    }
}

/// The name of a header as records have it.
pub(super) fn lower_case(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => Cow::Borrowed(name),
    }
}
