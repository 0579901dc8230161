//! The verdict. [`decide`] is total: whatever it is given, it answers, and nothing becomes an allow
//! but a [`VerifiedToken`](crate::token::VerifiedToken), or a request that its rule lets pass without one.

use std::sync::Arc;
use std::time::Duration;

mod fault;
mod judge;
mod keys_need;
mod memory;
mod reason;

pub use fault::{Fault, NoLookUp, Unreadable};
pub use keys_need::{KeyDoubt, KeysNeed};
pub use memory::Memory;
pub use reason::Reason;

use crate::identity::{Bearer, KnownToken};
use crate::keyring::{Keyring, ProviderId};
use crate::policy::Policy;
use crate::policy::resource::Resource;
use crate::policy::rules::RuleId;
use crate::request::Request;
use crate::time::UnixTime;
use crate::token::TokenError;
use crate::trace::Trace;

/// When to try again if nothing tells when the keys will be there.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may pass.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
    /// It does not pass either: it asks for the metadata of this resource, and is answered here.
    Respond(Arc<Resource>),
}

/// Proof that a request may pass: only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    rule: RuleId,
    bearer: Option<Bearer>,
}

impl Permit {
    /// The rule that the request meets.
    pub fn rule(&self) -> RuleId {
        self.rule
    }

    /// The evidence, if the rule requires any.
    pub fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_ref()
    }
}

/// Why a request may not pass.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The rule that it is judged by, if it got so far.
    pub rule: Option<RuleId>,
    /// The provider that the token says it is from, if it is a configured one.
    pub provider: Option<ProviderId>,
    /// The token, if it is valid, and refused by the rule.
    pub token: Option<Arc<KnownToken>>,
    /// What is wrong.
    pub fault: Fault,
}

/// What [`decide`] comes to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The decision.
    Decided(Decision),
    /// Something that is not known yet may change the decision: get it, and decide again.
    Needs(Need),
}

impl Outcome {
    /// The decision by what is known already.
    pub fn by_what_is_known(self) -> Decision {
        match self {
            Self::Decided(decision) => decision,
            Self::Needs(Need::Keys(need)) => need.by_known_keys(),
        }
    }
}

/// What a decision needs to know.
#[derive(Clone, Debug)]
pub enum Need {
    /// Newer keys of a provider.
    Keys(KeysNeed),
}

/// Decides one request. Pure: the same arguments give the same outcome.
///
/// `memory` spares the verification of tokens that were verified before, and changes no decision;
/// `trace` hears of each check that held. Pass `&()` and `&mut ()` to do without.
pub fn decide(
    policy: &Policy,
    keyring: &Keyring,
    memory: &impl Memory,
    request: &Request<'_>,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Outcome {
    match judge::judge(policy, keyring, memory, request, now, trace) {
        Ok(decision) => Outcome::Decided(decision),
        Err(denial) => match KeysNeed::of(denial) {
            Ok(need) => Outcome::Needs(Need::Keys(need)),
            Err(denial) => Outcome::Decided(Decision::Deny(denial)),
        },
    }
}

impl From<Fault> for Denial {
    fn from(fault: Fault) -> Self {
        Self {
            rule: None,
            provider: None,
            token: None,
            fault,
        }
    }
}

impl Denial {
    /// The provider's keys cannot be had, so its tokens cannot be judged.
    pub fn keys_unavailable(provider: ProviderId) -> Self {
        Self {
            provider: Some(provider),
            ..Fault::KeysUnavailable.into()
        }
    }

    /// Something failed that should not have.
    pub fn internal() -> Self {
        Fault::Internal.into()
    }

    /// The code of what is wrong, for the operator.
    pub fn reason(&self) -> Reason {
        self.fault.reason()
    }

    /// When the caller may try again, if another time may bring another answer.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.fault {
            Fault::KeysUnavailable | Fault::Overloaded => Some(RETRY_AFTER),
            Fault::KeyNotLookedUp { retry_after, .. } => Some(retry_after),
            _ => None,
        }
    }

    /// What the caller may be told, `None` if no more than that the token is invalid: that a
    /// denial hinged on the issuer before the signature was verified would tell anyone which
    /// issuers are trusted.
    pub fn disclosed(&self) -> Option<Reason> {
        match (&self.fault, self.reason()) {
            // By the limit of the provider that it says it is from.
            (Fault::Token(TokenError::TooLong { .. }), _) if self.provider.is_some() => None,
            (Fault::Token(TokenError::AlgorithmNotAccepted { .. }), _)
            | (_, Reason::UnknownIssuer | Reason::UnknownKey | Reason::BadSignature) => None,
            (_, reason) => Some(reason),
        }
    }
}

impl Decision {
    /// The rule that the request was judged by, if it got so far.
    pub fn rule(&self) -> Option<RuleId> {
        match self {
            Self::Allow(permit) => Some(permit.rule),
            Self::Deny(denial) => denial.rule,
            Self::Respond(_) => None,
        }
    }

    /// The provider that the token is from, or says that it is from, if that is a configured one.
    pub fn provider(&self) -> Option<ProviderId> {
        match self {
            Self::Allow(permit) => permit.bearer.as_ref().map(Bearer::provider),
            Self::Deny(denial) => denial.provider,
            Self::Respond(_) => None,
        }
    }
}
