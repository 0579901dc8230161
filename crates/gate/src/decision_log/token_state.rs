//! What a decision says about the token of its request.

use super::record::TokenState;
use claimgate_core::decision::{Decision, Denial, Fault};
use claimgate_core::identity::Bearer;
use claimgate_core::policy::requirement::Access;
use claimgate_core::policy::{CorsPreflight, Policy};
use claimgate_core::request::Request;
use claimgate_core::token::bearer::CredentialError;

/// The bearer of a valid token, whatever was decided.
pub(super) fn bearer(decision: &Decision) -> Option<&Bearer> {
    match decision {
        Decision::Allow(permit) => permit.bearer(),
        Decision::Deny(denial) => denial.bearer.as_ref(),
        Decision::Respond(_) => None,
    }
}

/// What was found out about the token.
pub(super) fn token_state(
    decision: &Decision,
    policy: &Policy,
    request: &Request<'_>,
) -> TokenState {
    if bearer(decision).is_some() {
        return TokenState::Valid;
    }
    match decision.denial() {
        Some(denial) => state_of_denied(denial, decision, policy, request),
        None => state_of_anonymous(decision, policy, request),
    }
}

fn state_of_denied(
    denial: &Denial,
    decision: &Decision,
    policy: &Policy,
    request: &Request<'_>,
) -> TokenState {
    match &denial.fault {
        Fault::Credential(CredentialError::Missing(_)) => TokenState::Absent,
        Fault::Credential(_)
        | Fault::Token(_)
        | Fault::UnknownIssuer(_)
        | Fault::Misplaced { .. } => TokenState::Rejected,
        Fault::KeysUnavailable | Fault::KeyNotLookedUp { .. } => TokenState::Unverified,
        Fault::Refused(_) => state_of_anonymous(decision, policy, request),
        Fault::NoPath
        | Fault::Conflict(_)
        | Fault::SpoofedHeader(_)
        | Fault::NoRule(_)
        | Fault::CheckTooLarge(_)
        | Fault::CheckUnreadable(_)
        | Fault::Overloaded
        | Fault::Internal => TokenState::Unread,
    }
}

/// Whether a token was looked for, if a request passed its rule's access without one.
fn state_of_anonymous(decision: &Decision, policy: &Policy, request: &Request<'_>) -> TokenState {
    let rule = decision.rule().and_then(|id| policy.rule(id));
    let is_free = policy.cors_preflight() == CorsPreflight::Allow && request.is_cors_preflight();
    match rule.map(|rule| &rule.access) {
        Some(Access::Optional(_) | Access::Required(_)) if !is_free => TokenState::Absent,
        _ => TokenState::Unread,
    }
}
