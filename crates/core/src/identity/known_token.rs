//! What is remembered of a verified token.

use std::sync::OnceLock;

use crate::keyring::ProviderId;
use crate::token::VerifiedToken;

/// A verified token, the provider that issued it, and the answer that it led to before.
///
/// INVARIANT: a known token belongs to one configuration. Its provider and its answer mean nothing
/// under another.
#[derive(Debug)]
pub struct KnownToken {
    /// The provider that issued the token.
    pub provider: ProviderId,
    /// The evidence.
    pub token: VerifiedToken,
    /// The answer, once there was one that depends on the token alone.
    pub answer: OnceLock<CachedAnswer>,
}

/// Pre-encoded parts of the allow answer for a token, in the encoding of the transport.
#[derive(Debug)]
pub struct CachedAnswer {
    /// The status and what changes in the request.
    pub response: Box<[u8]>,
    /// The metadata, without the rule. Empty if the configuration wants no metadata.
    pub metadata: Box<[u8]>,
    /// The number of headers that are not set because the claim is too long.
    pub oversized: usize,
}

impl KnownToken {
    /// A token that was just verified.
    pub fn new(provider: ProviderId, token: VerifiedToken) -> Self {
        Self {
            provider,
            token,
            answer: OnceLock::new(),
        }
    }

    /// The memory that it takes with its answer, in bytes, about.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.token.bytes() + self.room_for_answer()
    }

    /// The memory that the answer may take, in bytes. A larger answer is not kept, as `bytes` has not
    /// counted it: that takes many headers for the same large claim.
    pub fn room_for_answer(&self) -> usize {
        /// The names of headers.
        const NAMES: usize = 1024;
        let (text, claims) = (self.token.text().len(), self.token.claims());
        // The claims as metadata, and as headers: all of them as base64url, or each by itself.
        claims.max_encoded_bytes() + text + text / 2 + NAMES
    }
}

impl CachedAnswer {
    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.response.len() + self.metadata.len()
    }
}
