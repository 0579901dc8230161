//! What all sections read alike: sizes, durations, texts, lists.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::Check;
use crate::config::document::{Field, Spot};
use crate::config::raw::values::Texts;
use crate::config::values;

impl Check<'_> {
    /// A size from `least` to `most`; `default` when it is absent, or wrong and reported.
    pub(super) fn bytes(
        &mut self,
        field: &Field<String>,
        default: usize,
        least: usize,
        most: usize,
    ) -> usize {
        let bounds = least..=most;
        self.bounded(field, values::bytes, values::in_units, &bounds)
            .unwrap_or(default)
    }

    /// A duration from `least` to `most`; `default` when it is absent, or wrong and reported.
    pub(super) fn duration(
        &mut self,
        field: &Field<String>,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let bounds = least..=most;
        self.bounded(field, values::duration, values::in_words, &bounds)
            .unwrap_or(default)
    }

    /// A value within bounds, both of them included.
    fn bounded<T: PartialOrd + Copy>(
        &mut self,
        field: &Field<String>,
        read: fn(&str) -> Result<T, String>,
        show: fn(T) -> String,
        bounds: &RangeInclusive<T>,
    ) -> Option<T> {
        let (spot, text) = field.given()?;
        let value = self.parsed(spot, read(text))?;
        if bounds.contains(&value) {
            return Some(value);
        }
        let (least, most) = (show(*bounds.start()), show(*bounds.end()));
        self.report(
            spot,
            format!("`{text}` is out of range: from {least} to {most}"),
        );
        None
    }

    /// One of these words; the default when it is absent, or wrong and reported.
    pub(super) fn choice<T: Clone + Default>(
        &mut self,
        field: &Field<String>,
        choices: &[(&str, T)],
    ) -> T {
        let Some((spot, text)) = field.given() else {
            return T::default();
        };
        match choices.iter().find(|(word, _)| word == text) {
            Some((_, choice)) => choice.clone(),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                let words = words.join("`, `");
                self.report(spot, format!("`{text}` is not one of `{words}`"));
                T::default()
            }
        }
    }

    /// Texts that are not empty, with their places; reports when there is none.
    pub(super) fn texts(&mut self, field: Field<Texts>, wanted: &str) -> Vec<(Spot, String)> {
        let Field::Given(spot, texts) = field else {
            return Vec::new();
        };
        let fields = match texts {
            Texts::One(text) => vec![Field::Given(spot.clone(), text)],
            Texts::Many(fields) => fields,
        };
        if fields.is_empty() {
            self.report(&spot, format!("empty; give {wanted}"));
        }
        let mut texts = Vec::new();
        for field in fields {
            match field {
                Field::Given(spot, text) if text.is_empty() => self.report(&spot, "empty text"),
                Field::Given(spot, text) => {
                    self.visible_ends(&spot, &text);
                    texts.push((spot, text));
                }
                Field::Absent => self.report(&spot, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        texts
    }

    /// Reports white space at the ends of a text, which is part of it and is not seen.
    pub(super) fn visible_ends(&mut self, spot: &Spot, text: &str) {
        if values::has_blank_ends(text) {
            self.report(spot, values::blank_ends(text));
        }
    }

    /// The path of a file or directory, from the directory that the configuration is in.
    pub(super) fn file(&mut self, field: &Field<String>) -> Option<PathBuf> {
        let (spot, file) = field.given()?;
        self.visible_ends(spot, file);
        Some(self.directory.join(file))
    }

    /// The entries of a list that are right, with their places; reports empty ones.
    pub(super) fn entries<T>(&mut self, field: Field<Vec<Field<T>>>) -> Vec<(Spot, T)> {
        let Field::Given(spot, fields) = field else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for field in fields {
            match field {
                Field::Given(spot, entry) => entries.push((spot, entry)),
                Field::Absent => self.report(&spot, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        entries
    }

    pub(super) fn required<'f, T>(
        &mut self,
        parent: &Spot,
        name: &str,
        field: &'f Field<T>,
    ) -> Option<(&'f Spot, &'f T)> {
        if matches!(field, Field::Absent) {
            self.report(parent, format!("missing field `{name}`"));
        }
        field.given()
    }

    pub(super) fn parsed<T>(&mut self, spot: &Spot, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|why| self.report(spot, why)).ok()
    }
}
