//! Which changes the search can say nothing about. A change of what decides for which it has found no
//! request, or of which it could not try every value, must not read as if nothing were affected.

use std::collections::BTreeSet;

use super::{Cause, Found, Key, Search};
use crate::diff::literals::literals;
use crate::diff::structure::ProviderPair;
use crate::policy::condition::Condition;
use crate::policy::condition::facts::{Fact, Probe, SAME};

/// What the requests that were found show.
pub(super) struct Shown {
    /// The rules that decide some of them, for the old and for the new side.
    rules: [BTreeSet<usize>; 2],
    settings: BTreeSet<&'static str>,
}

impl Shown {
    pub(super) fn of<'f>(found: impl Iterator<Item = (&'f Key, &'f Found)>) -> Self {
        let mut shown = Self {
            rules: [BTreeSet::new(), BTreeSet::new()],
            settings: BTreeSet::new(),
        };
        for ((cause, _), found) in found {
            for (rules, verdict) in shown.rules.iter_mut().zip(&found.verdicts) {
                rules.extend(verdict.rule.map(|id| id.0));
            }
            match cause {
                Cause::Setting(name) => shown.settings.extend([*name]),
                Cause::Rules(old, new) => {
                    let [before, after] = &mut shown.rules;
                    before.extend(*old);
                    after.extend(*new);
                }
                Cause::Provider(..) | Cause::Form(_) => {}
            }
        }
        shown
    }
}

const NO_EXAMPLE: &str = "no request was found that this change judges otherwise";

const LEFT_OUT: &str = "the search could not try all of its values";

