//! The claims of a token like the logged one: those that the record tells, and what it leaves open.
//!
//! A listed claim that a record lacks was absent. For `a.b` the record does not say whether `a` was an
//! object. Requirements do not tell these apart, but conditions do: `!has(claims.a.b)`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Known;
use super::facts::Facts;
use crate::diff::members::{insert, remove};
use crate::diff::request::TokenSpec;
use crate::token::json::{ClaimsDocument, Json, Number};

/// The maximum number of ways in which the claims of one token may be completed.
const MAX_WAYS: usize = 32;

/// Claims that the record leaves open, in one of the possible ways: a value, or nothing.
type Way = BTreeMap<String, State>;

/// What may be at a name of the outermost object, or inside it.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Absent,
    Value(Value),
    /// Members of an object that may have others.
    Members(Way),
}

/// Every way in which the claims that conditions see may be completed. There is at least one.
#[derive(Debug)]
pub(super) struct Ways(Vec<Way>);

impl Ways {
    /// The ways for these paths.
    ///
    /// # Errors
    ///
    /// Fails if the record does not hold one of them, or there are too many ways.
    pub(super) fn of<'p>(
        facts: &Facts<'_>,
        seen: impl Iterator<Item = &'p Vec<String>>,
    ) -> Known<Self> {
        let mut open = Open::default();
        for path in seen {
            let own = facts.claim(path)?;
            // A path with a number in it may lead through a list, but a condition tells a list from an
            // object.
            if own.iter().skip(1).any(|name| is_index(name)) {
                let shown = path.join(".");
                return Err(
                    format!("the claim `{shown}` may lie in a list or in an object").into(),
                );
            }
            if facts.value(own).is_none() {
                open.at(own).is_listed = true;
            }
        }
        for listed in &facts.listed.claims {
            if facts.value(listed).is_some() {
                open.mark_objects(listed)?;
            }
        }
        open.members().map(Self)
    }

    /// Whether the record says all about them.
    pub(super) fn is_only_one(&self) -> bool {
        self.0.len() <= 1
    }

    /// The token in each way.
    pub(super) fn tokens(&self, spec: &TokenSpec) -> impl Iterator<Item = TokenSpec> {
        self.0.iter().map(|way| {
            let mut spec = spec.clone();
            apply(&mut spec.usual, way);
            spec
        })
    }
}

fn is_index(name: &str) -> bool {
    name.parse::<usize>().is_ok()
}

/// Listed claims that the token does not have, as a tree of names.
#[derive(Debug, Default)]
struct Open {
    is_listed: bool,
    /// Whether another claim in the same object is present.
    is_object: bool,
    inside: BTreeMap<String, Open>,
}

impl Open {
    fn at(&mut self, path: &[String]) -> &mut Self {
        path.iter().fold(self, |node, name| {
            node.inside.entry(name.clone()).or_default()
        })
    }

    /// Notes that a claim is present.
    fn mark_objects(&mut self, path: &[String]) -> Known<()> {
        let mut node = self;
        for (depth, name) in path.iter().enumerate() {
            if depth > 0 {
                if is_index(name) {
                    let why = "a claim that is not logged may be a list or an object";
                    return Err(why.into());
                }
                node.is_object = true;
            }
            match node.inside.get_mut(name) {
                Some(inside) => node = inside,
                None => break,
            }
        }
        Ok(())
    }

    /// What may be at this name.
    fn states(&self) -> Known<Vec<State>> {
        if self.is_listed {
            return Ok(vec![State::Absent]);
        }
        let mut states = match self.is_object {
            true => Vec::new(),
            false => vec![
                State::Absent,
                State::Value(Value::Null),
                State::Value("".into()),
            ],
        };
        states.extend(self.members()?.into_iter().map(State::Members));
        Ok(states)
    }

    /// What may be at the names inside, each with each.
    fn members(&self) -> Known<Vec<Way>> {
        let mut ways = vec![Way::new()];
        for (name, inside) in &self.inside {
            let states = inside.states()?;
            if ways.len() * states.len() > MAX_WAYS {
                let why = "too many claims that conditions see are absent, and the log does not say \
                           what they would lie in";
                return Err(why.into());
            }
            let with = |way: &Way, state: &State| {
                let mut way = way.clone();
                way.insert(name.clone(), state.clone());
                way
            };
            let each = ways.iter();
            ways = each
                .flat_map(|way| states.iter().map(move |state| with(way, state)))
                .collect();
        }
        Ok(ways)
    }
}

