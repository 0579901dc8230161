//! Why a rule may refuse a request, or none be found.

use super::{LIGHTWEIGHT, UnverifiedParts};
use crate::policy::requirement::Refusal;
use crate::policy::rules::NoRule;
use crate::request::path::Ambiguity;

pub(super) fn none(error: &NoRule) -> &'static str {
    match error {
        NoRule::AmbiguousPath(Ambiguity::PerhapsNotUtf8) => {
            "set `encode_raw_headers: true` in Envoy's ext_authz filter; or let the client write \
             `%21`"
        }
        NoRule::AmbiguousPath(_) => {
            "an attack, or a client that is careless about paths; if the API has such paths, and \
             no rule can be tricked by them, `paths: as_is`"
        }
        NoRule::LongPath { .. } => {
            "an attack, or a client that puts data into the path; `claimgate validate` prints the \
             limit, which grows when fewer rules use `regex`"
        }
        NoRule::AmbiguousMethod(_) => {
            "methods are case-sensitive (RFC 9110 §9.1): the client writes one in lower case, or \
             tries to have a rule and the API read different ones"
        }
        NoRule::AmbiguousHost(_) => "the client sends no `Host`, or one that is none",
        NoRule::AmbiguousHeader(_) => {
            "a proxy adds a line of its own, or a client tries to have a rule and the API read \
             different values"
        }
        NoRule::UnclearMcpCall(_) => {
            "the client speaks an earlier revision of MCP than 2026-07-28, or leaves its headers \
             out; such clients need an endpoint without rules on `mcp`"
        }
        NoRule::Unknown(_) => {
            "`claimgate.rule` in the `context_extensions` of Envoy's route is misspelt, or this \
             configuration is older than Envoy's"
        }
    }
}

pub(super) fn refused(refusal: &Refusal, token: &UnverifiedParts<'_>) -> Option<&'static str> {
    match refusal {
        Refusal::Claim { .. } if token.is_lightweight() && !token.has_roles() => Some(LIGHTWEIGHT),
        Refusal::Scope { .. } => Some(
            "the client did not ask for the scope, or was not granted it; if the token has it in \
             another claim, see `scope_claims`",
        ),
        Refusal::Claim { .. } => Some(
            "the user or client has not been given it at the provider, or the provider does not \
             put it into access tokens",
        ),
        Refusal::Authentication(_) => Some(
            "the client should send its user to log in anew, with the `acr_values` and `max_age` \
             of the challenge",
        ),
        Refusal::ConditionFailed { .. } => Some(
            "the condition asks for something that this token or request has not; `has(…)` tells",
        ),
        Refusal::Denied | Refusal::Provider | Refusal::Condition(_) => None,
    }
}
