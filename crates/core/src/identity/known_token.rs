//! What is cached for a verified token.

use std::sync::OnceLock;

use crate::keyring::ProviderId;
use crate::token::VerifiedToken;

/// A verified token, the provider that issued it, and the answer that it last led to.
///
/// INVARIANT: a known token belongs to one configuration. Its provider and its answer are invalid in
/// any other.
#[derive(Debug)]
pub struct KnownToken {
    /// The provider that issued the token.
    pub provider: ProviderId,
    /// The verified token.
    pub token: VerifiedToken,
    /// The answer, once the token has led to one that depends on the token alone.
    pub answer: OnceLock<CachedAnswer>,
}

/// Pre-encoded parts of the allow answer for a token, in the encoding of the transport.
#[derive(Debug)]
pub struct CachedAnswer {
    /// The status and the changes to the request.
    pub response: Box<[u8]>,
    /// The metadata without the rule. Empty if the configuration sends no metadata.
    pub metadata: Box<[u8]>,
    /// The number of headers that are not set because their claim is too long.
    pub oversized: usize,
}

impl KnownToken {
    /// A token that was just verified, without an answer yet.
    pub fn new(provider: ProviderId, token: VerifiedToken) -> Self {
        Self {
            provider,
            token,
            answer: OnceLock::new(),
        }
    }

    /// The approximate memory of the token and its answer, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.token.bytes() + self.room_for_answer()
    }

    /// The maximum memory of the answer, in bytes. A larger answer is not cached, because [`Self::bytes`]
    /// does not account for it; only many headers with the same large claim need more.
    pub fn room_for_answer(&self) -> usize {
        /// The room for header names, in bytes.
        const NAMES: usize = 1024;
        let (payload, claims) = (self.token.payload().len(), self.token.claims());
        // The claims as metadata and as headers: either all as base64url, or each one by itself.
        claims.max_encoded_bytes() + payload + payload / 2 + NAMES
    }
}

impl CachedAnswer {
    /// The memory of the answer, in bytes.
    pub fn bytes(&self) -> usize {
        self.response.len() + self.metadata.len()
    }
}
