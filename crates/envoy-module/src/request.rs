//! Turns the headers that a host shows into a [`Request`], as Envoy's `ext_authz` would describe it.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::stream::{Line, Source};
use claimgate_core::decision::{Fault, Unreadable};
use claimgate_core::request::pseudo::PseudoHeaders;
use claimgate_core::request::{Headers, Peer, Request, as_text};

/// The maximum size of all headers together, in bytes. The service has the same limit for a check.
const MAX_BYTES: usize = 256 * 1024;

/// The headers of a request, and the texts that are not in them as they are.
#[derive(Debug)]
pub struct Description<'a> {
    headers: Vec<(&'a str, &'a [u8])>,
    method: Cow<'a, str>,
    host: Cow<'a, str>,
    path: Cow<'a, str>,
    address: &'a str,
    principal: Cow<'a, str>,
}

impl<'a> Description<'a> {
    /// Reads header lines.
    ///
    /// # Errors
    ///
    /// Fails if there are too many bytes, or if a name is not UTF-8.
    pub fn read(lines: &[Line<'a>], source: &Source<'a>) -> Result<Self, Fault> {
        let bytes: usize = lines
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > MAX_BYTES {
            return Err(Fault::CheckTooLarge(MAX_BYTES));
        }
        let mut headers = Vec::with_capacity(lines.len());
        for (name, value) in lines {
            let name =
                str::from_utf8(name).map_err(|_| Fault::CheckUnreadable(Unreadable::NotUtf8))?;
            headers.push((name, *value));
        }
        let text = |wanted: &str| {
            let line = headers.iter().find(|(name, _)| *name == wanted);
            line.map_or(Cow::Borrowed(""), |(_, value)| as_text(value))
        };
        Ok(Self {
            method: text(":method"),
            host: text(":authority"),
            path: text(":path"),
            address: address_of(source.address),
            principal: source.principal.clone(),
            headers,
        })
    }

    /// The request. `context` is what its route says.
    pub fn request<'s>(&'s self, context: &'s [(String, String)]) -> Request<'s> {
        let headers: Headers<'_> = self.headers.iter().copied().collect();
        let pseudo = PseudoHeaders::of(&headers);
        Request {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            path_bytes: pseudo.path(),
            conflict: pseudo.conflict(&self.method, &self.host, &self.path),
            headers,
            source: Peer {
                address: self.address,
                principal: &self.principal,
                certificate: "",
            },
            context: context
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        }
    }
}

/// The IP address of the connection. Empty for a pipe and for Envoy itself.
///
/// Envoy shows the address that the client names in `x-forwarded-for` instead, if it is configured to
/// believe it. Then the port is 0, and the connection's address is not known.
fn address_of(shown: &str) -> &str {
    match shown.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => {
            let ip = shown.rsplit_once(':').map_or("", |(ip, _)| ip);
            ip.trim_start_matches('[').trim_end_matches(']')
        }
        _ => "",
    }
}

/// The headers and the sender of a request that waits: the host's memory is valid only during a call.
#[derive(Debug)]
pub struct Copied {
    /// All names and values, one after another.
    bytes: Vec<u8>,
    /// The length of each name and of its value.
    lengths: Vec<(usize, usize)>,
    address: String,
    principal: String,
}

impl Copied {
    /// Copies what a host shows.
    pub fn new(lines: &[Line<'_>], source: &Source<'_>) -> Self {
        let parts = lines.iter().flat_map(|(name, value)| [*name, *value]);
        Self {
            bytes: parts.flatten().copied().collect(),
            lengths: lines
                .iter()
                .map(|(name, value)| (name.len(), value.len()))
                .collect(),
            address: source.address.to_owned(),
            principal: source.principal.clone().into_owned(),
        }
    }

    /// The header lines.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let mut rest = self.bytes.as_slice();
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = left;
            taken
        };
        let lengths = self.lengths.iter();
        lengths
            .map(|(name, value)| (take(*name), take(*value)))
            .collect()
    }

    /// The sender.
    pub fn source(&self) -> Source<'_> {
        Source {
            address: &self.address,
            principal: Cow::Borrowed(&self.principal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use claimgate_core::request::pseudo::Conflict;

    #[test]
    fn addresses() {
        for (address, expected) in [
            ("127.0.0.1:4711", "127.0.0.1"),
            ("[::1]:4711", "::1"),
            ("[fe80::1%4]:4711", "fe80::1%4"),
            ("8.8.8.8:0", ""),
            ("[2001:db8::1]:0", ""),
            ("10.0.0.1", ""),
            ("2001:db8::1", ""),
            ("/run/envoy.sock", ""),
            ("/run/envoy.sock:1", ""),
            ("[::1]", ""),
            ("::1:4711", ""),
            ("envoy://internal/", ""),
            ("", ""),
        ] {
            assert_eq!(address_of(address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_described() {
        let lines: [Line<'_>; 5] = [
            (b":method", b"GET"),
            (b":authority", b"api.example.com"),
            (b":path", b"/\xff?a"),
            (b"x-one", b"1"),
            (b"x-one", b"\xfe"),
        ];
        let copied = Copied::new(&lines, &Source::default());
        let lines = copied.lines();
        let described = Description::read(&lines, &copied.source()).unwrap();
        let context = [("claimgate.rule".to_owned(), "health".to_owned())];
        let request = described.request(&context);
        assert_eq!(
            (request.method, request.host, request.path),
            ("GET", "api.example.com", "/!?a")
        );
        assert_eq!(request.path_bytes, Some(&b"/\xff?a"[..]));
        assert_eq!(request.conflict, None);
        assert_eq!(request.context("claimgate.rule"), Some("health"));
        let values: Vec<_> = request.headers.all("x-one").collect();
        assert_eq!(values, [&b"1"[..], b"\xfe"]);
    }

    #[test]
    fn what_is_refused() {
        let large = vec![b'a'; MAX_BYTES];
        let large: [Line<'_>; 1] = [(b"x", &large)];
        let too_large = Description::read(&large, &Source::default());
        assert!(matches!(too_large, Err(Fault::CheckTooLarge(_))));
        let garbled: [Line<'_>; 1] = [(b"\xff", b"")];
        let garbled = Description::read(&garbled, &Source::default());
        assert!(matches!(garbled, Err(Fault::CheckUnreadable(_))));
        let twice: [Line<'_>; 3] = [(b":path", b"/a"), (b":path", b"/b"), (b":method", b"GET")];
        let twice = Description::read(&twice, &Source::default()).unwrap();
        assert_eq!(twice.request(&[]).conflict, Some(Conflict::Path));
    }
}
