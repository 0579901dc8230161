//! What changed in the text: which providers and rules belong together, and which are new, gone, moved
//! or renamed.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Side;
use super::words::{self, Field};
use crate::keyring::ProviderId;
use crate::policy::rule::Rule;

/// A provider on both sides, or on one of them.
#[derive(Clone, Debug)]
pub(super) struct ProviderPair {
    /// The name: on both sides, unless it was renamed; then the old one.
    pub(super) name: String,
    pub(super) old: Option<ProviderId>,
    pub(super) new: Option<ProviderId>,
    /// The settings that decisions depend on and that differ.
    pub(super) differing: Vec<&'static str>,
    pub(super) words: Vec<String>,
    /// Whether it says otherwise where its keys come from.
    pub(super) has_other_keys: bool,
}

/// One rule of a side.
#[derive(Clone, Debug)]
pub(super) struct RuleFacts {
    pub(super) name: String,
    pub(super) matcher: Vec<Field>,
    pub(super) requirement: Vec<Field>,
    /// What changes no decision.
    pub(super) notes: Vec<Field>,
    /// The position of the same rule on the other side.
    pub(super) other: Option<usize>,
    /// Whether its place among the rules of both sides changed.
    pub(super) is_moved: bool,
}

/// What belongs together.
#[derive(Clone, Debug)]
pub(super) struct Structure {
    pub(super) providers: Vec<ProviderPair>,
    /// The rules of the old side, and of the new one; the default rule is the last.
    pub(super) rules: [Vec<RuleFacts>; 2],
}

impl Structure {
    pub(super) fn of(old: &Side<'_>, new: &Side<'_>) -> Self {
        let providers = providers(old, new);
        let mut rules = [old, new].map(|side| facts(side, &providers));
        pair(&mut rules);
        Self { providers, rules }
    }

    /// Whether a rule differs from its counterpart, or has none, or stands elsewhere.
    pub(super) fn is_changed(&self, side: usize, index: usize) -> bool {
        let Some(own) = self.rules.get(side).and_then(|rules| rules.get(index)) else {
            return true;
        };
        let other = own.other.and_then(|other| {
            let rules = self.rules.get(1 - side)?;
            rules.get(other)
        });
        let Some(other) = other else {
            return true;
        };
        own.is_moved
            || other.is_moved
            || own.matcher != other.matcher
            || own.requirement != other.requirement
    }

    /// Whether both rules require the same.
    pub(super) fn require_the_same(&self, old: Option<usize>, new: Option<usize>) -> bool {
        let [before, after] = &self.rules;
        let (Some(old), Some(new)) = (
            old.and_then(|old| before.get(old)),
            new.and_then(|new| after.get(new)),
        ) else {
            return old.is_none() && new.is_none();
        };
        old.requirement == new.requirement
    }

    /// Whether providers and rules are the same, names and order included.
    pub(super) fn is_same(&self) -> bool {
        let [old, new] = &self.rules;
        let same_rule = |(index, rule): (usize, &RuleFacts)| {
            rule.other == Some(index)
                && !self.is_changed(0, index)
                && new.get(index).is_some_and(|new| new.name == rule.name)
        };
        old.len() == new.len()
            && old.iter().enumerate().all(same_rule)
            && self.providers.iter().all(|pair| {
                let same = pair.old.is_some() && pair.old == pair.new;
                same && pair.words.is_empty() && pair.differing.is_empty()
            })
    }
}

fn providers(old: &Side<'_>, new: &Side<'_>) -> Vec<ProviderPair> {
    let mut left: Vec<_> = new.policy.providers().collect();
    let mut pairs = Vec::new();
    for (id, provider) in old.policy.providers() {
        let by_name = left
            .iter()
            .position(|(_, other)| other.name == provider.name);
        let by_issuer = || {
            left.iter().position(|(_, other)| {
                let mut others = old.policy.providers();
                other.terms.issuer == provider.terms.issuer
                    && !others.any(|(_, earlier)| earlier.name == other.name)
            })
        };
        let found = by_name.or_else(by_issuer).map(|at| left.remove(at));
        let mut pair = ProviderPair {
            name: provider.name.clone(),
            old: Some(id),
            new: found.map(|(id, _)| id),
            differing: Vec::new(),
            words: Vec::new(),
            has_other_keys: false,
        };
        match found {
            None => pair.words = words::summary(&words::terms(provider)),
            Some((new_id, other)) => {
                if other.name != provider.name {
                    pair.words.push(format!("renamed to `{}`", other.name));
                }
                let (before, after) = (words::terms(provider), words::terms(other));
                pair.words.extend(words::changes(&before, &after));
                let both = before.iter().zip(&after);
                let differing = both.filter(|(before, after)| before != after);
                pair.differing = differing.map(|(before, _)| before.name).collect();
                let effective = |side: &Side<'_>, id: ProviderId| {
                    let all = side.settings.get("providers")?.as_array()?;
                    all.get(id.0).cloned()
                };
                let before = effective(old, id).unwrap_or_default();
                let after = effective(new, new_id).unwrap_or_default();
                pair.words.extend(words::key_changes(&before, &after));
                pair.has_other_keys = words::has_other_keys(&before, &after);
            }
        }
        pairs.push(pair);
    }
    for (id, provider) in left {
        pairs.push(ProviderPair {
            name: provider.name.clone(),
            old: None,
            new: Some(id),
            differing: Vec::new(),
            words: words::summary(&words::terms(provider)),
            has_other_keys: false,
        });
    }
    pairs
}

