//! What a caller is told, whatever protocol carries it: status, headers, body, gRPC code, metadata.
//!
//! INVARIANT: only a [`Pass`] lets a request through. It is made of a [`Permit`], which only
//! [`decide`](crate::decision::decide) makes; a [`DirectResponse`] has a [`Code`], none of which is
//! OK.

use std::borrow::Cow;

mod body;
mod challenge;
pub mod denials;
mod metadata;
mod reason;

pub use metadata::Metadata;

use denials::{Cors, Denials, Origins};
use reason::Refusal;

use crate::decision::{Decision, Denial, Permit, Reason};
use crate::identity::Changes;
use crate::policy::Policy;
use crate::policy::resource::Resource;
use crate::request::Request;

/// `Cache-Control` of the metadata of a resource.
const METADATA_CACHE_CONTROL: &str = "public, max-age=300";

/// The answer to a check.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The request passes, changed.
    Pass(Pass<'a>),
    /// The request does not reach the upstream.
    Direct(DirectResponse<'a>),
}

impl<'a> Answer<'a> {
    /// The answer to a request that was decided so.
    pub fn to(
        decision: &'a Decision,
        policy: &'a Policy,
        denials: &'a Denials,
        request: &'a Request<'a>,
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
            )),
            Decision::Respond(resource) => {
                Self::Direct(DirectResponse::metadata_of(resource, request))
            }
        }
    }
}

/// A request that may pass. What changes in it is worked out when asked for, as most of it is known
/// already for a token that was answered about before.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    permit: &'a Permit,
    policy: &'a Policy,
    request: &'a Request<'a>,
}

impl<'a> Pass<'a> {
    /// Why it may pass.
    pub fn permit(&self) -> &'a Permit {
        self.permit
    }

    /// The policy that lets it pass.
    pub fn policy(&self) -> &'a Policy {
        self.policy
    }

    /// What changes in the request, and in the upstream's answer.
    pub fn changes(&self) -> Changes<'a> {
        let places = self.policy.token_places();
        let misleading = self.misleading_headers();
        let upstream = self.policy.upstream();
        upstream.changes(self.permit.bearer(), places, misleading, self.request)
    }

    /// Whether these changes are the same for every request with this token.
    pub fn depends_on_bearer_alone(&self) -> bool {
        self.permit.bearer().is_some_and(|bearer| {
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

/// The gRPC code of a [`DirectResponse`]. OK, which would let the request pass, is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The request cannot be judged as it is.
    InvalidArgument = 3,
    /// The request is refused, or answered in the upstream's place.
    PermissionDenied = 7,
    /// The request is too large.
    ResourceExhausted = 8,
    /// A bug, or a route that names an unknown rule.
    Internal = 13,
    /// The request cannot be judged now.
    Unavailable = 14,
    /// The request has no valid token.
    Unauthenticated = 16,
}

/// An answer in the upstream's place.
#[derive(Clone, Debug)]
pub struct DirectResponse<'a> {
    /// The gRPC code.
    pub code: Code,
    /// The reason as far as the caller may know it; `metadata` for the metadata of a resource.
    pub message: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Header names, in lower case, with their values.
    pub headers: Vec<(&'a str, Cow<'a, str>)>,
    /// The body.
    pub body: Cow<'a, str>,
}

impl<'a> DirectResponse<'a> {
    /// The answer to a denied request. Without a policy, its rule is not known.
    pub fn denial(
        denial: &Denial,
        policy: Option<&Policy>,
        denials: &'a Denials,
        request: &Request<'_>,
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
            // Envoy sends the body as `grpc-message`, and derives `grpc-status` from the HTTP status
            // unless it is given.
            headers.push(("grpc-status", (refusal.code as i32).to_string().into()));
            refusal.sentence.into()
        } else {
            let (content_type, body) = body::render(&denials.body, &refusal, shown);
            headers.extend(content_type.map(|value| ("content-type", value.into())));
            body.into()
        };
        let own = denials.headers.iter();
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

    /// The answer to a request for the metadata of a resource (RFC 9728 §3.2). Pages of any origin may
    /// read it, and may ask beforehand whether they may.
    fn metadata_of(resource: &'a Resource, request: &Request<'_>) -> Self {
        let mut headers = vec![("access-control-allow-origin", "*".into())];
        let (status, body) = match request.method {
            "OPTIONS" => {
                headers.push(("access-control-allow-methods", "GET".into()));
                headers.push(("access-control-allow-headers", "*".into()));
                (204, "")
            }
            _ => {
                headers.push(("content-type", "application/json".into()));
                headers.push(("cache-control", METADATA_CACHE_CONTROL.into()));
                (200, resource.document())
            }
        };
        Self {
            code: Code::PermissionDenied,
            message: "metadata",
            status,
            headers,
            body: body.into(),
        }
    }
}

/// Lets scripts of other origins read a denial with these headers, if `cors` does (Fetch §3.3.3).
fn share<'a>(cors: &Cors, request: &Request<'_>, headers: &mut Vec<(&'a str, Cow<'a, str>)>) {
    let mut sent = request.headers.all("origin");
    let origin = match (sent.next(), sent.next()) {
        (Some(origin), None) => str::from_utf8(origin).ok(),
        _ => None,
    };
    let allowed = match &cors.origins {
        Origins::Any => origin.map(|_| "*"),
        Origins::AnyOf(origins) => {
            // Keeps a cache from handing the answer to one page to another.
            headers.push(("vary", "origin".into()));
            origin.filter(|origin| origins.iter().any(|own| own == origin))
        }
    };
    let Some(allowed) = allowed else {
        return;
    };
    let mut exposed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    // Envoy adds it.
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

    /// A denial is shared with a page if its one `origin` is listed as it is; `vary` is always there.
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
