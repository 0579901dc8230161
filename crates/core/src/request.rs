//! The facts about a request that a decision may use. Borrowed from the wire message, not copied.

pub mod by_header_name;
pub mod host;
mod id;
pub mod method;
pub mod overrides;
pub mod path;
pub mod pseudo;
mod trace_parent;

pub use trace_parent::TraceParent;

use std::borrow::Cow;

use pseudo::Conflict;

/// One HTTP request as the proxy describes it. The client chooses every text except
/// [`context`](Self::context), so none of those texts is trusted.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// As the client sent it, case included. Empty if the proxy sends none.
    pub method: &'a str,
    /// The authority with its port, in the case that the client used.
    pub host: &'a str,
    /// The raw path with its query, even if the proxy sends them apart. Empty for CONNECT without a path
    /// and for TCP checks.
    pub path: &'a str,
    /// The path as the bytes that the client sent, if the proxy provides them. In `path`, the proxy
    /// may have replaced bytes that are not UTF-8.
    pub path_bytes: Option<&'a [u8]>,
    /// The header lines.
    pub headers: Headers<'a>,
    /// The sender, as far as the proxy can tell.
    pub source: Peer<'a>,
    /// What the proxy's route configuration says about the request (Envoy's `context_extensions`).
    /// The operator chooses it.
    pub context: Vec<(&'a str, &'a str)>,
    /// What the proxy describes twice, and differently. Such a request is refused.
    pub conflict: Option<Conflict>,
}

/// The other end of the connection to the proxy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// The IP address without a port. Empty if the proxy does not send it.
    pub address: &'a str,
    /// The name in the TLS certificate: the first URI SAN, else the first DNS SAN, else the
    /// subject. Empty without a certificate.
    pub principal: &'a str,
    /// The TLS certificate as the proxy encodes it: URL-encoded PEM. Empty without a certificate,
    /// or if the proxy does not send it.
    pub certificate: &'a str,
}

impl<'a> Request<'a> {
    /// Whether the client speaks gRPC, so that it reads a denial from `grpc-message` and not from a
    /// body. The same test as Envoy's: `application/grpc` and `application/grpc+proto`, but not
    /// gRPC-Web.
    pub fn is_grpc(&self) -> bool {
        self.headers.all("content-type").any(|value| {
            let rest = value.strip_prefix(b"application/grpc");
            rest.is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'+'))
        })
    }

    /// The path without its query, and the query without its `?`.
    pub fn split_path(&self) -> (&'a str, &'a str) {
        self.path.split_once('?').unwrap_or((self.path, ""))
    }

    /// The value that the proxy's route sets under this name.
    pub fn context(&self, name: &str) -> Option<&'a str> {
        let found = self.context.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value)
    }

    /// Whether this is a CORS preflight (Fetch §4.8), by the same test as Envoy's filters: OPTIONS,
    /// with `origin` and `access-control-request-method` not empty. A request with a body, or with
    /// a header that overrides its method or path, is not a preflight.
    pub fn is_cors_preflight(&self) -> bool {
        let has = |name| self.headers.all(name).any(|value| !value.is_empty());
        self.method == "OPTIONS"
            && has("origin")
            && has("access-control-request-method")
            && !self.announces_body()
            && !self.headers.names().any(overrides::is_override)
    }

    /// Whether the headers announce a body. Envoy does not show `transfer-encoding`, and HTTP/2
    /// needs no `content-length`. Then only `content-type` reveals a body; without that header,
    /// servers parse no form.
    fn announces_body(&self) -> bool {
        let is_there = |name| self.headers.all(name).next().is_some();
        is_there("transfer-encoding")
            || is_there("content-type")
            || self
                .headers
                .all("content-length")
                .any(|length| length != b"0")
    }
}

/// Header lines in the order received. A proxy may have joined repeated lines with commas.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Headers<'a> {
    /// The values of every line named `name`, which is in lower case. Lines match in any case.
    pub fn all<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'n, 'a> {
        self.0
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Every line: its name as sent, and its value.
    pub fn lines(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().copied()
    }

    /// The names as sent, including repeated ones.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }
}

impl<'a> From<Vec<(&'a str, &'a [u8])>> for Headers<'a> {
    fn from(lines: Vec<(&'a str, &'a [u8])>) -> Self {
        Self(lines)
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}

impl<'a> FromIterator<&'a (String, String)> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = &'a (String, String)>>(lines: I) -> Self {
        let lines = lines.into_iter();
        lines
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect()
    }
}

/// Bytes as text, in the form in which Envoy shows them in a check: with `!` in place of each byte that is
/// not UTF-8.
pub fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    Cow::Owned(text)
}

