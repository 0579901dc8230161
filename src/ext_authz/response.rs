//! Converts [`Answer`] to `CheckResponse`.
//!
//! INVARIANT: only [`pass`] writes status code 0, and only for a [`Pass`]. Every response has a
//! status, because Envoy treats a missing one as OK.

use std::borrow::Cow;

pub(super) mod encoded;
mod metadata;

use super::proto::auth::check_response::HttpResponse;
use super::proto::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use super::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use super::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use super::proto::envoy::r#type::v3::HttpStatus;
use super::proto::google::rpc::Status;
use crate::answer::{Answer, DirectResponse, Metadata, Pass};
use crate::identity::{Changes, Oversized};

/// A decision in Envoy's format.
#[derive(Debug)]
pub struct Rendered<'a> {
    /// The answer.
    pub response: CheckResponse,
    /// The headers that are not set because their claim is too long.
    pub oversized: Vec<Oversized<'a>>,
}

/// Renders an answer with its metadata.
pub fn render<'a>(answer: Answer<'a>, metadata: Option<Metadata<'_>>) -> Rendered<'a> {
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
    rendered.response.dynamic_metadata = metadata.map(|metadata| metadata::to_struct(&metadata));
    rendered
}

/// Lets the request pass with these changes.
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
        headers: options(
            set.iter().cloned(),
            HeaderAppendAction::OverwriteIfExistsOrAdd,
        ),
        headers_to_remove: remove
            .iter()
            .map(|name| name.clone().into_owned())
            .collect(),
        response_headers_to_add: options(
            response.iter().cloned(),
            HeaderAppendAction::AppendIfExistsOrAdd,
        ),
        query_parameters_to_remove: remove_query.iter().map(|name| (*name).to_owned()).collect(),
        ..OkHttpResponse::default()
    }
}

/// Answers in place of the upstream.
fn direct(direct: DirectResponse<'_>) -> CheckResponse {
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
            headers: options(headers, HeaderAppendAction::AppendIfExistsOrAdd),
            body: body.into_owned(),
        })),
        dynamic_metadata: None,
    }
}

/// gRPC's status code OK.
const OK: i32 = 0;

fn status(code: i32, message: &str) -> Status {
    Status {
        code,
        message: message.to_owned(),
        details: Vec::new(),
    }
}

/// Headers with what happens to those of the same name. Envoy looks at `append` alone, and replaces them.
/// Other callers, such as gRPC's own filter, look at `append_action` alone.
fn options<'a>(
    headers: impl IntoIterator<Item = (&'a str, Cow<'a, str>)>,
    action: HeaderAppendAction,
) -> Vec<HeaderValueOption> {
    let options = headers
        .into_iter()
        .map(move |(name, value)| HeaderValueOption {
            header: Some(HeaderValue {
                key: name.to_owned(),
                value: value.into_owned(),
                raw_value: Vec::new(),
            }),
            append: Some(false),
            append_action: action.into(),
            ..HeaderValueOption::default()
        });
    options.collect()
}
