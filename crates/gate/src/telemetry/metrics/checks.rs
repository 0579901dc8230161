//! Counts checks by decision, rule and provider, denials by reason and provider, and denials that are
//! only observed by all three. All of these are closed sets.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

mod totals;

pub use totals::{Outcomes, Totals};

use super::counters::{Counters, Labels};
use claimgate_core::decision::{Decision, Reason};

/// The label for rules and providers without a series of their own. No rule or provider can have
/// this name.
const OTHER: &str = "(other)";

/// The label for no rule or no provider.
const NONE: &str = "none";

/// The decisions, in the order of their outcome numbers.
const DECISIONS: [&str; 3] = ["allow", "deny", "metadata"];

/// The counters of checks and denials.
#[derive(Debug)]
pub(super) struct Checks {
    /// The names of the rules in the order of their ids, then [`NONE`].
    rules: Vec<String>,
    /// The names of the providers in the order of their ids, then [`NONE`].
    providers: Vec<String>,
    decided: Counters,
    denied: Counters,
    /// Denials that are only observed.
    observed: Counters,
}

impl Checks {
    /// Counters for these rules and providers. Counters of `earlier` with the same names continue.
    pub(super) fn new(providers: &[&str], rules: &[&str], earlier: Option<&Self>) -> Self {
        let and_none = |names: &[&str]| -> Vec<String> {
            let all = names.iter().chain([&NONE]);
            all.map(ToString::to_string).collect()
        };
        let (rules, providers) = (and_none(rules), and_none(providers));
        let (rule_at, provider_at) = (positions(&rules), positions(&providers));
        let new_pair = |earlier: &Self, pair| {
            let (rule, provider) = earlier.pair(pair)?;
            Some(rule_at.get(rule)? * providers.len() + provider_at.get(provider)?)
        };
        let decided = earlier
            .into_iter()
            .flat_map(|earlier| moved(&earlier.decided, |pair| new_pair(earlier, pair)));
        let observed = earlier
            .into_iter()
            .flat_map(|earlier| moved(&earlier.observed, |pair| new_pair(earlier, pair)));
        let denied = earlier.into_iter().flat_map(|earlier| {
            moved(&earlier.denied, |provider| {
                provider_at
                    .get(earlier.providers.get(provider)?.as_str())
                    .copied()
            })
        });
        let pairs = rules.len() * providers.len();
        Self {
            decided: Counters::new(pairs, DECISIONS.len(), decided),
            observed: Counters::new(pairs, Reason::ALL.len(), observed),
            denied: Counters::new(providers.len(), Reason::ALL.len(), denied),
            rules,
            providers,
        }
    }

    pub(super) fn count(&self, decision: &Decision) {
        let outcome = match decision {
            Decision::Allow(_) => 0,
            Decision::Deny(_) => 1,
            Decision::Respond(_) => 2,
        };
        // The last name is `NONE`.
        let rule = decision.rule().map_or(self.rules.len() - 1, |id| id.0);
        let provider = decision.provider();
        let provider = provider.map_or(self.providers.len() - 1, |id| id.0);
        let pair = rule * self.providers.len() + provider;
        if let Some(counter) = self.decided.get(pair, outcome) {
            counter.inc();
        }
        let counter = match decision {
            Decision::Deny(denial) => self.denied.get(provider, denial.reason() as usize),
            Decision::Allow(permit) => permit
                .observed()
                .and_then(|denial| self.observed.get(pair, denial.reason() as usize)),
            Decision::Respond(_) => None,
        };
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    /// The names of the rule and the provider of a pair.
    fn pair(&self, pair: usize) -> Option<(&str, &str)> {
        let rule = self.rules.get(pair / self.providers.len())?;
        let provider = self.providers.get(pair % self.providers.len())?;
        Some((rule, provider))
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counter = MetricType::Counter;
        let mut checks = encoder.encode_descriptor("checks", "Checks answered", None, counter)?;
        for (labels, outcome, count) in self.decided.all() {
            let (rule, provider) = self.names(labels);
            let decision = DECISIONS.get(outcome).copied().unwrap_or(NONE);
            let labels = [
                ("decision", decision),
                ("rule", rule),
                ("provider", provider),
            ];
            count.encode(checks.encode_family(&labels)?)?;
        }
        let counter = MetricType::Counter;
        let mut denials = encoder.encode_descriptor("denials", "Checks denied", None, counter)?;
        for (labels, outcome, count) in self.denied.all() {
            let provider = match labels {
                Labels::At(provider) => self.providers.get(provider).map_or(NONE, String::as_str),
                Labels::Other => OTHER,
            };
            let labels = [("reason", reason(outcome)), ("provider", provider)];
            count.encode(denials.encode_family(&labels)?)?;
        }
        let counter = MetricType::Counter;
        let help = "Checks that passed because a denial is not enforced";
        let mut observed = encoder.encode_descriptor("would_deny", help, None, counter)?;
        // There are too many to export those that never occurred.
        let occurred = self.observed.all().filter(|(_, _, count)| count.get() > 0);
        for (labels, outcome, count) in occurred {
            let (rule, provider) = self.names(labels);
            let labels = [
                ("reason", reason(outcome)),
                ("rule", rule),
                ("provider", provider),
            ];
            count.encode(observed.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// The labels of a pair of rule and provider.
    fn names(&self, labels: Labels) -> (&str, &str) {
        match labels {
            Labels::At(pair) => self.pair(pair).unwrap_or((NONE, NONE)),
            Labels::Other => (OTHER, OTHER),
        }
    }
}

/// The code of a reason by its outcome number.
fn reason(outcome: usize) -> &'static str {
    Reason::ALL
        .get(outcome)
        .map_or(NONE, |reason| reason.code())
}

fn positions(names: &[String]) -> HashMap<&str, usize> {
    let names = names.iter().enumerate();
    names.map(|(index, name)| (name.as_str(), index)).collect()
}

/// The counters whose labels still exist, at their new positions.
fn moved(
    counters: &Counters,
    new_position: impl Fn(usize) -> Option<usize>,
) -> impl Iterator<Item = (Labels, usize, Counter)> {
    counters
        .all()
        .filter_map(move |(labels, outcome, counter)| {
            let labels = match labels {
                Labels::At(labels) => Labels::At(new_position(labels)?),
                Labels::Other => Labels::Other,
            };
            Some((labels, outcome, counter.clone()))
        })
}
