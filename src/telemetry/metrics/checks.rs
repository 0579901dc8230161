//! Checks answered, by decision, rule and provider; denials, by reason and provider. All of these are
//! closed sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::counters::{Counters, Labels};
use crate::decision::{Decision, Reason};

/// Stands for rules and providers without a series of their own. No rule and no provider can have this
/// name.
const OTHER: &str = "(other)";

/// What stands for no rule and no provider.
const NONE: &str = "none";

/// The decisions, by their number among the outcomes.
const DECISIONS: [&str; 3] = ["allow", "deny", "metadata"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    decision: &'static str,
    rule: String,
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DenialLabels {
    reason: &'static str,
    provider: String,
}

/// The counters.
#[derive(Debug)]
pub(super) struct Checks {
    /// How many rules there are, besides none.
    rules: usize,
    /// How many providers there are, besides none.
    providers: usize,
    decided: Counters,
    denied: Counters,
}

impl Checks {
    pub(super) fn new(registry: &mut Registry, providers: &[&str], rules: &[&str]) -> Self {
        let checks: Family<CheckLabels, Counter> = Family::default();
        let denials: Family<DenialLabels, Counter> = Family::default();
        registry.register("checks", "Checks answered", checks.clone());
        registry.register("denials", "Checks denied", denials.clone());
        let and_none = |names: &[&str]| -> Vec<String> {
            let all = names.iter().chain([&NONE]);
            all.map(ToString::to_string).collect()
        };
        let (rule_names, provider_names) = (and_none(rules), and_none(providers));
        let pairs = rule_names.len() * provider_names.len();
        let issuers = provider_names.clone();
        Self {
            rules: rules.len(),
            providers: providers.len(),
            decided: Counters::new(pairs, DECISIONS.len(), move |labels, outcome| {
                let (rule, provider) = match labels {
                    Labels::At(pair) => (
                        name(&rule_names, pair / provider_names.len()),
                        name(&provider_names, pair % provider_names.len()),
                    ),
                    Labels::Other => (OTHER.to_owned(), OTHER.to_owned()),
                };
                let decision = DECISIONS.get(outcome).copied().unwrap_or(NONE);
                checks.get_or_create_owned(&CheckLabels {
                    decision,
                    rule,
                    provider,
                })
            }),
            denied: Counters::new(issuers.len(), Reason::ALL.len(), move |labels, outcome| {
                let reason = Reason::ALL.get(outcome);
                let reason = reason.map_or(NONE, |reason| reason.code());
                let provider = match labels {
                    Labels::At(provider) => name(&issuers, provider),
                    Labels::Other => OTHER.to_owned(),
                };
                denials.get_or_create_owned(&DenialLabels { reason, provider })
            }),
        }
    }

    pub(super) fn count(&self, decision: &Decision) {
        let outcome = match decision {
            Decision::Allow(_) => 0,
            Decision::Deny(_) => 1,
            Decision::Respond(_) => 2,
        };
        let rule = decision.rule().map_or(self.rules, |id| id.0);
        let provider = decision.provider().map_or(self.providers, |id| id.0);
        let pair = rule * (self.providers + 1) + provider;
        if let Some(counter) = self.decided.get(pair, outcome) {
            counter.inc();
        }
        if let Decision::Deny(denial) = decision
            && let Some(counter) = self.denied.get(provider, denial.reason() as usize)
        {
            counter.inc();
        }
    }
}

fn name(names: &[String], index: usize) -> String {
    names.get(index).cloned().unwrap_or_default()
}
