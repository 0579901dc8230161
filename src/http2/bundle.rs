//! How much is answered before answers are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many requests are answered together, at most. More would save little, and make the first
/// answer wait.
const MOST: usize = 8;

/// How long the first answer of a bundle waits for the others.
const BATCH_BUDGET: Duration = Duration::from_micros(100);

/// The size of bundles: as many requests as are answered within [`BATCH_BUDGET`], as far as the last
/// bundle tells. Slow ones are so left to other cores, one by one.
#[derive(Clone, Debug)]
pub(super) struct Bundle(Arc<AtomicUsize>);

impl Default for Bundle {
    fn default() -> Self {
        Self(Arc::new(MOST.into()))
    }
}

impl Bundle {
    /// How many requests are answered together: at least one.
    pub(super) fn size(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns how long so many answers took.
    pub(super) fn learn(&self, count: usize, took: Duration) {
        if count == 0 {
            return;
        }
        let fit = BATCH_BUDGET.as_nanos() * count as u128 / took.as_nanos().max(1);
        let size = usize::try_from(fit).map_or(MOST, |fit| fit.clamp(1, MOST));
        self.0.store(size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_answered_within_the_patience_for_it() {
        let cases = [
            (8, 0, 8),
            (8, 27, 8),
            (1, 3, 8),
            (8, 100, 8),
            (8, 101, 7),
            (8, 400, 2),
            (2, 100, 2),
            (1, 101, 1),
            (1, 5_000, 1),
            (8, u64::MAX, 1),
            (0, 5_000, 8),
        ];
        for (count, micros, size) in cases {
            let bundle = Bundle::default();
            bundle.learn(count, Duration::from_micros(micros));
            assert_eq!(bundle.size(), size, "{count} answers in {micros} µs");
        }
    }

    #[test]
    fn one_slow_answer_is_not_remembered_for_long() {
        let bundle = Bundle::default();
        bundle.learn(8, Duration::from_secs(1));
        assert_eq!(bundle.size(), 1);
        bundle.learn(1, Duration::from_micros(3));
        assert_eq!(bundle.size(), 8);
    }
}
