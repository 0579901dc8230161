//! How many requests are answered before their answers are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The largest batch, in requests. A larger one would save little, and its first answer would wait.
const MAX_BATCH: usize = 8;

/// How long the first answer of a batch waits for the others, if there are other cores.
const BATCH_BUDGET: Duration = Duration::from_micros(100);

/// The same on one core. Its requests wait for each other anyway, and separate writes would make
/// that wait longer.
const ONE_CORE_BUDGET: Duration = Duration::from_millis(1);

/// The number of requests that fit into the budget at the speed of the last batch. Slow requests
/// therefore go to other cores one by one.
#[derive(Clone, Debug)]
pub(super) struct BatchSize {
    budget: Duration,
    current: Arc<AtomicUsize>,
}

impl BatchSize {
    /// The size for a runtime with this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            budget: match workers {
                1 => ONE_CORE_BUDGET,
                _ => BATCH_BUDGET,
            },
            current: Arc::new(MAX_BATCH.into()),
        }
    }

    /// The size of the next batch, in requests: at least one.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Adapts to a batch of `count` requests that took this long.
    pub(super) fn observe(&self, count: usize, took: Duration) {
        if count == 0 {
            return;
        }
        let fit = self.budget.as_nanos() * count as u128 / took.as_nanos().max(1);
        let size = usize::try_from(fit).map_or(MAX_BATCH, |fit| fit.clamp(1, MAX_BATCH));
        self.current.store(size, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_no_longer_than_its_budget() {
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
            let batch_size = BatchSize::new(2);
            batch_size.observe(count, Duration::from_micros(micros));
            assert_eq!(batch_size.current(), size, "{count} answers in {micros} µs");
        }
    }

    #[test]
    fn one_core_sends_more_answers_at_once() {
        for (count, micros, size) in [(8, 640, 8), (8, 1_600, 5), (1, 5_000, 1)] {
            let batch_size = BatchSize::new(1);
            batch_size.observe(count, Duration::from_micros(micros));
            assert_eq!(batch_size.current(), size, "{count} answers in {micros} µs");
        }
    }

    #[test]
    fn one_slow_answer_is_soon_forgotten() {
        let batch_size = BatchSize::new(2);
        batch_size.observe(8, Duration::from_secs(1));
        assert_eq!(batch_size.current(), 1);
        batch_size.observe(1, Duration::from_micros(3));
        assert_eq!(batch_size.current(), 8);
    }
}
