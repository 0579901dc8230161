//! Converts `CheckRequest` to [`Request`] and back, for tools and tests. The server uses [`wire`](super::wire).

use std::time::Duration;

use http::HeaderMap as HttpHeaders;

use super::proto::auth::attribute_context::{self, HttpRequest};
use super::proto::auth::{AttributeContext, CheckRequest};
use super::proto::envoy::config::core::v3::{
    Address, HeaderMap, HeaderValue, SocketAddress, address,
};
use super::wire::Parts;
use crate::request::pseudo::PseudoHeaders;
use crate::request::{Headers, Peer, Request};

/// The request that a check describes. Absent fields are empty, which denies: a check by the TCP
/// filter has no `request.http`. `joined` holds the path if the check has path and query apart.
pub fn describe<'a>(check: &'a CheckRequest, joined: &'a mut String) -> Request<'a> {
    let Some(attributes) = &check.attributes else {
        return Request::default();
    };
    let AttributeContext {
        source,
        request,
        context_extensions,
        destination: _,
        metadata_context: _,
        route_metadata_context: _,
        tls_session: _,
    } = attributes;
    let Some(http) = request.as_ref().and_then(|request| request.http.as_ref()) else {
        return Request::default();
    };
    let (raw, shown) = (Headers::from(raw_lines(http)), joined_lines(http));
    let raw_pseudo = PseudoHeaders::of(&raw);
    let parts = Parts {
        path: &http.path,
        query: &http.query,
        pseudo: [raw_pseudo, PseudoHeaders::of(&shown)],
    };
    let has_raw = raw.names().next().is_some();
    let (path, conflict) = parts.resolve(&http.method, &http.host, joined);
    Request {
        method: &http.method,
        host: &http.host,
        path,
        path_bytes: raw_pseudo.path(),
        headers: if has_raw { raw } else { shown },
        source: source.as_ref().map(peer).unwrap_or_default(),
        context: context_extensions
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        conflict,
    }
}

fn peer(peer: &attribute_context::Peer) -> Peer<'_> {
    let attribute_context::Peer {
        address,
        principal,
        certificate,
        service: _,
        labels: _,
    } = peer;
    let address = address
        .as_ref()
        .and_then(|address| address.address.as_ref());
    Peer {
        address: match address {
            Some(address::Address::SocketAddress(socket)) => &socket.address,
            Some(address::Address::Pipe(_) | address::Address::EnvoyInternalAddress(_)) | None => {
                ""
            }
        },
        principal,
        certificate,
    }
}

/// The lines of `header_map`, which keeps repeated lines apart. Envoy fills it under
/// `encode_raw_headers`, and `headers` otherwise. gRPC A92 callers fill only `header_map`.
fn raw_lines(http: &HttpRequest) -> Vec<(&str, &[u8])> {
    let lines = http.header_map.iter().flat_map(|map| &map.headers);
    lines
        .map(|header| {
            let HeaderValue {
                key,
                value,
                raw_value,
            } = header;
            let value = match raw_value.is_empty() {
                true => value.as_bytes(),
                false => raw_value.as_slice(),
            };
            (key.as_str(), value)
        })
        .collect()
}

fn joined_lines(http: &HttpRequest) -> Headers<'_> {
    http.headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect()
}

/// The check for a request, as Envoy sends it under `encode_raw_headers`. For tools and tests.
pub fn compose(request: &Request<'_>) -> CheckRequest {
    let Request {
        method,
        host,
        path,
        path_bytes,
        headers,
        source,
        context,
        conflict: _,
    } = request;
    // Envoy includes HTTP/2's pseudo-headers.
    let pseudo = [
        (":authority", host.as_bytes()),
        (":path", path_bytes.unwrap_or(path.as_bytes())),
        (":method", method.as_bytes()),
    ];
    let headers = pseudo
        .into_iter()
        .chain(headers.lines())
        .map(|(name, value)| HeaderValue {
            key: name.to_ascii_lowercase(),
            value: String::new(),
            raw_value: value.to_vec(),
        })
        .collect();
    let http = HttpRequest {
        method: (*method).to_owned(),
        host: (*host).to_owned(),
        path: (*path).to_owned(),
        header_map: Some(HeaderMap { headers }),
        ..HttpRequest::default()
    };
    let Peer {
        address,
        principal,
        certificate,
    } = source;
    let address = (!address.is_empty()).then(|| {
        let socket = SocketAddress {
            address: (*address).to_owned(),
            ..SocketAddress::default()
        };
        Address {
            address: Some(address::Address::SocketAddress(socket)),
        }
    });
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(attribute_context::Peer {
                address,
                principal: (*principal).to_owned(),
                certificate: (*certificate).to_owned(),
                ..attribute_context::Peer::default()
            }),
            request: Some(attribute_context::Request {
                http: Some(http),
                ..attribute_context::Request::default()
            }),
            context_extensions: context
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..AttributeContext::default()
        }),
    }
}

/// How long the caller waits for an answer, from its `grpc-timeout` header: at most eight digits
/// and a unit.
pub fn timeout(metadata: &HttpHeaders) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = match digits.len() {
        1..=8 if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    };
    match unit {
        "H" => Some(Duration::from_hours(amount)),
        "M" => Some(Duration::from_mins(amount)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("500m", Some(Duration::from_millis(500))),
            ("1S", Some(Duration::from_secs(1))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("20u", Some(Duration::from_micros(20))),
            ("7n", Some(Duration::from_nanos(7))),
            ("1M", Some(Duration::from_mins(1))),
            ("999999999m", None),
            ("m", None),
            ("", None),
            ("+1S", None),
            ("1s", None),
        ] {
            let mut metadata = HttpHeaders::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            assert_eq!(timeout(&metadata), expected, "{text}");
        }
        assert_eq!(timeout(&HttpHeaders::new()), None);
    }
}
