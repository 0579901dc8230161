//! Names of the headers that claimgate sets.

/// The name of a header that claimgate sets: in lower case, without underscores, and without
/// another meaning on the way to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(String);

/// Names that mean something to proxies, servers or HTTP itself.
const RESERVED: [&str; 27] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "daphne-root-path",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
    "path-info",
    "script-name",
];

/// Prefixes of further such names.
const RESERVED_PREFIXES: [&str; 4] = ["x-envoy-", "x-forwarded-", "grpc-", "sec-websocket-"];

/// Why a text cannot name a header that claimgate sets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderNameError {
    /// The name contains something other than letters, digits and hyphens.
    #[error("`{0}` is not a header name made of letters, digits and hyphens")]
    Characters(String),
    /// The name already has a meaning.
    #[error(
        "`{0}` already has a meaning on the way to the upstream; choose another name, such as `x-auth-subject`"
    )]
    Reserved(String),
}

impl std::str::FromStr for HeaderName {
    type Err = HeaderNameError;

    fn from_str(text: &str) -> Result<Self, HeaderNameError> {
        let name = text.to_ascii_lowercase();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(HeaderNameError::Characters(text.to_owned()));
        }
        let reserved = RESERVED.contains(&name.as_str())
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix));
        if reserved {
            return Err(HeaderNameError::Reserved(name));
        }
        Ok(Self(name))
    }
}

impl HeaderName {
    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a name, in lower case, has a meaning to HTTP itself other than carrying credentials.
    pub fn is_of_http(name: &str) -> bool {
        (RESERVED.contains(&name) && !matches!(name, "authorization" | "proxy-authorization"))
            || name.starts_with("sec-websocket-")
    }

    /// The reserved names, and the reserved prefixes.
    pub fn reserved() -> (&'static [&'static str], &'static [&'static str]) {
        (&RESERVED, &RESERVED_PREFIXES)
    }

    pub(super) fn underscored(&self) -> Option<String> {
        self.0.contains('-').then(|| self.0.replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("Sec-WebSocket-Protocol", false),
            ("authorization", false),
        ] {
            assert_eq!(text.parse::<HeaderName>().is_ok(), fits, "{text}");
        }
        for name in crate::request::overrides::NAMES {
            assert!(name.parse::<HeaderName>().is_err(), "{name}");
        }
    }
}
