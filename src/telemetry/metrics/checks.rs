//! Checks answered, by decision, reason, rule and provider. All of these are closed sets.

use std::sync::OnceLock;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::decision::{Decision, Reason};

/// As many series as this exist from the start. Of more, each exists from its first event on: ten
/// thousand rules of a thousand providers would make hundreds of millions.
const MOST_PREPARED: usize = 10_000;

/// Allow, metadata, and each reason to deny.
const OUTCOMES: usize = 2 + Reason::ALL.len();

/// What stands for no rule, no provider, and no reason.
const NONE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    decision: &'static str,
    reason: &'static str,
    rule: String,
    provider: String,
}

/// The counters. Once one exists, counting takes no lock.
#[derive(Debug)]
pub(super) struct Checks {
    family: Family<Labels, Counter>,
    /// The last one of each stands for none.
    rules: Vec<String>,
    providers: Vec<String>,
    /// By rule, provider and outcome.
    counters: Box<[OnceLock<Box<[Row]>>]>,
}

type Row = OnceLock<Box<[OnceLock<Counter>; OUTCOMES]>>;

impl Checks {
    pub(super) fn new(registry: &mut Registry, providers: &[&str], rules: &[&str]) -> Self {
        let family = Family::default();
        registry.register("checks", "Checks answered", family.clone());
        let and_none = |names: &[&str]| -> Vec<String> {
            names
                .iter()
                .chain([&NONE])
                .map(ToString::to_string)
                .collect()
        };
        let (rules, providers) = (and_none(rules), and_none(providers));
        let checks = Self {
            family,
            counters: rules.iter().map(|_| OnceLock::new()).collect(),
            rules,
            providers,
        };
        let count = checks.rules.len() * checks.providers.len() * OUTCOMES;
        if count <= MOST_PREPARED {
            for rule in 0..checks.rules.len() {
                for provider in 0..checks.providers.len() {
                    for outcome in 0..OUTCOMES {
                        checks.counter(rule, provider, outcome);
                    }
                }
            }
        }
        checks
    }

    pub(super) fn count(&self, decision: &Decision) {
        let outcome = match decision {
            Decision::Allow(_) => 0,
            Decision::Metadata(_) => 1,
            Decision::Deny(denial) => 2 + denial.reason() as usize,
        };
        let no_rule = self.rules.len().saturating_sub(1);
        let no_provider = self.providers.len().saturating_sub(1);
        let rule = decision.rule().map_or(no_rule, |id| id.0);
        let provider = decision.provider().map_or(no_provider, |id| id.0);
        if let Some(counter) = self.counter(rule, provider, outcome) {
            counter.inc();
        }
    }

    fn counter(&self, rule: usize, provider: usize, outcome: usize) -> Option<&Counter> {
        let rows = self.counters.get(rule)?;
        let rows = rows.get_or_init(|| self.providers.iter().map(|_| Row::new()).collect());
        let row = rows.get(provider)?;
        let row = row.get_or_init(|| Box::new([const { OnceLock::new() }; OUTCOMES]));
        let cell = row.get(outcome)?;
        Some(cell.get_or_init(|| {
            let (decision, reason) = match outcome {
                0 => ("allow", NONE),
                1 => ("metadata", NONE),
                _ => (
                    "deny",
                    Reason::ALL
                        .get(outcome - 2)
                        .map_or(NONE, |reason| reason.code()),
                ),
            };
            let name =
                |names: &[String], index: usize| names.get(index).cloned().unwrap_or_default();
            self.family.get_or_create_owned(&Labels {
                decision,
                reason,
                rule: name(&self.rules, rule),
                provider: name(&self.providers, provider),
            })
        }))
    }
}
