//! Every case is recorded in the decision log: with its decision, without its token, and without the
//! claims that are not listed.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::request::describe;
use claimgate::gate::decision_log::record::{DecisionRecord, Line, TokenState, Verdict};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::file::Expect;

/// The only claims that are written.
const LISTED: [&str; 2] = ["scope", "realm_access.roles"];

/// The shortest text that counts as a secret. Shorter ones occur elsewhere by chance.
const SHORTEST: usize = 6;

/// The decision log of a case.
pub struct Records(TempDir);

impl Default for Records {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Records {
    /// The configuration with this log.
    pub fn of(&self, mut config: Value) -> Value {
        let path = self.0.path().join("decisions.jsonl");
        config["decision_log"] = json!({"path": path, "claims": LISTED});
        config
    }

    /// Compares the records of the same request with what is expected of it.
    pub fn check(
        &self,
        expect: &Expect,
        request: &CheckRequest,
        times: usize,
    ) -> Result<(), String> {
        let text = std::fs::read_to_string(self.0.path().join("decisions.jsonl"));
        let text = text.map_err(|error| format!("no decision log: {error}"))?;
        let records = decisions(&text)?;
        if records.len() != times {
            return Err(format!("{} records: {text}", records.len()));
        }
        for record in &records {
            check(expect, record).map_err(|why| format!("{why}: {record:#?}"))?;
        }
        let mut joined = String::new();
        let request = describe(request, &mut joined);
        let lines = request.headers.lines();
        let values = lines.map(|(_, value)| String::from_utf8_lossy(value));
        let sent: Vec<String> = values.map(String::from).collect();
        let parts = sent.iter().map(String::as_str).chain([request.path]);
        match secrets(parts)
            .into_iter()
            .find(|secret| text.contains(secret))
        {
            Some(secret) => Err(format!("the decision log has `{secret}`: {text}")),
            None => Ok(()),
        }
    }
}

/// The decisions in a log that begins and ends as it should.
fn decisions(text: &str) -> Result<Vec<DecisionRecord<'static>>, String> {
    let lines: Result<Vec<Line<'_>>, _> = text.lines().map(Line::read).collect();
    let mut lines = lines.map_err(|error| format!("{error}: {text}"))?;
    if !matches!(lines.first(), Some(Line::Configuration(_))) {
        return Err(format!("no configuration: {text}"));
    }
    let Some(Line::Stopped(stopped)) = lines.pop() else {
        return Err(format!("it did not stop: {text}"));
    };
    let decisions: Vec<DecisionRecord<'_>> = lines
        .into_iter()
        .skip(1)
        .map(|line| match line {
            Line::Decision(decision) => Ok(*decision),
            line => Err(format!("{line:?}")),
        })
        .collect::<Result<_, _>>()?;
    let numbers: Vec<u64> = decisions.iter().map(|decision| decision.n).collect();
    match numbers == (1..stopped.n).collect::<Vec<_>>() {
        true => Ok(decisions),
        false => Err(format!("the numbers are {numbers:?}")),
    }
}

fn check(expect: &Expect, record: &DecisionRecord<'_>) -> Result<(), String> {
    let (decision, reason) = match (record.decision, &record.reason, &record.would_be) {
        (Verdict::Allow, None, would_be) => ("allow", would_be),
        (Verdict::Deny, reason @ Some(_), None) => ("deny", reason),
        (Verdict::Respond, None, None) => ("respond", &None),
        other => return Err(format!("{other:?} do not go together")),
    };
    let is_refused = record.status.is_some_and(|status| status >= 400);
    if (decision == "deny") != is_refused {
        return Err("decision and status differ".to_owned());
    }
    if expect.reason.as_deref().is_some() && expect.reason.as_deref() != reason.as_deref() {
        return Err(format!("the reason is {reason:?}"));
    }
    let has_claims = record.subject.is_some() || !record.claims.is_empty();
    if has_claims && record.token != TokenState::Valid {
        return Err("claims that nobody verified".to_owned());
    }
    let listed: BTreeSet<&str> = LISTED.into();
    match record.claims.keys().all(|name| listed.contains(&**name)) {
        true => Ok(()),
        false => Err("a claim that is not listed".to_owned()),
    }
}

/// What must not be written: the parts of each JWT in these texts, and the claims in it, apart from the
/// listed ones and from what the request says itself.
fn secrets<'t>(texts: impl Iterator<Item = &'t str> + Clone) -> BTreeSet<String> {
    let belongs = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let words = texts
        .clone()
        .flat_map(|text| text.split(move |c| !belongs(c)));
    let (mut secrets, mut written) = (BTreeSet::new(), BTreeSet::new());
    for token in words.filter_map(|word| word.get(word.find("eyJ")?..)) {
        let parts = token.split('.').filter(|part| part.len() >= SHORTEST);
        secrets.extend(parts.clone().map(str::to_owned));
        let decoded = parts.filter_map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
        let objects = decoded.filter_map(|json| serde_json::from_slice::<Value>(&json).ok());
        for mut object in objects.filter(|object| object.get("alg").is_none()) {
            for listed in LISTED {
                let at = format!("/{}", listed.replace('.', "/"));
                if let Some(value) = object.pointer_mut(&at) {
                    collect(&value.take(), &mut written);
                }
            }
            collect(&object, &mut secrets);
        }
    }
    let others: Vec<&str> = texts.filter(|text| !text.contains("eyJ")).collect();
    secrets.retain(|secret| !written.contains(secret));
    secrets.retain(|secret| {
        let secret = secret.trim_matches('"');
        !others.iter().any(|text| text.contains(secret))
    });
    secrets
}

fn collect(value: &Value, secrets: &mut BTreeSet<String>) {
    match value {
        // In quotes, because a short text may occur in the name of a rule or of a reason.
        Value::String(text) if text.len() >= SHORTEST => {
            secrets.insert(json!(text).to_string());
        }
        Value::Array(elements) => elements
            .iter()
            .for_each(|element| collect(element, secrets)),
        Value::Object(members) => members.values().for_each(|member| collect(member, secrets)),
        _ => {}
    }
}
