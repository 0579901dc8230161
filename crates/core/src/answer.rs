//! The answer to a request, whatever the protocol: status, headers, body, gRPC code, metadata.
//!
//! INVARIANT: only a [`Pass`] lets a request through. It contains a [`Permit`], which only
//! [`decide`](crate::decision::decide) creates. A [`DirectResponse`] has a [`Code`], which has no
//! OK.

use std::borrow::Cow;

mod body;
mod challenge;
pub mod denials;
pub mod metadata;
mod reason;

pub use metadata::Metadata;

use denials::{Cors, Denials, Origins};
use reason::Refusal;

use crate::decision::{Decision, Denial, Permit, Reason};
use crate::identity::Changes;
use crate::policy::Policy;
use crate::policy::resource::Resource;
use crate::request::Request;

/// The `Cache-Control` of resource metadata.
const METADATA_CACHE_CONTROL: &str = "public, max-age=300";

/// The header with the id of a denied request.
const REQUEST_ID: &str = "x-request-id";

/// The answer to a check.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The request passes, with changes.
    Pass(Pass<'a>),
    /// The request does not reach the upstream.
    Direct(DirectResponse<'a>),
}

impl<'a> Answer<'a> {
    /// The answer that follows from `decision`. A denial carries the request's `id`.
    pub fn to(
        decision: &'a Decision,
        policy: &'a Policy,
        denials: &'a Denials,
        request: &'a Request<'a>,
        id: Option<&'a str>,
    ) -> Self {
        match decision {
            Decision::Allow(permit) => Self::Pass(Pass {
                permit,
                policy,
                request,
            }),
            Decision::Deny(denial) => Self::Direct(DirectResponse::denial(
                denial,
                Some(policy),
                denials,
                request,
                id,
            )),
            Decision::Respond(resource) => {
                Self::Direct(DirectResponse::metadata_of(resource, request))
            }
        }
    }
}

/// The HTTP status that the caller is sent in place of the upstream's. `None` if the request passes.
pub fn status(decision: &Decision, request: &Request<'_>) -> Option<u16> {
    match decision {
        Decision::Allow(_) => None,
        Decision::Deny(denial) => Some(Refusal::of(denial.reason()).status),
        Decision::Respond(_) => Some(metadata_status(request)),
    }
}

/// The status of resource metadata. A preflight has no content.
fn metadata_status(request: &Request<'_>) -> u16 {
    match request.method {
        "OPTIONS" => 204,
        _ => 200,
    }
}

/// A request that may pass. Its changes are computed on demand, because most of them are cached
/// with the token.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    permit: &'a Permit,
    policy: &'a Policy,
    request: &'a Request<'a>,
}

impl<'a> Pass<'a> {
    /// The proof that it may pass.
    pub fn permit(&self) -> &'a Permit {
        self.permit
    }

    /// The policy that lets it pass.
    pub fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// The changes to the request, and to the response of the upstream.
    pub fn changes(&self) -> Changes<'a> {
        let places = self.policy.token_places();
        let misleading = self.misleading_headers();
        let upstream = self.policy.upstream();
        upstream.changes(self.permit.bearer(), places, misleading, self.request)
    }

    /// Whether the answer, apart from the rule, is the same for every request with this token.
    pub fn depends_on_bearer_alone(&self) -> bool {
        let is_observed = self.permit.observed().is_some();
        let bearer = self.permit.bearer().filter(|_| !is_observed);
        bearer.is_some_and(|bearer| {
            self.policy.upstream().depends_on_bearer_alone(
                bearer,
                self.policy.token_places(),
                self.misleading_headers(),
                &self.request.headers,
            )
        })
    }

    fn misleading_headers(&self) -> &'static [&'static str] {
        self.policy.rules().misleading_headers(self.request)
    }
}

/// The gRPC code of a [`DirectResponse`]. It has no OK, which would let the request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The request is malformed or ambiguous.
    InvalidArgument = 3,
    /// The request is refused, or answered in place of the upstream.
    PermissionDenied = 7,
    /// The request is too large.
    ResourceExhausted = 8,
    /// A bug, or a route that names an unknown rule.
    Internal = 13,
    /// The request cannot be judged at the moment.
    Unavailable = 14,
    /// The request has no valid token.
    Unauthenticated = 16,
}

