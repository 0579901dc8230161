//! Which combinations of values the search tries, and in which order.

use std::collections::HashSet;

use super::knobs::{Carried, Knob};

/// The number of bases: the values that only the new side has come first, and those that only the old
/// side has come second.
const BASES: usize = 4;

/// How many times as many positions are made as are tried: some are the same without a token.
const MAX_ATTEMPTS: usize = 8;

/// Positions of knobs, each once: all combinations if there are few; otherwise several bases, each with
/// every single change and then pairs of changes, and then random ones. Deterministic.
pub(super) struct Positions<'k> {
    knobs: &'k [Knob],
    lengths: Vec<usize>,
    /// The number of positions to return.
    left: usize,
    /// The number of positions to make.
    attempts: usize,
    queue: std::vec::IntoIter<Vec<usize>>,
    tried: HashSet<Vec<usize>>,
    random: fastrand::Rng,
    is_complete: bool,
    /// After this many positions, each value was tried beside the first ones of all other knobs.
    pub(super) essential: usize,
}

impl<'k> Positions<'k> {
    pub(super) fn new(knobs: &'k [Knob], max: usize) -> Self {
        let lengths: Vec<usize> = knobs.iter().map(|knob| knob.len().max(1)).collect();
        let all = lengths
            .iter()
            .try_fold(1_usize, |product, length| product.checked_mul(*length));
        let is_complete = all.is_some_and(|all| all <= max);
        let (queue, essential) = match is_complete {
            true => (combinations(knobs, &lengths), None),
            false => changed(knobs, &lengths, max),
        };
        let queue_length = queue.len();
        Self {
            knobs,
            lengths,
            left: max,
            attempts: max.saturating_mul(MAX_ATTEMPTS),
            queue: queue.into_iter(),
            tried: HashSet::new(),
            random: fastrand::Rng::with_seed(1),
            is_complete,
            essential: essential.unwrap_or(queue_length),
        }
    }
}

impl Iterator for Positions<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        while self.left > 0 && self.attempts > 0 {
            self.attempts -= 1;
            let next = match self.queue.next() {
                Some(next) => next,
                None if self.is_complete => return None,
                None => {
                    let random = &mut self.random;
                    let lengths = self.lengths.iter();
                    lengths.map(|length| random.usize(..*length)).collect()
                }
            };
            let next = without_idle(self.knobs, next);
            if self.tried.insert(next.clone()) {
                self.left -= 1;
                return Some(next);
            }
        }
        None
    }
}

/// The positions with those of the token's parts at their first value, unless there is a token.
fn without_idle(knobs: &[Knob], mut positions: Vec<usize>) -> Vec<usize> {
    let mut both = knobs.iter().zip(&positions);
    let carried = both.find_map(|(knob, position)| match knob {
        Knob::Bearer(values) => values.get(*position),
        _ => None,
    });
    if !matches!(carried, Some(Carried::Token(..))) {
        for (knob, position) in knobs.iter().zip(&mut positions) {
            if knob.is_of_token() {
                *position = 0;
            }
        }
    }
    positions
}

fn combinations(knobs: &[Knob], lengths: &[usize]) -> Vec<Vec<usize>> {
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
    let mut seen = HashSet::new();
    let all = all.into_iter().map(|own| without_idle(knobs, own));
    all.filter(|own| seen.insert(own.clone())).collect()
}

/// The bases for each value of the first knob, which is the bearer, with single and double changes; and
/// how many of them there are with the single changes of the first base.
fn changed(knobs: &[Knob], lengths: &[usize], max: usize) -> (Vec<Vec<usize>>, Option<usize>) {
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
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    let mut add = |all: &mut Vec<Vec<usize>>, positions: Vec<usize>| {
        let positions = without_idle(knobs, positions);
        if seen.insert(positions.clone()) {
            all.push(positions);
        }
    };
    for level in 0..BASES {
        for bearer in 0..bearers {
            add(&mut all, base(bearer, level));
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
    let singles: Vec<(usize, usize)> = lengths
        .iter()
        .enumerate()
        .skip(1)
        .flat_map(|(knob, length)| (0..*length).map(move |position| (knob, position)))
        .collect();
    // A part of the work is for pairs and random combinations.
    let (most, half) = (max / 4 * 3, max / 2);
    let mut essential = None;
    for level in 0..BASES {
        for bearer in (0..bearers).rev() {
            for single in &singles {
                if all.len() >= most {
                    return (all, essential.or(Some(usize::MAX)));
                }
                add(&mut all, replaced(&base(bearer, level), &[*single]));
            }
        }
        essential.get_or_insert(all.len());
    }
    for level in 0..BASES {
        for bearer in (0..bearers).rev() {
            for (at, one) in singles.iter().enumerate() {
                for other in singles.iter().skip(at + 1) {
                    if all.len() >= half {
                        return (all, essential);
                    }
                    add(&mut all, replaced(&base(bearer, level), &[*one, *other]));
                }
            }
        }
    }
    (all, essential)
}
