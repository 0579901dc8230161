//! Tokens that were verified before need not be verified again.

use std::sync::Arc;

use crate::identity::KnownToken;

/// Remembers verified tokens. `()` remembers nothing.
///
/// INVARIANT: what is recalled for a text was remembered for that very text, under the same
/// policy. Whether it still holds is for the one who recalls to find out.
pub trait Memory {
    /// What is known of the token with this text.
    fn recall(&self, token: &str) -> Option<Arc<KnownToken>>;

    /// Keeps a token that was just verified.
    fn remember(&self, token: &Arc<KnownToken>);

    /// The evidence that this token gave holds no more.
    fn forget(&self, token: &str);
}

impl Memory for () {
    fn recall(&self, _: &str) -> Option<Arc<KnownToken>> {
        None
    }

    fn remember(&self, _: &Arc<KnownToken>) {}

    fn forget(&self, _: &str) {}
}
