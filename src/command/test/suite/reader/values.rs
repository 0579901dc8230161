//! Texts, lists and mappings, none of which may have something missing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Reader;
use crate::config::Spot;
use crate::config::document::Field;
use crate::config::raw::values::Texts;

impl Reader {
    /// A mapping of texts, none of which is missing.
    pub(super) fn texts(
        &mut self,
        field: Field<BTreeMap<String, Field<String>>>,
    ) -> BTreeMap<String, String> {
        let Field::Given(spot, fields) = field else {
            return BTreeMap::new();
        };
        if fields.is_empty() {
            self.report(&spot, "empty; leave it out");
        }
        let mut texts = BTreeMap::new();
        for (name, field) in fields {
            match field {
                Field::Given(_, text) => drop(texts.insert(name, text)),
                Field::Absent => self.report(&spot, format!("`{name}` has no value")),
                Field::Invalid => {}
            }
        }
        texts
    }

    /// One text or several, none of which is missing.
    pub(super) fn list(&mut self, field: Field<Texts>) -> Vec<String> {
        let (spot, fields) = match field {
            Field::Given(_, Texts::One(text)) => return vec![text],
            Field::Given(spot, Texts::Many(fields)) => (spot, fields),
            Field::Absent | Field::Invalid => return Vec::new(),
        };
        if fields.is_empty() {
            self.report(&spot, "empty; leave it out");
        }
        let mut texts = Vec::new();
        for field in fields {
            match field {
                Field::Given(_, text) => texts.push(text),
                Field::Absent => self.report(&spot, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        texts
    }

    pub(super) fn one_of<'w>(
        &mut self,
        spot: &Spot,
        word: &str,
        known: impl Iterator<Item = &'w str>,
    ) {
        let known: Vec<_> = known.collect();
        if !known.contains(&word) {
            let known = known.join("`, `");
            self.report(spot, format!("`{word}` is not one of `{known}`"));
        }
    }
}

/// What is absent is `null`, and will be taken away.
pub(super) fn members(field: Field<BTreeMap<String, Field<Value>>>) -> Map<String, Value> {
    let Field::Given(_, fields) = field else {
        return Map::new();
    };
    fields
        .into_iter()
        .map(|(name, field)| (name, field.value().cloned().unwrap_or_default()))
        .collect()
}
