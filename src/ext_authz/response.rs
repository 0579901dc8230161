//! [`Decision`] to `CheckResponse`: statuses, challenges, bodies, metadata.
//!
//! INVARIANT: only [`allow`] makes a response with status code 0; an absent status would mean
//! ALLOW to Envoy, so every response has one.

use tonic::Code;

mod answer;
mod body;
mod challenge;
pub(super) mod encoded;
mod metadata;
mod structs;

use answer::Answer;
use metadata::Metadata;

use super::proto::auth::check_response::HttpResponse;
use super::proto::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use super::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use super::proto::envoy::r#type::v3::{HttpStatus, StatusCode};
use super::proto::google::rpc::Status;
use crate::config::Denials;
use crate::config::denials::{Cors, Origins};
use crate::decision::{Decision, Denial, Reason};
use crate::identity::{Changes, Oversized};
use crate::policy::Policy;
use crate::policy::resource::Resource;
use crate::request::Request;

/// How long the metadata of a resource may be kept.
const METADATA_CACHE_CONTROL: &str = "public, max-age=300";

/// A decision as Envoy reads it.
#[derive(Debug)]
pub struct Rendered<'a> {
    /// The answer.
    pub response: CheckResponse,
    /// The headers that are not set because the claim is too long for one.
    pub oversized: Vec<Oversized<'a>>,
}

/// The answer to a check.
pub fn render<'a>(
    decision: &'a Decision,
    policy: &'a Policy,
    denials: &Denials,
    request: &Request<'a>,
) -> Rendered<'a> {
    let mut oversized = Vec::new();
    let mut response = match decision {
        Decision::Allow(permit) => {
            let mut changes = permit.changes(policy, request);
            oversized = std::mem::take(&mut changes.oversized);
            allow(&changes)
        }
        Decision::Deny(denial) => deny(denial, Some(policy), denials, request),
        Decision::Metadata(resource) => describe(resource, request),
    };
    if policy.upstream().dynamic_metadata {
        response.dynamic_metadata = Some(Metadata::of(decision, policy).to_struct());
    }
    Rendered {
        response,
        oversized,
    }
}

/// The headers that are not set because the claim is too long for one.
pub(super) fn oversized<'a>(
    decision: &'a Decision,
    policy: &'a Policy,
    request: &Request<'a>,
) -> Vec<Oversized<'a>> {
    match decision {
        Decision::Allow(permit) => permit.changes(policy, request).oversized,
        Decision::Deny(_) | Decision::Metadata(_) => Vec::new(),
    }
}

/// The answer that lets the request pass, changed.
fn allow(changes: &Changes<'_>) -> CheckResponse {
    let Changes {
        set,
        remove,
        remove_query,
        response,
        oversized: _,
    } = changes;
    let options = |pairs: &[(&str, std::borrow::Cow<'_, str>)]| {
        let options = pairs.iter().map(|(name, value)| header(name, value));
        options.collect()
    };
    CheckResponse {
        status: Some(status(Code::Ok, "")),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: options(set),
            headers_to_remove: remove
                .iter()
                .map(|name| name.clone().into_owned())
                .collect(),
            response_headers_to_add: options(response),
            query_parameters_to_remove: remove_query
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            ..OkHttpResponse::default()
        })),
        dynamic_metadata: None,
    }
}

/// The answer that refuses the request. Without a policy, nothing is known about its rule.
pub(super) fn deny(
    denial: &Denial,
    policy: Option<&Policy>,
    denials: &Denials,
    request: &Request<'_>,
) -> CheckResponse {
    let reason = denial.reason();
    let answer = Answer::to(reason);
    let disclosed = denial.disclosed().map_or("invalid_token", Reason::code);
    let shown = denials.expose_reason.then_some(disclosed);

    let mut headers = Vec::new();
    if let Some(error) = answer.challenge {
        let challenge = challenge::render(error, shown, denial, policy, denials, request);
        headers.push(header("www-authenticate", &challenge));
    }
    if let Some(wait) = denial.retry_after() {
        // Whole seconds (RFC 9110 §10.2.3), not too few.
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        headers.push(header("retry-after", &seconds.to_string()));
    }
    let body = if request.is_grpc() {
        // Envoy sends the body as `grpc-message`, and would make a status of its own choice from
        // the HTTP status.
        headers.push(header("grpc-status", &(answer.code as i32).to_string()));
        answer.sentence.to_owned()
    } else {
        let (content_type, body) = body::render(&denials.body, &answer, shown);
        headers.extend(content_type.map(|value| header("content-type", value)));
        body
    };
    let own = denials.headers.iter();
    headers.extend(own.map(|(name, value)| header(name.as_str(), value)));
    if let Some(cors) = &denials.cors {
        share(cors, request, &mut headers);
    }
    answered(answer.code, disclosed, answer.status, headers, body)
}

