//! Counters by labels with many possible values, and an outcome.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Counter;

/// Up to this number, all series are created at start, in about 1 MB of memory. Beyond it, each is
/// created at its first event, because 10,000 rules and 1,000 providers would make tens of
/// millions.
const MAX_PREPARED: usize = 10_000;

/// The maximum number of series that are created later, in about 1 MB of memory. Callers choose the
/// rule and the provider, so they could create all of them. Further events are counted under
/// [`Labels::Other`].
const MAX_LATER: usize = 4_000;

/// The size of the hash table. It is at most half full, so lookups are short.
const PLACES: usize = 2 * MAX_LATER.next_power_of_two();

/// The labels of a series besides the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// The labels at this position.
    At(usize),
    /// The labels of all events without a series of their own.
    Other,
}

/// Counters by the position of their labels and the number of an outcome. Counting takes a lock
/// only at the first event of a series.
#[derive(Debug)]
pub(super) struct Counters {
    outcomes: usize,
    series: Series,
}

#[derive(Debug)]
enum Series {
    /// All series, by labels and outcome.
    Prepared(Vec<Counter>),
    /// The series that had an event, in an open hash table that only grows.
    Later {
        hasher: RandomState,
        places: Box<[OnceLock<(Key, Counter)>]>,
        count: AtomicUsize,
        /// The counters of [`Labels::Other`], by outcome.
        others: Vec<Counter>,
    },
}

/// The positions of labels and outcome.
type Key = (usize, usize);

impl Counters {
    /// Counters for this many combinations of labels, each with this many outcomes. `earlier`
    /// counters continue.
    pub(super) fn new(
        labels: usize,
        outcomes: usize,
        earlier: impl Iterator<Item = (Labels, usize, Counter)>,
    ) -> Self {
        let fresh = |count: usize| (0..count).map(|_| Counter::default()).collect::<Vec<_>>();
        let series = match labels * outcomes <= MAX_PREPARED {
            true => Series::Prepared(fresh(labels * outcomes)),
            false => Series::Later {
                hasher: RandomState::new(),
                places: (0..PLACES).map(|_| OnceLock::new()).collect(),
                count: AtomicUsize::new(0),
                others: fresh(outcomes),
            },
        };
        let mut counters = Self { outcomes, series };
        for (labels, outcome, counter) in earlier {
            counters.take(labels, outcome, counter);
        }
        counters
    }

    /// Continues an earlier counter, if there is a series with these labels.
    fn take(&mut self, labels: Labels, outcome: usize, counter: Counter) {
        match (&mut self.series, labels) {
            (Series::Prepared(all), Labels::At(labels)) => {
                if let Some(own) = all.get_mut(labels * self.outcomes + outcome) {
                    *own = counter;
                }
            }
            // Every combination has a series of its own.
            (Series::Prepared(_), Labels::Other) => {}
            (Series::Later { others, .. }, Labels::Other) => {
                if let Some(own) = others.get_mut(outcome) {
                    *own = counter;
                }
            }
            (Series::Later { .. }, Labels::At(labels)) => {
                // A series without an event would take up the place of another.
                if counter.get() > 0 {
                    let _ = self.later(labels, outcome, || counter.clone());
                }
            }
        }
    }

    /// The counter of an outcome. `None` if there are no such labels.
    pub(super) fn get(&self, labels: usize, outcome: usize) -> Option<&Counter> {
        match &self.series {
            Series::Prepared(all) => all.get(labels * self.outcomes + outcome),
            Series::Later { .. } => self.later(labels, outcome, Counter::default),
        }
    }

    fn later(&self, labels: usize, outcome: usize, make: impl Fn() -> Counter) -> Option<&Counter> {
        let Series::Later {
            hasher,
            places,
            count,
            others,
        } = &self.series
        else {
            return None;
        };
        let key = (labels, outcome);
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
            let (found, counter) = place.get_or_init(|| (key, make()));
            if *found == key {
                return Some(counter);
            }
        }
        others.get(outcome)
    }

    /// Every series that exists.
    pub(super) fn all(&self) -> impl Iterator<Item = (Labels, usize, &Counter)> {
        let (prepared, places, others) = match &self.series {
            Series::Prepared(all) => (&**all, &[][..], &[][..]),
            Series::Later { places, others, .. } => (&[][..], &**places, &**others),
        };
        let prepared = prepared.iter().enumerate().map(|(index, counter)| {
            let (labels, outcome) = (index / self.outcomes, index % self.outcomes);
            (Labels::At(labels), outcome, counter)
        });
        let later = places.iter().filter_map(OnceLock::get);
        let later =
            later.map(|((labels, outcome), counter)| (Labels::At(*labels), *outcome, counter));
        let others = others.iter().enumerate();
        let others = others.map(|(outcome, counter)| (Labels::Other, outcome, counter));
        prepared.chain(later).chain(others)
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;

    fn counters(labels: usize) -> Counters {
        Counters::new(labels, 3, iter::empty())
    }

    #[test]
    fn few_exist_from_the_start() {
        let counters = counters(50);
        assert_eq!(counters.all().count(), 150);
        counters.get(17, 1).unwrap().inc();
        assert_eq!(counters.all().count(), 150);
        assert_eq!(counters.get(17, 1).unwrap().get(), 1);
        assert_eq!(counters.get(17, 2).unwrap().get(), 0);
        assert!(counters.get(50, 0).is_none());
    }

    /// Callers choose rules and providers, but the number of series is bounded.
    #[test]
    fn many_are_bounded() {
        let counters = counters(40_000);
        for labels in 0..10_000 {
            counters.get(labels, 0).unwrap().inc();
        }
        assert_eq!(counters.all().count(), MAX_LATER + 3);
        assert_eq!(counters.get(0, 0).unwrap().get(), 1);
        // Events without a series of their own.
        let others = counters.get(9_999, 0).unwrap().get();
        assert_eq!(others, 10_000 - MAX_LATER as u64);
    }

    /// A counter continues under its labels, whether there are more series or fewer.
    #[test]
    fn earlier_ones_count_on() {
        for (before, after) in [(50, 60), (50, 40_000), (40_000, 50), (40_000, 50_000)] {
            let earlier = counters(before);
            earlier.get(7, 1).unwrap().inc_by(3);
            earlier.get(45, 2).unwrap().inc();
            // 7 becomes 8, and 45 is gone.
            let moved = earlier
                .all()
                .filter_map(|(labels, outcome, counter)| match labels {
                    Labels::At(7) => Some((Labels::At(8), outcome, counter.clone())),
                    _ => None,
                });
            let later = Counters::new(after, 3, moved);
            earlier.get(7, 1).unwrap().inc();
            let counted = |labels, outcome| later.get(labels, outcome).unwrap().get();
            assert_eq!(counted(8, 1), 4, "{before} {after}");
            assert_eq!(counted(7, 1) + counted(45, 2), 0, "{before} {after}");
        }
    }
}
