//! What a provider's keys have been: since when each is known, when it was last of use, and which were
//! replaced.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use claimgate_core::escaped::Escaped;
use claimgate_core::keyring::{KeySet, LastUse, Thumbprint};
use claimgate_core::time::UnixTime;

/// The maximum number of replaced keys that are remembered.
const MAX_REPLACED: usize = 16;

/// The history of a current key.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) key: Thumbprint,
    /// When this process first saw it.
    pub(super) first: Instant,
    last_use: LastUse,
}

/// The history of a provider's keys.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<Known>);

#[derive(Clone, Debug, Default)]
struct Known {
    /// The current keys.
    seen: Vec<Seen>,
    /// The ids that the provider has kept for another key, and when this process saw that; the newest
    /// last.
    replaced: Vec<(String, UnixTime)>,
}

impl History {
    /// The history of the current keys.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.known().seen.clone()
    }

    /// Continues the history of the keys that `before` has.
    pub(super) fn inherit(&self, before: &Self) {
        let earlier = before.known().clone();
        *self.known() = earlier;
    }

    /// Remembers that the provider has replaced the key with this id, and kept the id.
    pub(super) fn note_replaced(&self, kid: String, now: UnixTime) {
        let replaced = &mut self.known().replaced;
        replaced.retain(|(other, _)| *other != kid);
        if replaced.len() == MAX_REPLACED {
            replaced.remove(0);
        }
        replaced.push((kid, now));
    }

    /// When the provider replaced the key with this id and kept the id.
    pub(super) fn replaced(&self, kid: &Escaped) -> Option<UnixTime> {
        let kid = kid.to_string();
        let known = self.known();
        let found = known.replaced.iter().find(|(other, _)| *other == kid);
        found.map(|(_, when)| *when)
    }

    /// Records the provider's current keys.
    pub(super) fn see(&self, keys: &KeySet) {
        let mut known = self.known();
        let now = Instant::now();
        let seen = keys.iter().map(|key| {
            let thumbprint = key.thumbprint();
            let earlier = known.seen.iter().find(|seen| seen.key == thumbprint);
            if let Some(earlier) = earlier {
                key.last_use().continues(&earlier.last_use);
            }
            Seen {
                key: thumbprint,
                first: earlier.map_or(now, |earlier| earlier.first),
                last_use: key.last_use().clone(),
            }
        });
        known.seen = seen.collect();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while the lock is held leaves no half-done change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
