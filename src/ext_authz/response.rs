//! [`Answer`] to `CheckResponse`.
//!
//! INVARIANT: only [`pass`] and `encoded` write status code 0, both of a [`Pass`]. Every response has
//! a status, as Envoy takes an absent one for OK.

use std::borrow::Cow;

pub(super) mod encoded;
mod metadata;
mod structs;

use super::proto::auth::check_response::HttpResponse;
use super::proto::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use super::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use super::proto::envoy::r#type::v3::HttpStatus;
use super::proto::google::rpc::Status;
use crate::answer::denials::Denials;
use crate::answer::{Answer, DirectResponse, Metadata, Pass};
use crate::decision::Decision;
use crate::identity::{Changes, Oversized};
use crate::policy::Policy;
use crate::request::Request;

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
    denials: &'a Denials,
    request: &'a Request<'a>,
) -> Rendered<'a> {
    rendered(
        Answer::to(decision, policy, denials, request),
        decision,
        policy,
    )
}

fn rendered<'a>(answer: Answer<'a>, decision: &'a Decision, policy: &'a Policy) -> Rendered<'a> {
    let mut rendered = match answer {
        Answer::Pass(pass) => {
            let mut changes = pass.changes();
            Rendered {
                oversized: std::mem::take(&mut changes.oversized),
                response: self::pass(&pass, &changes),
            }
        }
        Answer::Direct(direct) => Rendered {
            oversized: Vec::new(),
            response: self::direct(direct),
        },
    };
    if policy.upstream().dynamic_metadata {
        let metadata = Metadata::of(decision, policy);
        rendered.response.dynamic_metadata = Some(metadata::to_struct(&metadata));
    }
    rendered
}

/// The answer that lets the request pass, changed.
fn pass(_: &Pass<'_>, changes: &Changes<'_>) -> CheckResponse {
    CheckResponse {
        status: Some(status(OK, "")),
        http_response: Some(HttpResponse::OkResponse(ok_response(changes))),
        dynamic_metadata: None,
    }
}

fn ok_response(changes: &Changes<'_>) -> OkHttpResponse {
    let Changes {
        set,
        remove,
        remove_query,
        response,
        oversized: _,
    } = changes;
    OkHttpResponse {
        headers: options(set.iter().cloned()),
        headers_to_remove: remove
            .iter()
            .map(|name| name.clone().into_owned())
            .collect(),
        response_headers_to_add: options(response.iter().cloned()),
        query_parameters_to_remove: remove_query.iter().map(|name| (*name).to_owned()).collect(),
        ..OkHttpResponse::default()
    }
}

/// The answer in the upstream's place.
pub(super) fn direct(direct: DirectResponse<'_>) -> CheckResponse {
    let DirectResponse {
        code,
        message,
        status: http_status,
        headers,
        body,
    } = direct;
    CheckResponse {
        status: Some(status(code as i32, message)),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: http_status.into(),
            }),
            headers: options(headers),
            body: body.into_owned(),
        })),
        dynamic_metadata: None,
    }
}

/// gRPC's code for it.
const OK: i32 = 0;

fn status(code: i32, message: &str) -> Status {
    Status {
        code,
        message: message.to_owned(),
        details: Vec::new(),
    }
}

fn options<'a>(
    headers: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>,
) -> Vec<HeaderValueOption> {
    let options = headers.into_iter().map(|(name, value)| HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_owned(),
            value: value.into_owned(),
            raw_value: Vec::new(),
        }),
        append: Some(false),
        ..HeaderValueOption::default()
    });
    options.collect()
}
