//! What the search varies once it knows which two rules judge a request: the token, and what their
//! conditions ask for.

use serde_json::{Map, Value, json};

use super::request::{Bearer, Shape, TokenSpec};
use super::shapes::{encoded, texts_of};
use crate::policy::condition::Condition;
use crate::policy::condition::facts::{Fact, Probe, Step};
use crate::policy::requirement::{Access, Requirement};
use crate::policy::rule::Rule;

/// The maximum number of values of one knob.
const MAX_VALUES: usize = 12;

/// A part of a request or token with the values to try.
#[derive(Clone, Debug)]
pub(super) enum Knob {
    /// No token, a text that is none, or a token of one of these providers.
    Bearer(Vec<Carried>),
    Scopes(Vec<Vec<String>>),
    Claim(Vec<Step>, Vec<Option<Value>>),
    /// The time since the login in seconds.
    AuthTime(Vec<Option<i64>>),
    Method(Vec<Text>),
    Host(Vec<Text>),
    Path(Vec<Text>),
    Query(Vec<Text>),
    Header(String, Vec<Text>),
    Address(Vec<Text>),
    Principal(Vec<Text>),
    Context(String, Vec<Text>),
    /// The time of the decision, in seconds since 1970.
    Now(Vec<u64>),
}

/// What becomes of a text of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// It stays as it is in the request that stands for the two rules.
    Keep,
    Remove,
    Set(String),
}

/// What a request carries.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Carried {
    Nothing,
    Garbage,
    /// A token like this one, with scopes and claims to come.
    Token(Box<TokenSpec>, ScopeClaims),
}

/// The claims that get the scopes: one, or two if the configurations read different ones.
pub(super) type ScopeClaims = Vec<Vec<String>>;

/// A request with its token, at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trial {
    pub(super) shape: Shape,
    pub(super) bearer: Bearer,
    pub(super) now: u64,
}

impl Trial {
    pub(super) fn weight(&self) -> usize {
        self.shape.weight() + self.bearer.weight()
    }
}

impl Knob {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bearer(values) => values.len(),
            Self::Scopes(values) => values.len(),
            Self::Claim(_, values) => values.len(),
            Self::AuthTime(values) => values.len(),
            Self::Header(_, values)
            | Self::Context(_, values)
            | Self::Method(values)
            | Self::Host(values)
            | Self::Path(values)
            | Self::Query(values)
            | Self::Address(values)
            | Self::Principal(values) => values.len(),
            Self::Now(values) => values.len(),
        }
    }

    /// Whether the knob changes the token alone.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self, Self::Scopes(_) | Self::Claim(..) | Self::AuthTime(_))
    }
}

/// The knobs for two rules, of which one may be missing. `carried` are the tokens to try.
pub(super) fn knobs(rules: [Option<&Rule>; 2], carried: Vec<Carried>, now: u64) -> Vec<Knob> {
    let mut knobs = vec![Knob::Bearer(carried)];
    let requirements: Vec<&Requirement> = rules
        .iter()
        .flatten()
        .filter_map(|rule| match &rule.access {
            Access::Optional(requirement) | Access::Required(requirement) => Some(requirement),
            Access::Deny | Access::Public => None,
        })
        .collect();
    let scopes = scopes(&requirements);
    if scopes.len() > 1 {
        knobs.push(Knob::Scopes(scopes));
    }
    for requirement in &requirements {
        for claim in &requirement.claims {
            let names = claim.path.names().iter();
            let path: Vec<Step> = names.map(|name| Step::Member(name.clone())).collect();
            let values = claim.any_of.iter();
            let values = values.map(|text| Some(Value::from(text.as_str())));
            let values = values.chain([Some("other-value".into()), None]);
            add_claim(&mut knobs, path, values);
        }
        let acr = requirement.acr.iter();
        let acr = acr.map(|text| Some(Value::from(text.as_str())));
        if !requirement.acr.is_empty() {
            let path = vec![Step::Member("acr".to_owned())];
            add_claim(
                &mut knobs,
                path,
                acr.chain([Some("other-acr".into()), None]),
            );
        }
    }
    let ages = requirements.iter().filter_map(|own| own.max_age);
    let ages: Vec<i64> = ages
        .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX / 4))
        .collect();
    if !ages.is_empty() {
        let around = ages.iter().flat_map(|age| {
            // More than the largest `clock_skew` away, so that it does not matter.
            let far = 3600;
            [
                Some(*age),
                Some(age.saturating_add(far)),
                Some((age - far).max(0)),
            ]
        });
        let mut values: Vec<Option<i64>> = vec![Some(0)];
        values.extend(around);
        values.push(None);
        values.dedup();
        knobs.push(Knob::AuthTime(values));
    }
    for rule in rules.into_iter().flatten() {
        let condition = rule.condition.iter();
        for comparison in condition.flat_map(Condition::comparisons) {
            add_fact(&mut knobs, comparison.fact, &comparison.probe, now);
        }
    }
    knobs
}

