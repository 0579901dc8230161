//! Knobs for what conditions compare.

use serde_json::{Value, json};

use super::values::{of_claim, texts_of};
use super::{Builder, MAX_VALUES, Part, merge};
use crate::diff::groups::differing_first;
use crate::diff::literals::{Literals, literals};
use crate::diff::shapes::encoded;
use crate::policy::condition::Condition;
use crate::policy::condition::facts::{Comparison, Fact, Probe, Step};
use crate::policy::rule::Rule;

/// The maximum number of values of a list from which pairs are made.
const MAX_PAIRED: usize = 6;

impl Builder {
    pub(super) fn conditions(&mut self, rules: [Option<&Rule>; 2], now: u64) {
        let conditions = rules.map(|rule| rule.and_then(|rule| rule.condition.as_ref()));
        let [old, new] = conditions.map(|own| own.map_or_else(Vec::new, Condition::comparisons));
        let all = differing_first(&old, &new);
        // That a fact is there says least about its value.
        let (others, all): (Vec<Comparison>, Vec<Comparison>) = all
            .into_iter()
            .partition(|comparison| comparison.probe == Probe::Presence);
        for Comparison { fact, probe } in all.iter().chain(&others) {
            self.add_fact(fact, probe, now);
        }
        self.pairs(&all);
        for condition in conditions.into_iter().flatten() {
            let found = literals(condition.text());
            if found.calculates.is_some() {
                self.near_constants(&condition.comparisons(), &found, now);
            }
        }
    }

    fn add_fact(&mut self, fact: &Fact, probe: &Probe, now: u64) {
        let mut texts = texts_of(probe);
        let part = match fact {
            Fact::Claim(path) => {
                let (path, is_element) = own_list(path);
                if path.is_empty() {
                    return;
                }
                let of = of_claim(probe);
                self.is_complete &= of.is_complete;
                let in_list = |value: Option<Value>| value.map(|value| json!([value]));
                let values = match is_element {
                    // A text counts too, because an expression may split it.
                    true => {
                        let lists = of.values.iter().cloned().map(in_list);
                        lists.chain(of.values.iter().cloned()).collect()
                    }
                    false => of.values,
                };
                return self.add_claim(path.to_vec(), values, of.others);
            }
            Fact::Now => return self.add_times(probe, now),
            Fact::AllHeaders | Fact::AllContext | Fact::Certificate => return,
            Fact::Header(name) => Part::Header(name.clone()),
            Fact::Context(name) => Part::Context(name.clone()),
            Fact::Method => Part::Method,
            Fact::Host => Part::Host,
            Fact::Path => {
                texts.values.retain(|text| text.starts_with('/'));
                let encoded = texts.values.iter().map(|path| encoded(path));
                texts.values = encoded.collect();
                Part::Path
            }
            Fact::Query => Part::Query,
            Fact::Address => {
                texts.values.push("203.0.113.9".to_owned());
                Part::Address
            }
            Fact::Principal => Part::Principal,
        };
        self.is_complete &= texts.is_complete;
        self.add_texts(part, texts.values);
    }

    /// Lists and texts with two of the values that a list may contain, with all, and with all but one: a
    /// condition may ask for several, or for only one of them.
    fn pairs(&mut self, comparisons: &[Comparison]) {
        for List { path, rest, values } in lists(comparisons) {
            let mut made = Vec::new();
            for (at, one) in values.iter().enumerate() {
                for other in values.iter().skip(at) {
                    made.push(vec![one, other]);
                }
            }
            made.push(values.iter().collect());
            for left_out in &values {
                made.push(values.iter().filter(|value| *value != left_out).collect());
            }
            let element = |value: &Value| {
                let members = rest.iter().rev();
                members.fold(value.clone(), |inner, name| json!({*name: inner}))
            };
            let as_list = |own: &Vec<&Value>| -> Option<Value> {
                Some(own.iter().map(|value| element(value)).collect())
            };
            let as_text = |own: &Vec<&Value>| -> Option<Value> {
                let words: Option<Vec<&str>> = own.iter().map(|value| value.as_str()).collect();
                Some(words?.join(" ").into())
            };
            let mut found: Vec<Option<Value>> = made.iter().map(as_list).collect();
            if rest.is_empty() {
                let with_other = |one: &Value| Some(json!([one, "other-value"]));
                found.extend(values.iter().map(with_other));
                found.push(Some(json!([])));
                found.extend(made.iter().filter_map(as_text).map(Some));
                self.add_claim(path.to_vec(), found, Vec::new());
            } else {
                self.add_claim(path.to_vec(), Vec::new(), found);
            }
        }
    }

