//! The places in a request that may carry a token: the `Authorization` header (RFC 6750 §2.1, RFC
//! 9110 §11.6.2), or a header, cookie, query parameter or WebSocket subprotocol that the operator
//! configures.

use std::borrow::Cow;
use std::fmt;

pub mod cookie;
mod header;
pub mod places;
mod query;
mod spelling;
pub mod websocket;

use crate::request::Request;

/// A place in a request that may carry a token.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A header.
    Header {
        /// The header's name, in lower case.
        name: String,
        /// The scheme before the token. `None` if the header holds only the token.
        scheme: Option<String>,
    },
    /// The cookie with this name (RFC 6265 §4.2).
    Cookie(String),
    /// The query parameter with this name (RFC 6750 §2.3).
    Query(String),
    /// The subprotocol after this name in the list that a WebSocket client offers (RFC 6455 §4.1).
    WebSocket(String),
}

impl PartialEq for TokenSource {
    /// Compares schemes case-insensitively (RFC 9110 §11.1).
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Header { name, scheme },
                Self::Header {
                    name: other_name,
                    scheme: other_scheme,
                },
            ) => {
                name == other_name
                    && match (scheme, other_scheme) {
                        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                        (one, other) => one == other,
                    }
            }
            (Self::Cookie(one), Self::Cookie(other))
            | (Self::Query(one), Self::Query(other))
            | (Self::WebSocket(one), Self::WebSocket(other)) => one == other,
            (Self::Header { .. } | Self::Cookie(_) | Self::Query(_) | Self::WebSocket(_), _) => {
                false
            }
        }
    }
}

impl Eq for TokenSource {}

/// Why a place holds something, but not exactly one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Repeated,
    Empty,
    Malformed,
    /// The value comes under another name, which some servers read as this one.
    Misspelled,
}

impl TokenSource {
    /// `Authorization: Bearer …`.
    pub fn authorization() -> Self {
        Self::Header {
            name: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        }
    }

    /// The name of the header that carries the token; `None` for a cookie or a query parameter.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::WebSocket(_) => Some(websocket::HEADER),
            Self::Cookie(_) | Self::Query(_) => None,
        }
    }

    /// Whether taking the token away removes the whole header.
    pub fn is_whole_header(&self) -> bool {
        matches!(self, Self::Header { .. })
    }

    /// Whether every token in one place would be an error in the other: the same header with and
    /// without a scheme, or two names that some server reads as one.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Header { name, scheme },
                Self::Header {
                    name: other_name,
                    scheme: other_scheme,
                },
            ) => name == other_name && scheme.is_none() != other_scheme.is_none(),
            (Self::Cookie(one), Self::Cookie(other)) | (Self::Query(one), Self::Query(other)) => {
                one != other
                    && (spelling::is_read_as(one.as_bytes(), other)
                        || spelling::is_read_as(other.as_bytes(), one))
            }
            _ => false,
        }
    }

    /// Whether the place holds anything, a token or not.
    pub(crate) fn is_used(&self, request: &Request<'_>) -> bool {
        !matches!(self.token(request), Ok(None))
    }

    pub(super) fn token<'a>(
        &self,
        request: &Request<'a>,
    ) -> Result<Option<Cow<'a, str>>, Unreadable> {
        let token = match self {
            Self::Header { name, scheme } => {
                header::value(&request.headers, name, scheme.as_deref())?.map(Cow::Borrowed)
            }
            Self::Cookie(name) => cookie::value(&request.headers, name)?.map(Cow::Borrowed),
            Self::Query(name) => query::value(request.path, name)?.map(Cow::Borrowed),
            Self::WebSocket(name) => websocket::value(&request.headers, name)?,
        };
        match token.as_deref() {
            Some("") => Err(Unreadable::Empty),
            Some(text) if !is_graphic(text) => Err(Unreadable::Malformed),
            _ => Ok(token),
        }
    }
}

/// The parts of a text between ASCII separators that have at least this length in bytes. Separators
/// are cheap to send, so splitting must be cheap too: it takes about a nanosecond per byte.
fn parts(text: &str, is_separator: fn(u8) -> bool, shortest: usize) -> impl Iterator<Item = &str> {
    let parts = text.as_bytes().split(move |byte| is_separator(*byte));
    let parts = parts.filter(move |part| part.len() >= shortest);
    parts.filter_map(|part| str::from_utf8(part).ok())
}

/// Whether the text is visible ASCII throughout.
fn is_graphic(text: &str) -> bool {
    !any_byte(text, |byte| !byte.is_ascii_graphic())
}

/// Whether any byte of the text matches. Folding over a whole chunk is faster than stopping at the
/// first match.
fn any_byte(text: &str, is_such: impl Fn(u8) -> bool) -> bool {
    let any = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | is_such(*byte));
    text.as_bytes().chunks(64).any(any)
}

impl fmt::Display for TokenSource {
    /// Examples: "`Authorization: Bearer` header", "cookie `session`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, scheme) = match self {
            Self::Cookie(name) => return write!(f, "cookie `{name}`"),
            Self::Query(name) => return write!(f, "query parameter `{name}`"),
            Self::WebSocket(name) => return write!(f, "WebSocket subprotocol `{name}`"),
            Self::Header { name, scheme } => (name.as_str(), scheme),
        };
        let name = match name {
            "authorization" => "Authorization",
            name => name,
        };
        match scheme {
            Some(scheme) => write!(f, "`{name}: {scheme}` header"),
            None => write!(f, "`{name}` header"),
        }
    }
}
