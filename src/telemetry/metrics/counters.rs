//! Counters by two labels of an open number of values, and an outcome.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Counter;

/// Up to this many series exist from the start, about 10 MB of memory. If there could be more, each
/// exists from its first event on: ten thousand rules and a thousand providers would make tens of
/// millions.
const MAX_PREPARED: usize = 10_000;

/// The most series that come to exist later, about 4 MB of memory: callers choose which rule they meet
/// and which provider their tokens name, so they could make all of them exist. Further events are
/// counted under [`Labels::Other`].
const MAX_LATER: usize = 4_000;

/// Twice as many places as series, so that each is found soon.
const PLACES: usize = 2 * MAX_LATER.next_power_of_two();

/// Which labels besides the outcome a series has.
#[derive(Clone, Copy)]
pub(super) enum Labels {
    /// Those at this position.
    At(usize),
    /// Those that stand for all that have no series of their own.
    Other,
}

/// Counters by the position of their labels and the number of an outcome. Counting takes no lock, but
/// for the first time in each series.
pub(super) struct Counters {
    outcomes: usize,
    make: Box<dyn Fn(Labels, usize) -> Counter + Send + Sync>,
    series: Series,
}

enum Series {
    /// All of them, by labels and outcome.
    Prepared(Vec<Counter>),
    /// Those that had an event: an open hash table that only grows.
    Later {
        hasher: RandomState,
        places: Box<[OnceLock<(Key, Counter)>]>,
        count: AtomicUsize,
        /// By outcome.
        others: Vec<Counter>,
    },
}

/// The positions of labels and outcome.
type Key = (usize, usize);

impl Counters {
    /// Counters for this many combinations of labels, each with this many outcomes.
    pub(super) fn new(
        labels: usize,
        outcomes: usize,
        make: impl Fn(Labels, usize) -> Counter + Send + Sync + 'static,
    ) -> Self {
        let all_of = |labels: Labels| (0..outcomes).map(move |outcome| (labels, outcome));
        let series = match labels * outcomes <= MAX_PREPARED {
            true => {
                let all = (0..labels).map(Labels::At).flat_map(all_of);
                Series::Prepared(all.map(|(labels, outcome)| make(labels, outcome)).collect())
            }
            false => Series::Later {
                hasher: RandomState::new(),
                places: (0..PLACES).map(|_| OnceLock::new()).collect(),
                count: AtomicUsize::new(0),
                others: all_of(Labels::Other)
                    .map(|(labels, outcome)| make(labels, outcome))
                    .collect(),
            },
        };
        Self {
            outcomes,
            make: Box::new(make),
            series,
        }
    }

    /// The counter of an outcome. `None` if there are no such labels.
    pub(super) fn get(&self, labels: usize, outcome: usize) -> Option<&Counter> {
        let key = (labels, outcome);
        let (hasher, places, count, others) = match &self.series {
            Series::Prepared(all) => return all.get(labels * self.outcomes + outcome),
            Series::Later {
                hasher,
                places,
                count,
                others,
            } => (hasher, places, count, others),
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let first = hasher.hash_one(key) as usize;
        for step in 0..places.len() {
            let place = places.get(first.wrapping_add(step) % places.len())?;
            if place.get().is_none() && count.fetch_add(1, Ordering::Relaxed) >= MAX_LATER {
                count.fetch_sub(1, Ordering::Relaxed);
                return others.get(outcome);
            }
            let made = || (key, (self.make)(Labels::At(labels), outcome));
            let (found, counter) = place.get_or_init(made);
            if *found == key {
                return Some(counter);
            }
        }
        others.get(outcome)
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Counters, and how many have been made.
    fn counters(labels: usize) -> (Counters, Arc<AtomicU64>) {
        let made = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&made);
        let counters = Counters::new(labels, 3, move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Counter::default()
        });
        (counters, made)
    }

    #[test]
    fn few_exist_from_the_start() {
        let (counters, made) = counters(50);
        assert_eq!(made.load(Ordering::Relaxed), 150);
        counters.get(17, 1).unwrap().inc();
        assert_eq!(made.load(Ordering::Relaxed), 150);
        assert_eq!(counters.get(17, 1).unwrap().get(), 1);
        assert_eq!(counters.get(17, 2).unwrap().get(), 0);
        assert!(counters.get(50, 0).is_none());
    }

    /// Callers choose rules and providers, and cannot make memory grow with all of them.
    #[test]
    fn many_are_bounded() {
        let (counters, made) = counters(40_000);
        for labels in 0..10_000 {
            counters.get(labels, 0).unwrap().inc();
        }
        assert_eq!(made.load(Ordering::Relaxed), MAX_LATER as u64 + 3);
        assert_eq!(counters.get(0, 0).unwrap().get(), 1);
        // Those without a series of their own.
        let others = counters.get(9_999, 0).unwrap().get();
        assert_eq!(others, 10_000 - MAX_LATER as u64);
    }
}
