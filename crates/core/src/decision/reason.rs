//! Why requests are denied, as a closed table of stable codes.

/// The stable code of a denial: metric label, log field, and (unless the operator hides it) part
/// of the answer. The table is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The request has no token, or credentials of another scheme.
    MissingToken,
    /// The credentials are repeated, joined or empty, or contain spaces.
    MalformedAuthorization,
    /// The token is not a JWS with claims.
    MalformedToken,
    /// `alg` is not accepted.
    UnsupportedAlgorithm,
    /// The token is of another kind, such as an ID token.
    UnsupportedType,
    /// `iss` is not the issuer of a configured provider.
    UnknownIssuer,
    /// The provider does not publish the key that the token names.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` is in the future.
    NotYetValid,
    /// `aud` does not name this API.
    WrongAudience,
    /// A required claim is missing.
    MissingClaim,
    /// A required claim has another value.
    ClaimMismatch,
    /// The time from `iat` to `exp` exceeds `max_lifetime`.
    LifetimeTooLong,
    /// `cnf` binds the token to a key, and the proof of possession cannot be checked.
    SenderConstraintUnmet,
    /// The rule requires a more recent or a stronger login (RFC 9470).
    InsufficientUserAuthentication,
    /// A required scope is missing.
    InsufficientScope,
    /// The rule denies the request.
    AccessDenied,
    /// The path is missing, or has two readings.
    AmbiguousPath,
    /// The method is missing, or not in upper case.
    AmbiguousMethod,
    /// The host is missing, or has two readings.
    AmbiguousHost,
    /// A header that a rule matches on has two readings.
    AmbiguousHeader,
    /// The request has a header that claimgate would have to remove, and `upstream.spoofed` is `refuse`.
    SpoofedHeader,
    /// The check exceeds the size limit.
    CheckTooLarge,
    /// The check is incomplete, or its bytes are not a `CheckRequest`.
    CheckUnreadable,
    /// The memory for unfinished requests is used up.
    Overloaded,
    /// The provider's keys are not available.
    KeysUnavailable,
    /// The proxy's route names an unknown rule.
    UnknownRule,
    /// A bug in claimgate.
    Internal,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 29] = [
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
        Self::SpoofedHeader,
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
            Self::SpoofedHeader => "spoofed_header",
            Self::CheckTooLarge => "check_too_large",
            Self::CheckUnreadable => "check_unreadable",
            Self::Overloaded => "overloaded",
            Self::KeysUnavailable => "keys_unavailable",
            Self::UnknownRule => "unknown_rule",
            Self::Internal => "internal",
        }
    }
}
