//! Values for which a comparison holds, and some for which it just does not.

use serde_json::{Value, json};

use crate::diff::groups::Ordered;
use crate::diff::networks;
use crate::diff::samples::samples;
use crate::policy::condition::facts::Probe;

/// The maximum number of texts of one regular expression.
const MAX_SAMPLES: usize = 64;

/// Texts for which a comparison with `probe` may hold, and some for which it just does not.
pub(in crate::diff) fn texts_of(probe: &Probe) -> Ordered<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let values = match probe {
        Probe::Value(value) => vec![text(value)],
        Probe::Containing(value) => vec![text(value), format!("x{}x", text(value))],
        Probe::Beginning(beginning) => vec![beginning.clone(), format!("{beginning}x")],
        Probe::Ending(ending) => vec![ending.clone(), format!("/x{ending}"), format!("x{ending}")],
        Probe::Matching(pattern) => return matching(pattern),
        Probe::Within(block) => networks::ends(block),
        Probe::Length(length) => {
            let length = usize::try_from(*length).unwrap_or(0).min(1000);
            let lengths = [length, length + 1, length.saturating_sub(1)];
            lengths.map(|length| "x".repeat(length)).to_vec()
        }
        Probe::Presence => vec!["x".to_owned()],
    };
    Ordered {
        values,
        is_complete: true,
    }
}

fn matching(pattern: &str) -> Ordered<String> {
    let found = samples(pattern);
    let is_complete = found.is_complete && found.matching.len() <= MAX_SAMPLES;
    let matching = found.matching.into_iter().take(MAX_SAMPLES);
    let beyond = found.beyond.into_iter().take(MAX_SAMPLES / 4);
    Ordered {
        values: matching.chain(beyond).collect(),
        is_complete,
    }
}

/// Values of a claim.
pub(super) struct OfClaim {
    pub(super) values: Vec<Option<Value>>,
    /// What stands for "another value" and "none".
    pub(super) others: Vec<Option<Value>>,
    pub(super) is_complete: bool,
}

/// Values of a claim for which a comparison with `probe` may hold, and some for which it does not.
pub(super) fn of_claim(probe: &Probe) -> OfClaim {
    let texts = texts_of(probe);
    let is_complete = texts.is_complete;
    let texts = texts.values.into_iter().map(|text| Some(text.into()));
    let values: Vec<Option<Value>> = match probe {
        Probe::Value(Value::Number(number)) => {
            let around = near(number).into_iter().map(Some);
            [Some(Value::Number(number.clone()))]
                .into_iter()
                .chain(around)
                .collect()
        }
        Probe::Value(Value::Bool(truth)) => vec![Some(json!(truth)), Some(json!(!truth))],
        Probe::Value(Value::Null) | Probe::Presence => Vec::new(),
        Probe::Value(value) => vec![Some(value.clone())],
        Probe::Containing(value) => [Some(json!([value]))].into_iter().chain(texts).collect(),
        Probe::Length(length) => {
            let length = usize::try_from(*length).unwrap_or(0).min(100);
            let list = |length: usize| Some(json!(vec!["x"; length]));
            let lengths = [length, length + 1, length.saturating_sub(1)];
            lengths.map(list).into_iter().chain(texts).collect()
        }
        Probe::Beginning(_) | Probe::Ending(_) | Probe::Matching(_) | Probe::Within(_) => {
            texts.collect()
        }
    };
    let others = match probe {
        Probe::Presence => vec![Some(json!(true)), Some(json!(false)), None],
        Probe::Value(Value::Number(_) | Value::Bool(_)) => vec![None],
        _ => vec![Some("other-value".into()), None],
    };
    OfClaim {
        values,
        others,
        is_complete,
    }
}

/// Numbers on both sides of one: whole ones and fractions, because a condition may take only one kind.
fn near(number: &serde_json::Number) -> Vec<Value> {
    if let Some(whole) = number.as_i64() {
        let next = [whole.saturating_add(1), whole.saturating_sub(1)];
        let whole = number.as_f64().unwrap_or(0.0);
        let fractions = [whole + 0.5, whole - 0.5];
        return next
            .map(Value::from)
            .into_iter()
            .chain(fractions.map(Value::from))
            .collect();
    }
    let own = number.as_f64().unwrap_or(0.0);
    [own + 1.0, own - 1.0, own + 0.001, own - 0.001]
        .map(Value::from)
        .to_vec()
}
