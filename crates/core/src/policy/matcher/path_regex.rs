//! Regular expressions for paths, and what can be said about them before a request comes.

use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind, Look};

use crate::policy::pattern::{Pattern, Scope};

/// A regular expression that must match the whole path.
#[derive(Clone, Debug)]
pub struct PathRegex {
    text: String,
    pattern: Pattern,
    parsed: Hir,
}

/// The paths of an expression that means no more than one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Simple {
    /// This path only.
    Exact(String),
    /// This path and every path below it: `/orders(/.*)?`.
    Prefix(String),
    /// Every path that begins with this text: `/public.*`.
    Beginning(String),
}

/// The maximum size of a character class whose characters count as written out.
const SMALL_CLASS: u32 = 8;

impl PathRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// Says in one line why the expression cannot be used.
    pub fn compile(text: &str) -> Result<Self, String> {
        Ok(Self {
            pattern: Pattern::compile(text, Scope::Whole)?,
            parsed: regex_syntax::parse(text).map_err(|error| error.to_string())?,
            text: text.to_owned(),
        })
    }

    /// Whether the expression matches the path from beginning to end.
    pub(super) fn is_match(&self, path: &str) -> bool {
        self.pattern.is_match(path)
    }

    /// The memory of the automaton, in bytes.
    pub fn memory(&self) -> usize {
        self.pattern.memory()
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether everything that it matches begins with `/`, or it matches everything.
    pub fn is_about_paths(&self) -> bool {
        self.text.starts_with(".*") || begins_with_slash(&self.parsed)
    }

    /// The literal texts in the expression, and the characters of its small classes: `/a`, `?` and
    /// `&` for `/a[?&]`.
    pub fn written(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect_written(&self.parsed, &mut found);
        found
    }

    /// Texts such that every matching path begins with one of them. `None` if unknown.
    pub fn beginnings(&self) -> Option<Vec<String>> {
        let found = Extractor::new().extract(&self.parsed);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        found
            .literals()?
            .iter()
            .map(|literal| text(literal.as_bytes()))
            .collect()
    }

    /// Whether the expression is not bound to a first segment: `.*`, `/[a-z]+`.
    pub fn is_anywhere(&self) -> bool {
        let beginnings = self.beginnings();
        beginnings.is_none_or(|texts| texts.iter().any(|text| text.len() <= 1))
    }

    /// Whether the expression matches nearly every path: every path whose segments are lower-case
    /// letters, as `/[^/]*(/.*)?` does.
    pub fn is_about_plain_paths(&self) -> bool {
        self.pattern.matches_all_plain_paths()
    }

    /// Whether any path at all may come before its ending: `.*\.css`.
    pub fn begins_with_anything(&self) -> bool {
        begins_with_anything(&self.parsed)
    }

    /// One of its beginnings after which the segment may continue: `/public` for `/public.*`, which
    /// also matches `/publications/7`.
    pub fn runs_on(&self) -> Option<String> {
        let goes_on = |text: &String| !text.ends_with('/') && self.is_match(&format!("{text}-x/x"));
        self.beginnings()?.into_iter().find(goes_on)
    }

    /// Whether its paths may have any number of segments: it has an unbounded part that can match
    /// `/`.
    pub fn has_many_segments(&self) -> bool {
        has_many_segments(&self.parsed)
    }

    /// Whether no text can match: `/a$b`, `/[a&&b]`.
    pub fn is_impossible(&self) -> bool {
        is_impossible(&self.parsed)
    }

    /// Its paths, if the expression is only a literal with a simple ending.
    pub(super) fn simple(&self) -> Option<Simple> {
        let parts = match self.parsed.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(&self.parsed),
        };
        let parts: Vec<&Hir> = parts.iter().filter(|part| !is_edge(part)).collect();
        let (text, end) = match parts.split_first() {
            Some((first, [])) if is_anything(first) => ("", Some(*first)),
            Some((first, [])) => (literal_text(first)?, None),
            Some((first, [end])) => (literal_text(first)?, Some(*end)),
            _ => return None,
        };
        match end {
            None => Some(Simple::Exact(text.to_owned())),
            Some(end) if is_anything(end) => Some(Simple::Beginning(text.to_owned())),
            Some(end) if is_anything_below(end) => Some(Simple::Prefix(text.to_owned())),
            Some(_) => None,
        }
    }

    /// The text that every matching path certainly begins with.
    pub fn literal_prefix(&self) -> &str {
        let text = match self.parsed.kind() {
            HirKind::Concat(parts) => first_part(parts).and_then(literal_text),
            _ => literal_text(&self.parsed),
        };
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

/// The first part that consumes some of the path.
fn first_part(parts: &[Hir]) -> Option<&Hir> {
    let mut parts = parts.iter();
    parts.find(|part| !matches!(part.kind(), HirKind::Look(_)))
}

fn literal_text(hir: &Hir) -> Option<&str> {
    str::from_utf8(literal(hir)?).ok()
}

/// Whether the part is `^` or `$`. At the edges of the expression these change nothing, because the
/// whole path must match.
fn is_edge(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Look(Look::Start | Look::End))
}

