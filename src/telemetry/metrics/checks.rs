//! Checks answered, by decision, reason, rule and provider. All of these are closed sets.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::decision::{Decision, Reason};

/// Up to this many series exist from the start, about 10 MB of memory. If there could be more, each
/// exists from its first event on: ten thousand rules and a thousand providers would make hundreds of
/// millions.
const MAX_PREPARED: usize = 10_000;

/// The most series that come to exist later, about 4 MB of memory: callers choose which rule they meet
/// and which provider their tokens name, so they could make all of them exist. Further ones are
/// counted with [`OTHER`] as rule and provider.
const MAX_LATER: usize = 4_000;

/// The places for those, twice as many so that each is found soon.
const PLACES: usize = 2 * MAX_LATER.next_power_of_two();

/// Stands for rules and providers without a series of their own. No rule and no provider can have this
/// name.
const OTHER: &str = "(other)";

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

/// The counters. Counting takes no lock, but for the first time in each series.
#[derive(Debug)]
pub(super) struct Checks {
    family: Family<Labels, Counter>,
    /// The last one of each stands for none.
    rules: Vec<String>,
    providers: Vec<String>,
    series: Series,
}

/// What is counted in one series: the positions of rule, provider and outcome.
type Key = (usize, usize, usize);

#[derive(Debug)]
enum Series {
    /// All of them, by rule, provider and outcome.
    Prepared(Vec<Counter>),
    /// Those that had an event: an open hash table that only grows.
    Later {
        hasher: RandomState,
        places: Box<[OnceLock<(Key, Counter)>]>,
        count: AtomicUsize,
        /// By outcome: what has no series of its own.
        others: Vec<Counter>,
    },
}

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
        let make = |rule: &str, provider: &str, outcome| make(&family, rule, provider, outcome);
        let series = match rules.len() * providers.len() * OUTCOMES <= MAX_PREPARED {
            true => {
                let pairs = rules
                    .iter()
                    .flat_map(|rule| providers.iter().map(move |provider| (rule, provider)));
                let all = pairs.flat_map(|(rule, provider)| {
                    (0..OUTCOMES).map(move |outcome| make(rule, provider, outcome))
                });
                Series::Prepared(all.collect())
            }
            false => Series::Later {
                hasher: RandomState::new(),
                places: (0..PLACES).map(|_| OnceLock::new()).collect(),
                count: AtomicUsize::new(0),
                others: (0..OUTCOMES)
                    .map(|outcome| make(OTHER, OTHER, outcome))
                    .collect(),
            },
        };
        Self {
            family,
            rules,
            providers,
            series,
        }
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
        if let Some(counter) = self.counter((rule, provider, outcome)) {
            counter.inc();
        }
    }

    fn counter(&self, key: Key) -> Option<&Counter> {
        let (rule, provider, outcome) = key;
        let (hasher, places, count, others) = match &self.series {
            Series::Prepared(all) => {
                return all.get((rule * self.providers.len() + provider) * OUTCOMES + outcome);
            }
            Series::Later {
                hasher,
                places,
                count,
                others,
            } => (hasher, places, count, others),
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of a hash will do"
        )]
        let first = hasher.hash_one(key) as usize;
        for step in 0..places.len() {
            let place = places.get(first.wrapping_add(step) % places.len())?;
            if place.get().is_none() && count.fetch_add(1, Ordering::Relaxed) >= MAX_LATER {
                count.fetch_sub(1, Ordering::Relaxed);
                return others.get(outcome);
            }
            let (found, counter) = place.get_or_init(|| {
                let name =
                    |names: &[String], index: usize| names.get(index).cloned().unwrap_or_default();
                let (rule, provider) = (name(&self.rules, rule), name(&self.providers, provider));
                (key, make(&self.family, &rule, &provider, outcome))
            });
            if *found == key {
                return Some(counter);
            }
        }
        others.get(outcome)
    }
}

fn make(family: &Family<Labels, Counter>, rule: &str, provider: &str, outcome: usize) -> Counter {
    let denied = || {
        let reason = Reason::ALL.get(outcome.saturating_sub(2));
        ("deny", reason.map_or(NONE, |reason| reason.code()))
    };
    let (decision, reason) = match outcome {
        0 => ("allow", NONE),
        1 => ("metadata", NONE),
        _ => denied(),
    };
    family.get_or_create_owned(&Labels {
        decision,
        reason,
        rule: rule.to_owned(),
        provider: provider.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize, what: &str) -> Vec<String> {
        (0..count).map(|number| format!("{what}{number}")).collect()
    }

    fn checks(rules: usize, providers: usize) -> (Registry, Checks) {
        let (rules, providers) = (names(rules, "r"), names(providers, "p"));
        let texts = |names: &[String]| -> Vec<&'static str> {
            names.iter().map(|name| &*name.clone().leak()).collect()
        };
        let mut registry = Registry::default();
        let checks = Checks::new(&mut registry, &texts(&providers), &texts(&rules));
        (registry, checks)
    }

    fn lines(registry: &Registry) -> usize {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).count()
    }

    #[test]
    fn few_exist_from_the_start() {
        let (registry, checks) = checks(9, 4);
        assert_eq!(lines(&registry), 10 * 5 * OUTCOMES);
        checks.counter((3, 2, 1)).unwrap().inc();
        assert_eq!(lines(&registry), 10 * 5 * OUTCOMES);
        assert_eq!(checks.counter((3, 2, 1)).unwrap().get(), 1);
        assert_eq!(checks.counter((3, 1, 2)).unwrap().get(), 0);
    }

    /// Callers choose rules and providers, and cannot make memory grow with all of them.
    #[test]
    fn many_are_bounded() {
        let (registry, checks) = checks(200, 200);
        for rule in 0..100 {
            for provider in 0..100 {
                checks.counter((rule, provider, 0)).unwrap().inc();
            }
        }
        assert_eq!(lines(&registry), MAX_LATER + OUTCOMES);
        assert_eq!(checks.counter((0, 0, 0)).unwrap().get(), 1);
        // Those without a series of their own.
        assert_eq!(
            checks.counter((99, 99, 0)).unwrap().get(),
            10_000 - MAX_LATER as u64
        );
    }
}
