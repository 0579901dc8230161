//! When a key was last of use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::UnixTime;

/// When a key last verified a signature. Clones share the time, so it outlives a key set that is
/// replaced by one with the same key.
#[derive(Clone, Debug, Default)]
pub struct LastUse(Arc<AtomicU64>);

/// The stored value of a key that was never used.
const NEVER: u64 = 0;

impl LastUse {
    /// The last time, to the second. `None` if the key was never used.
    pub fn get(&self) -> Option<UnixTime> {
        match self.0.load(Ordering::Relaxed) {
            NEVER => None,
            seconds => Some(UnixTime::from_secs(seconds)),
        }
    }

    /// The key has verified a signature now.
    pub(crate) fn record(&self, now: UnixTime) {
        let now = now.as_secs();
        // Many threads use one key, and most do so within the same second.
        if self.0.load(Ordering::Relaxed) < now {
            self.0.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// The same key has been used in another set.
    pub fn continues(&self, earlier: &Self) {
        let earlier = earlier.0.load(Ordering::Relaxed);
        self.0.fetch_max(earlier, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_use_counts() {
        let at = |seconds| Some(UnixTime::from_secs(seconds));
        let last = LastUse::default();
        assert_eq!(last.get(), None);
        for (now, expected) in [(100, 100), (90, 100), (101, 101)] {
            last.record(UnixTime::from_secs(now));
            assert_eq!(last.get(), at(expected));
        }
        let next = LastUse::default();
        next.continues(&LastUse::default());
        assert_eq!(next.get(), None);
        next.continues(&last);
        assert_eq!(next.get(), at(101));
    }
}
