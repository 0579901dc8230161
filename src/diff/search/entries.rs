//! Puts what the search has found under the rule, provider or setting that it is about.

use std::collections::BTreeMap;

use super::unproven::Shown;
use super::{Cause, Found, Search};
use crate::decision::Reason;
use crate::diff::judge::with_request;
use crate::diff::report::{Differences, Effect, Entry, Example, Subject, Told};
use crate::diff::{Error, words};
use crate::time::UnixTime;

impl Search<'_> {
    pub(super) fn differences(mut self, is_equal: bool) -> Result<Differences, Error> {
        let found = std::mem::take(&mut self.found);
        let shown = Shown::of(found.iter());
        let mut examples: BTreeMap<Subject, Vec<Example>> = BTreeMap::new();
        for ((cause, effect), found) in found {
            let example = self.example(effect, found)?;
            let subject = self.subject(cause);
            examples.entry(subject).or_default().push(example);
        }
        let mut entries = Vec::new();
        for (index, pair) in self.structure.providers.iter().enumerate() {
            let subject = Subject::Provider(index);
            let change = match (pair.old, pair.new) {
                (None, _) => Some("added"),
                (_, None) => Some("removed"),
                _ => None,
            };
            entries.push(Entry {
                name: format!("provider `{}`", pair.name),
                change,
                words: pair.words.clone(),
                examples: examples.remove(&subject).unwrap_or_default(),
                unproven: self.unproven_provider(index, pair),
                subject,
            });
        }
        entries.extend(self.rule_entries(&mut examples, &shown));
        entries.extend(self.setting_entries(&mut examples, &shown));
        if is_equal {
            for entry in &mut entries {
                entry.unproven.clear();
            }
        }
        entries.retain(|entry| {
            entry.change.is_some() || !entry.words.is_empty() || !entry.examples.is_empty()
        });
        for entry in &mut entries {
            entry.examples.sort_by_key(|example| example.effect);
        }
        Ok(Differences {
            is_equal,
            is_complete: self.is_complete,
            requests: self.requests,
            entries,
            now: self.now,
        })
    }

    fn rule_entries(
        &self,
        examples: &mut BTreeMap<Subject, Vec<Example>>,
        shown: &Shown,
    ) -> Vec<Entry> {
        let [old, new] = &self.structure.rules;
        let mut entries = Vec::new();
        for (index, rule) in new.iter().enumerate() {
            let before = rule.other.and_then(|other| old.get(other));
            let mut words = Vec::new();
            match before {
                None => {
                    words.push(format!("at position {}", index + 1));
                    words.extend(words::summary(&rule.matcher));
                    words.extend(words::summary(&rule.requirement));
                }
                Some(before) => {
                    if before.name != rule.name {
                        words.push(format!("renamed from `{}`", before.name));
                    }
                    if rule.is_moved {
                        let earlier = rule.other.map_or(0, |other| other + 1);
                        let next = new.get(index + 1).map(|next| next.name.as_str());
                        let next = next.map_or(String::new(), |next| format!(", before `{next}`"));
                        words.push(format!(
                            "moved from position {earlier} to {}{next}",
                            index + 1
                        ));
                    }
                    words.extend(words::changes(&before.matcher, &rule.matcher));
                    words.extend(words::changes(&before.requirement, &rule.requirement));
                    words.extend(words::changes(&before.notes, &rule.notes));
                }
            }
            let subject = Subject::Rule(index);
            entries.push(Entry {
                name: format!("rule `{}`", rule.name),
                change: before.is_none().then_some("added"),
                words,
                examples: examples.remove(&subject).unwrap_or_default(),
                unproven: self.unproven_rule(rule.other, Some(index), shown),
                subject,
            });
        }
        for (index, rule) in old.iter().enumerate() {
            if rule.other.is_none() {
                let subject = Subject::RemovedRule(index);
                let mut words = vec![format!("was at position {}", index + 1)];
                words.extend(words::summary(&rule.matcher));
                words.extend(words::summary(&rule.requirement));
                entries.push(Entry {
                    name: format!("rule `{}`", rule.name),
                    change: Some("removed"),
                    words,
                    examples: examples.remove(&subject).unwrap_or_default(),
                    unproven: self.unproven_rule(Some(index), None, shown),
                    subject,
                });
            }
        }
        entries
    }

    fn setting_entries(
        &self,
        examples: &mut BTreeMap<Subject, Vec<Example>>,
        shown: &Shown,
    ) -> Vec<Entry> {
        let [old, new] = self.sides;
        let mut changed = words::other_settings(&old.settings, &new.settings);
        let left: Vec<Subject> = examples.keys().cloned().collect();
        for subject in left {
            let Subject::Setting(name) = &subject else {
                continue;
            };
            if !changed.iter().any(|(own, _)| own == name) {
                changed.push((name.clone(), Vec::new()));
            }
        }
        let mut entries = Vec::new();
        for (name, words) in changed {
            let subject = Subject::Setting(name.clone());
            entries.push(Entry {
                name: format!("setting `{name}`"),
                change: None,
                words,
                examples: examples.remove(&subject).unwrap_or_default(),
                unproven: self.unproven_setting(&name, shown),
                subject,
            });
        }
        for (subject, examples) in std::mem::take(examples) {
            let Subject::Form(part) = &subject else {
                continue;
            };
            entries.push(Entry {
                name: format!("requests with an ambiguous {part}"),
                change: None,
                words: vec![format!(
                    "a {part} with two readings is refused only if some rule looks at it, which \
                     changed"
                )],
                examples,
                unproven: Vec::new(),
                subject,
            });
        }
        entries
    }

    /// The rule, provider or setting under which a difference is reported.
    fn subject(&self, cause: Cause) -> Subject {
        let (old, new) = match cause {
            Cause::Provider(index, _) => return Subject::Provider(index),
            Cause::Setting(name) => return Subject::Setting(name.to_owned()),
            Cause::Form(part) => return Subject::Form(part.to_owned()),
            Cause::Rules(old, new) => (old, new),
        };
        let [before, after] = &self.structure.rules;
        let own_old = old.and_then(|old| Some((old, before.get(old)?)));
        let own_new = new.and_then(|new| Some((new, after.get(new)?)));
        let of_old = |(index, other): (usize, Option<usize>)| match other {
            Some(new) => Subject::Rule(new),
            None => Subject::RemovedRule(index),
        };
        match (own_old, own_new) {
            (Some((old, rule)), Some((new, other))) => {
                if rule.other == Some(new) || other.other.is_none() {
                    return Subject::Rule(new);
                }
                if rule.other.is_none() {
                    return Subject::RemovedRule(old);
                }
                let is_changed = |side, index| self.structure.is_changed(side, index);
                match !is_changed(1, new) && is_changed(0, old) {
                    true => of_old((old, rule.other)),
                    false => Subject::Rule(new),
                }
            }
            (None, Some((new, _))) => Subject::Rule(new),
            (Some((old, rule)), None) => of_old((old, rule.other)),
            (None, None) => Subject::Setting("rules".to_owned()),
        }
    }

    fn example(&mut self, effect: Effect, found: Found) -> Result<Example, Error> {
        let Found {
            trial,
            verdicts,
            rules,
        } = found;
        let token = self.token(&trial)?;
        let now = UnixTime::from_secs(trial.now);
        let token = token.as_ref();
        let token = token.map(|(token, place)| (token.as_str(), place));
        let [before, after] = &verdicts;
        let told = with_request(&trial.shape, token, |request| {
            let mut told = Vec::new();
            let mut changes = Vec::new();
            for (side, (judge, verdict)) in self.judges.iter().zip([before, after]).enumerate() {
                let decision = judge.decide(request, now);
                let rules = self.structure.rules.get(side);
                let rule = verdict.rule.and_then(|id| rules?.get(id.0));
                told.push(Told {
                    outcome: verdict.outcome,
                    reason: verdict.reason.map(Reason::code),
                    status: judge.status(&decision, request),
                    rule: rule.map(|rule| rule.name.clone()),
                });
                changes.push(judge.changes(&decision, request));
            }
            (told, changes)
        });
        let (told, changes) = told;
        let mut told = told.into_iter();
        let mut changes = changes.into_iter();
        let (old, new) = (
            changes.next().unwrap_or_default(),
            changes.next().unwrap_or_default(),
        );
        let only = |these: &[String], others: &[String]| -> Vec<String> {
            let only = these.iter().filter(|text| !others.contains(text));
            only.cloned().collect()
        };
        let identity = match effect {
            Effect::Identity => (only(&old, &new), only(&new, &old)),
            Effect::Widened | Effect::Narrowed | Effect::Answer => (Vec::new(), Vec::new()),
        };
        Ok(Example {
            effect,
            shape: trial.shape,
            bearer: trial.bearer,
            at: (trial.now != self.now.as_secs()).then_some(now),
            before: told.next().unwrap_or_default(),
            after: told.next().unwrap_or_default(),
            identity,
            rules: rules.into_iter().collect(),
        })
    }
}
