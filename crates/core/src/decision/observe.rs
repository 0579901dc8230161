//! Which denials take effect. The operator can try a configuration, a provider or a rule on real
//! traffic before it refuses anything.

use super::{Decision, Denial, Fault, Permit};
use crate::policy::Policy;

/// Whether a denial takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The request is denied.
    Enforced,
    /// The request passes, and the denial is only reported.
    Observed,
}

impl Effect {
    /// The effect of a denial under a policy.
    ///
    /// Its rule must accept its provider. Otherwise a forged token of a provider that is only
    /// observed would pass the rules of all others.
    pub(super) fn of(denial: &Denial, policy: &Policy) -> Self {
        // A bug may hide what the rule requires. A spoofed header would reach the upstream, because the
        // proxy does not remove it.
        if matches!(denial.fault, Fault::Internal | Fault::SpoofedHeader(_)) {
            return Self::Enforced;
        }
        let rule = denial.rule.and_then(|id| policy.rule(id));
        let by_rule = rule.is_some_and(|rule| !rule.is_enforced);
        let by_provider = denial.provider.is_some_and(|id| {
            let provider = policy.provider(id);
            provider.is_some_and(|provider| !provider.is_enforced)
                && rule.is_some_and(|rule| rule.access.accepts(id))
        });
        match !policy.is_enforced() || by_rule || by_provider {
            true => Self::Observed,
            false => Self::Enforced,
        }
    }
}

impl Denial {
    /// The decision that follows from the denial.
    pub(super) fn with(self, effect: Effect) -> Decision {
        match effect {
            Effect::Enforced => Decision::Deny(self),
            Effect::Observed => Decision::Allow(Permit {
                rule: self.rule,
                bearer: self.bearer.clone(),
                observed: Some(Box::new(self)),
            }),
        }
    }
}
