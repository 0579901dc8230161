//! The differences of two configurations, for people and for scripts.

use serde_json::{Value, json};

mod summary;

use super::judge::Outcome;
use super::request::{Bearer, Shape};
use super::search::MAX_RULES;
use crate::escaped::listed;
use crate::time::UnixTime;

/// How two configurations differ.
#[derive(Clone, Debug)]
pub struct Differences {
    /// Whether both say the same, so that every request is judged alike.
    pub is_equal: bool,
    /// Whether the search tried every value that it knows of. Otherwise it reached a limit, or a changed
    /// condition calculates.
    pub is_complete: bool,
    /// The number of requests that were judged by both.
    pub requests: usize,
    /// What differs: providers, rules in their order, and settings.
    pub entries: Vec<Entry>,
    pub(super) now: UnixTime,
}

/// A provider, rule or setting that differs, or whose requests are judged otherwise.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub subject: Subject,
    /// Its name in words: rule `orders`.
    pub name: String,
    /// `added` or `removed`.
    pub change: Option<&'static str>,
    /// What changed, in words.
    pub words: Vec<String>,
    /// Requests that are judged otherwise, one for each way.
    pub examples: Vec<Example>,
    /// Why the search cannot say what a change of what decides does. Empty if it can.
    pub unproven: Vec<String>,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A provider, by its position in the report.
    Provider(usize),
    /// A rule of the new configuration, by its position.
    Rule(usize),
    /// A rule that only the old configuration has.
    RemovedRule(usize),
    /// A setting, by its name at the top level of the file.
    Setting(String),
    /// A part of requests that rules refuse if it has two readings.
    Form(String),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It was denied and is allowed now.
    Widened,
    /// It was allowed and is denied now.
    Narrowed,
    /// It is denied for another reason.
    Answer,
    /// It is allowed with other headers for the upstream.
    Identity,
}

impl Effect {
    /// All effects.
    pub const ALL: [Self; 4] = [Self::Widened, Self::Narrowed, Self::Answer, Self::Identity];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Answer => "other answer",
            Self::Identity => "other headers",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Widened => "widened",
            Self::Narrowed => "narrowed",
            Self::Answer => "other_answer",
            Self::Identity => "other_headers",
        }
    }
}

/// A request that is judged otherwise.
#[derive(Clone, Debug)]
pub struct Example {
    /// What becomes of it.
    pub effect: Effect,
    /// The request without its token.
    pub shape: Shape,
    /// What it carries as its token.
    pub bearer: Bearer,
    /// The time at which it is judged, if that matters.
    pub at: Option<UnixTime>,
    /// What the old configuration says.
    pub before: Told,
    /// What the new one says.
    pub after: Told,
    /// What the upstream receives only before, and only after.
    pub identity: (Vec<String>, Vec<String>),
    /// Some rules that decide such requests.
    pub rules: Vec<String>,
}

/// What one configuration says about a request.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happens.
    pub outcome: Outcome,
    /// The code of the reason for a denial, enforced or not.
    pub reason: Option<&'static str>,
    /// The status of the answer, if the request does not pass.
    pub status: Option<u16>,
    /// The rule that decides.
    pub rule: Option<String>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            outcome: Outcome::Deny,
            reason: None,
            status: None,
            rule: None,
        }
    }
}

impl Told {
    fn words(&self) -> String {
        let Self {
            outcome,
            reason,
            status,
            rule,
        } = self;
        let verdict = match (outcome, reason, status) {
            (Outcome::Allow, Some(reason), _) => format!("allow (not enforced: {reason})"),
            (Outcome::Deny, Some(reason), Some(status)) => format!("deny, {status} {reason}"),
            (outcome, _, _) => outcome.name().to_owned(),
        };
        match rule {
            Some(rule) => format!("{verdict}, by rule `{rule}`"),
            None => verdict,
        }
    }

    fn json(&self) -> Value {
        let Self {
            outcome,
            reason,
            status,
            rule,
        } = self;
        json!({"decision": outcome.name(), "reason": reason, "status": status, "rule": rule})
    }
}

impl Differences {
    /// Whether some request is judged in this way otherwise.
    pub fn has(&self, effect: Effect) -> bool {
        let mut examples = self.entries.iter().flat_map(|entry| &entry.examples);
        examples.any(|example| example.effect == effect)
    }

    /// Whether some change of what decides has an effect that the search cannot tell completely.
    pub fn is_unproven(&self) -> bool {
        self.entries.iter().any(|entry| !entry.unproven.is_empty())
    }

