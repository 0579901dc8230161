//! The parts of the answer that depend only on the reason.

use super::Code;
use super::challenge::ErrorCode;
use crate::decision::Reason;

/// The answer to one reason.
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    pub(super) code: Code,
    pub(super) sentence: &'static str,
    /// The error of the challenge; `None` for no challenge.
    pub(super) challenge: Option<ErrorCode>,
}

const NO_HEADER: &str = "Missing or invalid Authorization header";

impl Refusal {
    pub(super) const fn of(reason: Reason) -> Self {
        match reason {
            Reason::MissingToken => Self::unauthorized(NO_HEADER, ErrorCode::None),
            Reason::MalformedAuthorization => {
                Self::unauthorized(NO_HEADER, ErrorCode::InvalidRequest)
            }
            Reason::MalformedToken
            | Reason::UnsupportedAlgorithm
            | Reason::UnsupportedType
            | Reason::UnknownIssuer
            | Reason::UnknownKey
            | Reason::BadSignature
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::WrongAudience
            | Reason::MissingClaim
            | Reason::ClaimMismatch
            | Reason::LifetimeTooLong
            | Reason::SenderConstraintUnmet => {
                Self::unauthorized("Invalid or expired token", ErrorCode::InvalidToken)
            }
            Reason::InsufficientUserAuthentication => Self::unauthorized(
                "A more recent or a stronger login is required",
                ErrorCode::InsufficientUserAuthentication,
            ),
            Reason::InsufficientScope => Self {
                challenge: Some(ErrorCode::InsufficientScope),
                ..Self::forbidden("The token's scope is insufficient")
            },
            Reason::AccessDenied => Self::forbidden("Access denied"),
            Reason::AmbiguousPath => Self::bad_request("Ambiguous or missing request path"),
            Reason::AmbiguousMethod => Self::bad_request("Ambiguous or missing request method"),
            Reason::AmbiguousHost => Self::bad_request("Ambiguous or missing request host"),
            Reason::AmbiguousHeader => Self::bad_request("Ambiguous request header"),
            Reason::SpoofedHeader => Self::bad_request("Reserved request header"),
            Reason::KeysUnavailable => Self {
                status: 503,
                code: Code::Unavailable,
                sentence: "Token cannot be verified at the moment",
                challenge: None,
            },
            Reason::CheckTooLarge => Self {
                status: 413,
                code: Code::ResourceExhausted,
                sentence: "The request is too large to be checked",
                challenge: None,
            },
            Reason::CheckUnreadable => Self::bad_request("The request could not be checked"),
            Reason::Overloaded => Self {
                status: 503,
                code: Code::Unavailable,
                sentence: "The request cannot be checked at the moment",
                challenge: None,
            },
            Reason::UnknownRule | Reason::Internal => Self {
                status: 500,
                code: Code::Internal,
                sentence: "Internal error",
                challenge: None,
            },
        }
    }

    const fn unauthorized(sentence: &'static str, challenge: ErrorCode) -> Self {
        Self {
            status: 401,
            code: Code::Unauthenticated,
            sentence,
            challenge: Some(challenge),
        }
    }

    const fn forbidden(sentence: &'static str) -> Self {
        Self {
            status: 403,
            code: Code::PermissionDenied,
            sentence,
            challenge: None,
        }
    }

    const fn bad_request(sentence: &'static str) -> Self {
        Self {
            status: 400,
            code: Code::InvalidArgument,
            sentence,
            challenge: None,
        }
    }
}
