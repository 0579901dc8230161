//! Finds out what is missing in logs, and what was read twice: each instance numbers its decisions.

use std::collections::HashMap;

use super::ranges::Ranges;
use crate::gate::decision_log::record::{Cause, ConfigurationRecord};

/// The maximum number of instances whose numbers are remembered.
const MAX_INSTANCES: usize = 10_000;

/// The maximum number of ranges that are remembered for all instances together. Whole files have one
/// for each instance.
const MAX_RANGES: usize = 100_000;

/// What was seen of each instance. The memory does not grow with the number of lines.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// The instance that writes the lines that are read. `None` before the first `configuration` line.
    current: Option<String>,
    /// The number that the file's next line should have.
    expected: u64,
    /// Whether a line that cannot be read may have been a `configuration` line.
    is_doubtful: bool,
    /// Whether the last line of the file so far is an orderly end.
    is_stopped: bool,
    is_first: bool,
    seen: HashMap<String, Instance>,
    ranges: usize,
    missing: Missing,
}

/// The numbers of one instance.
#[derive(Debug)]
struct Instance {
    decisions: Ranges,
    lost: Ranges,
    /// The lowest number that is known to exist, or that would be next.
    first: u64,
    /// One more than the highest number that is known to exist.
    next: u64,
    /// Whether it began where another instance had not ended in order.
    follows_unclean_end: bool,
}

/// Whether a decision counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is read for the first time.
    New,
    /// Another line had the same number of the same instance.
    ReadBefore,
    /// Nobody knows which instance wrote it.
    Unknown,
}

/// What is missing, and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Decisions that the log itself counts as lost.
    pub lost: u64,
    /// Decisions whose numbers are missing without a word.
    pub gaps: u64,
    /// Instances whose first decisions are not in the files.
    pub late_instances: u64,
    /// The decisions of these instances before the first one in the files.
    pub earlier: u64,
    /// Lines that cannot be read: cut by a crash, or of another program.
    pub unreadable: u64,
    /// Ends of an instance without its last word, so that some decisions may be missing.
    pub unclean_ends: u64,
    /// Decisions that were read before, in another file or the same.
    pub read_before: u64,
    /// Lines of kinds that only newer versions know.
    pub unknown_kinds: u64,
    /// Whether there were too many instances or gaps to find all that was read before.
    pub is_unchecked: bool,
}

impl Sequences {
    pub(super) fn begin_file(&mut self) {
        self.current = None;
        self.expected = 0;
        self.is_doubtful = false;
        self.is_stopped = false;
        self.is_first = true;
    }

    pub(super) fn configuration(&mut self, record: &ConfigurationRecord) {
        let goes_on = self.current.as_ref() == Some(&record.instance);
        let is_unclean =
            !goes_on && record.cause == Cause::Started && !self.is_first && !self.is_stopped;
        self.current = Some(record.instance.clone());
        self.is_doubtful = false;
        self.advance(record.n);
        let known = self.instance(record.n);
        let is_known = known.is_some_and(|instance| {
            instance.first = instance.first.min(record.n);
            instance.next = instance.next.max(record.n);
            is_unclean && std::mem::replace(&mut instance.follows_unclean_end, true)
        });
        self.missing.unclean_ends += u64::from(is_unclean && !is_known);
    }

    /// A `configuration` line that does not name its instance.
    pub(super) fn unknown_configuration(&mut self) {
        self.unreadable();
        self.current = None;
    }

    pub(super) fn decision(&mut self, n: u64) -> Place {
        if self.is_doubtful && n < self.expected {
            self.current = None;
        }
        self.advance(n.saturating_add(1));
        if self.current.is_none() {
            return Place::Unknown;
        }
        let place = match self.add(n, n, |instance| &mut instance.decisions) {
            Some(0) => Place::ReadBefore,
            Some(_) | None => Place::New,
        };
        self.missing.read_before += u64::from(place == Place::ReadBefore);
        place
    }

    pub(super) fn lost(&mut self, n: u64, count: u64) {
        self.advance(n.saturating_add(count));
        if let Some(more) = count.checked_sub(1) {
            self.add(n, n.saturating_add(more), |instance| &mut instance.lost);
        }
    }

    pub(super) fn stopped(&mut self, n: u64) {
        self.advance(n);
        if let Some(instance) = self.instance(n) {
            instance.next = instance.next.max(n);
        }
        self.is_stopped = true;
    }

    pub(super) fn unreadable(&mut self) {
        self.missing.unreadable += 1;
        self.is_doubtful = true;
        self.is_first = false;
    }

    pub(super) fn unknown_kind(&mut self) {
        self.missing.unknown_kinds += 1;
        self.is_first = false;
    }

    fn advance(&mut self, next: u64) {
        self.expected = next;
        self.is_first = false;
        self.is_stopped = false;
    }

    /// The instance that writes. `first` is a number of it. `None` if it is unknown, or if too many
    /// are remembered.
    fn instance(&mut self, first: u64) -> Option<&mut Instance> {
        let name = self.current.as_ref()?;
        if !self.seen.contains_key(name) {
            if self.seen.len() >= MAX_INSTANCES {
                self.missing.is_unchecked = true;
                return None;
            }
            let instance = Instance {
                decisions: Ranges::default(),
                lost: Ranges::default(),
                first,
                next: first,
                follows_unclean_end: false,
            };
            self.seen.insert(name.clone(), instance);
        }
        self.seen.get_mut(name)
    }

    /// Adds numbers of the instance that writes. Returns how many of them are new. `None` if they are
    /// not remembered.
    fn add(
        &mut self,
        first: u64,
        last: u64,
        of: impl FnOnce(&mut Instance) -> &mut Ranges,
    ) -> Option<u64> {
        let room = MAX_RANGES.saturating_sub(self.ranges);
        let instance = self.instance(first)?;
        instance.first = instance.first.min(first);
        instance.next = instance.next.max(last.saturating_add(1));
        let ranges = of(instance);
        let before = ranges.count();
        if room == 0 && !ranges.touches(first, last) {
            self.missing.is_unchecked = true;
            return None;
        }
        let added = ranges.add(first, last);
        let after = ranges.count();
        self.ranges = self.ranges.saturating_sub(before) + after;
        Some(added)
    }

    pub(super) fn finish(self) -> Missing {
        let mut missing = self.missing;
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        for instance in self.seen.into_values() {
            let Instance {
                decisions,
                lost,
                first,
                next,
                follows_unclean_end: _,
            } = instance;
            let written = decisions.total();
            let told = decisions.with(&lost).total();
            add(&mut missing.lost, told.saturating_sub(written));
            let all = next.saturating_sub(first);
            add(&mut missing.gaps, all.saturating_sub(told));
            // An instance counts from 1.
            if let Some(earlier @ 1..) = first.checked_sub(1) {
                missing.late_instances += 1;
                add(&mut missing.earlier, earlier);
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests;
