//! The counters summed up, for a person.

use super::{Checks, Labels, Reason};

/// What was decided since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Over all rules.
    pub all: Outcomes,
    /// The rules in the order of the configuration, with the default rule last. Checks that no rule
    /// decided are not among them.
    pub rules: Vec<(String, Outcomes)>,
    /// The reasons that occurred, the most frequent first.
    pub reasons: Vec<(Reason, u64)>,
}

/// How checks ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Allowed.
    pub allow: u64,
    /// Denied.
    pub deny: u64,
    /// Answered with the metadata of a resource.
    pub metadata: u64,
}

impl Outcomes {
    /// All checks.
    pub fn sum(&self) -> u64 {
        self.allow + self.deny + self.metadata
    }

    fn add(&mut self, outcome: usize, count: u64) {
        match outcome {
            0 => self.allow += count,
            1 => self.deny += count,
            _ => self.metadata += count,
        }
    }
}

impl Checks {
    pub(in crate::telemetry::metrics) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let (rules, providers) = (self.rules.len(), self.providers.len());
        let mut by_rule = vec![Outcomes::default(); rules];
        for (labels, outcome, counter) in self.decided.all() {
            totals.all.add(outcome, counter.get());
            if let Labels::At(pair) = labels
                && let Some(rule) = by_rule.get_mut(pair / providers)
            {
                rule.add(outcome, counter.get());
            }
        }
        // The last name is that of no rule.
        let names = self.rules.iter().take(rules - 1).cloned();
        totals.rules = names.zip(by_rule).collect();
        let mut reasons = Reason::ALL.map(|reason| (reason, 0));
        for (_, outcome, counter) in self.denied.all() {
            if let Some((_, count)) = reasons.get_mut(outcome) {
                *count += counter.get();
            }
        }
        totals.reasons = reasons
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        totals
            .reasons
            .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        totals
    }
}
