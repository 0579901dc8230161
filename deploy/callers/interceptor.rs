//! A middleware for gRPC servers in Rust (tonic) that asks claimgate before each call. Layer it outermost: below
//! `nest`, axum has already cut the path. Add every service and the fallback before it: axum leaves what is added later
//! out of the layer.
//!
//! Copy it into your server, with the messages of your Envoy API package in place of `claimgate::ext_authz::proto`:
//!
//! ```ignore
//! let claimgate = AuthorizationClient::connect("http://claimgate:9001").await?;
//! let routes = Routes::new(your_service).into_axum_router();
//! let routes = routes.layer(axum::middleware::from_fn_with_state(claimgate, ask));
//! ```

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use claimgate::ext_authz::proto::auth::attribute_context::HttpRequest;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::auth::{AttributeContext, CheckRequest, attribute_context};
use claimgate::ext_authz::proto::envoy::config::core::v3 as core;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long claimgate may take.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Lets a request pass if claimgate allows it, with the headers that claimgate sets. Any failure is a denial.
pub async fn ask(
    State(mut claimgate): State<AuthorizationClient<Channel>>,
    mut request: Request,
    next: Next,
) -> Response {
    let check = check_of(&request);
    let answer = match tokio::time::timeout(TIMEOUT, claimgate.check(check)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(_)) | Err(_) => return unavailable(),
    };
    let status = answer.status.unwrap_or_default();
    match (status.code, answer.http_response) {
        // Both must agree: an empty answer also has code 0.
        (0, Some(HttpResponse::OkResponse(allow))) => {
            // gRPC has no query. Remove these from the URI if your service reads one.
            if !allow.query_parameters_to_remove.is_empty() {
                return unavailable();
            }
            let headers = request.headers_mut();
            for name in &allow.headers_to_remove {
                headers.remove(name);
            }
            if set(headers, &allow.headers).is_none() {
                return unavailable();
            }
            let mut response = next.run(request).await;
            match set(response.headers_mut(), &allow.response_headers_to_add) {
                Some(()) => response,
                None => unavailable(),
            }
        }
        (code, Some(HttpResponse::DeniedResponse(denial))) if code != 0 => {
            // The body is one sentence for a gRPC request. `status.message` is the exact reason, which
            // `denials.expose_reason: false` keeps from callers.
            let mut response = Status::new(Code::from(code), denial.body).into_http();
            let of_the_body = ["content-type", "content-length"];
            let mut headers = denial.headers;
            headers.retain(|it| {
                let key = it.header.as_ref().map_or("", |header| &header.key);
                !of_the_body
                    .iter()
                    .any(|name| key.eq_ignore_ascii_case(name))
            });
            // A denial without its challenge is still one.
            let _ = set(response.headers_mut(), &headers);
            response
        }
        _ => unavailable(),
    }
}

fn check_of(request: &Request) -> CheckRequest {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    // Every line by itself and byte for byte: rules must see what your service sees.
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| core::HeaderValue {
            key: name.as_str().to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..core::HeaderValue::default()
        });
    let http = HttpRequest {
        method: request.method().as_str().to_owned(),
        host: text(request.uri().authority().map(Authority::as_str)),
        path: text(request.uri().path_and_query().map(PathAndQuery::as_str)),
        scheme: text(request.uri().scheme_str()),
        protocol: format!("{:?}", request.version()),
        header_map: Some(core::HeaderMap {
            headers: headers.collect(),
        }),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(attribute_context::Request {
                time: None,
                http: Some(http),
            }),
            ..AttributeContext::default()
        }),
    }
}

/// Sets headers, replacing what is there. `None` if one is not a header.
fn set(headers: &mut HeaderMap, values: &[core::HeaderValueOption]) -> Option<()> {
    for option in values {
        let header = option.header.as_ref()?;
        let value = match header.raw_value.is_empty() {
            true => header.value.as_bytes(),
            false => &header.raw_value,
        };
        let name = HeaderName::from_bytes(header.key.as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(())
}

fn unavailable() -> Response {
    Status::unavailable("the authorization service does not answer").into_http()
}
