//! Keys that a provider may have by now, and that may change a denial.

use std::time::Duration;

use super::{Decision, Denial, Fault, NoLookUp};
use crate::keyring::{NoKey, ProviderId};
use crate::token::TokenError;

/// A token that the known keys do not verify, and that newer ones may.
#[derive(Clone, Debug)]
pub struct KeysNeed {
    provider: ProviderId,
    /// The denial by the known keys.
    denial: Denial,
}

/// What newer keys of a provider may change.
#[derive(Clone, Copy, Debug)]
pub enum KeyDoubt<'d> {
    /// The set has no key with this id. Perhaps the provider has a new one.
    UnknownKid(&'d str),
    /// The keys that the token may be signed with do not verify it, or are not fit to. Perhaps the
    /// provider has replaced one and kept its id, or publishes no ids.
    Replaced,
}

impl KeysNeed {
    /// The need behind a denial.
    ///
    /// # Errors
    ///
    /// The denial, if newer keys cannot change it.
    pub(super) fn of(denial: Denial) -> Result<Self, Denial> {
        let is_for_want_of_keys = matches!(
            denial.fault,
            Fault::Token(TokenError::UnknownKey { .. } | TokenError::BadSignature { .. })
        );
        match denial.provider.filter(|_| is_for_want_of_keys) {
            Some(provider) => Ok(Self { provider, denial }),
            None => Err(denial),
        }
    }

    /// The provider that the token says it is from.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// What newer keys may change.
    pub fn doubt(&self) -> KeyDoubt<'_> {
        match &self.denial.fault {
            Fault::Token(TokenError::UnknownKey {
                why: NoKey::UnknownKid(kid),
                ..
            }) => KeyDoubt::UnknownKid(kid),
            _ => KeyDoubt::Replaced,
        }
    }

    /// The decision by the known keys.
    pub fn by_known_keys(self) -> Decision {
        Decision::Deny(self.denial)
    }

    /// The decision if the provider was not asked: for an unknown `kid` it is not known whether the
    /// provider has the key; known keys have given their verdict.
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
        Decision::Deny(Denial {
            fault,
            ..self.denial
        })
    }
}
