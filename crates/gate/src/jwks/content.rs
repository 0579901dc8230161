//! Recognises documents that should have been a key set or metadata, so that an error can say what
//! they are.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fetch::Wanted;
use claimgate_core::escaped::Escaped;
use claimgate_core::keyring::without_bom;

/// What a document is instead of the one that was requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Empty,
    /// HTML or XML: usually a login or maintenance page.
    Page,
    /// Compressed, although no request asks for compression.
    Gzip,
    Utf16,
    /// JWS compact serialization: three segments.
    Jwt,
    /// PEM, or JSON that contains PEM, such as Google's `/oauth2/v1/certs`.
    Pem,
    /// A JWK Set (RFC 7517 §5).
    KeySet,
    /// One JWK without a set around it.
    Key,
    /// A JSON array.
    List,
    /// Provider metadata, with its `jwks_uri`.
    Metadata(Escaped),
    /// `{"error": …}`.
    Error(Escaped),
}

/// The members that distinguish the JSON objects.
#[derive(Deserialize)]
struct Members<'d> {
    keys: Option<IgnoredAny>,
    kty: Option<IgnoredAny>,
    #[serde(borrow)]
    jwks_uri: Option<std::borrow::Cow<'d, str>>,
    #[serde(borrow)]
    error: Option<std::borrow::Cow<'d, str>>,
}

impl Content {
    /// What `body` looks like. `None` if it is not recognised.
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        let text = without_bom(body).trim_ascii();
        let has = |piece: &[u8]| text.windows(piece.len()).any(|window| window == piece);
        Some(match text {
            [] => Self::Empty,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Self::Utf16,
            [b'<', ..] => Self::Page,
            [b'-', b'-', b'-', b'-', b'-', ..] => Self::Pem,
            [b'e', b'y', ..] if text.split(|byte| *byte == b'.').count() == 3 => Self::Jwt,
            [b'[', ..] => Self::List,
            [b'{', ..] => match serde_json::from_slice(text).ok()? {
                Members {
                    jwks_uri: Some(uri),
                    ..
                } => Self::Metadata(Escaped::from(&*uri)),
                Members { keys: Some(_), .. } => Self::KeySet,
                Members { kty: Some(_), .. } => Self::Key,
                Members {
                    error: Some(error), ..
                } => Self::Error(Escaped::from(&*error)),
                _ if has(b"-----BEGIN ") => Self::Pem,
                _ => return None,
            },
            _ => return None,
        })
    }
}

impl Content {
    /// What the document is, and what to do if it came in place of the one that was `wanted`.
    pub(super) fn with_remedy(&self, wanted: Wanted) -> String {
        match (self, wanted) {
            (Self::Page, wanted) => format!(
                "{self}: probably a login page, an error page, or a proxy's. Request the URL from \
                 this machine (`curl`), and set `{}` to one that answers with JSON",
                wanted.field()
            ),
            (Self::Metadata(uri), Wanted::Keys) => {
                format!("{self}: set `jwks.uri: {uri}`, or remove `jwks`, and discovery finds it")
            }
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Page => f.write_str("a web page (HTML or XML)"),
            Self::Gzip => f.write_str("compressed (gzip), although that was not requested"),
            Self::Utf16 => f.write_str("UTF-16 text, but JSON is UTF-8"),
            Self::Jwt => f.write_str("a JWT"),
            Self::Pem => f.write_str("certificates or keys in PEM"),
            Self::KeySet => f.write_str("a key set"),
            Self::Key => f.write_str("a single key, not in a set (`{\"keys\": […]}`)"),
            Self::List => f.write_str("a JSON array"),
            Self::Metadata(uri) => write!(f, "provider metadata, with `jwks_uri` `{uri}`"),
            Self::Error(error) => write!(f, "a JSON error, `{error}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_looks_like() {
        let uri = || Escaped::from("https://a.example/keys");
        for (body, expected) in [
            (&b""[..], Some(Content::Empty)),
            (b" \r\n", Some(Content::Empty)),
            (b"\xef\xbb\xbf", Some(Content::Empty)),
            (b"<!doctype html>", Some(Content::Page)),
            (b"\xef\xbb\xbf\n<html>", Some(Content::Page)),
            (b"\x1f\x8b\x08\0", Some(Content::Gzip)),
            (b"\xff\xfe{\0", Some(Content::Utf16)),
            (b"\xfe\xff\0{", Some(Content::Utf16)),
            (b"-----BEGIN CERTIFICATE-----", Some(Content::Pem)),
            (
                br#"{"k1": "-----BEGIN CERTIFICATE-----\nMII"}"#,
                Some(Content::Pem),
            ),
            (b"eyJhbGciOiJSUzI1NiJ9.e30.AAAA", Some(Content::Jwt)),
            (b"ey", None),
            (b"[1]", Some(Content::List)),
            (br#"{"keys": []}"#, Some(Content::KeySet)),
            (br#"{"kty": "EC"}"#, Some(Content::Key)),
            (
                br#"{"issuer": "x", "jwks_uri": "https://a.example/keys", "keys": 1}"#,
                Some(Content::Metadata(uri())),
            ),
            (
                br#"{"error": "invalid\u0020realm"}"#,
                Some(Content::Error(Escaped::from("invalid realm"))),
            ),
            (br#"{"keys": ["#, None),
            (b"{}", None),
            (b"null", None),
            (b"Not Found", None),
        ] {
            assert_eq!(
                Content::of(body),
                expected,
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
    }
}
