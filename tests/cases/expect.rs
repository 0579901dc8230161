//! Compares an answer with what its case expects.

use std::collections::{BTreeMap, BTreeSet};

use claimgate::ext_authz::proto::auth::CheckResponse;
use claimgate::telemetry::metrics::Metrics;
use prost_types::value::Kind;
use serde_json::{Map, Value};

use super::file::{Decided, Expect};
use crate::support::call::Answer;

fn same(
    what: &str,
    expected: &dyn std::fmt::Debug,
    found: &dyn std::fmt::Debug,
) -> Result<(), String> {
    let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
    match expected == found {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected}, found {found}")),
    }
}

/// An answer with its metadata.
pub struct Answered {
    pub answer: Answer,
    pub metadata: Option<prost_types::Struct>,
}

impl From<CheckResponse> for Answered {
    fn from(response: CheckResponse) -> Self {
        Self {
            metadata: response.dynamic_metadata.clone(),
            answer: Answer::read(response),
        }
    }
}

pub fn compare(expect: &Expect, answered: Answered) -> Result<(), String> {
    let Answered { answer, metadata } = answered;
    let metadata = metadata.map(json);
    let headers = match (&answer, expect.enforced()) {
        (
            Answer::Allow {
                set,
                remove,
                remove_query,
                response,
            },
            None,
        ) if expect.document.is_none() => {
            same("removed from the query", &expect.remove_query, remove_query)?;
            if let Some(expected) = &expect.removed {
                let found: BTreeSet<_> = remove.iter().cloned().collect();
                same("removed", expected, &found)?;
            }
            if let Some(expected) = &expect.response_headers {
                let found: BTreeMap<_, _> = response.iter().cloned().collect();
                same("on the answer", expected, &found)?;
            }
            set
        }
        (
            Answer::Deny {
                status,
                code,
                headers,
                body,
            },
            deny,
        ) if deny.is_some() || expect.document.is_some() => {
            let usual = if deny.is_some() { 401 } else { 200 };
            same("status", &expect.status.unwrap_or(usual), status)?;
            if let Some(expected) = &expect.code {
                same("gRPC code", expected, code)?;
            }
            if let Some(expected) = &expect.body {
                let body = without_id(expected, body, headers);
                same("body", expected, &body)?;
            }
            if let Some(expected) = &expect.document {
                let text = if body.is_empty() { "{}" } else { body };
                let found: Value = serde_json::from_str(text).unwrap_or_default();
                same("document", expected, &found)?;
            }
            if let Some(expected) = &expect.challenge {
                let found = headers.iter().find(|(name, _)| name == "www-authenticate");
                let found = found.map_or("", |(_, value)| value);
                same("challenge", expected, &found)?;
            }
            headers
        }
        (answer, _) => return Err(format!("expected {:?}, found {answer:?}", expect.reason)),
    };
    for (name, expected) in &expect.headers {
        let found = headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value);
        same(name, &Some(expected), &found)?;
    }
    if let Some(expected) = &expect.rule {
        let found = metadata.as_ref().and_then(|metadata| metadata.get("rule"));
        same("rule", &Some(&Value::from(expected.as_str())), &found)?;
    }
    match (&expect.metadata, &metadata) {
        (None, _) | (Some(Value::Bool(false)), None) => Ok(()),
        (Some(Value::Object(members)), Some(metadata)) => {
            members.iter().try_for_each(|(name, expected)| {
                let found = metadata.get(name).unwrap_or(&Value::Null);
                same(&format!("metadata `{name}`"), expected, found)
            })
        }
        (expected, found) => same("metadata", expected, found),
    }
}

/// The body without the request's id, which is random if the request brings none.
fn without_id(expected: &str, body: &str, headers: &[(String, String)]) -> String {
    let id = headers.iter().find(|(name, _)| name == "x-request-id");
    match id {
        Some((_, id)) if !expected.contains(id.as_str()) => body
            .replace(&format!(",\"request_id\":\"{id}\""), "")
            .replace(&format!(", request {id}"), "")
            .replace(&format!(" (request {id})"), ""),
        _ => body.to_owned(),
    }
}