/// A path with its query, without the parameters that have these names. The rest stays as it is.
pub fn without_parameters(path: &[u8], names: &[&str]) -> Vec<u8> {
    let Some(start) = path.iter().position(|byte| *byte == b'?') else {
        return path.to_vec();
    };
    let (path, query) = path.split_at(start);
    let query = query.get(1..).unwrap_or_default();
    let kept = query.split(|byte| *byte == b'&').filter(|parameter| {
        let name = parameter.split(|byte| *byte == b'=').next();
        !names.iter().any(|removed| name == Some(removed.as_bytes()))
    });
    let mut left = path.to_vec();
    for (index, parameter) in kept.enumerate() {
        left.push(if index == 0 { b'?' } else { b'&' });
        left.extend_from_slice(parameter);
    }
    left
}

/// Whether servers in the CGI tradition mistake `sent` for `own`: the names differ only in the
/// characters that are neither letters nor digits. False if they differ in case alone, because that
/// is the same name.
pub fn is_alias(own: &str, sent: &str) -> bool {
    is_spelling(own, sent) && !sent.eq_ignore_ascii_case(own)
}

/// The name under which grpc-gateway passes the header on to a gRPC service, without the prefix by which clients ask
/// for that. `None` if `sent` has no such prefix.
pub fn grpc_metadata_name(sent: &str) -> Option<&str> {
    const PREFIX: &str = "grpc-metadata-";
    let (prefix, name) = sent.split_at_checked(PREFIX.len())?;
    is_spelling(PREFIX, prefix).then_some(name)
}

/// Whether `sent` is the name `own` or an alias of it.
pub fn is_spelling(own: &str, sent: &str) -> bool {
    sent.len() == own.len()
        && sent.bytes().zip(own.bytes()).all(|(sent, own)| {
            let both_other = !own.is_ascii_alphanumeric() && !sent.is_ascii_alphanumeric();
            sent.eq_ignore_ascii_case(&own) || both_other
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(lines: &[(&'a str, &'a str)]) -> Headers<'a> {
        let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
        lines.collect()
    }

    #[test]
    fn grpc_as_envoy_tells_it() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let request = Request {
                headers: headers(&[("content-type", content_type)]),
                ..Request::default()
            };
            assert_eq!(request.is_grpc(), expected, "{content_type}");
        }
    }

    #[test]
    fn parameters_are_removed() {
        for (path, expected) in [
            (&b"/orders"[..], &b"/orders"[..]),
            (b"/orders?token=a", b"/orders"),
            (b"/orders?a=1&token=a&b", b"/orders?a=1&b"),
            (b"/orders?token=a&token=b&%74oken=c", b"/orders?%74oken=c"),
            (b"/orders?token", b"/orders"),
            (b"/orders?tokens=a", b"/orders?tokens=a"),
            (b"/\xff?token=a&q=\xfe", b"/\xff?q=\xfe"),
        ] {
            assert_eq!(without_parameters(path, &["token", "t"]), expected);
        }
    }

    #[test]
    fn preflights() {
        let question = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
        ];
        for (method, more, expected) in [
            ("OPTIONS", None, true),
            ("OPTIONS", Some(("content-length", "0")), true),
            ("OPTIONS", Some(("accept", "*/*")), true),
            ("options", None, false),
            ("POST", None, false),
            ("OPTIONS", Some(("content-length", "14")), false),
            ("OPTIONS", Some(("Content-Length", "00")), false),
            ("OPTIONS", Some(("content-length", "0, 14")), false),
            ("OPTIONS", Some(("content-length", "")), false),
            ("OPTIONS", Some(("transfer-encoding", "chunked")), false),
            ("OPTIONS", Some(("transfer-encoding", "")), false),
            ("OPTIONS", Some(("content-type", "text/plain")), false),
            ("OPTIONS", Some(("x-http-method-override", "GET")), false),
            ("OPTIONS", Some(("X_HTTP_Method", "DELETE")), false),
            ("OPTIONS", Some(("x-original-url", "/admin")), false),
        ] {
            let lines: Vec<_> = question.into_iter().chain(more).collect();
            let request = Request {
                method,
                headers: headers(&lines),
                ..Request::default()
            };
            assert_eq!(request.is_cors_preflight(), expected, "{method} {more:?}");
        }
        for missing in [0, 1] {
            let request = Request {
                method: "OPTIONS",
                headers: headers(&question[missing..=missing]),
                ..Request::default()
            };
            assert!(!request.is_cors_preflight(), "only {:?}", question[missing]);
        }
    }
}
