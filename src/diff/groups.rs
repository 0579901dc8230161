//! The order in which values of both sides are tried: a difference must not hide behind values that
//! both sides share.

use std::collections::HashSet;
use std::hash::Hash;

/// The maximum number of values that only one side has.
const MAX_DIFFERING: usize = 256;

/// The maximum number of values that both sides have.
const MAX_SHARED: usize = 12;

/// Values in the order in which they are tried.
#[derive(Clone, Debug)]
pub(super) struct Ordered<T> {
    pub(super) values: Vec<T>,
    /// Whether every value that only one side has is among them.
    pub(super) is_complete: bool,
}

/// The values of two lists that accept whatever they contain: first those of one side alone, the new
/// side's before the old side's, and then some of both. What both sides accept shows no difference
/// between them, so a few of these stand for all.
pub(super) fn members<T: Clone + Eq + Hash>(old: &[T], new: &[T]) -> Ordered<T> {
    let (before, after): (HashSet<&T>, HashSet<&T>) = (old.iter().collect(), new.iter().collect());
    let added: Vec<&T> = new.iter().filter(|value| !before.contains(value)).collect();
    let removed: Vec<&T> = old.iter().filter(|value| !after.contains(value)).collect();
    let is_complete = added.len() <= MAX_DIFFERING && removed.len() <= MAX_DIFFERING;
    let shared = new.iter().filter(|value| before.contains(value));
    let mut seen = HashSet::new();
    let differing = alternating(&added, &removed, MAX_DIFFERING);
    let values = differing
        .into_iter()
        .chain(shared.take(MAX_SHARED))
        .filter(|value| seen.insert(*value))
        .cloned()
        .collect();
    Ordered {
        values,
        is_complete,
    }
}

/// All values of both lists: those of one side alone come first.
pub(super) fn differing_first<T: Clone + PartialEq>(old: &[T], new: &[T]) -> Vec<T> {
    let added: Vec<&T> = new.iter().filter(|value| !old.contains(value)).collect();
    let removed: Vec<&T> = old.iter().filter(|value| !new.contains(value)).collect();
    let shared = new.iter().filter(|value| old.contains(value));
    let differing = alternating(&added, &removed, usize::MAX);
    differing.into_iter().chain(shared).cloned().collect()
}

/// The first of the one, the first of the other, the second of the one, and so on.
fn alternating<'t, T>(one: &[&'t T], other: &[&'t T], max: usize) -> Vec<&'t T> {
    let longest = one.len().max(other.len()).min(max);
    (0..longest)
        .flat_map(|at| [one.get(at), other.get(at)])
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{differing_first, members};

    #[test]
    fn what_differs_comes_first() {
        let many: Vec<u32> = (0..500).collect();
        for (old, new, first, is_complete) in [
            (&[1, 2][..], &[1, 3][..], &[3, 2, 1][..], true),
            (&[], &[1, 2], &[1, 2], true),
            (&many, &many[1..], &[0, 1], true),
            (&many[..499], &many, &[499, 0], true),
            (&[], &many, &[0, 1], false),
            (&[], &many[..200], &[0, 1], true),
        ] {
            let found = members(old, new);
            assert!(found.values.starts_with(first), "{found:?}");
            assert_eq!(found.is_complete, is_complete);
            assert!(differing_first(old, new).starts_with(first));
        }
    }
}