    /// All examples.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.entries.iter().flat_map(|entry| &entry.examples)
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut lines = vec![self.summary()];
        for entry in &self.entries {
            lines.push(String::new());
            lines.extend(entry.lines());
        }
        if !self.is_equal {
            lines.push(String::new());
            lines.extend(self.limits());
        }
        lines.join("\n")
    }

    /// The report for scripts.
    pub fn json(&self) -> Value {
        let entry = |entry: &Entry| {
            let kind = match &entry.subject {
                Subject::Provider(_) => "provider",
                Subject::Rule(_) | Subject::RemovedRule(_) => "rule",
                Subject::Setting(_) => "setting",
                Subject::Form(_) => "form",
            };
            let mut effects: Vec<&str> = entry
                .examples
                .iter()
                .map(|example| example.effect.code())
                .collect();
            effects.dedup();
            let examples: Vec<Value> = entry
                .examples
                .iter()
                .map(|example| example.json(self.now))
                .collect();
            json!({
                "kind": kind,
                "name": entry.name.split('`').nth(1).unwrap_or(&entry.name),
                "change": entry.change,
                "words": entry.words,
                "effects": effects,
                "unproven": entry.unproven,
                "examples": examples,
            })
        };
        json!({
            "summary": self.summary(),
            "equal": self.is_equal,
            "complete": self.is_complete,
            "requests": self.requests,
            "widened": self.has(Effect::Widened),
            "narrowed": self.has(Effect::Narrowed),
            "unproven": self.is_unproven(),
            "differences": self.entries.iter().map(entry).collect::<Vec<_>>(),
        })
    }
}

/// The maximum number of examples for one entry.
const MAX_EXAMPLES: usize = 6;

impl Entry {
    fn lines(&self) -> Vec<String> {
        let mut effects: Vec<&str> = Vec::new();
        for example in &self.examples {
            if !effects.contains(&example.effect.name()) {
                effects.push(example.effect.name());
            }
        }
        let unproven = (!self.unproven.is_empty()).then_some("unproven");
        let head = self.change.into_iter().chain(effects).chain(unproven);
        let head: Vec<&str> = head.collect();
        let mut lines = vec![match head.is_empty() {
            true => self.name.clone(),
            false => format!("{}: {}", self.name, head.join(", ")),
        }];
        lines.extend(self.words.iter().map(|words| format!("  {words}")));
        lines.extend(self.unproven.iter().map(|why| format!("  unproven: {why}")));
        for example in self.examples.iter().take(MAX_EXAMPLES) {
            lines.extend(example.lines().into_iter().map(|line| format!("  {line}")));
        }
        if let Some(more @ 1..) = self.examples.len().checked_sub(MAX_EXAMPLES) {
            lines.push(format!("  {more} more examples: see --output json"));
        }
        lines
    }
}

impl Example {
    fn lines(&self) -> Vec<String> {
        let Shape {
            method,
            host,
            path,
            headers,
            address: _,
            principal,
            context,
        } = &self.shape;
        let mut lines = vec![format!("{}, for example:", self.effect.name())];
        let host = match host.as_str() {
            "" => "(no host)",
            host => host,
        };
        lines.push(format!("    {method} {host}{path}"));
        let texts = headers.iter();
        lines.extend(texts.map(|(name, value)| format!("    {name}: {value}")));
        lines.push(format!("    {}", self.bearer.words()));
        if self.shape.address != super::request::ADDRESS {
            lines.push(format!("    from the address {}", self.shape.address));
        }
        if !principal.is_empty() {
            lines.push(format!("    from `{principal}`"));
        }
        let texts = context.iter();
        lines.extend(texts.map(|(name, value)| format!("    with the context {name}={value}")));
        if let Some(at) = self.at {
            lines.push(format!("    at {at}"));
        }
        lines.push(format!("    before: {}", self.before.words()));
        lines.push(format!("    after:  {}", self.after.words()));
        let (before, after) = &self.identity;
        let only = |what: &str, texts: &[String]| match texts.is_empty() {
            true => None,
            false => Some(format!("    only {what}: {}", texts.join("; "))),
        };
        lines.extend(only("before", before));
        lines.extend(only("after", after));
        if self.rules.len() > 1 {
            let shown: Vec<&String> = self.rules.iter().take(MAX_RULES).collect();
            let more = match self.rules.len() > MAX_RULES {
                true => " and others",
                false => "",
            };
            lines.push(format!(
                "    the same for rules {}{more}",
                listed(&shown, ", ")
            ));
        }
        lines
    }

    fn json(&self, now: UnixTime) -> Value {
        let at = self.at.unwrap_or(now);
        let token = match &self.bearer {
            Bearer::None => Value::Null,
            Bearer::Garbage => "not a token".into(),
            Bearer::Token(spec) => spec.json(at.as_secs()),
        };
        let (before, after) = &self.identity;
        json!({
            "effect": self.effect.code(),
            "request": self.shape.json(),
            "token": token,
            "at": at.to_string(),
            "before": self.before.json(),
            "after": self.after.json(),
            "only_before": before,
            "only_after": after,
            "rules": self.rules,
        })
    }
}
