//! Tokens that were verified before need not be verified again.

use std::sync::Arc;

use crate::keyring::ProviderId;
use crate::token::VerifiedToken;

/// Remembers verified tokens. `()` remembers nothing.
///
/// INVARIANT: what is recalled for a text was remembered for that very text, under the same
/// policy. Whether it still holds is for the one who recalls to find out.
pub trait Memory {
    /// The evidence that this token gave, and whose it is.
    fn recall(&self, token: &str) -> Option<(ProviderId, Arc<VerifiedToken>)>;

    /// This token has been verified.
    fn remember(&self, provider: ProviderId, token: &Arc<VerifiedToken>);

    /// The evidence that this token gave holds no more.
    fn forget(&self, token: &str);
}

impl Memory for () {
    fn recall(&self, _: &str) -> Option<(ProviderId, Arc<VerifiedToken>)> {
        None
    }

    fn remember(&self, _: ProviderId, _: &Arc<VerifiedToken>) {}

    fn forget(&self, _: &str) {}
}
