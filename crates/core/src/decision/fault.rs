//! What may be wrong with a request, and the reason that each comes to.

use std::sync::Arc;
use std::time::Duration;

use super::Reason;
use crate::escaped::Escaped;
use crate::policy::requirement::Refusal;
use crate::policy::rules::NoRule;
use crate::token::TokenError;
use crate::token::bearer::CredentialError;
use crate::token::source::TokenSource;

/// What is wrong with a request, by whose fault it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The client's: no path to judge.
    #[error("the check describes no HTTP request with a path")]
    NoPath,
    /// The client's, or the proxy's: no rule can be found for it.
    #[error("{0}")]
    NoRule(#[from] NoRule),
    /// The client's: no credential that could be judged.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// The client's: the token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The client's: a token from nobody we know.
    #[error("no provider is configured for the token's issuer `{0}`")]
    UnknownIssuer(Escaped),
    /// The client's: a token where tokens of its provider are not looked for.
    #[error("the tokens of provider `{provider}` are not taken from the {place}")]
    Misplaced {
        /// The provider's name.
        provider: String,
        /// Where it was.
        place: Arc<TokenSource>,
    },
    /// The client's: not what the rule requires.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The provider's: its keys cannot be had.
    #[error("the provider's keys are not available")]
    KeysUnavailable,
    /// The provider's, or the operator's bounds: its keys may be newer than those that are known.
    #[error("the token's key{} is not known, and was not looked up: {why}", named(kid.as_ref()))]
    KeyNotLookedUp {
        /// The key that the token names.
        kid: Option<Escaped>,
        /// Why it was not.
        why: NoLookUp,
        /// When it may be.
        retry_after: Duration,
    },
    /// The proxy's: the check is larger than what is read.
    #[error(
        "the check is over {} KiB: leave `with_request_body` out, or send fewer headers", .0 / 1024
    )]
    CheckTooLarge(usize),
    /// The proxy's: the check did not arrive whole, or its bytes are not a `CheckRequest`.
    #[error("the check cannot be read: {0}")]
    CheckUnreadable(Unreadable),
    /// Everybody's: too many requests are unfinished.
    #[error("the check is not finished, and others need its memory")]
    Overloaded,
    /// Ours.
    #[error("internal error")]
    Internal,
}

/// Why the provider's keys were not fetched for a token that newer ones may verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLookUp {
    /// The fetch failed.
    #[error("the provider's keys cannot be fetched")]
    Failed,
    /// The fetch is under way.
    #[error("the fetch takes longer than the request may wait")]
    TimedOut,
    /// The fetch is under way, and enough requests wait for it.
    #[error("too many requests wait for the fetch already")]
    TurnedAway,
    /// Other tokens have asked for too many fetches of late.
    #[error("the fetches that `refresh.unknown_key_cooldown` allows are used up")]
    UsedUp,
}

fn named(kid: Option<&Escaped>) -> String {
    kid.map(|kid| format!(" (`kid`: `{kid}`)"))
        .unwrap_or_default()
}

/// Why a check cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The call ended too early, was taken back, or has bytes behind its message.
    #[error("the call does not hold one whole message")]
    NotOneMessage,
    /// It was late.
    #[error("it did not arrive in time")]
    Late,
    /// `grpc-encoding` is missing, or names something else than `gzip` and `deflate`.
    #[error("it is compressed by a method other than gzip and deflate")]
    Encoding,
    /// The compressed bytes are damaged.
    #[error("its compressed bytes are damaged")]
    Compressed,
    /// The bytes are not a Protocol Buffers message of this type.
    #[error("it is not a `CheckRequest`")]
    NotACheck,
    /// A text is not UTF-8.
    #[error("one of its texts is not UTF-8")]
    NotUtf8,
}

impl Fault {
    /// The code of it.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NoPath | Self::NoRule(NoRule::AmbiguousPath(_) | NoRule::LongPath { .. }) => {
                Reason::AmbiguousPath
            }
            Self::NoRule(NoRule::AmbiguousMethod(_)) => Reason::AmbiguousMethod,
            Self::NoRule(NoRule::AmbiguousHost(_)) => Reason::AmbiguousHost,
            Self::NoRule(NoRule::AmbiguousHeader(_) | NoRule::UnclearMcpCall(_)) => {
                Reason::AmbiguousHeader
            }
            Self::NoRule(NoRule::Unknown(_)) => Reason::UnknownRule,
            Self::Credential(CredentialError::Missing(_)) => Reason::MissingToken,
            Self::Credential(
                CredentialError::Repeated(_)
                | CredentialError::Empty(_)
                | CredentialError::Malformed(_)
                | CredentialError::Misspelled(_)
                | CredentialError::SeveralPlaces(..),
            ) => Reason::MalformedAuthorization,
            Self::Token(error) => token_reason(error),
            Self::UnknownIssuer(_) | Self::Misplaced { .. } => Reason::UnknownIssuer,
            Self::Refused(refusal) => match refusal {
                Refusal::Scope { .. } => Reason::InsufficientScope,
                Refusal::Authentication(_) => Reason::InsufficientUserAuthentication,
                Refusal::Denied
                | Refusal::Provider
                | Refusal::Claim { .. }
                | Refusal::Condition(_)
                | Refusal::ConditionFailed { .. } => Reason::AccessDenied,
            },
            Self::KeysUnavailable | Self::KeyNotLookedUp { .. } => Reason::KeysUnavailable,
            Self::CheckTooLarge(_) => Reason::CheckTooLarge,
            Self::CheckUnreadable(_) => Reason::CheckUnreadable,
            Self::Overloaded => Reason::Overloaded,
            Self::Internal => Reason::Internal,
        }
    }
}

fn token_reason(error: &TokenError) -> Reason {
    match error {
        TokenError::Malformed(_) | TokenError::TooLong { .. } => Reason::MalformedToken,
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
