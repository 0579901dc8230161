//! The likely cause of a denial: from what is known about the providers, else from the request.

use super::Generation;
use crate::jwks::{ClockDifference, KeysError};
use claimgate_core::advice;
use claimgate_core::decision::{Denial, Fault};
use claimgate_core::escaped::Escaped;
use claimgate_core::request::Request;
use claimgate_core::token::TokenError;

/// The likely cause of a denial by this generation, for an operator.
pub fn likely_cause(
    generation: &Generation,
    denial: &Denial,
    request: &Request<'_>,
) -> Option<String> {
    let Generation { policy, jwks, .. } = generation;
    let hint = of_provider(generation, denial)
        .or_else(|| advice::likely_cause(denial, policy, &jwks.snapshot(), request));
    match (hint, advice::later_rule(denial, policy, request)) {
        (Some(hint), Some(later)) => Some(format!("{hint}; {later}")),
        (hint, later) => hint.or(later),
    }
}

fn of_provider(generation: &Generation, denial: &Denial) -> Option<String> {
    match &denial.fault {
        Fault::KeysUnavailable => Some(generation.jwks.status(denial.provider?)?.why_no_keys()),
        Fault::KeyNotLookedUp { .. } => {
            let status = generation.jwks.status(denial.provider?)?;
            Some(status.error.as_ref()?.to_string())
        }
        Fault::UnknownIssuer(found) => other_name(generation, found),
        Fault::Token(TokenError::BadSignature { kid: Some(kid) }) => {
            let when = generation.jwks.replaced(denial.provider?, kid)?;
            Some(format!(
                "the provider has replaced the key `{kid}` and kept its `kid` (seen at {when}): the \
                 token was probably signed with the previous key. Get a new token; if new ones fail \
                 too, an instance of the provider still signs with the previous key"
            ))
        }
        Fault::Token(error) => clock(generation, denial, error),
        _ => None,
    }
}

/// The hint for a token whose times are wrong only because the clocks differ.
fn clock(generation: &Generation, denial: &Denial, error: &TokenError) -> Option<String> {
    let status = generation.jwks.status(denial.provider?)?;
    if let TokenError::Expired { exp, now, .. } = error
        && status.clocks_agree()
    {
        return Some(format!(
            "the clocks agree, so the client keeps a token that expired {} s ago: it must get a new one \
             before `exp`",
            now.saturating_since(*exp).as_secs()
        ));
    }
    let difference = status.large_clock_difference()?;
    let explains = match (error, difference) {
        (TokenError::Expired { exp, now, skew }, ClockDifference::Ahead(by)) => {
            now.saturating_sub(by) < exp.saturating_add(*skew)
        }
        (
            TokenError::NotYetValid {
                start, now, skew, ..
            },
            ClockDifference::Behind(by),
        ) => *start <= now.saturating_add(by).saturating_add(*skew),
        _ => false,
    };
    explains.then(|| difference.to_string())
}

/// The hint for an issuer that is not configured, although a provider's metadata names it.
fn other_name(generation: &Generation, found: &Escaped) -> Option<String> {
    let mut providers = generation.policy.providers();
    providers.find_map(|(id, provider)| {
        let status = generation.jwks.status(id)?;
        let KeysError::OtherIssuer(other) = &**status.error.as_ref()? else {
            return None;
        };
        (Escaped::from(other.named.as_str()) == *found).then(|| {
            format!(
                "the metadata of provider `{}` names this issuer too, but `{}` is configured, so its keys \
                 are not fetched: {}",
                provider.name,
                other.configured,
                other.remedy()
            )
        })
    })
}
