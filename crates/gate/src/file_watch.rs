//! Notices that files have changed, by looking at them once a second.

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::files::LOOK_INTERVAL;

/// Ticks whenever it is time to look at a file.
pub fn looks() -> Interval {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Finds changes of a file, or of several files together: `S` is what a look finds. A change counts
/// at the second look that finds the same, so that nobody loads the half of a file that an editor
/// or `cp` is still writing: half of a list of rules can be valid, and open.
#[derive(Debug)]
pub struct Changes<S> {
    loaded: S,
    last: S,
}

impl<S: Clone + PartialEq> Changes<S> {
    /// Nothing has changed since `loaded`.
    pub fn since(loaded: S) -> Self {
        Self {
            last: loaded.clone(),
            loaded,
        }
    }

    /// Whether a new version has stayed the same since the previous look.
    pub fn settled(&mut self, now: S) -> bool {
        let before = std::mem::replace(&mut self.last, now);
        self.last != self.loaded && self.last == before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_has_settled() {
        let (loaded, half, whole) = (Some(1), Some(2), Some(3));
        for (what, looks) in [
            ("unchanged", &[(loaded, false), (loaded, false)][..]),
            ("changed", &[(whole, false), (whole, true)]),
            (
                "being written",
                &[(half, false), (whole, false), (whole, true)],
            ),
            ("replaced", &[(None, false), (whole, false), (whole, true)]),
            ("gone", &[(None, false), (None, true)]),
            ("changed and back", &[(half, false), (loaded, false)]),
        ] {
            let mut changes = Changes::since(loaded);
            for (now, settled) in looks {
                assert_eq!(changes.settled(*now), *settled, "{what}");
            }
        }
    }
}
