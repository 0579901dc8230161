//! [`Decision`](crate::decision::Decision) to `CheckResponse`: statuses, challenges, bodies.
//!
//! INVARIANT: only [`allow`] makes a response with status code 0; an absent status would mean
//! ALLOW to Envoy, so every response has one.

use serde_json::json;
use tonic::Code;

use super::proto::auth::check_response::HttpResponse;
use super::proto::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use super::proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use super::proto::envoy::r#type::v3::{HttpStatus, StatusCode};
use super::proto::google::rpc::Status;
use crate::config::Denials;
use crate::decision::{Denial, Reason};
use crate::identity::HeaderChanges;
use crate::request::Request;

/// Seconds after which a caller may try again when keys are not available.
const RETRY_AFTER: &str = "5";

/// The answer that lets the request pass, changed.
pub fn allow(changes: &HeaderChanges<'_>) -> CheckResponse {
    let HeaderChanges {
        set,
        remove,
        remove_query,
        oversized: _,
    } = changes;
    CheckResponse {
        status: Some(status(Code::Ok, "")),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: set
                .iter()
                .map(|(name, value)| header(name, value))
                .collect(),
            headers_to_remove: remove
                .iter()
                .map(|name| name.clone().into_owned())
                .collect(),
            query_parameters_to_remove: remove_query
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        })),
    }
}

/// The answer that refuses the request.
pub fn deny(denial: &Denial, denials: &Denials, request: &Request<'_>) -> CheckResponse {
    let reason = denial.reason();
    let Answer {
        status: http_status,
        code,
        sentence,
        challenge,
    } = Answer::to(reason);
    let disclosed = denial.disclosed().map_or("invalid_token", Reason::code);
    let shown = denials.expose_reason.then_some(disclosed);

    let mut headers = Vec::new();
    if let Some(challenge) = challenge {
        let value = challenge.render(realm(denials, request), shown);
        headers.push(header("www-authenticate", &value));
    }
    if reason == Reason::KeysUnavailable {
        headers.push(header("retry-after", RETRY_AFTER));
    }
    // Envoy sends the body to a gRPC client as `grpc-message`.
    let body = if request.is_grpc() {
        sentence.to_owned()
    } else {
        headers.push(header("content-type", "application/json"));
        match shown {
            Some(reason) => json!({"error": sentence, "reason": reason}).to_string(),
            None => json!({"error": sentence}).to_string(),
        }
    };
    CheckResponse {
        status: Some(status(code, disclosed)),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: http_status.into(),
            }),
            headers,
            body,
        })),
    }
}

/// How the answer to a reason looks.
struct Answer {
    status: StatusCode,
    code: Code,
    sentence: &'static str,
    challenge: Option<Challenge>,
}

/// What `WWW-Authenticate` says besides the realm (RFC 6750 §3.1).
#[derive(Clone, Copy)]
enum Challenge {
    /// Nothing: the client has not tried yet.
    Plain,
    InvalidRequest,
    InvalidToken,
}

impl Answer {
    const fn to(reason: Reason) -> Self {
        match reason {
            Reason::MissingToken => Self::unauthorized(NO_HEADER, Challenge::Plain),
            Reason::MalformedAuthorization => {
                Self::unauthorized(NO_HEADER, Challenge::InvalidRequest)
            }
            Reason::MalformedToken
            | Reason::UnsupportedAlgorithm
            | Reason::UnsupportedType
            | Reason::UnknownIssuer
            | Reason::UnknownKey
            | Reason::BadSignature
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::WrongAudience
            | Reason::MissingClaim
            | Reason::ClaimMismatch
            | Reason::LifetimeTooLong
            | Reason::SenderConstraintUnmet => {
                Self::unauthorized("Invalid or expired token", Challenge::InvalidToken)
            }
            Reason::AmbiguousPath => Self {
                status: StatusCode::BadRequest,
                code: Code::InvalidArgument,
                sentence: "Ambiguous or missing request path",
                challenge: None,
            },
            Reason::KeysUnavailable => Self {
                status: StatusCode::ServiceUnavailable,
                code: Code::Unavailable,
                sentence: "Token cannot be verified at the moment",
                challenge: None,
            },
            Reason::Internal => Self {
                status: StatusCode::InternalServerError,
                code: Code::Internal,
                sentence: "Internal error",
                challenge: None,
            },
        }
    }

    const fn unauthorized(sentence: &'static str, challenge: Challenge) -> Self {
        Self {
            status: StatusCode::Unauthorized,
            code: Code::Unauthenticated,
            sentence,
            challenge: Some(challenge),
        }
    }
}

const NO_HEADER: &str = "Missing or invalid Authorization header";

impl Challenge {
    fn render(self, realm: Option<&str>, description: Option<&str>) -> String {
        let error = match self {
            Self::Plain => None,
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
        };
        let description = error.and(description);
        let parameters = [
            ("realm", realm),
            ("error", error),
            ("error_description", description),
        ];
        let parameters: Vec<_> = parameters
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}=\"{}\"", value?)))
            .collect();
        match parameters.is_empty() {
            true => "Bearer".to_owned(),
            false => format!("Bearer {}", parameters.join(", ")),
        }
    }
}

/// The configured realm, or the request's host if it is fit to be quoted back.
fn realm<'a>(denials: &'a Denials, request: &Request<'a>) -> Option<&'a str> {
    let quotable = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host = Some(request.host)
        .filter(|host| !host.is_empty() && host.len() <= 255 && host.bytes().all(quotable));
    denials.realm.as_deref().or(host)
}

fn status(code: Code, message: &str) -> Status {
    Status {
        code: code.into(),
        message: message.to_owned(),
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIALS: Denials = Denials {
        realm: None,
        expose_reason: true,
    };

    fn denied(response: CheckResponse) -> DeniedHttpResponse {
        assert_ne!(response.status.unwrap().code, 0, "a denial must not allow");
        match response.http_response {
            Some(HttpResponse::DeniedResponse(denied)) => denied,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_cannot_break_out_of_the_challenge() {
        for (host, expected) in [
            (
                "api.example.com:8443",
                "Bearer realm=\"api.example.com:8443\"",
            ),
            ("[::1]:80", "Bearer realm=\"[::1]:80\""),
            ("a\", error=\"", "Bearer"),
            ("a\r\nset-cookie: b", "Bearer"),
            ("", "Bearer"),
        ] {
            let request = Request {
                host,
                ..Request::default()
            };
            let denial = crate::decision::Fault::from(
                crate::token::bearer::CredentialError::Missing(Vec::new()),
            );
            let response = denied(deny(&denial.into(), &DENIALS, &request));
            let challenge = response.headers[0].header.as_ref().unwrap();
            assert_eq!(challenge.value, expected, "{host}");
        }
    }
}
