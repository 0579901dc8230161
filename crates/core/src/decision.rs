//! The verdict. [`decide`] is total: it returns a decision for every input. Only a
//! [`VerifiedToken`](crate::token::VerifiedToken), or a rule that requires no token, leads to an
//! allow.

use std::sync::Arc;
use std::time::Duration;

mod fault;
mod judge;
mod keys_need;
mod memory;
mod observe;
mod reason;

pub use fault::{Fault, NoLookUp, Unreadable};
pub use keys_need::{KeyDoubt, KeysNeed};
pub use memory::Memory;
pub use reason::Reason;

use judge::{Effort, Unjudged};
use observe::Effect;

use crate::identity::Bearer;
use crate::keyring::{Keyring, ProviderId};
use crate::policy::Policy;
use crate::policy::resource::Resource;
use crate::policy::rules::RuleId;
use crate::request::Request;
use crate::time::UnixTime;
use crate::token::TokenError;
use crate::trace::Trace;

/// The pause before a retry if the time until the keys arrive is unknown.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The decision about a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The request passes.
    Allow(Permit),
    /// The request is denied.
    Deny(Denial),
    /// The request asks for the metadata of this resource, and claimgate answers it.
    Respond(Arc<Resource>),
}

/// Proof that a request may pass. Only [`decide`] creates one.
#[derive(Clone, Debug)]
pub struct Permit {
    rule: Option<RuleId>,
    bearer: Option<Bearer>,
    observed: Option<Box<Denial>>,
}

impl Permit {
    /// The rule that applies. `None` only if the request passes because a denial is only observed.
    pub fn rule(&self) -> Option<RuleId> {
        self.rule
    }

    /// The bearer of the verified token, if the request passes with one.
    pub fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_ref()
    }

    /// The denial that the operator does not enforce, if the request passes because of that.
    pub fn observed(&self) -> Option<&Denial> {
        self.observed.as_deref()
    }
}

/// Why a request is denied.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The rule that applies, if one was found.
    pub rule: Option<RuleId>,
    /// The configured provider that the token claims to be from.
    pub provider: Option<ProviderId>,
    /// The bearer, if the token is valid but does not meet the rule.
    pub bearer: Option<Bearer>,
    /// What is wrong.
    pub fault: Fault,
}

/// The result of [`decide`].
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The decision.
    Decided(Decision),
    /// Missing information may change the decision: get it, and decide again.
    Needs(Need),
}

impl Outcome {
    /// The decision based on what is known.
    pub fn by_what_is_known(self) -> Decision {
        match self {
            Self::Decided(decision) => decision,
            Self::Needs(Need::Keys(need)) => need.by_known_keys(),
        }
    }
}

/// Information that a decision needs.
#[derive(Clone, Debug)]
pub enum Need {
    /// Newer keys of a provider.
    Keys(KeysNeed),
}

/// Decides one request. Pure: the same arguments give the same outcome.
///
/// `memory` avoids verifying a token again, and never changes a decision. `trace` receives each
/// check that held. Pass `&()` and `&mut ()` to do without them.
pub fn decide(
    policy: &Policy,
    keyring: &Keyring,
    memory: &impl Memory,
    request: &Request<'_>,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Outcome {
    match judge::judge(policy, keyring, memory, request, now, Effort::Any, trace) {
        Ok(decision) => Outcome::Decided(decision),
        Err(Unjudged::Denied(denial)) => denial.outcome(policy),
        // Only asked for with less effort.
        Err(Unjudged::Slow) => Denial::internal().outcome(policy),
    }
}

/// The same, unless that takes a signature check that is slow. `None` if it does.
pub fn decide_quickly(
    policy: &Policy,
    keyring: &Keyring,
    memory: &impl Memory,
    request: &Request<'_>,
    now: UnixTime,
) -> Option<Outcome> {
    match judge::judge(
        policy,
        keyring,
        memory,
        request,
        now,
        Effort::Quick,
        &mut (),
    ) {
        Ok(decision) => Some(Outcome::Decided(decision)),
        Err(Unjudged::Denied(denial)) => Some(denial.outcome(policy)),
        Err(Unjudged::Slow) => None,
    }
}

impl From<Fault> for Denial {
    fn from(fault: Fault) -> Self {
        Self {
            rule: None,
            provider: None,
            bearer: None,
            fault,
        }
    }
}

impl Denial {
    /// What follows under a policy.
    fn outcome(self, policy: &Policy) -> Outcome {
        let effect = Effect::of(&self, policy);
        match KeysNeed::of(self, effect) {
            Ok(need) => Outcome::Needs(Need::Keys(need)),
            Err(denial) => Outcome::Decided(denial.with(effect)),
        }
    }

    /// The denial if the provider's keys are not available.
    pub fn keys_unavailable(provider: ProviderId) -> Self {
        Self {
            provider: Some(provider),
            ..Fault::KeysUnavailable.into()
        }
    }

    /// The denial after an internal error.
    pub fn internal() -> Self {
        Fault::Internal.into()
    }

    /// The stable code of the fault, for the operator.
    pub fn reason(&self) -> Reason {
        self.fault.reason()
    }

    /// The time until a retry may get another answer. `None` if a retry does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.fault {
            Fault::KeysUnavailable | Fault::Overloaded => Some(RETRY_AFTER),
            Fault::KeyNotLookedUp { retry_after, .. } => Some(retry_after),
            _ => None,
        }
    }

    /// The reason that the caller may learn. `None` if the caller learns only that the token is
    /// invalid. A denial that depends on the issuer before the signature is verified would reveal
    /// which issuers are trusted.
    pub fn disclosed(&self) -> Option<Reason> {
        match (&self.fault, self.reason()) {
            // The limit is that of the provider that the token claims.
            (Fault::Token(TokenError::TooLong { .. }), _) if self.provider.is_some() => None,
            (Fault::Token(TokenError::AlgorithmNotAccepted { .. }), _)
            | (_, Reason::UnknownIssuer | Reason::UnknownKey | Reason::BadSignature) => None,
            (_, reason) => Some(reason),
        }
    }
}

impl Decision {
    /// The rule that applies, if one was found.
    pub fn rule(&self) -> Option<RuleId> {
        match self {
            Self::Allow(permit) => permit.rule,
            Self::Deny(denial) => denial.rule,
            Self::Respond(_) => None,
        }
    }

    /// The configured provider that the token is from, or claims to be from.
    pub fn provider(&self) -> Option<ProviderId> {
        match self {
            Self::Allow(permit) => match permit.observed() {
                Some(denial) => denial.provider,
                None => permit.bearer.as_ref().map(Bearer::provider),
            },
            Self::Deny(denial) => denial.provider,
            Self::Respond(_) => None,
        }
    }

    /// The denial, whether it is enforced or only observed.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Allow(permit) => permit.observed(),
            Self::Deny(denial) => Some(denial),
            Self::Respond(_) => None,
        }
    }
}
