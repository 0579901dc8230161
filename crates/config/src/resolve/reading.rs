//! Reads values that occur in all sections: sizes, durations, texts, lists.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw::values::Texts;
use crate::values;

impl Resolver<'_> {
    /// A size from `min` to `max` bytes. The default if it is absent, or wrong and reported.
    pub(super) fn bytes(
        &mut self,
        field: &Field<String>,
        default: usize,
        min: usize,
        max: usize,
    ) -> usize {
        let bounds = min..=max;
        self.bounded(field, values::bytes, values::in_units, &bounds)
            .unwrap_or(default)
    }

    /// A duration from `min` to `max`. The default if it is absent, or wrong and reported.
    pub(super) fn duration(
        &mut self,
        field: &Field<String>,
        default: Duration,
        min: Duration,
        max: Duration,
    ) -> Duration {
        let bounds = min..=max;
        self.bounded(field, values::duration, values::in_words, &bounds)
            .unwrap_or(default)
    }

    /// A value within inclusive bounds.
    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        field: &Field<String>,
        read: fn(&str) -> Result<T, String>,
        show: fn(T) -> String,
        bounds: &RangeInclusive<T>,
    ) -> Option<T> {
        let (location, text) = field.given()?;
        let value = self.parsed(location, read(text))?;
        if bounds.contains(&value) {
            return Some(value);
        }
        let (min, max) = (show(*bounds.start()), show(*bounds.end()));
        self.report(
            location,
            format!("`{text}` is out of range: from {min} to {max}"),
        );
        None
    }

    /// One of these words. The default if it is absent, or wrong and reported.
    pub(super) fn choice<T: Clone + Default>(
        &mut self,
        field: &Field<String>,
        choices: &[(&str, T)],
    ) -> T {
        let Some((location, text)) = field.given() else {
            return T::default();
        };
        match choices.iter().find(|(word, _)| word == text) {
            Some((_, choice)) => choice.clone(),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                let words = words.join("`, `");
                self.report(location, format!("`{text}` is not one of `{words}`"));
                T::default()
            }
        }
    }

    /// Non-empty texts with their locations. Reports an empty list.
    pub(super) fn texts(&mut self, field: Field<Texts>, wanted: &str) -> Vec<(Location, String)> {
        let Field::Given(location, texts) = field else {
            return Vec::new();
        };
        let fields = match texts {
            Texts::One(text) => vec![Field::Given(location.clone(), text)],
            Texts::Many(fields) => fields,
        };
        if fields.is_empty() {
            self.report(&location, format!("empty; give {wanted}"));
        }
        let mut texts = Vec::new();
        for field in fields {
            match field {
                Field::Given(location, text) if text.is_empty() => {
                    self.report(&location, "empty text");
                }
                Field::Given(location, text) => {
                    self.visible_ends(&location, &text);
                    texts.push((location, text));
                }
                Field::Absent => self.report(&location, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        texts
    }

    /// Reports white space at the ends of a text, because it is invisible but counts.
    pub(super) fn visible_ends(&mut self, location: &Location, text: &str) {
        if values::has_blank_ends(text) {
            self.report(location, values::blank_ends(text));
        }
    }

    /// The path of a file or directory, relative to the configuration's directory.
    pub(super) fn file(&mut self, field: &Field<String>) -> Option<PathBuf> {
        let (location, file) = field.given()?;
        self.visible_ends(location, file);
        Some(self.directory.join(file))
    }

    /// The correct entries of a list with their locations. Reports empty entries.
    pub(super) fn entries<T>(&mut self, field: Field<Vec<Field<T>>>) -> Vec<(Location, T)> {
        let Field::Given(location, fields) = field else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for field in fields {
            match field {
                Field::Given(location, entry) => entries.push((location, entry)),
                Field::Absent => self.report(&location, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        entries
    }

    pub(super) fn required<'f, T>(
        &mut self,
        parent: &Location,
        name: &str,
        field: &'f Field<T>,
    ) -> Option<(&'f Location, &'f T)> {
        if matches!(field, Field::Absent) {
            self.report(parent, format!("missing field `{name}`"));
        }
        field.given()
    }

    pub(super) fn parsed<T>(
        &mut self,
        location: &Location,
        parsed: Result<T, String>,
    ) -> Option<T> {
        parsed.map_err(|why| self.report(location, why)).ok()
    }
}
