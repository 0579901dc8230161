//! Makes a model valid: what claimgate does not accept is replaced by something stricter, with a note.

use std::collections::BTreeSet;

use super::envoy::provider::nobody;
use super::model::{Access, Keys, Kind, Match, Model, Note, Place, Rule, TokenPlace};
use super::write;
use crate::config::{Config, ConfigError, Problem, Severity};

/// The maximum number of rounds. Each one makes the model smaller or stricter.
const MAX_ROUNDS: usize = 64;

/// Repairs the model until its configuration is valid, and returns that.
///
/// # Errors
///
/// Fails if a problem cannot be repaired.
pub(super) fn repair(model: &mut Model) -> Result<Config, String> {
    for _ in 0..MAX_ROUNDS {
        let problems = match Config::from_yaml(&write::configuration(model)) {
            Ok(config) => return Ok(config),
            Err(ConfigError::Wrong { problems, .. }) => problems,
            Err(error @ ConfigError::Unreadable { .. }) => return Err(error.to_string()),
        };
        let errors: Vec<Problem> = problems
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error)
            .collect();
        repair_once(model, &errors)?;
    }
    Err("the result is not a valid configuration".to_owned())
}

/// Repairs each part with a problem. A part is changed once a round, because the places of the others are
/// those before the change.
fn repair_once(model: &mut Model, errors: &[Problem]) -> Result<(), String> {
    let (mut seen, mut unreached) = (BTreeSet::new(), Vec::new());
    let (mut no_places, mut no_headers, mut no_payload) = (Vec::new(), Vec::new(), None);
    for Problem {
        location, message, ..
    } in errors
    {
        let parts = parts_of(&location.path);
        let part = |at: usize| parts.get(at).map_or("", String::as_str);
        let index = part(1).parse().unwrap_or(usize::MAX);
        match (part(0), part(2)) {
            ("rules", _) if message.starts_with("never reached: ") => unreached.push(index),
            ("rules", field) if seen.insert((0, index)) => {
                let rule = model.rules.get_mut(index);
                let rule = rule.ok_or_else(|| unrepaired(&location.path, message))?;
                deny(rule, field, part(3), message);
            }
            ("providers", "token_from") if seen.insert((1, index)) => {
                no_places.push((
                    index,
                    part(3).parse().unwrap_or(usize::MAX),
                    message.clone(),
                ));
            }
            // Two providers cannot share a place.
            ("providers", "") if message.starts_with("tokens are taken from ") => {
                if seen.insert((1, index)) {
                    let place = place_named(model, index, message);
                    no_places.push((index, place.unwrap_or(usize::MAX), message.clone()));
                }
            }
            ("providers", "audiences") if seen.insert((1, index)) => {
                let audience = part(3).parse().unwrap_or(usize::MAX);
                remove_audience(model, index, audience, message)
                    .ok_or_else(|| unrepaired_provider(model, index, &location.path, message))?;
            }
            ("providers", field) if seen.insert((1, index)) => {
                let is_repaired = repair_provider(model, index, field, message);
                is_repaired
                    .then_some(())
                    .ok_or_else(|| unrepaired_provider(model, index, &location.path, message))?;
            }
            ("upstream", "") if part(1) == "payload_header" => {
                no_payload = Some(message.clone());
            }
            ("upstream", _) if part(1) == "claim_headers" => {
                let index = part(2).parse().unwrap_or(usize::MAX);
                if seen.insert((2, index)) {
                    no_headers.push((index, message.clone()));
                }
            }
            ("rules" | "providers", _) => {}
            _ => return Err(unrepaired(&location.path, message)),
        }
    }
    // The first rules are removed before others are put in front of them.
    for (provider, place, message) in no_places {
        remove_place(model, provider, place, &message)
            .ok_or_else(|| unrepaired("token_from", &message))?;
    }
    unreached.sort_unstable();
    for index in unreached
        .into_iter()
        .rev()
        .filter(|index| *index < usize::MAX)
    {
        if index < model.rules.len() {
            let rule = model.rules.remove(index);
            let text = format!(
                "the rule `{}` is not written, because earlier rules match all of its requests",
                rule.name
            );
            model.notes.push(note(Kind::Differs, &rule.notes, text));
        }
    }
    no_headers.sort();
    for (index, message) in no_headers.into_iter().rev() {
        if index >= model.upstream.claim_headers.len() {
            return Err(unrepaired("claim_headers", &message));
        }
        let header = model.upstream.claim_headers.remove(index);
        close_header(model, header.header, header.place, &message);
    }
    if let (Some(message), Some(header)) = (no_payload, model.upstream.payload_header.take()) {
        let place = model.providers.first().map(|it| it.place.clone());
        close_header(model, header, place.unwrap_or_default(), &message);
    }
    Ok(())
}

