//! The verdict. [`decide`] is total: whatever it is given, it answers allow or deny, and only a
//! [`VerifiedToken`] becomes an allow.

use std::sync::Arc;

mod memory;
mod reason;

pub use memory::Memory;
pub use reason::Reason;

use crate::identity::HeaderChanges;
use crate::keyring::{Keyring, Keys, NoKey, ProviderId};
use crate::policy::Policy;
use crate::request::{Headers, Request};
use crate::shown::Shown;
use crate::time::UnixTime;
use crate::token::bearer::{Credential, CredentialError, find_token};
use crate::token::source::TokenSource;
use crate::token::{TokenError, Unverified, VerifiedToken};
use crate::trace::{Step, Trace};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may pass.
    Allow(Permit),
    /// It may not.
    Deny(Denial),
}

/// Why a request may pass.
#[derive(Clone, Debug)]
pub struct Permit {
    /// Whose token it is.
    pub provider: ProviderId,
    /// The evidence.
    pub token: Arc<VerifiedToken>,
    /// Where the request carries it.
    pub place: Arc<TokenSource>,
}

impl Permit {
    /// What changes in the headers of the request, whose own they are now.
    pub fn changes<'a>(&'a self, policy: &'a Policy, request: &Headers<'a>) -> HeaderChanges<'a> {
        let (upstream, places) = (policy.upstream(), policy.token_places());
        upstream.changes(&self.token, &self.place, places, request)
    }
}

/// Why a request may not pass.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The provider that the token says it is from, if it is a configured one.
    pub provider: Option<ProviderId>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a request, by whose fault it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The client's: no credential that could be judged.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// The client's: the token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The client's: a token from nobody we know.
    #[error("no provider is configured for the token's issuer `{0}`")]
    UnknownIssuer(Shown),
    /// The client's: a token where tokens of its provider are not looked for.
    #[error("the tokens of provider `{provider}` are not taken from the {place}")]
    Misplaced {
        /// The provider's name.
        provider: String,
        /// Where it was.
        place: Arc<TokenSource>,
    },
    /// The client's: no path to judge.
    #[error("the check describes no HTTP request with a path")]
    NoPath,
    /// The provider's: its keys cannot be had.
    #[error("the provider's keys are not available")]
    KeysUnavailable,
    /// Ours.
    #[error("internal error")]
    Internal,
}

/// Judges one request. Pure: the same arguments give the same verdict.
///
/// `memory` spares the verification of tokens that were verified before, and changes no verdict;
/// `trace` hears of each check that held. Pass `&()` and `&mut ()` to do without.
pub fn decide(
    policy: &Policy,
    keyring: &Keyring,
    memory: &impl Memory,
    request: &Request<'_>,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Decision {
    match judge(policy, keyring, memory, request, now, trace) {
        Ok(permit) => Decision::Allow(permit),
        Err(denial) => Decision::Deny(denial),
    }
}

fn judge(
    policy: &Policy,
    keyring: &Keyring,
    memory: &impl Memory,
    request: &Request<'_>,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Result<Permit, Denial> {
    // Nothing but the TCP filter and CONNECT comes without a path; neither is HTTP to an API.
    if request.path.is_empty() {
        return Err(Fault::NoPath.into());
    }
    let bearer = find_token(policy.token_places(), request).map_err(Fault::from)?;
    trace.passed(Step::Credential {
        source: bearer.place,
    });
    let (provider, token) = match bearer.recall(policy, keyring, memory, now) {
        Some(known) => known,
        None => bearer.verify(policy, keyring, memory, now, trace)?,
    };
    Ok(Permit {
        provider,
        token,
        place: Arc::clone(bearer.place),
    })
}

