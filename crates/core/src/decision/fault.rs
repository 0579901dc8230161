//! The faults of requests, and the reason code of each.

use std::sync::Arc;
use std::time::Duration;

use super::Reason;
use crate::escaped::Escaped;
use crate::policy::requirement::Refusal;
use crate::policy::rules::NoRule;
use crate::request::pseudo::Conflict;
use crate::token::TokenError;
use crate::token::bearer::CredentialError;
use crate::token::source::TokenSource;

/// What is wrong with a request, and whose fault it is.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The client: the request has no path.
    #[error("the check describes no HTTP request with a path")]
    NoPath,
    /// The proxy: the check describes the request in two ways.
    #[error("the check describes two requests: {0}")]
    Conflict(Conflict),
    /// The client: the request has a header that must not reach the upstream.
    #[error("the header `{0}` must not reach the upstream, and `upstream.spoofed` is `refuse`")]
    SpoofedHeader(Escaped),
    /// The client or the proxy: no rule can be selected.
    #[error("{0}")]
    NoRule(#[from] NoRule),
    /// The client: the credential is missing or malformed.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// The client: the token is not valid.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// The client: no provider has this issuer.
    #[error("no provider is configured for the token's issuer `{0}`")]
    UnknownIssuer(Escaped),
    /// The client: the token's provider does not accept tokens from this place.
    #[error("provider `{provider}` does not accept tokens from the {place}")]
    Misplaced {
        /// The provider's name.
        provider: String,
        /// The place of the token.
        place: Arc<TokenSource>,
    },
    /// The client: the request does not meet the rule.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The provider: its keys are not available.
    #[error("the provider's keys are not available")]
    KeysUnavailable,
    /// The provider, or the operator's limits: newer keys were not fetched, but might have verified
    /// the token.
    #[error("the token's key{} is not known yet: {why}", named(kid.as_ref()))]
    KeyNotLookedUp {
        /// The token's `kid`.
        kid: Option<Escaped>,
        /// Why there was no look-up.
        why: NoLookUp,
        /// The time until a look-up may succeed.
        retry_after: Duration,
    },
    /// The proxy: the check exceeds the limit, which is in bytes.
    #[error(
        "the check is over {} KiB: leave `with_request_body` out, or send fewer headers", .0 / 1024
    )]
    CheckTooLarge(usize),
    /// The proxy: the check is incomplete, or its bytes are not a `CheckRequest`.
    #[error("the check cannot be read: {0}")]
    CheckUnreadable(Unreadable),
    /// No one in particular: unfinished requests take too much memory together.
    #[error("the unfinished check was dropped to free memory for others")]
    Overloaded,
    /// claimgate: a bug.
    #[error("internal error")]
    Internal,
}

/// Why the provider's keys were not fetched for a token that newer keys may verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLookUp {
    /// The fetch failed.
    #[error("the provider's keys cannot be fetched")]
    Failed,
    /// The fetch is still running.
    #[error("the fetch takes longer than the request may wait")]
    TimedOut,
    /// The maximum number of requests already wait for the fetch.
    #[error("too many requests already wait for the fetch")]
    TurnedAway,
    /// Other tokens have used up the allowed fetches.
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
    /// The call ended early, was cancelled, or has bytes after its message.
    #[error("the call does not contain exactly one message")]
    NotOneMessage,
    /// It did not arrive in time.
    #[error("it did not arrive in time")]
    Late,
    /// `grpc-encoding` is missing, or names something other than `gzip` and `deflate`.
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
    /// The reason code of this fault.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NoPath
            | Self::Conflict(Conflict::Path | Conflict::Query)
            | Self::NoRule(NoRule::AmbiguousPath(_) | NoRule::LongPath { .. }) => {
                Reason::AmbiguousPath
            }
            Self::Conflict(Conflict::Method) | Self::NoRule(NoRule::AmbiguousMethod(_)) => {
                Reason::AmbiguousMethod
            }
            Self::Conflict(Conflict::Host)
            | Self::NoRule(NoRule::AmbiguousHost(_) | NoRule::NoHost) => Reason::AmbiguousHost,
            Self::SpoofedHeader(_) => Reason::SpoofedHeader,
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