/// A response in place of the upstream.
#[derive(Clone, Debug)]
pub struct DirectResponse<'a> {
    /// The gRPC code.
    pub code: Code,
    /// The reason code that the caller may learn; `metadata` for resource metadata.
    pub message: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(&'a str, Cow<'a, str>)>,
    /// The body.
    pub body: Cow<'a, str>,
}

impl<'a> DirectResponse<'a> {
    /// The response to a denied request. Without `policy`, nothing is known about its rule.
    pub fn denial(
        denial: &Denial,
        policy: Option<&Policy>,
        denials: &'a Denials,
        request: &Request<'_>,
        id: Option<&'a str>,
    ) -> Self {
        let refusal = Refusal::of(denial.reason());
        let disclosed = denial.disclosed().map_or("invalid_token", Reason::code);
        let shown = denials.expose_reason.then_some(disclosed);

        let mut headers: Vec<(&str, Cow<'_, str>)> = Vec::new();
        if let Some(error) = refusal.challenge {
            let challenge = challenge::render(error, shown, denial, policy, denials, request);
            headers.push(("www-authenticate", challenge.into()));
        }
        if let Some(wait) = denial.retry_after() {
            // Whole seconds (RFC 9110 §10.2.3), rounded up.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.push(("retry-after", seconds.to_string().into()));
        }
        let body = if request.is_grpc() {
            // Envoy sends the body as `grpc-message`, and derives `grpc-status` from the HTTP
            // status unless it is set.
            headers.push(("grpc-status", (refusal.code as i32).to_string().into()));
            refusal.sentence.into()
        } else {
            let (content_type, body) = body::render(&denials.body, &refusal, shown, id);
            headers.extend(content_type.map(|value| ("content-type", value.into())));
            body.into()
        };
        let own = denials.headers.iter();
        let is_own = |name: &str| own.clone().any(|(own, _)| own.as_str() == name);
        headers.extend(
            id.filter(|_| !is_own(REQUEST_ID))
                .map(|id| (REQUEST_ID, id.into())),
        );
        headers.extend(own.map(|(name, value)| (name.as_str(), value.into())));
        if let Some(cors) = &denials.cors {
            share(cors, request, &mut headers);
        }
        Self {
            code: refusal.code,
            message: disclosed,
            status: refusal.status,
            headers,
            body,
        }
    }

    /// The response to a request for resource metadata (RFC 9728 §3.2). Pages of any origin may
    /// read it, and preflights succeed.
    fn metadata_of(resource: &'a Resource, request: &Request<'_>) -> Self {
        let mut headers = vec![("access-control-allow-origin", "*".into())];
        let body = match request.method {
            "OPTIONS" => {
                headers.push(("access-control-allow-methods", "GET".into()));
                headers.push(("access-control-allow-headers", "*".into()));
                ""
            }
            _ => {
                headers.push(("content-type", "application/json".into()));
                headers.push(("cache-control", METADATA_CACHE_CONTROL.into()));
                resource.document()
            }
        };
        Self {
            code: Code::PermissionDenied,
            message: "metadata",
            status: metadata_status(request),
            headers,
            body: body.into(),
        }
    }
}

/// Lets scripts of other origins read a denial with these headers, as far as `cors` allows (Fetch
/// §3.3.3).
fn share<'a>(cors: &Cors, request: &Request<'_>, headers: &mut Vec<(&'a str, Cow<'a, str>)>) {
    let mut sent = request.headers.all("origin");
    let origin = match (sent.next(), sent.next()) {
        (Some(origin), None) => str::from_utf8(origin).ok(),
        _ => None,
    };
    let allowed = match &cors.origins {
        Origins::Any => origin.map(|_| "*"),
        Origins::AnyOf(origins) => {
            // Prevents a cache from serving the response for one origin to another.
            headers.push(("vary", "origin".into()));
            origin.filter(|origin| origins.iter().any(|own| own == origin))
        }
    };
    let Some(allowed) = allowed else {
        return;
    };
    let mut exposed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    // Envoy adds this header.
    exposed.extend(request.is_grpc().then_some("grpc-message"));
    let exposed = exposed.join(", ");
    headers.push(("access-control-allow-origin", allowed.to_owned().into()));
    headers.push(("access-control-expose-headers", exposed.into()));
    if cors.credentials {
        headers.push(("access-control-allow-credentials", "true".into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page may read a denial if its only `origin` is listed exactly. `vary` is always set.
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
            let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
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
