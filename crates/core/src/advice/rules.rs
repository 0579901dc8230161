//! Why a rule may refuse a request, or why no rule may match.

use super::{LIGHTWEIGHT, UnverifiedParts};
use crate::decision::Denial;
use crate::escaped::{Escaped, listed, nearest};
use crate::policy::Policy;
use crate::policy::requirement::Refusal;
use crate::policy::rules::{NoRule, RuleId};
use crate::request::Request;
use crate::request::path::Ambiguity;

/// The maximum number of later rules that a hint names.
const MAX_LATER: usize = 3;

/// The maximum number of a token's scopes that a hint lists.
const MAX_SCOPES: usize = 10;

/// The maximum number of names that are compared with an unknown one.
const MAX_COMPARED: usize = 256;

pub(super) fn none(error: &NoRule, policy: &Policy) -> String {
    let text = match error {
        NoRule::AmbiguousPath(Ambiguity::PerhapsNotUtf8) => {
            "set `encode_raw_headers: true` in Envoy's ext_authz filter, or have the client write \
             `%21`"
        }
        NoRule::AmbiguousPath(_) => {
            "an attack, or a client that builds paths carelessly; if the API needs such paths, and \
             no rule can be bypassed with them, set `paths: as_is`"
        }
        NoRule::LongPath { .. } => {
            "an attack, or a client that puts data into the path; `claimgate validate` prints the \
             limit, which is higher if fewer rules use `regex`"
        }
        NoRule::AmbiguousMethod(_) => {
            "methods are case-sensitive (RFC 9110 §9.1): the client writes the method in lower case, \
             or tries to make a rule and the API read different methods"
        }
        NoRule::AmbiguousHost(_) => {
            "the client sends a `Host` that is not a valid host name, or tries to make a rule or a \
             route and the API read different hosts"
        }
        NoRule::NoHost => {
            "this caller of `Check` sends no host, as gRPC's own filter does: let it name a rule by \
             `claimgate.rule` in its `context_extensions`, or use paths in place of hosts"
        }
        NoRule::AmbiguousHeader(_) => {
            "a proxy adds a second line, or a client tries to make a rule and the API read \
             different values"
        }
        NoRule::UnclearMcpCall(_) => {
            "the client speaks a revision of MCP before 2026-07-28, or omits its headers; such \
             clients need an endpoint without rules on `mcp`"
        }
        NoRule::Unknown(name) => return unknown(name, policy),
    };
    text.to_owned()
}

fn unknown(name: &Escaped, policy: &Policy) -> String {
    let names = || policy.rules().names().take(MAX_COMPARED);
    let known = match nearest(&name.to_string(), names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {};", listed(&names().collect::<Vec<_>>(), ", ")),
    };
    format!(
        "{known} `claimgate.rule` in the `context_extensions` of Envoy's route is misspelt, or Envoy's \
         configuration is newer than this one"
    )
}

/// Names the later rules that match the request too, because the order of rules may be wrong.
pub(super) fn later(rule: RuleId, policy: &Policy, request: &Request<'_>) -> Option<String> {
    let rules = policy.rules();
    let target = rules.target(request).ok()?;
    let decides = &policy.rule(rule)?.name;
    let later: Vec<_> = rules
        .also_matching(&target, rule)
        .take(MAX_LATER)
        .map(|name| format!("`{name}`"))
        .collect();
    (!later.is_empty()).then(|| {
        format!(
            "the rule `{decides}` decides because it comes first; a later one that matches too: {}. \
             Move it up if it is meant for this request",
            later.join(", ")
        )
    })
}

pub(super) fn refused(
    refusal: &Refusal,
    denial: &Denial,
    token: &UnverifiedParts<'_>,
) -> Option<String> {
    let text = match refusal {
        Refusal::Scope { .. } => return Some(other_scopes(denial)),
        Refusal::Claim { .. } if token.is_lightweight() && !token.has_roles() => LIGHTWEIGHT,
        Refusal::Claim { .. } => {
            "the provider has not assigned it to the user or client, or does not \
             put it into access tokens"
        }
        Refusal::Authentication(_) => {
            "the client should send its user to log in again, with the `acr_values` and `max_age` \
             of the challenge"
        }
        Refusal::ConditionFailed { .. } => {
            "the condition uses something that this token or request does not have; test for it with `has(…)`"
        }
        Refusal::Denied | Refusal::Provider | Refusal::Condition(_) => return None,
    };
    Some(text.to_owned())
}

/// Why a token has other scopes than the rule requires.
fn other_scopes(denial: &Denial) -> String {
    let bearers = denial.bearer.iter();
    let scopes = bearers.flat_map(|bearer| bearer.token().scopes());
    let scopes: Vec<_> = scopes.take(MAX_SCOPES).map(Escaped::from).collect();
    let has = match scopes.is_empty() {
        true => "the token has no scopes".to_owned(),
        false => format!("the token has {}", listed(&scopes, ", ")),
    };
    format!(
        "{has}: the client did not request the missing scope, or was not granted it; if it is in another \
         claim, see `scope_claims`"
    )
}