fn facts(side: &Side<'_>, providers: &[ProviderPair]) -> Vec<RuleFacts> {
    let is_old = |pair: &&ProviderPair, id: ProviderId| match side.is_old {
        true => pair.old == Some(id),
        false => pair.new == Some(id),
    };
    let name_of = |id: ProviderId| {
        let found = providers.iter().find(|pair| is_old(pair, id));
        found.map(|pair| pair.name.clone()).unwrap_or_default()
    };
    let of = |rule: &Rule| RuleFacts {
        name: rule.name.clone(),
        matcher: words::matcher(rule),
        requirement: words::requirement(rule, name_of),
        notes: words::notes(rule),
        other: None,
        is_moved: false,
    };
    side.policy.rules().all().map(of).collect()
}

/// Finds the rules that belong together: by name, and those that are left by what they say.
fn pair(rules: &mut [Vec<RuleFacts>; 2]) {
    let [old, new] = rules;
    let by_name: HashMap<String, usize> = new
        .iter()
        .enumerate()
        .map(|(index, rule)| (rule.name.clone(), index))
        .collect();
    for rule in old.iter_mut() {
        rule.other = by_name.get(&rule.name).copied();
    }
    for (index, rule) in old.iter().enumerate() {
        if let Some(other) = rule.other.and_then(|other| new.get_mut(other)) {
            other.other = Some(index);
        }
    }
    let content = |rule: &RuleFacts| format!("{:?}{:?}", rule.matcher, rule.requirement);
    let mut by_content: HashMap<String, VecDeque<usize>> = HashMap::new();
    for (position, rule) in new.iter().enumerate() {
        if rule.other.is_none() {
            by_content
                .entry(content(rule))
                .or_default()
                .push_back(position);
        }
    }
    for (index, rule) in old.iter_mut().enumerate() {
        if rule.other.is_some() {
            continue;
        }
        let same = by_content.get_mut(&content(rule));
        if let Some(position) = same.and_then(VecDeque::pop_front)
            && let Some(other) = new.get_mut(position)
        {
            rule.other = Some(position);
            other.other = Some(index);
        }
    }
    // The largest set of rules that kept their order did not move.
    let pairs: Vec<(usize, usize)> = new
        .iter()
        .enumerate()
        .filter_map(|(position, rule)| Some((position, rule.other?)))
        .collect();
    let kept = longest_ascending(&pairs.iter().map(|(_, old)| *old).collect::<Vec<_>>());
    for (position, earlier) in pairs {
        if !kept.contains(&earlier) {
            if let Some(rule) = new.get_mut(position) {
                rule.is_moved = true;
            }
            if let Some(rule) = old.get_mut(earlier) {
                rule.is_moved = true;
            }
        }
    }
}

/// The members of a longest ascending part of the sequence.
fn longest_ascending(sequence: &[usize]) -> HashSet<usize> {
    // For each length, the position of the smallest last member; and for each member, the one before.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::new();
    let value = |position: &usize| sequence.get(*position).copied().unwrap_or(usize::MAX);
    for (position, member) in sequence.iter().enumerate() {
        let length = ends.partition_point(|end| value(end) < *member);
        before.push(
            length
                .checked_sub(1)
                .and_then(|last| ends.get(last).copied()),
        );
        match ends.get_mut(length) {
            Some(end) => *end = position,
            None => ends.push(position),
        }
    }
    let mut kept = HashSet::new();
    let mut at = ends.last().copied();
    while let Some(position) = at {
        kept.insert(value(&position));
        at = before.get(position).copied().flatten();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::longest_ascending;

    #[test]
    fn what_kept_its_order() {
        for (sequence, expected) in [
            (&[][..], &[][..]),
            (&[0, 1, 2], &[0, 1, 2]),
            (&[2, 0, 1], &[0, 1]),
            (&[0, 3, 1, 2, 4], &[0, 1, 2, 4]),
        ] {
            let mut kept: Vec<usize> = longest_ascending(sequence).into_iter().collect();
            kept.sort_unstable();
            assert_eq!(kept, expected, "{sequence:?}");
        }
    }
}
