//! Expressions for encoded paths as expressions for decoded ones.
//!
//! Envoy compares an expression with the path as it came: `/a%20b`. claimgate compares with the decoded path:
//! `/a b`. Most expressions mean the same after their literals are decoded, and [`proof`] shows it for each one.
//! The others are not translated.

use percent_encoding::percent_decode;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::path::{ascii_classes, escaped};

mod proof;

/// What becomes of an expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// It matches every path.
    All,
    /// An expression that matches a decoded path if and only if the original matches its usual encoding.
    Exact(String),
    /// There is no such expression, or none is known. Everything that the original matches begins with this
    /// text, which has no escapes.
    Begins(String),
}

/// Decodes an expression of RE2 for whole paths.
pub(super) fn decoded(regex: &str) -> Decoded {
    // Paths that claimgate accepts are ASCII before they are decoded, and RE2 folds the case of ASCII as this does.
    let parsed = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(&ascii_classes(regex));
    let Ok(parsed) = parsed else {
        return Decoded::Begins(String::new());
    };
    if proof::is_same(&parsed, "/.*") {
        return Decoded::All;
    }
    let mut out = String::new();
    match write(&parsed, Many::No, &mut out) {
        Some(()) if proof::is_same(&parsed, &out) => Decoded::Exact(out),
        _ => Decoded::Begins(beginning(&parsed)),
    }
}

/// Whether an expression is repeated any number of times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Many {
    Yes,
    No,
}

/// Writes the expression for decoded paths. It is a guess, which the proof accepts or not. `None` if there is
/// no guess.
fn write(hir: &Hir, many: Many, out: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty => {}
        HirKind::Literal(literal) => out.push_str(&escaped(&text(&literal.0)?)),
        HirKind::Class(class) => out.push_str(&Characters::of(class).written(many)?),
        HirKind::Look(Look::Start) => out.push('^'),
        HirKind::Look(Look::End) => out.push('$'),
        HirKind::Look(Look::WordAscii) => out.push_str(r"(?-u:\b)"),
        HirKind::Look(Look::WordAsciiNegate) => out.push_str(r"(?-u:\B)"),
        HirKind::Look(_) => return None,
        HirKind::Repetition(repetition) => {
            let (min, max) = (repetition.min, repetition.max);
            let many = match (min, max) {
                (0 | 1, None) => Many::Yes,
                _ => Many::No,
            };
            let mut inner = String::new();
            write(&repetition.sub, many, &mut inner)?;
            let is_one = match repetition.sub.kind() {
                HirKind::Class(_) | HirKind::Capture(_) => true,
                HirKind::Literal(literal) => text(&literal.0)?.chars().count() == 1,
                _ => false,
            };
            match is_one {
                true => out.push_str(&inner),
                false => out.extend(["(?:", &inner, ")"]),
            }
            let times = match (min, max) {
                (0, None) => "*".to_owned(),
                (1, None) => "+".to_owned(),
                (0, Some(1)) => "?".to_owned(),
                (min, None) => format!("{{{min},}}"),
                (min, Some(max)) if min == max => format!("{{{min}}}"),
                (min, Some(max)) => format!("{{{min},{max}}}"),
            };
            out.push_str(&times);
        }
        HirKind::Capture(capture) => {
            out.push('(');
            write(&capture.sub, many, out)?;
            out.push(')');
        }
        HirKind::Concat(parts) => {
            for part in parts {
                let is_choice = matches!(part.kind(), HirKind::Alternation(_));
                out.push_str(if is_choice { "(?:" } else { "" });
                write(part, Many::No, out)?;
                out.push_str(if is_choice { ")" } else { "" });
            }
        }
        HirKind::Alternation(parts) => {
            for (index, part) in parts.iter().enumerate() {
                out.push_str(if index > 0 { "|" } else { "" });
                write(part, Many::No, out)?;
            }
        }
    }
    Some(())
}

