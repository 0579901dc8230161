//! `WWW-Authenticate` (RFC 6750 §3): what the caller lacks, and where to get it.

use super::denials::Denials;
use crate::decision::Denial;
use crate::policy::Policy;
use crate::policy::requirement::{Access, Requirement};
use crate::policy::resource::Resource;
use crate::request::Request;

/// The `error` of a challenge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorCode {
    /// No error: the client has not tried yet (RFC 6750 §3.1).
    None,
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
    /// RFC 9470 §3.
    InsufficientUserAuthentication,
}

impl ErrorCode {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
            Self::InsufficientUserAuthentication => Some("insufficient_user_authentication"),
        }
    }
}

/// The challenge. It always names all scopes that the rule requires, so that the client need not
/// ask twice.
pub(super) fn render(
    error: ErrorCode,
    description: Option<&str>,
    denial: &Denial,
    policy: Option<&Policy>,
    denials: &Denials,
    request: &Request<'_>,
) -> String {
    let requirement = policy
        .zip(denial.rule)
        .and_then(|(policy, rule)| policy.rule(rule))
        .and_then(|rule| match &rule.access {
            Access::Optional(requirement) | Access::Required(requirement) => Some(requirement),
            Access::Deny | Access::Public => None,
        });
    let resource = policy.and_then(|policy| policy.resource_of(request));
    let metadata = resource.map(Resource::metadata_url);
    let login = match error {
        ErrorCode::InsufficientUserAuthentication => requirement,
        _ => None,
    };
    let text = |name, value: Option<&str>| value.map(|value| format!("{name}=\"{value}\""));
    let parameters = [
        text("realm", realm(denials, request)),
        text("error", error.code()),
        text("error_description", error.code().and(description)),
        text("scope", requirement.and_then(scope).as_deref()),
        text("acr_values", login.and_then(acr_values).as_deref()),
        text("max_age", login.and_then(max_age).as_deref()),
        text(
            "resource_metadata",
            metadata.or(denials.resource_metadata.as_deref()),
        ),
    ];
    let parameters: Vec<_> = parameters.into_iter().flatten().collect();
    match parameters.is_empty() {
        true => "Bearer".to_owned(),
        false => format!("Bearer {}", parameters.join(", ")),
    }
}

fn scope(requirement: &Requirement) -> Option<String> {
    let scopes: Vec<&str> = requirement.wanted_scopes().collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}

fn acr_values(requirement: &Requirement) -> Option<String> {
    (!requirement.acr.is_empty()).then(|| requirement.acr.join(" "))
}

fn max_age(requirement: &Requirement) -> Option<String> {
    requirement.max_age.map(|age| age.as_secs().to_string())
}

/// The configured realm, or the request's host if it is safe to quote.
fn realm<'a>(denials: &'a Denials, request: &Request<'a>) -> Option<&'a str> {
    let quotable = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let host = Some(request.host)
        .filter(|host| !host.is_empty() && host.len() <= 255 && host.bytes().all(quotable));
    denials.realm.as_deref().or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Fault;
    use crate::token::bearer::CredentialError;

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
            let denial = Fault::from(CredentialError::Missing(Vec::new().into())).into();
            let denials = Denials::default();
            let found = render(ErrorCode::None, None, &denial, None, &denials, &request);
            assert_eq!(found, expected, "{host}");
        }
    }
}
