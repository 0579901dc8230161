//! How the answer to each reason looks.

use tonic::Code;

use super::super::proto::envoy::r#type::v3::StatusCode;
use super::challenge::Error;
use crate::decision::Reason;

/// The parts of an answer that depend on nothing but the reason.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) code: Code,
    pub(super) sentence: &'static str,
    /// What the challenge says is wrong, if there is one.
    pub(super) challenge: Option<Error>,
}

const NO_HEADER: &str = "Missing or invalid Authorization header";

impl Answer {
    pub(super) const fn to(reason: Reason) -> Self {
        match reason {
            Reason::MissingToken => Self::unauthorized(NO_HEADER, Error::None),
            Reason::MalformedAuthorization => Self::unauthorized(NO_HEADER, Error::InvalidRequest),
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
                Self::unauthorized("Invalid or expired token", Error::InvalidToken)
            }
            Reason::InsufficientUserAuthentication => Self::unauthorized(
                "A more recent or a stronger login is required",
                Error::InsufficientUserAuthentication,
            ),
            Reason::InsufficientScope => Self {
                challenge: Some(Error::InsufficientScope),
                ..Self::forbidden("The token's scope is insufficient")
            },
            Reason::AccessDenied => Self::forbidden("Access denied"),
            Reason::AmbiguousPath => Self::bad_request("Ambiguous or missing request path"),
            Reason::AmbiguousMethod => Self::bad_request("Ambiguous or missing request method"),
            Reason::AmbiguousHost => Self::bad_request("Ambiguous or missing request host"),
            Reason::AmbiguousHeader => Self::bad_request("Ambiguous request header"),
            Reason::KeysUnavailable => Self {
                status: StatusCode::ServiceUnavailable,
                code: Code::Unavailable,
                sentence: "Token cannot be verified at the moment",
                challenge: None,
            },
            Reason::CheckTooLarge => Self {
                status: StatusCode::PayloadTooLarge,
                code: Code::ResourceExhausted,
                sentence: "The request is too large to be checked",
                challenge: None,
            },
            Reason::CheckUnreadable => Self::bad_request("The request could not be checked"),
            Reason::Overloaded => Self {
                status: StatusCode::ServiceUnavailable,
                code: Code::Unavailable,
                sentence: "The request cannot be checked at the moment",
                challenge: None,
            },
            Reason::UnknownRule | Reason::Internal => Self {
                status: StatusCode::InternalServerError,
                code: Code::Internal,
                sentence: "Internal error",
                challenge: None,
            },
        }
    }

    const fn unauthorized(sentence: &'static str, challenge: Error) -> Self {
        Self {
            status: StatusCode::Unauthorized,
            code: Code::Unauthenticated,
            sentence,
            challenge: Some(challenge),
        }
    }

    const fn forbidden(sentence: &'static str) -> Self {
        Self {
            status: StatusCode::Forbidden,
            code: Code::PermissionDenied,
            sentence,
            challenge: None,
        }
    }

    const fn bad_request(sentence: &'static str) -> Self {
        Self {
            status: StatusCode::BadRequest,
            code: Code::InvalidArgument,
            sentence,
            challenge: None,
        }
    }
}
