//! The ids of a request, by which its caller, the operator and the log speak of it.

use super::Request;
use crate::secrets::looks_like_token;

/// The maximum length of an id in bytes. Envoy's own have 36.
const MAX_BYTES: usize = 128;

impl<'a> Request<'a> {
    /// The request's id: `x-request-id`, else the trace id. `None` if it brings no usable one. An
    /// id with other characters than letters, digits and `-_.:=+/@~`, or with something like a JWT,
    /// is not used, because it goes into headers and logs.
    pub fn id(&self) -> Option<&'a str> {
        self.only_line("x-request-id")
            .filter(|id| (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(is_safe))
            .filter(|id| !looks_like_token(id))
            .or_else(|| self.trace_id())
    }

    /// The trace id in `traceparent` (W3C Trace Context §3.2).
    pub fn trace_id(&self) -> Option<&'a str> {
        let mut parts = self.only_line("traceparent")?.split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_valid = version.len() == 2
            && version != "ff"
            && trace.len() == 32
            && trace.bytes().all(is_hex)
            && trace.bytes().any(|byte| byte != b'0');
        is_valid.then_some(trace)
    }

    /// The value of a header that is there once.
    pub(super) fn only_line(&self, name: &str) -> Option<&'a str> {
        let mut lines = self.headers.all(name);
        match (lines.next(), lines.next()) {
            (Some(line), None) => std::str::from_utf8(line).ok(),
            _ => None,
        }
    }
}

fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:=+/@~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Some("4bf92f3577b34da6a3ce929d0e0e4736");
        let long = "a".repeat(MAX_BYTES + 1);
        for (lines, expected) in [
            (&[("x-request-id", "8e0b-1")][..], Some("8e0b-1")),
            (&[("X-Request-Id", "a.b:c/d")], Some("a.b:c/d")),
            (&[("x-request-id", "a"), ("traceparent", TRACE)], Some("a")),
            (&[("traceparent", TRACE)], trace),
            (&[("x-request-id", "a b"), ("traceparent", TRACE)], trace),
            (&[("x-request-id", ""), ("traceparent", TRACE)], trace),
            (&[("x-request-id", "a"), ("x-request-id", "b")], None),
            (&[("x-request-id", "a\"")], None),
            (&[("x-request-id", &long)], None),
            (&[("x-request-id", "a,b")], None),
            (&[("x-request-id", "eyJhbGciOiJub25lIn0.e30.")], None),
            (&[("traceparent", &TRACE.to_uppercase())], None),
            (&[("traceparent", &TRACE.replacen("00", "ff", 1))], None),
            (
                &[("traceparent", "00-00000000000000000000000000000000-0-1")],
                None,
            ),
            (&[("traceparent", "00-4bf9")], None),
            (&[], None),
        ] {
            let lines = lines.iter().map(|(name, value)| (*name, value.as_bytes()));
            let request = Request {
                headers: lines.collect(),
                ..Request::default()
            };
            assert_eq!(request.id(), expected, "{:?}", request.headers);
        }
    }
}