impl Credential<'_> {
    /// What this token was found to be before, if that still holds.
    fn recall(
        &self,
        policy: &Policy,
        keyring: &Keyring,
        memory: &impl Memory,
        now: UnixTime,
    ) -> Option<(ProviderId, Arc<VerifiedToken>)> {
        let (id, evidence) = memory.recall(self.token)?;
        match keyring.keys(id) {
            Keys::Known(keys) if evidence.still_holds(keys, now) => {}
            Keys::Known(_) | Keys::Unavailable => {
                memory.forget(self.token);
                return None;
            }
        }
        let provider = policy.provider(id)?;
        provider
            .token_from
            .contains(self.place)
            .then_some((id, evidence))
    }

    fn verify(
        &self,
        policy: &Policy,
        keyring: &Keyring,
        memory: &impl Memory,
        now: UnixTime,
        trace: &mut impl Trace,
    ) -> Result<(ProviderId, Arc<VerifiedToken>), Denial> {
        let token = Unverified::parse(self.token).map_err(Fault::from)?;
        trace.passed(Step::Form {
            alg: token.alg(),
            kid: token.kid(),
            typ: token.typ(),
        });

        let issuer = token.issuer().map_err(Fault::from)?;
        let (id, provider) = policy
            .by_issuer(issuer)
            .ok_or_else(|| Fault::UnknownIssuer(Shown::from(issuer)))?;
        if !provider.token_from.contains(self.place) {
            return Err(Fault::Misplaced {
                provider: provider.name.clone(),
                place: Arc::clone(self.place),
            }
            .into());
        }
        trace.passed(Step::Issuer {
            issuer,
            provider: &provider.name,
        });

        let Keys::Known(keys) = keyring.keys(id) else {
            return Err(Denial::keys_unavailable(id));
        };
        trace.passed(Step::Keys { count: keys.len() });

        match token.verify(&provider.terms, keys, now, trace) {
            Ok(evidence) => {
                let evidence = Arc::new(evidence);
                memory.remember(id, &evidence);
                Ok((id, evidence))
            }
            Err(error) => Err(Denial {
                provider: Some(id),
                fault: error.into(),
            }),
        }
    }
}

impl From<Fault> for Denial {
    fn from(fault: Fault) -> Self {
        Self {
            provider: None,
            fault,
        }
    }
}

impl Denial {
    /// The provider's keys cannot be had, so its tokens cannot be judged.
    pub fn keys_unavailable(provider: ProviderId) -> Self {
        Self {
            provider: Some(provider),
            fault: Fault::KeysUnavailable,
        }
    }

    /// Something failed that should not have.
    pub fn internal() -> Self {
        Fault::Internal.into()
    }

    /// The code of what is wrong, for the operator.
    pub fn reason(&self) -> Reason {
        match &self.fault {
            Fault::Credential(CredentialError::Missing(_)) => Reason::MissingToken,
            Fault::Credential(
                CredentialError::Repeated(_)
                | CredentialError::Empty(_)
                | CredentialError::Malformed(_)
                | CredentialError::SeveralPlaces(..),
            ) => Reason::MalformedAuthorization,
            Fault::Token(error) => token_reason(error),
            Fault::UnknownIssuer(_) | Fault::Misplaced { .. } => Reason::UnknownIssuer,
            Fault::NoPath => Reason::AmbiguousPath,
            Fault::KeysUnavailable => Reason::KeysUnavailable,
            Fault::Internal => Reason::Internal,
        }
    }

    /// What the caller may be told, `None` if no more than that the token is invalid: that a
    /// denial hinged on the issuer before the signature was verified would tell anyone which
    /// issuers are trusted.
    pub fn disclosed(&self) -> Option<Reason> {
        match (&self.fault, self.reason()) {
            (Fault::Token(TokenError::AlgorithmNotAccepted { .. }), _)
            | (_, Reason::UnknownIssuer | Reason::UnknownKey | Reason::BadSignature) => None,
            (_, reason) => Some(reason),
        }
    }
}

impl Decision {
    /// The provider that should be asked for new keys, if that may change the verdict.
    pub fn unknown_key_of(&self) -> Option<ProviderId> {
        match self {
            Self::Deny(Denial {
                provider,
                fault:
                    Fault::Token(TokenError::UnknownKey {
                        why: NoKey::UnknownKid,
                        ..
                    }),
            }) => *provider,
            Self::Allow(_) | Self::Deny(_) => None,
        }
    }
}

fn token_reason(error: &TokenError) -> Reason {
    match error {
        TokenError::Malformed(_) => Reason::MalformedToken,
        TokenError::UnsupportedAlgorithm(_) | TokenError::AlgorithmNotAccepted { .. } => {
            Reason::UnsupportedAlgorithm
        }
        TokenError::UnsupportedType(_) => Reason::UnsupportedType,
        TokenError::ForeignIssuer(_) => Reason::UnknownIssuer,
        TokenError::UnknownKey { .. } => Reason::UnknownKey,
        TokenError::BadSignature { .. } => Reason::BadSignature,
        TokenError::Expired { .. } => Reason::Expired,
        TokenError::NotYetValid { .. } => Reason::NotYetValid,
        TokenError::WrongAudience { .. } => Reason::WrongAudience,
        TokenError::MissingClaim(_) => Reason::MissingClaim,
        TokenError::ClaimMismatch { .. } => Reason::ClaimMismatch,
        TokenError::LifetimeTooLong { .. } => Reason::LifetimeTooLong,
        TokenError::SenderConstraintUnmet => Reason::SenderConstraintUnmet,
    }
}
