//! Which combinations of values the search tries, and in which order.

use super::knobs::Knob;

/// Positions of knobs: all combinations if there are few; otherwise several bases, each with every
/// single change and then pairs of changes, and then random ones. Deterministic.
pub(super) struct Positions {
    lengths: Vec<usize>,
    max: usize,
    made: usize,
    queue: std::vec::IntoIter<Vec<usize>>,
    random: fastrand::Rng,
    is_complete: bool,
}

/// The number of bases: a rule's first values are at position 0, another's at a later one.
const BASES: usize = 4;

impl Positions {
    pub(super) fn new(knobs: &[Knob], max: usize) -> Self {
        let lengths: Vec<usize> = knobs.iter().map(|knob| knob.len().max(1)).collect();
        let all = lengths
            .iter()
            .try_fold(1_usize, |product, length| product.checked_mul(*length));
        let is_complete = all.is_some_and(|all| all <= max);
        let queue = match is_complete {
            true => combinations(&lengths),
            false => changed(&lengths, max),
        };
        Self {
            lengths,
            max,
            made: 0,
            queue: queue.into_iter(),
            random: fastrand::Rng::with_seed(1),
            is_complete,
        }
    }
}

impl Iterator for Positions {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        if self.made >= self.max {
            return None;
        }
        self.made += 1;
        if let Some(next) = self.queue.next() {
            return Some(next);
        }
        if self.is_complete {
            return None;
        }
        let lengths = self.lengths.clone();
        let random = &mut self.random;
        let next = lengths.into_iter().map(|length| random.usize(..length));
        Some(next.collect())
    }
}

fn combinations(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for length in lengths {
        all = all
            .into_iter()
            .flat_map(|positions: Vec<usize>| {
                (0..*length).map(move |position| {
                    let mut positions = positions.clone();
                    positions.push(position);
                    positions
                })
            })
            .collect();
    }
    all
}

/// The bases for each value of the first knob, which is the bearer, with single and double changes.
fn changed(lengths: &[usize], max: usize) -> Vec<Vec<usize>> {
    let bearers = lengths.first().copied().unwrap_or(1);
    let base = |bearer: usize, level: usize| -> Vec<usize> {
        let positions = lengths.iter().enumerate();
        positions
            .map(|(knob, length)| match knob {
                0 => bearer,
                _ => level.min(length - 1),
            })
            .collect()
    };
    let mut all = Vec::new();
    for level in 0..BASES {
        for bearer in 0..bearers {
            all.push(base(bearer, level));
        }
    }
    let replaced = |positions: &[usize], changes: &[(usize, usize)]| -> Vec<usize> {
        let positions = positions.iter().enumerate();
        positions
            .map(|(knob, position)| {
                let change = changes.iter().find(|(own, _)| *own == knob);
                change.map_or(*position, |(_, position)| *position)
            })
            .collect()
    };
    // Half of the work is for random combinations.
    let most = max / 2;
    let singles: Vec<(usize, usize)> = lengths
        .iter()
        .enumerate()
        .skip(1)
        .flat_map(|(knob, length)| (0..*length).map(move |position| (knob, position)))
        .collect();
    for level in 0..BASES {
        for bearer in (0..bearers).rev() {
            for single in &singles {
                if all.len() >= most {
                    return all;
                }
                all.push(replaced(&base(bearer, level), &[*single]));
            }
        }
    }
    for level in 0..BASES {
        for bearer in (0..bearers).rev() {
            for (at, one) in singles.iter().enumerate() {
                for other in singles.iter().skip(at + 1) {
                    if all.len() >= most {
                        return all;
                    }
                    all.push(replaced(&base(bearer, level), &[*one, *other]));
                }
            }
        }
    }
    all
}