/// `rules[3].match.path` as `rules`, `3`, `match`, `path`.
fn parts_of(path: &str) -> Vec<String> {
    path.split(['.', '['])
        .map(|part| part.trim_end_matches(']').to_owned())
        .collect()
}

fn unrepaired(path: &str, message: &str) -> String {
    format!("the result is not a valid configuration: {path}: {message}")
}

fn unrepaired_provider(model: &Model, index: usize, path: &str, message: &str) -> String {
    let text = unrepaired(path, message);
    let place = model.providers.get(index).map(|provider| &provider.place);
    match place.filter(|place| !place.file.is_empty()) {
        Some(place) => format!("{}:{}: {text}", place.file, place.line),
        None => text,
    }
}

/// A note about a part of the source.
fn note_at(kind: Kind, place: &Place, others: &[Note], text: String) -> Note {
    match place.file.is_empty() {
        true => note(kind, others, text),
        false => Note {
            kind,
            place: place.clone(),
            text,
        },
    }
}

/// A note at the place of the first of the part's notes, if it has any.
fn note(kind: Kind, others: &[Note], text: String) -> Note {
    let place = others.first().map(|note| note.place.clone());
    let place = Place {
        path: String::new(),
        ..place.unwrap_or_default()
    };
    Note { kind, place, text }
}

/// Makes a rule deny all requests that it may match, without the part of its match that is wrong.
fn deny(rule: &mut Rule, field: &str, part: &str, message: &str) {
    let all = Match::default();
    match (field, part) {
        ("match", "hosts" | "hosts_are_bound") => {
            rule.matches.hosts = all.hosts;
            rule.matches.hosts_are_bound = false;
        }
        ("match", "methods") => rule.matches.methods = all.methods,
        ("match", "path") => rule.matches.paths = all.paths,
        ("match", "headers") => rule.matches.headers = all.headers,
        ("match", _) => rule.matches = all,
        _ => {}
    }
    let text = format!("the rule denies instead, because claimgate does not accept it: {message}");
    let note = note_at(Kind::LeftOut, &rule.place, &rule.notes, text);
    rule.notes.push(note);
    rule.access = Access::Deny;
    rule.is_observed = false;
}

/// Returns false if the field cannot be replaced by something stricter.
fn repair_provider(model: &mut Model, index: usize, field: &str, message: &str) -> bool {
    let Some(provider) = model.providers.get_mut(index) else {
        return false;
    };
    let mut text = format!("claimgate does not accept `{field}`: {message}");
    match field {
        "jwks" => {
            let file = format!("{}.jwks.json", provider.name);
            text = format!("{text}; put the keys into the file `{file}`");
            provider.keys = Keys::File(file);
        }
        "max_lifetime" => provider.max_lifetime = Some(366 * 24 * 3600),
        "clock_skew" => provider.clock_skew = Some(300),
        "fetch" => provider.timeout = None,
        "refresh" => provider.refresh = None,
        "issuer" | "required_claims" if !provider.issuer.ends_with(".invalid") => {
            provider.issuer = nobody(&provider.name);
            provider.required_claims = Vec::new();
            text = format!("{text}; no token is accepted until you write `issuer`");
        }
        _ => return false,
    }
    let note = note_at(Kind::LeftOut, &provider.place, &provider.notes, text);
    provider.notes.push(note);
    true
}

