//! Sets of numbers that mostly follow one another.

/// A set of numbers, as ranges that do not touch, in ascending order.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds the numbers from `first` to `last`. Returns how many of them are new.
    pub(super) fn add(&mut self, first: u64, last: u64) -> u64 {
        let (from, to) = self.touched(first, last);
        let touched = self.0.get(from..to).unwrap_or_default();
        let start = touched.first().map_or(first, |range| range.0.min(first));
        let end = touched.last().map_or(last, |range| range.1.max(last));
        let held = length(touched);
        self.0.splice(from..to, [(start, end)]);
        length(&[(start, end)]).saturating_sub(held)
    }

    /// Whether some range has one of these numbers or a neighbour of one.
    pub(super) fn touches(&self, first: u64, last: u64) -> bool {
        let (from, to) = self.touched(first, last);
        from < to
    }

    /// The number of ranges.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The number of numbers.
    pub(super) fn total(&self) -> u64 {
        length(&self.0)
    }

    /// The numbers of both.
    pub(super) fn with(mut self, other: &Self) -> Self {
        for (first, last) in &other.0 {
            self.add(*first, *last);
        }
        self
    }

    /// The positions of the ranges that have one of these numbers or a neighbour of one.
    fn touched(&self, first: u64, last: u64) -> (usize, usize) {
        let from = self
            .0
            .partition_point(|range| range.1.saturating_add(1) < first);
        let to = self
            .0
            .partition_point(|range| range.0 <= last.saturating_add(1));
        (from, to.max(from))
    }
}

fn length(ranges: &[(u64, u64)]) -> u64 {
    let lengths = ranges
        .iter()
        .map(|(first, last)| (last - first).saturating_add(1));
    lengths.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn as_a_set() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..30 {
                let first = random.u64(..60);
                let last = first + random.u64(..8);
                let added = (first..=last).filter(|n| set.insert(*n)).count();
                assert_eq!(ranges.add(first, last), added as u64);
                assert_eq!(ranges.total(), set.len() as u64);
                let runs = set.iter().filter(|n| **n == 0 || !set.contains(&(**n - 1)));
                assert_eq!(ranges.count(), runs.count());
            }
        }
    }
}
