//! The logged claims in a token.

use std::borrow::Cow;

use serde_json::Value;

use super::Known;
use super::facts::names;
use crate::diff::request::TokenSpec;
use crate::gate::decision_log::record::DecisionRecord;

impl TokenSpec {
    /// Adds a logged claim. It is absent if the record does not have it.
    pub(super) fn add_logged(&mut self, record: &DecisionRecord<'_>, path: &[String]) -> Known<()> {
        let found = record.claims.iter();
        let mut found = found.filter(|(name, _)| names(name).is_some_and(|own| own == path));
        let found = found.next();
        if let [only] = path {
            match only.as_str() {
                "exp" => self.exp = None,
                "iat" => self.iat = None,
                "nbf" => self.nbf = None,
                "auth_time" => self.auth_time = None,
                _ => {}
            }
        }
        let Some((name, value)) = found else {
            remove(&mut self.usual, path);
            return Ok(());
        };
        let text = value.to_string();
        let value: Value = serde_json::from_str(&text)
            .map_err(|_| Cow::from(format!("the claim `{name}` is not JSON")))?;
        // A number with more digits than fit would become another one.
        let again = value.to_string();
        if again != text {
            return Err(format!("the claim `{name}` has a number that is not exact here").into());
        }
        insert(&mut self.claims, path, value);
        Ok(())
    }
}

fn insert(claims: &mut serde_json::Map<String, Value>, path: &[String], value: Value) {
    let Some((last, outer)) = path.split_last() else {
        return;
    };
    let mut members = claims;
    for name in outer {
        let inner = members
            .entry(name.as_str())
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        match inner.as_object_mut() {
            Some(inner) => members = inner,
            None => return,
        }
    }
    members.insert(last.clone(), value);
}

fn remove(claims: &mut serde_json::Map<String, Value>, path: &[String]) {
    if let [only] = path {
        claims.remove(only);
    }
}
