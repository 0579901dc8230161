//! Why keys are not available.

use std::time::Duration;

use super::discovery::OtherIssuer;
use super::fetch::FetchError;
use claimgate_config::files::unreadable;
use claimgate_core::keyring::KeySetError;

/// Why a provider's keys are not available.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A document could not be fetched.
    #[error("{0}")]
    Fetch(#[source] Box<FetchError>),
    /// The document at the URL of the metadata is not metadata.
    #[error("{0}")]
    NotMetadata(String),
    /// The metadata is another issuer's.
    #[error("{0}")]
    OtherIssuer(Box<OtherIssuer>),
    /// The metadata cannot be used.
    #[error("{0}")]
    Metadata(String),
    /// A file could not be read.
    #[error("cannot read `{file}`: {}", unreadable(error))]
    File {
        /// The path.
        file: String,
        /// The cause.
        error: std::io::Error,
    },
    /// The document is not a key set.
    #[error("{place} is not a JWK Set (RFC 7517 §5): it is {content}")]
    NotKeys {
        /// The URL or the path.
        place: String,
        /// What it looks like, and what to do about it.
        content: String,
    },
    /// The key set cannot be used.
    #[error("{place}: {error}")]
    Unusable {
        /// The URL or the path.
        place: String,
        /// What is wrong.
        error: KeySetError,
    },
    /// The fetch settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A bug.
    #[error("internal error while fetching keys; this is a bug")]
    Internal,
}

impl From<FetchError> for KeysError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(Box::new(error))
    }
}

impl KeysError {
    /// Whether the keys may have moved: nothing answers at their URL, or something else does.
    pub(super) fn is_moved(&self) -> bool {
        match self {
            Self::Fetch(error) => error.is_not_here() || error.is_unconnected(),
            Self::NotKeys { .. } | Self::Unusable { .. } => true,
            Self::NotMetadata(_)
            | Self::OtherIssuer(_)
            | Self::Metadata(_)
            | Self::File { .. }
            | Self::Settings(_)
            | Self::Internal => false,
        }
    }

    /// The pause that the provider asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fetch(error) => error.retry_after(),
            _ => None,
        }
    }
}
