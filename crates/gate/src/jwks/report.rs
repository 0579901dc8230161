//! The state of a provider's keys, in detail, for an operator.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{ClockDifference, Jwks, KeysError};
use claimgate_core::keyring::{KeySet, Keys, ProviderId, Thumbprint};

/// The state of a provider's keys.
#[derive(Clone, Debug)]
pub struct KeysReport {
    /// The keys in use.
    pub keys: Option<Arc<KeySet>>,
    /// The time since each key was first seen by this process.
    pub seen: Vec<(Thumbprint, Duration)>,
    /// The time since the last keys were fetched, in use or not.
    pub age: Option<Duration>,
    /// Whether the last keys are not used, because they are too old.
    pub discarded: bool,
    /// The time until the next regular fetch. `None` if the keys are not fetched over a network.
    pub next_fetch: Option<Duration>,
    /// Whether the keys come from disk and no fetch has confirmed them yet.
    pub from_disk: bool,
    /// Why the last fetch failed; `None` if it succeeded.
    pub error: Option<Arc<KeysError>>,
    /// Why the keys that an earlier run stored are not used.
    pub stored: Option<Arc<str>>,
    /// The difference of the clocks at the last successful fetch.
    pub clock: Option<ClockDifference>,
}

impl Jwks {
    /// The state of a provider's keys, in detail.
    pub fn report(&self, id: ProviderId) -> Option<KeysReport> {
        let state = self.state(id)?;
        let status = state.status.load_full();
        let now = Instant::now();
        let is_fetched = state.settings.source.url().is_some();
        let seen = state.history.seen();
        Some(KeysReport {
            keys: match self.snapshot().keys(id) {
                Keys::Known(keys) => Some(Arc::clone(keys)),
                Keys::Unavailable => None,
            },
            seen: seen
                .into_iter()
                .map(|seen| (seen.key, now.duration_since(seen.first)))
                .collect(),
            age: status
                .last_fetched
                .map(|fetched| now.duration_since(fetched)),
            discarded: status.discarded().is_some(),
            next_fetch: state.until_next_fetch().filter(|_| is_fetched),
            from_disk: status.from_disk,
            error: status.error.clone(),
            stored: status.stored.clone(),
            clock: status.clock,
        })
    }
}