/// Whether the part is `.*`, which matches every path.
fn is_anything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => is_anything(&capture.sub),
        HirKind::Repetition(repetition) => {
            repetition.min == 0 && repetition.max.is_none() && is_any_character(&repetition.sub)
        }
        _ => false,
    }
}

/// Whether the part matches every character that a path may have. No path has a line end.
fn is_any_character(hir: &Hir) -> bool {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
        return false;
    };
    let mut others = class.clone();
    others.negate();
    let is_line_end = |end: char| matches!(end, '\r' | '\n');
    let mut ranges = others.iter();
    ranges.all(|range| is_line_end(range.start()) && range.start() == range.end())
}

/// Whether the part is `(/.*)?`.
fn is_anything_below(hir: &Hir) -> bool {
    let HirKind::Repetition(repetition) = hir.kind() else {
        return false;
    };
    let mut inner = &*repetition.sub;
    while let HirKind::Capture(capture) = inner.kind() {
        inner = &capture.sub;
    }
    let HirKind::Concat(parts) = inner.kind() else {
        return false;
    };
    let [slash, rest] = parts.as_slice() else {
        return false;
    };
    repetition.min == 0 && literal_text(slash) == Some("/") && is_anything(rest)
}

fn begins_with_anything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => begins_with_anything(&capture.sub),
        HirKind::Alternation(parts) => parts.iter().any(begins_with_anything),
        HirKind::Repetition(repetition) => {
            repetition.max.is_none() && is_any_character(&repetition.sub)
        }
        HirKind::Concat(parts) => {
            let mut parts = parts
                .iter()
                .filter(|part| !is_edge(part) && literal_text(part) != Some("/"));
            parts.next().is_some_and(begins_with_anything)
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn has_many_segments(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => has_many_segments(&capture.sub),
        HirKind::Repetition(repetition) => {
            (repetition.max.is_none() && holds_slash(&repetition.sub))
                || has_many_segments(&repetition.sub)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(has_many_segments),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
    }
}

fn holds_slash(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let mut ranges = class.iter();
            ranges.any(|range| range.start() <= '/' && '/' <= range.end())
        }
        HirKind::Literal(literal) => literal.0.contains(&b'/'),
        HirKind::Capture(capture) => holds_slash(&capture.sub),
        HirKind::Repetition(repetition) => holds_slash(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(holds_slash),
        HirKind::Empty | HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) => false,
    }
}

fn is_impossible(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class.ranges().is_empty(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().is_empty(),
        HirKind::Capture(capture) => is_impossible(&capture.sub),
        HirKind::Repetition(repetition) => repetition.min > 0 && is_impossible(&repetition.sub),
        HirKind::Alternation(parts) => parts.iter().all(is_impossible),
        HirKind::Concat(parts) => {
            parts.iter().any(is_impossible) || (0..parts.len()).any(|at| is_cut_off(parts, at))
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => false,
    }
}

/// Whether this part must stand at the beginning or the end of the path, but a part on that side of
/// it consumes something.
fn is_cut_off(parts: &[Hir], at: usize) -> bool {
    let (before, rest) = parts.split_at(at);
    let Some((part, after)) = rest.split_first() else {
        return false;
    };
    let takes_up = |part: &Hir| part.properties().minimum_len().is_some_and(|len| len > 0);
    let (begins, ends) = (
        part.properties().look_set_prefix().contains(Look::Start),
        part.properties().look_set_suffix().contains(Look::End),
    );
    (begins && before.iter().any(takes_up)) || (ends && after.iter().any(takes_up))
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
