//! Finds out what is missing in logs: numbers that are skipped, lines that a crash has cut.

use std::collections::HashMap;

use crate::gate::decision_log::record::{Cause, ConfigurationRecord};

/// The maximum number of instances whose numbers are remembered.
const MAX_INSTANCES: usize = 10_000;

/// What was seen of each instance.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    /// The instance that writes the lines that are read, and the number that its next line should have.
    current: Option<(String, u64)>,
    /// Whether the last line of the file so far is an orderly end.
    is_stopped: bool,
    is_first: bool,
    /// The highest number of each instance, and how many numbers of it were seen or reported lost.
    seen: HashMap<String, (u64, u64)>,
    missing: Missing,
}

/// What is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Decisions that the log itself counts as lost.
    pub lost: u64,
    /// Decisions whose numbers are missing without a word.
    pub gaps: u64,
    /// Lines that cannot be read: cut by a crash, or of another program.
    pub unreadable: u64,
    /// Ends of an instance without its last word, so that some decisions may be missing.
    pub unclean_ends: u64,
}

impl Sequences {
    pub(super) fn begin_file(&mut self) {
        self.current = None;
        self.is_stopped = false;
        self.is_first = true;
    }

    pub(super) fn configuration(&mut self, record: &ConfigurationRecord) {
        let goes_on = match &self.current {
            Some((instance, _)) => *instance == record.instance,
            None => false,
        };
        if !goes_on {
            let is_start = record.cause == Cause::Started;
            if is_start && !self.is_first && !self.is_stopped {
                self.missing.unclean_ends += 1;
            }
            self.current = Some((record.instance.clone(), record.n));
        }
        self.is_first = false;
        self.is_stopped = false;
    }

    pub(super) fn decision(&mut self, n: u64) {
        self.advance(n, 1);
    }

    pub(super) fn lost(&mut self, n: u64, count: u64) {
        self.missing.lost += count;
        self.advance(n, count);
    }

    pub(super) fn stopped(&mut self, n: u64) {
        self.advance(n, 0);
        self.is_stopped = true;
    }

    pub(super) fn unreadable(&mut self) {
        self.missing.unreadable += 1;
        self.is_first = false;
    }

    fn advance(&mut self, n: u64, count: u64) {
        self.is_first = false;
        self.is_stopped = false;
        let end = n.saturating_add(count);
        if let Some((instance, next)) = &mut self.current {
            *next = end;
            if self.seen.len() < MAX_INSTANCES || self.seen.contains_key(instance) {
                let (highest, seen) = self.seen.entry(instance.clone()).or_default();
                *highest = (*highest).max(end.saturating_sub(1));
                *seen += count;
            }
        }
    }

    /// Numbers below the highest of an instance that no line has, its files taken together. The first
    /// numbers of an instance whose first file was not given count too.
    pub(super) fn finish(self) -> Missing {
        let gaps = self.seen.values();
        let gaps = gaps
            .map(|(highest, seen)| highest.saturating_sub(*seen))
            .sum();
        Missing {
            gaps,
            ..self.missing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(instance: &str, n: u64, cause: Cause) -> ConfigurationRecord {
        ConfigurationRecord {
            n,
            time: String::new(),
            cause,
            instance: instance.to_owned(),
            version: String::new(),
            configuration: String::new(),
            claims: Vec::new(),
            headers: Vec::new(),
            other_headers: false,
            allow: "all".to_owned(),
            sample_ratio: None,
        }
    }

    #[test]
    fn what_is_missing() {
        let mut sequences = Sequences::default();
        // Files in any order.
        sequences.begin_file();
        sequences.configuration(&head("a", 4, Cause::Rotated));
        sequences.decision(4);
        sequences.lost(5, 3);
        sequences.decision(8);
        sequences.stopped(9);
        sequences.configuration(&head("b", 1, Cause::Started));
        sequences.decision(1);
        sequences.decision(3);
        sequences.unreadable();
        sequences.configuration(&head("c", 1, Cause::Started));
        sequences.begin_file();
        sequences.configuration(&head("a", 1, Cause::Started));
        sequences.decision(1);
        sequences.decision(2);
        sequences.decision(3);
        assert_eq!(
            sequences.finish(),
            Missing {
                lost: 3,
                gaps: 1,
                unreadable: 1,
                unclean_ends: 1,
            }
        );
    }
}
