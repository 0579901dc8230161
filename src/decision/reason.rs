//! Why requests are denied, as a closed table of stable codes.

/// The stable code of a denial: metric label, log field, and (unless the operator hides it) part
/// of the answer. The table is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// None, or another scheme.
    MissingToken,
    /// Repeated, joined, empty, or with spaces inside.
    MalformedAuthorization,
    /// Not a JWS with claims.
    MalformedToken,
    /// An `alg` that is not accepted.
    UnsupportedAlgorithm,
    /// Another kind of token.
    UnsupportedType,
    /// From nobody we know.
    UnknownIssuer,
    /// Signed with a key that the provider does not publish.
    UnknownKey,
    /// Not signed by the provider.
    BadSignature,
    /// Too late.
    Expired,
    /// Too early.
    NotYetValid,
    /// For others.
    WrongAudience,
    /// A claim that must be there is not.
    MissingClaim,
    /// A claim has not the value that it must have.
    ClaimMismatch,
    /// It lives too long.
    LifetimeTooLong,
    /// It is bound to a key, and the proof cannot be checked.
    SenderConstraintUnmet,
    /// The rule asks for a login that is newer, or of another kind (RFC 9470).
    InsufficientUserAuthentication,
    /// It does not allow enough.
    InsufficientScope,
    /// The rule refuses it.
    AccessDenied,
    /// No path that could be judged.
    AmbiguousPath,
    /// A method that is not in upper case, or that is no method.
    AmbiguousMethod,
    /// No host that could be judged.
    AmbiguousHost,
    /// A header that could be read in two ways.
    AmbiguousHeader,
    /// The check is larger than what is read.
    CheckTooLarge,
    /// The check did not arrive whole, or its bytes are not a `CheckRequest`.
    CheckUnreadable,
    /// Too many requests are unfinished.
    Overloaded,
    /// The provider's keys cannot be had.
    KeysUnavailable,
    /// The proxy names a rule that there is not.
    UnknownRule,
    /// Our own fault.
    Internal,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 28] = [
        Self::MissingToken,
        Self::MalformedAuthorization,
        Self::MalformedToken,
        Self::UnsupportedAlgorithm,
        Self::UnsupportedType,
        Self::UnknownIssuer,
        Self::UnknownKey,
        Self::BadSignature,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongAudience,
        Self::MissingClaim,
        Self::ClaimMismatch,
        Self::LifetimeTooLong,
        Self::SenderConstraintUnmet,
        Self::InsufficientUserAuthentication,
        Self::InsufficientScope,
        Self::AccessDenied,
        Self::AmbiguousPath,
        Self::AmbiguousMethod,
        Self::AmbiguousHost,
        Self::AmbiguousHeader,
        Self::CheckTooLarge,
        Self::CheckUnreadable,
        Self::Overloaded,
        Self::KeysUnavailable,
        Self::UnknownRule,
        Self::Internal,
    ];

    /// The code, `snake_case`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::MalformedAuthorization => "malformed_authorization",
            Self::MalformedToken => "malformed_token",
            Self::UnsupportedAlgorithm => "unsupported_algorithm",
            Self::UnsupportedType => "unsupported_type",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::MissingClaim => "missing_claim",
            Self::ClaimMismatch => "claim_mismatch",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::SenderConstraintUnmet => "sender_constraint_unmet",
            Self::InsufficientUserAuthentication => "insufficient_user_authentication",
            Self::InsufficientScope => "insufficient_scope",
            Self::AccessDenied => "access_denied",
            Self::AmbiguousPath => "ambiguous_path",
            Self::AmbiguousMethod => "ambiguous_method",
            Self::AmbiguousHost => "ambiguous_host",
            Self::AmbiguousHeader => "ambiguous_header",
            Self::CheckTooLarge => "check_too_large",
            Self::CheckUnreadable => "check_unreadable",
            Self::Overloaded => "overloaded",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownRule => "unknown_rule",
            Self::Internal => "internal",
        }
    }
}