/// Sets of scopes: each rule's own, both together, each without one of them, and none.
fn scopes(requirements: &[&Requirement]) -> Vec<Vec<String>> {
    let mut sets: Vec<Vec<String>> = Vec::new();
    let mut add = |mut set: Vec<String>| {
        set.sort();
        set.dedup();
        if !sets.contains(&set) {
            sets.push(set);
        }
    };
    let own = |requirement: &Requirement| -> Vec<String> {
        requirement.wanted_scopes().map(str::to_owned).collect()
    };
    for requirement in requirements {
        add(own(requirement));
    }
    add(requirements.iter().flat_map(|all| own(all)).collect());
    for requirement in requirements {
        for any in requirement.any_scope.iter().take(MAX_VALUES) {
            let all = requirement.scopes.iter().chain([any]);
            add(all.cloned().collect());
        }
        let wanted = own(requirement);
        for left_out in wanted.iter().take(MAX_VALUES) {
            let others = wanted.iter().filter(|scope| *scope != left_out);
            add(others.cloned().collect());
        }
    }
    add(Vec::new());
    sets.truncate(3 * MAX_VALUES);
    sets
}

fn add_claim(
    knobs: &mut Vec<Knob>,
    path: Vec<Step>,
    values: impl IntoIterator<Item = Option<Value>>,
) {
    let found = knobs.iter_mut().find_map(|knob| match knob {
        Knob::Claim(own, values) if *own == path => Some(values),
        _ => None,
    });
    let values = values.into_iter().take(MAX_VALUES);
    match found {
        Some(own) => merge(own, values),
        None => {
            let mut own = Vec::new();
            merge(&mut own, values);
            knobs.push(Knob::Claim(path, own));
        }
    }
}

/// Adds values that are new. What stands for "another value" and "none" stays at the end.
fn merge<T: PartialEq>(own: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for value in more {
        if !own.contains(&value) && own.len() < 3 * MAX_VALUES {
            own.push(value);
        }
    }
}

/// Adds texts to a knob that matches `$pattern`, or to a new one.
macro_rules! add_texts {
    ($knobs:expr, $texts:expr, $pattern:pat if $guard:expr => $own:ident, $new:expr) => {{
        let texts: Vec<Text> = $texts;
        let found = $knobs.iter_mut().find_map(|knob| match knob {
            $pattern if $guard => Some($own),
            _ => None,
        });
        match found {
            Some(own) => merge(own, texts),
            None => $knobs.push($new(texts)),
        }
    }};
}

