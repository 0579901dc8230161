//! Turns the positions of knobs into a request and its token.

use serde_json::{Map, Value, json};

use super::{Carried, Knob, Part, ScopeClaims, Text, Trial};
use crate::diff::request::{Bearer, Shape};
use crate::policy::condition::facts::Step;

/// The request with each knob at one of its values. `positions` are as many as the knobs.
pub(in crate::diff) fn set(knobs: &[Knob], positions: &[usize], shape: &Shape, now: u64) -> Trial {
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
            Knob::Twice(path) => {
                if let (Bearer::Token(spec), 1) = (&mut trial.bearer, *position) {
                    repeat(&mut spec.claims, path);
                }
            }
            Knob::Text(part, values) => set_text(&mut trial.shape, part, values.get(*position)),
            Knob::Now(values) => trial.now = values.get(*position).copied().unwrap_or(now),
        }
    }
    trial
}

fn set_text(shape: &mut Shape, part: &Part, value: Option<&Text>) {
    match part {
        Part::Method => choose(&mut shape.method, value),
        Part::Host => choose(&mut shape.host, value),
        Part::Path => choose(&mut shape.path, value),
        Part::Query => {
            let (path, query) = match shape.path.split_once('?') {
                Some((path, query)) => (path.to_owned(), query.to_owned()),
                None => (shape.path.clone(), String::new()),
            };
            let mut query = query;
            choose(&mut query, value);
            shape.path = match query.is_empty() {
                true => path,
                false => format!("{path}?{}", encoded_query(&query)),
            };
        }
        Part::Header(name) => replace(&mut shape.headers, name, value),
        Part::Address => choose(&mut shape.address, value),
        Part::Principal => choose(&mut shape.principal, value),
        Part::Context(name) => replace(&mut shape.context, name, value),
    }
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

/// Appends the first element of the list at this path to the list.
fn repeat(claims: &mut Map<String, Value>, path: &[Step]) {
    let Some((Step::Member(name), rest)) = path.split_first() else {
        return;
    };
    match (claims.get_mut(name), rest) {
        (Some(Value::Array(elements)), []) => elements.extend(elements.first().cloned()),
        (Some(Value::Object(members)), rest) => repeat(members, rest),
        _ => {}
    }
}
