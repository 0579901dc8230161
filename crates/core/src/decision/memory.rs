//! The interface to a cache of verified tokens.

use std::sync::Arc;

use crate::identity::KnownToken;

/// Remembers verified tokens. `()` remembers nothing.
///
/// INVARIANT: a recalled token was stored for exactly this text, under the same policy. The caller
/// checks whether it still holds.
pub trait Memory {
    /// The stored token with this text.
    fn recall(&self, token: &str) -> Option<Arc<KnownToken>>;

    /// Stores a token that was just verified.
    fn remember(&self, token: &Arc<KnownToken>);

    /// Removes a token whose verification no longer holds.
    fn forget(&self, token: &str);
}

impl Memory for () {
    fn recall(&self, _: &str) -> Option<Arc<KnownToken>> {
        None
    }

    fn remember(&self, _: &Arc<KnownToken>) {}

    fn forget(&self, _: &str) {}
}