fn add_fact(knobs: &mut Vec<Knob>, fact: Fact, probe: &Probe, now: u64) {
    let mut texts = texts_of(probe);
    texts.truncate(MAX_VALUES);
    // What the rules matched comes first where it selects the rules, and later where it does not.
    let first = |texts: Vec<String>| -> Vec<Text> {
        let texts = texts.into_iter().map(Text::Set);
        [Text::Keep].into_iter().chain(texts).collect()
    };
    let last = |texts: Vec<String>| -> Vec<Text> {
        let texts = texts.into_iter().map(Text::Set);
        let others = [
            Text::Keep,
            Text::Set("other-value".to_owned()),
            Text::Remove,
        ];
        texts.chain(others).collect()
    };
    match fact {
        Fact::Claim(path) if path.is_empty() => {}
        Fact::Claim(path) => add_claim(knobs, path, values_of(probe)),
        Fact::Header(name) => add_texts!(
            knobs, last(texts),
            Knob::Header(name_of, own) if *name_of == name => own,
            |texts| Knob::Header(name, texts)
        ),
        Fact::Context(name) => add_texts!(
            knobs, last(texts),
            Knob::Context(name_of, own) if *name_of == name => own,
            |texts| Knob::Context(name, texts)
        ),
        Fact::Method => {
            add_texts!(knobs, first(texts), Knob::Method(own) if true => own, Knob::Method);
        }
        Fact::Host => {
            add_texts!(knobs, first(texts), Knob::Host(own) if true => own, Knob::Host);
        }
        Fact::Path => {
            texts.retain(|text| text.starts_with('/'));
            let paths = texts.iter().map(|path| encoded(path)).collect();
            add_texts!(knobs, first(paths), Knob::Path(own) if true => own, Knob::Path);
        }
        Fact::Query => {
            add_texts!(knobs, last(texts), Knob::Query(own) if true => own, Knob::Query);
        }
        Fact::Address => {
            texts.push("203.0.113.9".to_owned());
            add_texts!(knobs, last(texts), Knob::Address(own) if true => own, Knob::Address);
        }
        Fact::Principal => {
            add_texts!(knobs, last(texts), Knob::Principal(own) if true => own, Knob::Principal);
        }
        Fact::Now => add_times(knobs, probe, now),
        Fact::AllHeaders | Fact::AllContext | Fact::Certificate => {}
    }
}

/// Times around the one that a condition names, and each hour and day of a week: a condition may ask
/// for the hour or the day.
fn add_times(knobs: &mut Vec<Knob>, probe: &Probe, now: u64) {
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
    let found = knobs.iter_mut().find_map(|knob| match knob {
        Knob::Now(own) => Some(own),
        _ => None,
    });
    match found {
        Some(own) => merge(own, times),
        None => {
            let mut own = times;
            merge(&mut own, [now]);
            knobs.push(Knob::Now(own));
        }
    }
}

/// Values of a claim for which a comparison with `probe` may hold, and some for which it does not.
fn values_of(probe: &Probe) -> Vec<Option<Value>> {
    let mut values: Vec<Option<Value>> = match probe {
        Probe::Value(Value::Number(number)) => {
            let whole = number.as_i64();
            let around = whole.map(|whole| [json!(whole + 1), json!(whole - 1)]);
            let around = around.into_iter().flatten().map(Some);
            let own = Some(Value::Number(number.clone()));
            [own].into_iter().chain(around).collect()
        }
        Probe::Value(Value::Bool(truth)) => vec![Some(json!(truth)), Some(json!(!truth))],
        Probe::Value(Value::Null) => vec![None],
        Probe::Value(value) => vec![Some(value.clone())],
        Probe::Containing(value) => {
            let list = Some(json!([value]));
            let texts = texts_of(probe).into_iter().map(|text| Some(text.into()));
            [list].into_iter().chain(texts).collect()
        }
        Probe::Length(length) => {
            let length = usize::try_from(*length).unwrap_or(0).min(100);
            let list = |length: usize| Some(json!(vec!["x"; length]));
            let lists = [
                list(length),
                list(length + 1),
                list(length.saturating_sub(1)),
            ];
            let texts = texts_of(probe).into_iter().map(|text| Some(text.into()));
            lists.into_iter().chain(texts).collect()
        }
        Probe::Presence => vec![Some(json!(true)), Some(json!(false))],
        Probe::Beginning(_) | Probe::Ending(_) | Probe::Matching(_) | Probe::Within(_) => {
            let texts = texts_of(probe).into_iter();
            texts.map(|text| Some(text.into())).collect()
        }
    };
    values.truncate(MAX_VALUES);
    if !matches!(
        probe,
        Probe::Presence | Probe::Value(Value::Number(_) | Value::Bool(_))
    ) {
        values.push(Some("other-value".into()));
    }
    values.push(None);
    values
}

