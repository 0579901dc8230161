//! Envoy's matchers: of texts, paths, headers and routes.

use crate::import::model::{Kind, Note};
use crate::import::source::Reader;

/// A `StringMatcher` over the subject of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StringMatcher {
    /// The whole text.
    Exact(String),
    /// A CEL expression over `claims.sub`, and a text that fits.
    Expression {
        expression: String,
        example: Option<String>,
    },
}

impl StringMatcher {
    /// `None` if it has no equivalent.
    pub(super) fn read(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Option<Self> {
        let ignores_case = reader.flag("ignore_case", notes);
        let kinds = ["exact", "prefix", "suffix", "contains", "safe_regex"];
        let found = reader.one_of(&kinds);
        let mut unknown = Vec::new();
        reader.finish(&mut unknown);
        let (kind, value) = found.filter(|_| unknown.is_empty())?;
        notes.append(&mut unknown);
        if kind == "safe_regex" {
            value.ignore(&["google_re2"]);
            let regex = value.text("regex", notes)?;
            value.finish(notes);
            let anchored = super::path::ascii_classes(&format!("^(?:{regex})$"));
            return Some(Self::Expression {
                expression: format!("claims.sub.matches({})", literal(&anchored)),
                example: super::example::some_match(&regex),
            });
        }
        let text = value.as_text(notes)?;
        if kind == "exact" && !ignores_case {
            return Some(Self::Exact(text));
        }
        let (subject, text) = match ignores_case {
            true => ("claims.sub.lowerAscii()", text.to_ascii_lowercase()),
            false => ("claims.sub", text),
        };
        let quoted = literal(&text);
        let (expression, example) = match kind {
            "exact" => (format!("{subject} == {quoted}"), text),
            "prefix" => (format!("{subject}.startsWith({quoted})"), text + "x"),
            "suffix" => (format!("{subject}.endsWith({quoted})"), format!("x{text}")),
            _ => (format!("{subject}.contains({quoted})"), text),
        };
        Some(Self::Expression {
            expression,
            example: Some(example),
        })
    }
}

/// The text as a literal of CEL.
pub(super) fn literal(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    let escaped: String = text.chars().map(escape).collect();
    format!("\"{escaped}\"")
}

/// A note that a part of a match has no equivalent.
pub(super) fn unmatched(reader: &Reader<'_>, what: &str) -> Note {
    let text = format!("{what}, so the rule denies all requests that fit the rest of its match");
    reader.note(Kind::LeftOut, text)
}
