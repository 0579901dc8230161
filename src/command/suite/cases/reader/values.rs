//! Reads texts, lists and mappings whose values may not be missing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Reader;
use crate::config::Location;
use crate::config::document::Field;
use crate::config::raw::values::Texts;

impl Reader {
    /// A mapping of texts. Reports missing values.
    pub(super) fn texts(
        &mut self,
        field: Field<BTreeMap<String, Field<String>>>,
    ) -> BTreeMap<String, String> {
        let Field::Given(location, fields) = field else {
            return BTreeMap::new();
        };
        if fields.is_empty() {
            self.report(&location, "empty; remove it");
        }
        let mut texts = BTreeMap::new();
        for (name, field) in fields {
            match field {
                Field::Given(_, text) => drop(texts.insert(name, text)),
                Field::Absent => self.report(&location, format!("`{name}` has no value")),
                Field::Invalid => {}
            }
        }
        texts
    }

    /// One text, or a list. Reports missing values.
    pub(super) fn list(&mut self, field: Field<Texts>) -> Vec<String> {
        let (location, fields) = match field {
            Field::Given(_, Texts::One(text)) => return vec![text],
            Field::Given(location, Texts::Many(fields)) => (location, fields),
            Field::Absent | Field::Invalid => return Vec::new(),
        };
        if fields.is_empty() {
            self.report(&location, "empty; remove it");
        }
        let mut texts = Vec::new();
        for field in fields {
            match field {
                Field::Given(_, text) => texts.push(text),
                Field::Absent => self.report(&location, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        texts
    }

    pub(super) fn one_of<'w>(
        &mut self,
        location: &Location,
        word: &str,
        known: impl Iterator<Item = &'w str>,
    ) {
        let known: Vec<_> = known.collect();
        if !known.contains(&word) {
            let known = known.join("`, `");
            self.report(location, format!("`{word}` is not one of `{known}`"));
        }
    }
}

/// The members. An absent value becomes `null`, which removes the member from the token.
pub(super) fn members(field: Field<BTreeMap<String, Field<Value>>>) -> Map<String, Value> {
    let Field::Given(_, fields) = field else {
        return Map::new();
    };
    fields
        .into_iter()
        .map(|(name, field)| (name, field.value().cloned().unwrap_or_default()))
        .collect()
}
