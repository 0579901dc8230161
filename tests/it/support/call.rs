//! Checks and their answers.

use claimgate::ext_authz::proto::auth::attribute_context::{self, HttpRequest};
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::auth::{AttributeContext, CheckRequest, CheckResponse};
use claimgate::ext_authz::proto::envoy::config::core::v3::HeaderValueOption;
use claimgate::ext_authz::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use claimgate::ext_authz::request::compose;
use claimgate::request::Request;

/// A check of `GET /orders` on `api.example.com` with these header lines, joined with commas as in
/// Envoy's default.
pub fn check(lines: &[(&str, &str)]) -> CheckRequest {
    let mut http = http();
    for (name, value) in lines {
        http.headers
            .entry((*name).to_lowercase())
            .and_modify(|joined| *joined = format!("{joined},{value}"))
            .or_insert_with(|| (*value).to_owned());
    }
    with_http(http)
}

/// The same, line by line, as with `encode_raw_headers`.
pub fn raw_check(lines: &[(&str, &str)]) -> CheckRequest {
    compose(&Request {
        method: "GET",
        host: "api.example.com",
        path: "/orders?page=2",
        headers: lines
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect(),
        ..Request::default()
    })
}

/// A check with a bearer token.
pub fn bearer(token: &str) -> CheckRequest {
    check(&[("authorization", &format!("Bearer {token}"))])
}

fn http() -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        host: "api.example.com".to_owned(),
        path: "/orders?page=2".to_owned(),
        ..HttpRequest::default()
    }
}

pub fn with_http(http: HttpRequest) -> CheckRequest {
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(attribute_context::Request {
                http: Some(http),
                ..attribute_context::Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

/// The parts of an answer in a form that is easy to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Allow {
        set: Vec<(String, String)>,
        remove: Vec<String>,
        remove_query: Vec<String>,
        /// Headers set on the upstream's response.
        response: Vec<(String, String)>,
    },
    Deny {
        status: i32,
        code: i32,
        headers: Vec<(String, String)>,
        body: String,
    },
}

impl Answer {
    /// Reads an answer as Envoy would, and checks that Envoy cannot misread it.
    pub fn read(response: CheckResponse) -> Self {
        let code = response.status.expect("an absent status means ALLOW").code;
        match response.http_response.expect("an answer says what to do") {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0, "an allow with a code other than 0 is a bare 403");
                for option in &ok.headers {
                    assert_eq!(
                        option.append_action(),
                        HeaderAppendAction::OverwriteIfExistsOrAdd,
                        "gRPC's own filter would leave what the client sent"
                    );
                }
                let set = pairs(ok.headers);
                for name in &ok.headers_to_remove {
                    assert!(
                        !set.iter().any(|(set, _)| set == name),
                        "`{name}` is set and removed: Envoy removes last"
                    );
                }
                Self::Allow {
                    set,
                    remove: ok.headers_to_remove,
                    remove_query: ok.query_parameters_to_remove,
                    response: pairs(ok.response_headers_to_add),
                }
            }
            HttpResponse::ErrorResponse(error) => panic!("`failure_mode_allow`: {error:?}"),
            HttpResponse::DeniedResponse(denied) => {
                assert_ne!(code, 0, "a denial with code 0 is an ALLOW");
                Self::Deny {
                    status: denied.status.expect("a denial has a status").code,
                    code,
                    headers: pairs(denied.headers),
                    body: denied.body,
                }
            }
        }
    }

    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// The HTTP status of a denial, 200 for an allow.
    pub fn status(&self) -> i32 {
        match self {
            Self::Allow { .. } => 200,
            Self::Deny { status, .. } => *status,
        }
    }

    /// A header of a denial.
    pub fn header(&self, name: &str) -> Option<&str> {
        match self {
            Self::Allow { .. } => None,
            Self::Deny { headers, .. } => headers
                .iter()
                .find(|(header, _)| header == name)
                .map(|(_, value)| value.as_str()),
        }
    }

    /// The value that an allow sets.
    pub fn sets(&self, name: &str) -> Option<&str> {
        match self {
            Self::Allow { set, .. } => set
                .iter()
                .find(|(set, _)| set == name)
                .map(|(_, value)| value.as_str()),
            Self::Deny { .. } => None,
        }
    }
}

fn pairs(headers: Vec<HeaderValueOption>) -> Vec<(String, String)> {
    headers
        .into_iter()
        .map(|option| {
            assert_eq!(
                option.append,
                Some(false),
                "Envoy drops an appended header that is not there"
            );
            let header = option.header.expect("a header option holds a header");
            (header.key, header.value)
        })
        .collect()
}
