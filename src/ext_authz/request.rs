//! `CheckRequest` to [`Request`], and back for those who ask.

use super::proto::auth::attribute_context::{self, HttpRequest};
use super::proto::auth::{AttributeContext, CheckRequest};
use super::proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use crate::request::{Headers, Request};

/// The request that a check is about. What the check does not say is empty, which denies: a check
/// by the TCP filter has no `request.http` at all.
pub fn describe(check: &CheckRequest) -> Request<'_> {
    let http = check
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.request.as_ref())
        .and_then(|request| request.http.as_ref());
    let Some(http) = http else {
        return Request::default();
    };
    Request {
        method: &http.method,
        host: &http.host,
        path: &http.path,
        headers: headers(http),
    }
}

/// Envoy fills `headers`, or `header_map` under `encode_raw_headers`, and gRPC A92 callers fill
/// `header_map` only. A header map tells more, as it does not join repeated lines.
fn headers(http: &HttpRequest) -> Headers<'_> {
    match &http.header_map {
        Some(map) if !map.headers.is_empty() => map
            .headers
            .iter()
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
            .collect(),
        _ => http
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect(),
    }
}

/// The check that asks about a request, as Envoy would under `encode_raw_headers`: for tools and
/// for tests.
pub fn compose(request: &Request<'_>) -> CheckRequest {
    let Request {
        method,
        host,
        path,
        headers,
    } = request;
    let headers = headers
        .lines()
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
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(attribute_context::Request { http: Some(http) }),
        }),
    }
}