/// The request with each knob at one of its values. `positions` are as many as the knobs.
pub(super) fn set(knobs: &[Knob], positions: &[usize], shape: &Shape, now: u64) -> Trial {
    let mut trial = Trial {
        shape: shape.clone(),
        bearer: Bearer::None,
        now,
    };
    let mut scope_claims = ScopeClaims::new();
    for (knob, position) in knobs.iter().zip(positions) {
        match knob {
            Knob::Bearer(values) => match values.get(*position) {
                None | Some(Carried::Nothing) => {}
                Some(Carried::Garbage) => trial.bearer = Bearer::Garbage,
                Some(Carried::Token(spec, claims)) => {
                    trial.bearer = Bearer::Token(spec.clone());
                    scope_claims.clone_from(claims);
                }
            },
            Knob::Scopes(values) => {
                let scopes = values.get(*position).map(|scopes| scopes.join(" "));
                let scopes = scopes.filter(|scopes| !scopes.is_empty());
                if let (Bearer::Token(spec), Some(scopes)) = (&mut trial.bearer, scopes) {
                    for path in &scope_claims {
                        let names = path.iter();
                        let path: Vec<Step> =
                            names.map(|name| Step::Member(name.clone())).collect();
                        put(&mut spec.claims, &path, &scopes.as_str().into());
                    }
                }
            }
            Knob::Claim(path, values) => {
                let value = values.get(*position).cloned().flatten();
                if let (Bearer::Token(spec), Some(value)) = (&mut trial.bearer, value) {
                    put(&mut spec.claims, path, &value);
                }
            }
            Knob::AuthTime(values) => {
                if let Bearer::Token(spec) = &mut trial.bearer {
                    let age = values.get(*position).copied().flatten();
                    spec.auth_time = age.map(|age| -age);
                    spec.noteworthy.push("auth_time".to_owned());
                }
            }
            Knob::Method(values) => choose(&mut trial.shape.method, values.get(*position)),
            Knob::Host(values) => choose(&mut trial.shape.host, values.get(*position)),
            Knob::Path(values) => choose(&mut trial.shape.path, values.get(*position)),
            Knob::Query(values) => {
                let (path, query) = match trial.shape.path.split_once('?') {
                    Some((path, query)) => (path.to_owned(), query.to_owned()),
                    None => (trial.shape.path.clone(), String::new()),
                };
                let mut query = query;
                choose(&mut query, values.get(*position));
                trial.shape.path = match query.is_empty() {
                    true => path,
                    false => format!("{path}?{}", encoded_query(&query)),
                };
            }
            Knob::Header(name, values) => {
                replace(&mut trial.shape.headers, name, values.get(*position));
            }
            Knob::Context(name, values) => {
                replace(&mut trial.shape.context, name, values.get(*position));
            }
            Knob::Address(values) => choose(&mut trial.shape.address, values.get(*position)),
            Knob::Principal(values) => choose(&mut trial.shape.principal, values.get(*position)),
            Knob::Now(values) => trial.now = values.get(*position).copied().unwrap_or(now),
        }
    }
    trial
}

fn choose(text: &mut String, value: Option<&Text>) {
    match value {
        Some(Text::Set(value)) => text.clone_from(value),
        Some(Text::Remove) => text.clear(),
        Some(Text::Keep) | None => {}
    }
}

fn encoded_query(query: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '<' | '>');
    query.chars().filter(|c| plain(*c)).collect()
}

fn replace(lines: &mut Vec<(String, String)>, name: &str, value: Option<&Text>) {
    match value {
        Some(Text::Set(value)) => {
            lines.retain(|(own, _)| own != name);
            lines.push((name.to_owned(), value.clone()));
        }
        Some(Text::Remove) => lines.retain(|(own, _)| own != name),
        Some(Text::Keep) | None => {}
    }
}

/// Sets the claim at a path. An element on the way is the only one of its list.
fn put(claims: &mut Map<String, Value>, path: &[Step], value: &Value) {
    let Some((Step::Member(name), rest)) = path.split_first() else {
        return;
    };
    let own = claims.remove(name);
    claims.insert(name.clone(), with(own, rest, value));
}

fn with(own: Option<Value>, path: &[Step], value: &Value) -> Value {
    match path.split_first() {
        None => value.clone(),
        Some((Step::Member(name), rest)) => {
            let mut members = match own {
                Some(Value::Object(members)) => members,
                _ => Map::new(),
            };
            let own = members.remove(name);
            members.insert(name.clone(), with(own, rest, value));
            members.into()
        }
        Some((Step::Element, rest)) => {
            let first = match own {
                Some(Value::Array(elements)) => elements.into_iter().next(),
                _ => None,
            };
            json!([with(first, rest, value)])
        }
    }
}
