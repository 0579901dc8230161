//! Denials that newer keys of a provider may change.

use std::time::Duration;

use super::observe::Effect;
use super::{Decision, Denial, Fault, NoLookUp};
use crate::keyring::{NoKey, ProviderId};
use crate::token::TokenError;

/// A token that the known keys do not verify, but newer ones may.
#[derive(Clone, Debug)]
pub struct KeysNeed {
    provider: ProviderId,
    /// The denial based on the known keys.
    denial: Denial,
    /// Its effect, which does not depend on the keys.
    effect: Effect,
}

/// Why newer keys of a provider may change a denial.
#[derive(Clone, Copy, Debug)]
pub enum KeyDoubt<'d> {
    /// The set has no key with this id. The provider may have a new one.
    UnknownKid(&'d str),
    /// The keys that may have signed the token do not verify it, or cannot be used. The provider
    /// may have replaced one and kept its id, or publishes no ids.
    Replaced,
}

impl KeysNeed {
    /// The need for newer keys that a denial shows.
    ///
    /// # Errors
    ///
    /// Returns the denial if newer keys cannot change it.
    pub(super) fn of(denial: Denial, effect: Effect) -> Result<Self, Denial> {
        let is_for_want_of_keys = matches!(
            denial.fault,
            Fault::Token(TokenError::UnknownKey { .. } | TokenError::BadSignature { .. })
        );
        match denial.provider.filter(|_| is_for_want_of_keys) {
            Some(provider) => Ok(Self {
                provider,
                denial,
                effect,
            }),
            None => Err(denial),
        }
    }

    /// The provider that the token claims to be from.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Why newer keys may change the denial.
    pub fn doubt(&self) -> KeyDoubt<'_> {
        match &self.denial.fault {
            Fault::Token(TokenError::UnknownKey {
                why: NoKey::UnknownKid(kid),
                ..
            }) => KeyDoubt::UnknownKid(kid),
            _ => KeyDoubt::Replaced,
        }
    }

    /// The decision based on the known keys.
    pub fn by_known_keys(self) -> Decision {
        self.denial.with(self.effect)
    }

    /// The decision if the provider was not asked. For an unknown `kid`, it is unclear whether the
    /// provider has the key. Otherwise the verdict of the known keys stands.
    pub fn without_look_up(self, why: NoLookUp, retry_after: Duration) -> Decision {
        let Denial { fault, .. } = self.denial;
        let fault = match fault {
            Fault::Token(TokenError::UnknownKey {
                kid,
                why: NoKey::UnknownKid(_),
            }) => Fault::KeyNotLookedUp {
                kid,
                why,
                retry_after,
            },
            fault => fault,
        };
        let denial = Denial {
            fault,
            ..self.denial
        };
        denial.with(self.effect)
    }
}