impl Search<'_> {
    /// Why the effect of a changed rule is not known completely. Empty if it is, as far as the search
    /// reaches.
    pub(super) fn unproven_rule(
        &self,
        old: Option<usize>,
        new: Option<usize>,
        shown: &Shown,
    ) -> Vec<String> {
        let [before, after] = &self.structure.rules;
        let facts = [
            old.and_then(|old| before.get(old)),
            new.and_then(|new| after.get(new)),
        ];
        let (same_matcher, same_requirement) = match facts {
            [Some(old), Some(new)] => (
                old.matcher == new.matcher,
                old.requirement == new.requirement,
            ),
            _ => (false, false),
        };
        let mut reasons = Vec::new();
        if same_matcher && same_requirement {
            return reasons;
        }
        let positions = [old, new];
        let is_shown = positions.iter().zip(&shown.rules).any(|(own, rules)| {
            let own = own.as_ref();
            own.is_some_and(|own| rules.contains(own))
        });
        if !is_shown && self.should_show(positions, same_requirement) {
            reasons.push(NO_EXAMPLE.to_owned());
        }
        let is_own = |rules: &&[Option<usize>; 2]| {
            let mut both = rules.iter().zip(positions);
            both.any(|(rule, own)| own.is_some() && *rule == own)
        };
        let mut cut = self.covered.cut.iter().filter(is_own);
        let mut patterns = positions.into_iter().enumerate();
        let is_cut = cut.next().is_some()
            || patterns.any(|(side, own)| {
                let cut = &self.covered.cut_patterns;
                own.is_some_and(|own| cut.contains(&(side, own)))
            });
        if is_cut {
            reasons.push(LEFT_OUT.to_owned());
        }
        if !same_requirement {
            reasons.extend(self.unsearchable(positions));
        }
        reasons
    }

    /// Whether some request should show what a rule's change does.
    fn should_show(&self, [old, new]: [Option<usize>; 2], same_requirement: bool) -> bool {
        let classes = || self.covered.classes.iter();
        let both = old.is_some() && new.is_some();
        if both && !same_requirement {
            return true;
        }
        // Requests that only one of the two versions decides.
        let mut moved = classes().filter(|[before, after]| {
            (old.is_some() && *before == old) != (new.is_some() && *after == new)
        });
        let mut is_moved = false;
        let differs = moved.any(|[before, after]| {
            is_moved = true;
            !self.structure.require_the_same(*before, *after)
        });
        differs || !is_moved
    }

    /// What a changed condition does that the search cannot try.
    fn unsearchable(&self, [old, new]: [Option<usize>; 2]) -> Option<String> {
        let rules = [self.rule(0, old), self.rule(1, new)];
        let conditions = rules.map(|rule| rule.and_then(|rule| rule.condition.as_ref()));
        let [before, after] = conditions.map(|own| own.map(Condition::text));
        if before == after {
            return None;
        }
        conditions.into_iter().flatten().find_map(|condition| {
            let comparisons = condition.comparisons();
            let mut whole = comparisons
                .iter()
                .filter_map(|comparison| match &comparison.fact {
                    Fact::Certificate => Some("`source.certificate`"),
                    Fact::AllHeaders => Some("all of `request.headers`"),
                    Fact::AllContext => Some("all of `context`"),
                    Fact::Claim(path) if path.is_empty() => Some("all of `claims`"),
                    _ => None,
                });
            let reads = whole.next().map(str::to_owned);
            let found = literals(condition.text());
            // What is put together can be tried if another value is compared with the result.
            let is_compared = comparisons.iter().any(|own| is_joined(&own.probe));
            let joins = (found.joins && !is_compared).then(|| "+".to_owned());
            let calculates = found.calculates.or(joins);
            reads
                .map(|what| format!("its condition reads {what}, which the search does not vary"))
                .or(calculates.map(|what| {
                    format!("its condition calculates (`{what}`), so not every outcome is tried")
                }))
        })
    }

    /// The same for a provider.
    pub(super) fn unproven_provider(&self, index: usize, pair: &ProviderPair) -> Vec<String> {
        let mut reasons = Vec::new();
        let covered = &self.covered;
        let is_shown = |setting: &'static str| covered.shown.contains(&(index, setting));
        let is_alone = pair.old.is_none() || pair.new.is_none();
        if is_alone && !is_shown("") {
            reasons.push(NO_EXAMPLE.to_owned());
        }
        for setting in &pair.differing {
            if !is_shown(setting) {
                reasons.push(format!("`{setting}`: {NO_EXAMPLE}"));
            } else if covered.cut_settings.contains(&(index, *setting)) {
                reasons.push(format!("`{setting}`: {LEFT_OUT}"));
            }
        }
        if pair.has_other_keys {
            reasons.push("no example can show what tokens of other keys say".to_owned());
        }
        reasons
    }

    /// The same for settings that apply to all rules.
    pub(super) fn unproven_setting(&self, name: &str, shown: &Shown) -> Vec<String> {
        let [old, new] = self.sides;
        let spoofed = [old, new].map(|side| side.policy.upstream().spoofed);
        let [before, after] = spoofed;
        let decides = match name {
            "enforce" => self.globals.enforce,
            "cors_preflight" => self.globals.preflight,
            "paths" => self.globals.paths,
            "upstream" => before != after,
            _ => false,
        };
        match decides && !shown.settings.contains(name) {
            true => vec![NO_EXAMPLE.to_owned()],
            false => Vec::new(),
        }
    }

    /// Whether a changed condition calculates: then some of its differences cannot be searched for.
    pub(super) fn has_unsearchable(&self) -> bool {
        let [old, new] = &self.structure.rules;
        let new_ones = new
            .iter()
            .enumerate()
            .map(|(at, rule)| [rule.other, Some(at)]);
        let removed = old
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.other.is_none());
        let mut pairs = new_ones.chain(removed.map(|(at, _)| [Some(at), None]));
        pairs.any(|pair| self.unsearchable(pair).is_some())
    }
}

/// Whether a value is compared with a text that contains the value of another fact.
fn is_joined(probe: &Probe) -> bool {
    match probe {
        Probe::Value(value) | Probe::Containing(value) => {
            value.as_str().is_some_and(|text| text.contains(SAME))
        }
        Probe::Beginning(text) | Probe::Ending(text) | Probe::Matching(text) => text.contains(SAME),
        Probe::Within(_) | Probe::Length(_) | Probe::Presence => false,
    }
}