fn apply(claims: &mut Map<String, Value>, way: &Way) {
    for (name, state) in way {
        match state {
            State::Absent => drop(claims.remove(name)),
            State::Value(value) => drop(claims.insert(name.clone(), value.clone())),
            State::Members(inside) => {
                let members = claims
                    .entry(name.as_str())
                    .or_insert_with(|| Map::new().into());
                if !members.is_object() {
                    *members = Map::new().into();
                }
                if let Some(members) = members.as_object_mut() {
                    apply(members, inside);
                }
            }
        }
    }
}

impl TokenSpec {
    /// Adds the listed claims that matter for these paths. Those that the record does not have are
    /// absent.
    pub(super) fn add_logged(&mut self, facts: &Facts<'_>, paths: &[Vec<String>]) -> Known<()> {
        let listed = facts.listed.claims.iter();
        let mut asked: Vec<&Vec<String>> = listed
            .filter(|own| {
                let mut paths = paths.iter();
                paths.any(|path| path.starts_with(own) || own.starts_with(path))
            })
            .collect();
        // A claim that lies in another listed one says nothing new.
        asked.sort_by_key(|own| own.len());
        let mut present: Vec<&Vec<String>> = Vec::new();
        for own in asked {
            if present.iter().any(|other| own.starts_with(other)) {
                continue;
            }
            self.forget_time(own);
            let Some(text) = facts.value(own) else {
                remove(&mut self.usual, own);
                continue;
            };
            if !insert(&mut self.usual, own, exact(&own.join("."), &text)?) {
                return Err("a token like the logged one cannot be made".into());
            }
            present.push(own);
        }
        Ok(())
    }

    /// The time of a listed claim is that of the record.
    fn forget_time(&mut self, path: &[String]) {
        if let [only] = path {
            match only.as_str() {
                "exp" => self.exp = None,
                "iat" => self.iat = None,
                "nbf" => self.nbf = None,
                "auth_time" => self.auth_time = None,
                _ => {}
            }
        }
    }
}

/// The claim's value, if nothing in it becomes another one when it is written again.
fn exact(name: &str, text: &str) -> Known<Value> {
    let inexact = || format!("the claim `{name}` has a number that is not exact here").into();
    let value: Value = serde_json::from_str(text).map_err(|_| inexact())?;
    let again = value.to_string();
    if again == text {
        return Ok(value);
    }
    let read = |text: &str| ClaimsDocument::object(format!("{{\"\":{text}}}").as_bytes());
    let (Ok(before), Ok(after)) = (read(text), read(&again)) else {
        return Err(inexact());
    };
    let (before, after) = (before.members().get(""), after.members().get(""));
    match before.zip(after) {
        Some((before, after)) if is_same(before, after) => Ok(value),
        _ => Err(inexact()),
    }
}

/// Whether no requirement and no condition tells the values apart. The order of members does not count.
fn is_same(one: Json<'_>, other: Json<'_>) -> bool {
    match (one, other) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(one), Json::Bool(other)) => one == other,
        (Json::Number(one), Json::Number(other)) => is_same_number(one, other),
        (Json::String(one), Json::String(other)) => one == other,
        (Json::Array(one), Json::Array(other)) => {
            one.iter().count() == other.iter().count()
                && one
                    .iter()
                    .zip(other.iter())
                    .all(|(one, other)| is_same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.iter().count() == other.iter().count()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|other| is_same(value, other)))
        }
        _ => false,
    }
}

/// Of a number that CEL's types cannot hold, conditions also see the spelling.
fn is_same_number(one: Number<'_>, other: Number<'_>) -> bool {
    let fits = one.as_u64().is_some() || one.as_distinct_f64().is_some();
    one.canonical() == other.canonical() && (fits || one.to_text() == other.to_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that mean the same after they are written again, and those that do not.
    #[test]
    fn exact_values() {
        for (text, expected) in [
            ("null", true),
            (r#""\u001b\"\n/é""#, true),
            (r#"{"z":1,"a":{"y":[true],"b":"x"}}"#, true),
            ("1.50", true),
            ("1e3", true),
            ("-0", true),
            ("9007199254740993", true),
            ("18446744073709551615", true),
            ("12345678901234567890123", false),
            ("0.1000000000000000000001", false),
            (r#"{"b":[1e400],"a":1}"#, false),
            ("1E+30", true),
            ("0.99999999999999999999", false),
        ] {
            assert_eq!(exact("a", text).is_ok(), expected, "{text}");
        }
    }
}