    /// Times around the one that a condition names, and each hour and day of a week: a condition may
    /// ask for the hour or the day.
    fn add_times(&mut self, probe: &Probe, now: u64) {
        /// Below this, a number is no time but an hour, a day or a year.
        const LEAST_TIME: u64 = 100_000;
        let times: Vec<u64> = match probe {
            Probe::Value(value) => match value.as_u64() {
                Some(time) if time >= LEAST_TIME => {
                    vec![time, time.saturating_sub(1), time.saturating_add(1)]
                }
                _ => {
                    let hours = (0..24).map(|hour| now.saturating_add(hour * 3600));
                    let days = (1..7).map(|day| now.saturating_add(day * 86_400));
                    hours.chain(days).collect()
                }
            },
            _ => vec![now],
        };
        self.is_complete &= merge(&mut self.times, times, MAX_VALUES);
    }

    /// Values near the constants of a condition that calculates: the constant may limit a part of a
    /// text, a remainder, or the time since the one in a claim.
    fn near_constants(&mut self, comparisons: &[Comparison], found: &Literals, now: u64) {
        let reads_now = comparisons.iter().any(|own| own.fact == Fact::Now);
        let mut values: Vec<Option<Value>> = Vec::new();
        for number in found.numbers.iter().take(MAX_PAIRED) {
            #[expect(clippy::cast_possible_truncation, reason = "a cast saturates")]
            let whole = *number as i64;
            let near = [whole, whole.saturating_add(1), whole.saturating_sub(1)];
            if reads_now {
                let now = i64::try_from(now).unwrap_or(i64::MAX);
                let ago = near.map(|near| now.saturating_sub(near));
                let ahead = near.map(|near| now.saturating_add(near));
                values.extend(ago.into_iter().chain(ahead).map(|time| Some(time.into())));
            }
            values.extend(near.map(|near| Some(near.into())));
        }
        let texts: Vec<&String> = found.texts.iter().take(MAX_PAIRED).collect();
        let mut made: Vec<String> = texts.iter().map(|text| (*text).clone()).collect();
        for separator in &found.separators {
            for (at, text) in texts.iter().enumerate() {
                made.push(format!("x{separator}{text}"));
                made.push(format!("{text}{separator}x"));
                let others = texts.iter().skip(at + 1);
                made.extend(others.map(|other| format!("{text}{separator}{other}")));
            }
        }
        values.extend(made.iter().map(|text| Some(text.as_str().into())));
        for Comparison { fact, .. } in comparisons {
            match fact {
                Fact::Claim(path) => {
                    let (path, _) = own_list(path);
                    if !path.is_empty() {
                        self.add_claim(path.to_vec(), values.clone(), vec![None]);
                    }
                }
                Fact::Header(name) => {
                    self.add_texts(Part::Header(name.clone()), made.clone());
                }
                Fact::Query => self.add_texts(Part::Query, made.clone()),
                _ => {}
            }
        }
    }
}

/// The path without its last step, if that is an element of the list there.
fn own_list(path: &[Step]) -> (&[Step], bool) {
    match path.split_last() {
        Some((Step::Element, list)) => (list, true),
        _ => (path, false),
    }
}

/// Values that elements of a list are compared with.
struct List<'c> {
    path: &'c [Step],
    /// The members on the way from an element to the value.
    rest: Vec<&'c str>,
    values: Vec<Value>,
}

fn lists(comparisons: &[Comparison]) -> Vec<List<'_>> {
    let mut lists: Vec<List<'_>> = Vec::new();
    for Comparison { fact, probe } in comparisons {
        let Fact::Claim(path) = fact else { continue };
        let element = path.iter().position(|step| *step == Step::Element);
        let found = match (probe, element) {
            (Probe::Value(value), Some(at)) => {
                let members = path.iter().skip(at + 1).map(|step| match step {
                    Step::Member(name) => Some(name.as_str()),
                    Step::Element => None,
                });
                let list = path.get(..at).unwrap_or_default();
                members
                    .collect::<Option<Vec<_>>>()
                    .map(|rest| (list, rest, value))
            }
            (Probe::Containing(value), None) => Some((path.as_slice(), Vec::new(), value)),
            _ => None,
        };
        let Some((path, rest, value)) = found else {
            continue;
        };
        let mut known = lists.iter_mut();
        match known.find(|list| list.path == path && list.rest == rest) {
            Some(list) => drop(merge(&mut list.values, [value.clone()], MAX_PAIRED)),
            None => lists.push(List {
                path,
                rest,
                values: vec![value.clone()],
            }),
        }
    }
    lists.retain(|list| !list.path.is_empty());
    lists
}
