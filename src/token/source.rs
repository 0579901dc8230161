//! Where a request may carry a token: in the `Authorization` header (RFC 6750 §2.1, RFC 9110
//! §11.6.2), or in a header, a cookie or a query parameter of the operator's choice.

use std::fmt;

pub(crate) mod cookie;
mod header;
mod query;

use crate::request::Request;

/// A place in a request where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A header.
    Header {
        /// Its name, in lower case.
        name: String,
        /// What is in front of the token; nothing if the header holds the token alone.
        scheme: Option<String>,
    },
    /// A cookie of this name (RFC 6265 §4.2).
    Cookie(String),
    /// A query parameter of this name (RFC 6750 §2.3).
    Query(String),
}

/// Why there is something, but no one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    Repeated,
    Empty,
    Malformed,
}

impl TokenSource {
    /// `Authorization: Bearer …`.
    pub fn authorization() -> Self {
        Self::Header {
            name: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        }
    }

    /// The name of the header, if it is one.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name),
            Self::Cookie(_) | Self::Query(_) => None,
        }
    }

    /// Whether there is something, be it a token or not.
    pub(crate) fn is_used(&self, request: &Request<'_>) -> bool {
        !matches!(self.token(request), Ok(None))
    }

    pub(super) fn token<'a>(&self, request: &Request<'a>) -> Result<Option<&'a str>, Unreadable> {
        let token = match self {
            Self::Header { name, scheme } => {
                header::value(&request.headers, name, scheme.as_deref())
            }
            Self::Cookie(name) => cookie::value(&request.headers, name),
            Self::Query(name) => query::value(request.path, name),
        };
        match token? {
            Some("") => Err(Unreadable::Empty),
            Some(token) if !is_graphic(token) => Err(Unreadable::Malformed),
            token => Ok(token),
        }
    }
}

/// Whether all of a text is visible ASCII.
fn is_graphic(text: &str) -> bool {
    !any_byte(text, |byte| !byte.is_ascii_graphic())
}

/// Whether a text has such a byte. To look at every byte of a piece takes less time than to stop at
/// the first that is one.
fn any_byte(text: &str, is_such: impl Fn(u8) -> bool) -> bool {
    let any = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | is_such(*byte));
    text.as_bytes().chunks(64).any(any)
}

impl fmt::Display for TokenSource {
    /// "`Authorization: Bearer` header", "cookie `session`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, scheme) = match self {
            Self::Cookie(name) => return write!(f, "cookie `{name}`"),
            Self::Query(name) => return write!(f, "query parameter `{name}`"),
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
