//! A clock that tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use claimgate_core::time::{Clock, SystemClock, UnixTime};

/// The machine's time, moved forward by whole seconds. Copies move together.
#[derive(Clone, Debug, Default)]
pub struct ShiftedClock {
    ahead: Arc<AtomicU64>,
}

impl ShiftedClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let add = |ahead: u64| Some(ahead.saturating_add(by.as_secs()));
        // The function never returns `None`, so this never fails.
        let _ = self
            .ahead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Returns to the machine's time.
    pub fn reset(&self) {
        self.ahead.store(0, Ordering::Relaxed);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> UnixTime {
        let ahead = Duration::from_secs(self.ahead.load(Ordering::Relaxed));
        SystemClock.now().saturating_add(ahead)
    }
}
