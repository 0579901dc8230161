//! Regular expressions about paths, and what can be known of them before a request comes.

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

use crate::policy::pattern::{Pattern, Scope};

/// A regular expression that is about whole paths.
#[derive(Clone, Debug)]
pub struct PathRegex {
    text: String,
    pattern: Pattern,
    parsed: Hir,
}

/// The largest class of characters of which each counts as written.
const SMALL_CLASS: u32 = 8;

impl PathRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// Why it is none, in a line.
    pub fn compile(text: &str) -> Result<Self, String> {
        Ok(Self {
            pattern: Pattern::compile(text, Scope::Whole)?,
            parsed: regex_syntax::parse(text).map_err(|error| error.to_string())?,
            text: text.to_owned(),
        })
    }

    /// Whether it is this path, from beginning to end.
    pub(super) fn is_match(&self, path: &str) -> bool {
        self.pattern.is_match(path)
    }

    /// The memory that its automaton takes, in bytes.
    pub fn memory(&self) -> usize {
        self.pattern.memory()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether whatever it is about begins with `/`, or it is about everything.
    pub fn is_about_paths(&self) -> bool {
        self.text.starts_with(".*") || begins_with_slash(&self.parsed)
    }

    /// The texts that stand in it as they are, and the characters of its small classes: `/a`, `?`
    /// and `&` of `/a[?&]`.
    pub fn written(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_written(&self.parsed, &mut found);
        found
    }

    /// With what every path of it begins, as far as that is certain.
    pub fn literal_prefix(&self) -> &str {
        let bytes = match self.parsed.kind() {
            HirKind::Concat(parts) => first_part(parts).and_then(literal),
            _ => literal(&self.parsed),
        };
        let text = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
        text.unwrap_or_default()
    }
}

fn begins_with_slash(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.starts_with(b"/"),
        HirKind::Capture(capture) => begins_with_slash(&capture.sub),
        HirKind::Repetition(repetition) => repetition.min > 0 && begins_with_slash(&repetition.sub),
        HirKind::Alternation(parts) => parts.iter().all(begins_with_slash),
        HirKind::Concat(parts) => first_part(parts).is_some_and(begins_with_slash),
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

/// The first part that takes up something of the path.
fn first_part(parts: &[Hir]) -> Option<&Hir> {
    let mut parts = parts.iter();
    parts.find(|part| !matches!(part.kind(), HirKind::Look(_)))
}

fn literal(hir: &Hir) -> Option<&[u8]> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(&literal.0),
        HirKind::Capture(capture) => literal(&capture.sub),
        _ => None,
    }
}

fn collect_written(hir: &Hir, found: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Literal(literal) => found.push(String::from_utf8_lossy(&literal.0).into_owned()),
        HirKind::Class(Class::Unicode(class)) => {
            let size =
                |range: &ClassUnicodeRange| u32::from(range.end()) - u32::from(range.start()) + 1;
            if class.iter().map(size).sum::<u32>() <= SMALL_CLASS {
                let members = class.iter().flat_map(|range| range.start()..=range.end());
                found.extend(members.map(String::from));
            }
        }
        HirKind::Repetition(repetition) => collect_written(&repetition.sub, found),
        HirKind::Capture(capture) => collect_written(&capture.sub, found),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            for part in parts {
                collect_written(part, found);
            }
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => {}
    }
}