/// The literal without its escapes. `None` if it ends amid a character.
fn text(literal: &[u8]) -> Option<String> {
    let bytes: Vec<u8> = percent_decode(literal).collect();
    String::from_utf8(bytes).ok()
}

/// Characters of ASCII.
struct Characters([bool; 128]);

impl Characters {
    fn of(class: &Class) -> Self {
        let ranges: Vec<(u32, u32)> = match class {
            Class::Bytes(class) => class
                .iter()
                .map(|range| (range.start().into(), range.end().into()))
                .collect(),
            Class::Unicode(class) => class
                .iter()
                .map(|range| (range.start().into(), range.end().into()))
                .collect(),
        };
        let mut found = [false; 128];
        for (code, is_in) in (0..).zip(&mut found) {
            *is_in = ranges
                .iter()
                .any(|(start, end)| (*start..=*end).contains(&code));
        }
        Self(found)
    }

    fn has(&self, c: char) -> bool {
        self.0.get(c as usize).copied().unwrap_or_default()
    }

    /// The class of the decoded characters. One escape is three characters of the original, so it fits only
    /// if the class is repeated.
    fn written(&self, many: Many) -> Option<String> {
        // A class of nearly everything but the sign of escapes is about encodings.
        let is_open = self.has('\u{1}') || self.has(' ');
        if is_open && !self.has('%') {
            return None;
        }
        let of_escapes = "%0123456789ABCDEF";
        let takes_escapes = many == Many::Yes && of_escapes.chars().all(|c| self.has(c));
        let is_plain = |c: &char| proof::is_plain(*c);
        let ascii = || (0..128_u8).map(char::from);
        match takes_escapes {
            true => {
                let missing: Vec<char> = ascii().filter(|c| is_plain(c) && !self.has(*c)).collect();
                Some(match missing.is_empty() {
                    true => ".".to_owned(),
                    false => format!("[^{}]", ranges(&missing, |_| false)),
                })
            }
            false => {
                let own: Vec<char> = ascii().filter(|c| is_plain(c) && self.has(*c)).collect();
                // A class with nothing in it is an error in claimgate.
                let is_neutral = |c: char| !is_plain(&c) && c > ' ' && !matches!(c, '%' | '\u{7f}');
                match own.as_slice() {
                    [] => None,
                    [one] => Some(escaped(&one.to_string())),
                    own => Some(format!("[{}]", ranges(own, is_neutral))),
                }
            }
        }
    }
}

/// Characters in ascending order as the inside of a class. Ranges may contain neutral ones, which are in no path.
fn ranges(characters: &[char], is_neutral: impl Fn(char) -> bool) -> String {
    let mut found: Vec<(char, char)> = Vec::new();
    for c in characters {
        match found.last_mut() {
            Some((_, end)) if (*end..*c).skip(1).all(&is_neutral) => *end = *c,
            _ => found.push((*c, *c)),
        }
    }
    let quoted = |c: char| match c {
        // No sign is doubled here, so the others are no operators.
        '[' | ']' | '^' | '-' | '\\' => format!("\\{c}"),
        c => c.to_string(),
    };
    found
        .into_iter()
        .map(|(start, end)| match u32::from(end) - u32::from(start) {
            0 => quoted(start),
            1 => quoted(start) + &quoted(end),
            _ => format!("{}-{}", quoted(start), quoted(end)),
        })
        .collect()
}

/// The text before the first choice and the first escape.
fn beginning(hir: &Hir) -> String {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    let mut found: Vec<u8> = Vec::new();
    for part in parts {
        match part.kind() {
            HirKind::Look(Look::Start) => {}
            HirKind::Literal(literal) => {
                found.extend(literal.0.iter().take_while(|byte| **byte != b'%'));
                break;
            }
            _ => break,
        }
    }
    let plain = found.into_iter().map(char::from);
    plain.take_while(char::is_ascii).collect()
}

#[cfg(test)]
mod tests;