fn json(fields: prost_types::Struct) -> Value {
    let fields = fields.fields.into_iter();
    let members: Map<_, _> = fields.map(|(name, value)| (name, member(value))).collect();
    members.into()
}

fn member(value: prost_types::Value) -> Value {
    match value.kind.expect("a value is of some kind") {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(truth) => truth.into(),
        Kind::NumberValue(number) => number.into(),
        Kind::StringValue(text) => text.into(),
        Kind::ListValue(list) => list.values.into_iter().map(member).collect(),
        Kind::StructValue(members) => json(members),
    }
}

/// The log tells the operator of a denial: one line with the reason, its section and the likely cause,
/// and nothing of the token.
pub fn logged(expect: &Expect, lines: &[Value], secret: &str) -> Result<(), String> {
    let message = match expect.decision {
        Some(Decided::Allow) => "would be denied",
        None => "denied",
    };
    let denied: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == message)
        .collect();
    match (denied.as_slice(), &expect.reason) {
        ([], None) => {}
        ([line], Some(reason)) => {
            same(
                "logged reason",
                &Some(reason.as_str()),
                &line["reason"].as_str(),
            )?;
            let section = format!("docs/troubleshooting.md#{reason}");
            same(
                "logged section",
                &Some(section.as_str()),
                &line["see"].as_str(),
            )?;
            let hint = line["hint"].as_str().unwrap_or_default();
            if let Some(expected) = &expect.hint
                && !hint.contains(expected)
            {
                return Err(format!("hint: expected {expected:?} in {hint:?}"));
            }
        }
        (lines, reason) => return Err(format!("expected {reason:?}, logged {lines:?}")),
    }
    let lines = Value::from(lines.to_vec()).to_string();
    let mut parts = secret
        .as_bytes()
        .windows(SECRET_PART)
        .map(String::from_utf8_lossy);
    match parts.find(|part| lines.contains(&**part)) {
        Some(part) => Err(format!("`{part}` of the token in the log: {lines}")),
        None => Ok(()),
    }
}

/// A part of a token with this many bytes could help someone who reads the log: 96 bits.
const SECRET_PART: usize = 16;

/// The metrics tell the operator the reason that the caller may not be told.
pub fn counted(expect: &Expect, metrics: &Metrics) -> Result<(), String> {
    let (decision, family) = match (expect.enforced(), &expect.document) {
        (Some(_), _) => ("deny", "claimgate_denials_total"),
        (None, Some(_)) => ("metadata", ""),
        (None, None) => ("allow", "claimgate_would_deny_total"),
    };
    let reason = &expect.reason;
    let text = metrics.encode().unwrap();
    let found = |family: &str| -> Vec<&str> {
        let lines = text.lines().filter(|line| line.starts_with(family));
        lines.filter(|line| !line.ends_with(" 0")).collect()
    };
    let checks = found("claimgate_checks_total");
    let denials = [
        found("claimgate_denials_total"),
        found("claimgate_would_deny_total"),
    ]
    .concat();
    let decided = format!("claimgate_checks_total{{decision=\"{decision}\"");
    let denied = reason
        .as_ref()
        .map(|reason| format!("{family}{{reason=\"{reason}\""));
    let is_one = |line: &str, wanted: &str| line.starts_with(wanted) && line.ends_with(" 1");
    let is_right = match (checks.as_slice(), denials.as_slice(), &denied) {
        ([check], [], None) => is_one(check, &decided),
        ([check], [denial], Some(denied)) => is_one(check, &decided) && is_one(denial, denied),
        _ => false,
    };
    match is_right {
        true => Ok(()),
        false => Err(format!(
            "expected {decision} {reason:?}, counted {checks:?} and {denials:?}"
        )),
    }
}