/// Lets scripts of other origins read a denial with these headers, if `cors` does (Fetch §3.3.3).
fn share(cors: &Cors, request: &Request<'_>, headers: &mut Vec<HeaderValueOption>) {
    let mut sent = request.headers.all("origin");
    let origin = match (sent.next(), sent.next()) {
        (Some(origin), None) => str::from_utf8(origin).ok(),
        _ => None,
    };
    let allowed = match &cors.origins {
        Origins::Any => origin.map(|_| "*"),
        Origins::AnyOf(origins) => {
            // A cache must not hand the answer to one page to another.
            headers.push(header("vary", "origin"));
            origin.filter(|origin| origins.iter().any(|own| own == origin))
        }
    };
    let Some(allowed) = allowed else {
        return;
    };
    let names = headers.iter().filter_map(|option| option.header.as_ref());
    let mut exposed: Vec<&str> = names.map(|header| header.key.as_str()).collect();
    // Envoy adds it.
    exposed.extend(request.is_grpc().then_some("grpc-message"));
    let exposed = exposed.join(", ");
    headers.push(header("access-control-allow-origin", allowed));
    headers.push(header("access-control-expose-headers", &exposed));
    if cors.credentials {
        headers.push(header("access-control-allow-credentials", "true"));
    }
}

/// The answer to a request for the metadata of a resource (RFC 9728 §3.2). Whoever asks may know,
/// so pages of any origin may read it, and ask beforehand whether they may.
fn describe(resource: &Resource, request: &Request<'_>) -> CheckResponse {
    let mut headers = vec![header("access-control-allow-origin", "*")];
    let (status, body) = match request.method {
        "OPTIONS" => {
            headers.push(header("access-control-allow-methods", "GET"));
            headers.push(header("access-control-allow-headers", "*"));
            (StatusCode::NoContent, String::new())
        }
        _ => {
            headers.push(header("content-type", "application/json"));
            headers.push(header("cache-control", METADATA_CACHE_CONTROL));
            (StatusCode::Ok, resource.document().to_owned())
        }
    };
    // To Envoy it is refused: it does not reach the upstream.
    answered(Code::PermissionDenied, "metadata", status, headers, body)
}

/// An answer in the upstream's place.
///
/// INVARIANT: `code` is not OK, which would let the request pass.
fn answered(
    code: Code,
    message: &str,
    http_status: StatusCode,
    headers: Vec<HeaderValueOption>,
    body: String,
) -> CheckResponse {
    debug_assert_ne!(code, Code::Ok);
    CheckResponse {
        status: Some(status(code, message)),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: http_status.into(),
            }),
            headers,
            body,
        })),
        dynamic_metadata: None,
    }
}

fn status(code: Code, message: &str) -> Status {
    Status {
        code: code.into(),
        message: message.to_owned(),
        details: Vec::new(),
    }
}

fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
        append: Some(false),
        ..HeaderValueOption::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only one `origin` that is listed as it is opens a denial to a page; caches hear of it always.
    #[test]
    fn other_origins_read_nothing() {
        let cors = Cors {
            origins: Origins::AnyOf(vec!["https://a.example".to_owned()]),
            credentials: true,
        };
        for (sent, is_shared) in [
            (&["https://a.example"][..], true),
            (&[], false),
            (&["https://b.example"], false),
            (&["https://a.example.evil.example"], false),
            (&["https://A.example"], false),
            (&["null"], false),
            (&["https://a.example", "https://a.example"], false),
        ] {
            let lines = sent.iter().map(|origin| ("origin", origin.as_bytes()));
            let request = Request {
                headers: lines.collect(),
                ..Request::default()
            };
            let mut headers = Vec::new();
            share(&cors, &request, &mut headers);
            let names: Vec<&str> = headers
                .iter()
                .filter_map(|option| option.header.as_ref())
                .map(|header| header.key.as_str())
                .collect();
            let expected: &[&str] = match is_shared {
                true => &[
                    "vary",
                    "access-control-allow-origin",
                    "access-control-expose-headers",
                    "access-control-allow-credentials",
                ],
                false => &["vary"],
            };
            assert_eq!(names, expected, "{sent:?}");
        }
    }
}