/// Which place of tokens the message is about.
fn place_named(model: &Model, index: usize, message: &str) -> Option<usize> {
    let provider = model.providers.get(index)?;
    let (_, about) = message.split_once("so the `")?;
    let (name, _) = about.split_once('`')?;
    let (name, scheme) = match name.split_once(": ") {
        Some((name, scheme)) => (name, Some(scheme)),
        None => (name, None),
    };
    provider.token_from.iter().position(|place| match place {
        TokenPlace::Header {
            name: own,
            scheme: with,
        } => own.eq_ignore_ascii_case(name) && with.as_deref() == scheme,
        TokenPlace::Cookie(_) | TokenPlace::Query(_) => false,
    })
}

/// Without any audience, every one would be accepted, so then no token is.
fn remove_audience(model: &mut Model, index: usize, at: usize, message: &str) -> Option<()> {
    let provider = model.providers.get_mut(index)?;
    if at >= provider.audiences.len() {
        return None;
    }
    provider.audiences.remove(at);
    let mut text = format!("the audience is not accepted: {message}");
    if provider.audiences.is_empty() {
        text = format!("{text}; no token is accepted until you write `issuer` and `audiences`");
        provider.issuer = nobody(&provider.name);
    }
    let note = note_at(Kind::LeftOut, &provider.place, &provider.notes, text);
    provider.notes.push(note);
    Some(())
}

fn remove_place(model: &mut Model, index: usize, place: usize, message: &str) -> Option<()> {
    let provider = model.providers.get_mut(index)?;
    let removed = provider.token_from.get(place).cloned();
    let removed = removed.or_else(|| provider.token_from.last().cloned())?;
    provider.token_from.retain(|other| *other != removed);
    let mut text = format!("tokens are not taken from {}: {message}", removed.words());
    if provider.token_from.is_empty() {
        let header = format!("x-token-of-{}", provider.name.replace(['.', ':', '_'], "-"));
        text = format!("{text}; `{header}` only stands for a place that you choose");
        provider.token_from.push(TokenPlace::Header {
            name: header,
            scheme: None,
        });
    }
    let note = note_at(Kind::LeftOut, &provider.place, &provider.notes, text);
    provider.notes.push(note);
    Some(())
}

/// A header that the source sets or removes, and claimgate cannot, must not come from a client: a first rule
/// denies requests that have it.
pub(super) fn close_header(model: &mut Model, mut header: String, place: Place, message: &str) {
    header.make_ascii_lowercase();
    let by_proxies = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
        "host",
    ];
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let is_closed = !by_proxies.contains(&header.as_str())
        && !header.starts_with("x-envoy-")
        && !header.is_empty()
        && header.chars().all(fits)
        && ![
            "authorization",
            "cookie",
            "content-type",
            "content-length",
            "user-agent",
        ]
        .contains(&header.as_str());
    let what = match is_closed {
        true => "requests with it are denied, because the upstream trusts it",
        false => "remove it in Envoy (`request_headers_to_remove`), if the upstream trusts it",
    };
    let note = Note {
        kind: Kind::LeftOut,
        place,
        text: format!("the header `{header}` is not set: {message}; {what}"),
    };
    if !is_closed {
        model.upstream.notes.push(note);
        return;
    }
    // A rule that a route names is chosen whatever the order is.
    let by_name = model.rules.iter_mut().filter(|rule| rule.only_by_name);
    for rule in by_name.filter(|rule| rule.access != Access::Deny) {
        let absent = format!("!(\"{header}\" in request.headers)");
        rule.condition = Some(match rule.condition.take() {
            Some(other) => format!("{absent} && ({other})"),
            None => absent,
        });
    }
    let names = model.rules.iter().map(|rule| rule.name.as_str());
    let name = super::model::unique(&format!("no-{header}"), names);
    let rule = Rule {
        name,
        matches: Match {
            headers: vec![(header, Vec::new())],
            ..Match::default()
        },
        access: Access::Deny,
        notes: vec![note],
        ..Rule::default()
    };
    model.rules.insert(0, rule);
}

impl TokenPlace {
    fn words(&self) -> String {
        match self {
            Self::Header { name, scheme: None } => format!("the header `{name}`"),
            Self::Header {
                name,
                scheme: Some(scheme),
            } => {
                format!("the header `{name}` with `{scheme}`")
            }
            Self::Cookie(name) => format!("the cookie `{name}`"),
            Self::Query(name) => format!("the query parameter `{name}`"),
        }
    }
}
