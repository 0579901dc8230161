//! Envoy's path matchers as claimgate's patterns.
//!
//! Envoy compares bytes, claimgate compares decoded paths and refuses those with two readings. So literals
//! are decoded here, and a path that claimgate refuses belongs to no rule.

use percent_encoding::percent_decode_str;

use super::encoded::{Decoded, decoded};
use super::example::path as example;
use crate::import::model::PathPattern;
use crate::request::path::canonical;

/// What becomes of a path matcher.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Paths {
    /// Every path fits.
    All,
    /// These paths fit.
    These(PathPattern),
    /// Some of these fit, of all paths if there is no pattern.
    AtMost(Option<PathPattern>),
    /// Where a rule looks at paths, claimgate refuses every request that fits.
    Refused,
    /// No request fits.
    Never,
}

/// Text before which a prefix is completed to a path, to see whether claimgate accepts it.
const REST: &str = "x";

/// What a decoded escape can be: claimgate refuses escapes of everything else.
const DECODED: &str = "[^0-9A-Za-z/._~-]";

/// What `*` of a template matches. Envoy's `uri_template` takes no other character.
const SEGMENT: &str = r#"[^/*"<>\[\]^`{|}]+"#;

/// The same for `**`.
const SEGMENTS: &str = r#"[^*"<>\[\]^`{|}]*"#;

pub(super) fn exact(path: &str, is_case_sensitive: bool) -> Paths {
    if path.contains(['?', '#']) {
        return Paths::Never;
    }
    match (canonical(path), is_case_sensitive) {
        (Err(_), _) => Paths::Refused,
        (Ok(_), true) => Paths::These(PathPattern::Exact(without_signs(path))),
        (Ok(decoded), false) => {
            let regex = in_any_case(&decoded);
            Paths::These(PathPattern::Regex(regex, Some(path.to_owned())))
        }
    }
}

/// Every path that begins with this text, whole segments or not.
pub(super) fn prefix(prefix: &str, is_case_sensitive: bool) -> Paths {
    if matches!(prefix, "" | "/") {
        return Paths::All;
    }
    if prefix.contains(['?', '#']) {
        return Paths::Never;
    }
    let literal = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8_lossy();
        match is_case_sensitive {
            true => escaped(&decoded),
            false => in_any_case(&decoded),
        }
    };
    let is_path = |text: &str| canonical(&format!("{text}{REST}")).is_ok();
    if is_path(prefix) {
        let regex = format!("{}.*", literal(prefix));
        return Paths::These(PathPattern::Regex(regex, Some(prefix.to_owned())));
    }
    match whole_characters(prefix) {
        Some(whole) if is_path(whole) => {
            let regex = format!("{}{DECODED}.*", literal(whole));
            Paths::AtMost(Some(PathPattern::Regex(regex, None)))
        }
        _ => Paths::Refused,
    }
}

/// The prefix without what is only a part of an escape or of an escaped character. `None` if it ends with a whole
/// one.
fn whole_characters(prefix: &str) -> Option<&str> {
    let mut whole = prefix;
    if let Some(at) = prefix.len().checked_sub(2).and_then(|at| prefix.get(at..)) {
        let cut = at.rfind('%').map_or(0, |from| at.len() - from);
        whole = prefix.get(..prefix.len() - cut)?;
    }
    // A character has up to four bytes, and three of them are only a part.
    for _ in 0..3 {
        if percent_decode_str(whole).decode_utf8().is_ok() {
            break;
        }
        let at = whole.len().checked_sub(3)?;
        whole = whole
            .get(..at)
            .filter(|_| whole.get(at..).is_some_and(|it| it.starts_with('%')))?;
    }
    let is_text = percent_decode_str(whole).decode_utf8().is_ok();
    (is_text && whole.len() < prefix.len()).then_some(whole)
}

/// The path and every path below it.
pub(super) fn segments(path: &str, is_case_sensitive: bool) -> Paths {
    if path.contains(['?', '#']) {
        return Paths::Never;
    }
    match (canonical(path), is_case_sensitive) {
        (Err(_), _) => Paths::Refused,
        (Ok(_), true) => Paths::These(PathPattern::Prefix(without_signs(path))),
        (Ok(decoded), false) => {
            let regex = format!("{}(/.*)?", in_any_case(&decoded));
            Paths::These(PathPattern::Regex(regex, Some(path.to_owned())))
        }
    }
}

/// Every path that the expression matches as a whole.
pub(super) fn regex(regex: &str) -> Paths {
    match decoded(regex) {
        Decoded::All => Paths::All,
        Decoded::Exact(decoded) => Paths::These(PathPattern::Regex(decoded, example(regex))),
        Decoded::Begins(text) => Paths::AtMost(match text.as_str() {
            text if text.len() > 1 && text.starts_with('/') => {
                Some(PathPattern::Regex(format!("{}.*", escaped(text)), None))
            }
            _ => None,
        }),
    }
}

/// A template such as `/users/{id}/**`. `None` if it is not one.
pub(super) fn template(template: &str) -> Option<PathPattern> {
    let (mut regex, mut example) = (String::new(), String::new());
    for segment in template.strip_prefix('/')?.split('/') {
        regex.push('/');
        example.push('/');
        let inner = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let pattern = match inner {
            Some(variable) => variable.split_once('=').map_or("*", |(_, pattern)| pattern),
            None => segment,
        };
        match pattern {
            "*" => {
                regex.push_str(SEGMENT);
                example.push_str("some");
            }
            "**" => {
                regex.push_str(SEGMENTS);
                example.push_str("some");
            }
            literal if literal.contains(['*', '{', '}', '=']) => return None,
            literal => {
                regex.push_str(&escaped(&percent_decode_str(literal).decode_utf8().ok()?));
                example.push_str(literal);
            }
        }
    }
    Some(PathPattern::Regex(regex, Some(example)))
}

/// The literal as an expression, with the letters of ASCII in any case, as Envoy compares them.
fn in_any_case(literal: &str) -> String {
    let mut out = String::new();
    let mut rest = literal;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii()).unwrap_or(rest.len());
        let (ascii, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii()).unwrap_or(after.len());
        let (others, after) = after.split_at(end);
        match ascii.contains(|c: char| c.is_ascii_alphabetic()) {
            true => out.extend(["(?i-u:", &escaped(ascii), ")"]),
            false => out.push_str(&escaped(ascii)),
        }
        out.push_str(others);
        rest = after;
    }
    out
}

/// Percent-encodes what claimgate would take for a placeholder.
fn without_signs(path: &str) -> String {
    let signs = "*{}<>[]^|$";
    let mut before = '/';
    let encode = |c: char| {
        let is_sign = signs.contains(c) || (c == ':' && before == '/');
        before = c;
        match is_sign {
            true => format!("%{:02X}", u32::from(c)),
            false => c.to_string(),
        }
    };
    path.chars().map(encode).collect()
}

/// The literal as an expression.
pub(super) fn escaped(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len());
    for c in literal.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The expression in the syntax of the `regex` crate, with the meaning that it has in RE2, whose `\d` and the
/// like know ASCII only. What Rust does not know stays as it is, and Rust refuses it.
pub(in crate::import) fn ascii_classes(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(r"[\t\n\f\r ]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some('b') => out.push_str(r"(?-u:\b)"),
                Some('B') => out.push_str(r"(?-u:\B)"),
                // In Rust, they are the beginning and the end of a word.
                Some(sign @ ('<' | '>')) => out.push(sign),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' => chars = class_of_re2(chars, &mut out),
            c => out.push(c),
        }
    }
    out
}

/// Copies a class of RE2, of which the `[` is read. In it, most signs stand for themselves, and in Rust they do
/// so if they are escaped. Returns what follows.
fn class_of_re2<'r>(mut chars: std::str::Chars<'r>, out: &mut String) -> std::str::Chars<'r> {
    out.push('[');
    if let Some(rest) = chars.as_str().strip_prefix('^') {
        out.push('^');
        chars = rest.chars();
    }
    let mut is_first = true;
    loop {
        let rest = chars.as_str();
        if let (false, Some(after)) = (is_first, rest.strip_prefix(']')) {
            out.push(']');
            return after.chars();
        }
        is_first = false;
        // `[:alpha:]`
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|it| it.split_once(":]")) {
            out.extend(["[:", name, ":]"]);
            chars = after.chars();
            continue;
        }
        let Some(is_set) = class_item(&mut chars, out) else {
            return chars;
        };
        let range = chars.as_str().strip_prefix('-');
        if let (false, Some(after)) = (is_set, range.filter(|after| !after.starts_with(']'))) {
            out.push('-');
            chars = after.chars();
            if let Some(after) = after.strip_prefix('-') {
                out.push_str("\\-");
                chars = after.chars();
            } else if class_item(&mut chars, out).is_none() {
                return chars;
            }
        }
    }
}

/// Copies a character or a set such as `\d`. Returns whether it is a set, or `None` at the end of the text.
fn class_item(chars: &mut std::str::Chars<'_>, out: &mut String) -> Option<bool> {
    match chars.next()? {
        '\\' => match chars.next()? {
            'd' => out.push_str("0-9"),
            'D' => out.push_str("[^0-9]"),
            'w' => out.push_str("0-9A-Za-z_"),
            'W' => out.push_str("[^0-9A-Za-z_]"),
            's' => out.push_str(r"\t\n\f\r "),
            'S' => out.push_str(r"[^\t\n\f\r ]"),
            kind @ ('p' | 'P') => out.extend(['\\', kind]),
            sign @ ('<' | '>') => {
                out.push(sign);
                return Some(false);
            }
            'x' => {
                out.push_str("\\x");
                let digits = chars.as_str();
                let length = match digits.strip_prefix('{') {
                    Some(_) => digits.find('}').map_or(digits.len(), |at| at + 1),
                    None => digits
                        .char_indices()
                        .nth(2)
                        .map_or(digits.len(), |(at, _)| at),
                };
                let (code, rest) = digits.split_at(length);
                out.push_str(code);
                *chars = rest.chars();
                return Some(false);
            }
            other => {
                out.extend(['\\', other]);
                return Some(false);
            }
        },
        // A `-` before the end is a character in both.
        '-' if chars.as_str().starts_with(']') => {
            out.push('-');
            return Some(false);
        }
        sign @ ('[' | ']' | '&' | '~' | '^' | '-') => {
            out.extend(['\\', sign]);
            return Some(false);
        }
        c => {
            out.push(c);
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (regex, expected) in [
            (r"/a\d+", "/a[0-9]+"),
            (r"/[\d_-]+", "/[0-9_-]+"),
            (r"/[^\s]+", r"/[^\t\n\f\r ]+"),
            (r"/\w\.json", r"/[0-9A-Za-z_]\.json"),
            (r"/\\d", r"/\\d"),
            (r"/[[a]", r"/[\[a]"),
            ("/[[:alpha:]]+/a", "/[[:alpha:]]+/a"),
            ("/[^[:digit:][:^word:]x]", "/[^[:digit:][:^word:]x]"),
            ("/[a[:]b]", r"/[a\[:]b]"),
            ("/[+--]+", r"/[+-\-]+"),
            ("/[--a]", r"/[\--a]"),
            ("/[]a]/[^]a]", r"/[\]a]/[^\]a]"),
            ("/[a-[]", r"/[a-\[]"),
            ("/[a~~b]", r"/[a\~\~b]"),
            (r"/[\x41-\x{5A}]", r"/[\x41-\x{5A}]"),
            (r"/[\[-\]]", r"/[\[-\]]"),
            (r"/[\d-z]", r"/[0-9\-z]"),
            (r"/\<a\>[\<\>]", "/<a>[<>]"),
            (r"/a\b{2}", r"/a(?-u:\b){2}"),
            (r"/\Qa.b\E", r"/\Qa.b\E"),
            (r"/[a&&b]", r"/[a\&\&b]"),
            (r"/a\b.*", r"/a(?-u:\b).*"),
        ] {
            assert_eq!(ascii_classes(regex), expected, "{regex}");
        }
    }

    #[test]
    fn prefixes() {
        let these = |regex: &str, from: &str| {
            Paths::These(PathPattern::Regex(regex.to_owned(), Some(from.to_owned())))
        };
        let at_most = |regex: &str| Paths::AtMost(Some(PathPattern::Regex(regex.to_owned(), None)));
        for (text, expected) in [
            ("/a", these("/a.*", "/a")),
            ("/a%20", these("/a .*", "/a%20")),
            ("/a%25", these("/a%.*", "/a%25")),
            ("/caf%C3%A9", these("/café.*", "/caf%C3%A9")),
            ("/caf%C3", at_most("/caf[^0-9A-Za-z/._~-].*")),
            ("/caf%C3%", at_most("/caf[^0-9A-Za-z/._~-].*")),
            ("/x%F0%9F%98", at_most("/x[^0-9A-Za-z/._~-].*")),
            ("/a%", at_most("/a[^0-9A-Za-z/._~-].*")),
            ("/a%2", at_most("/a[^0-9A-Za-z/._~-].*")),
            ("/a;b", Paths::Refused),
            ("//x", Paths::Refused),
            ("/a%2F", Paths::Refused),
            (
                "/a/..",
                Paths::These(PathPattern::Regex(
                    r"/a/\.\..*".to_owned(),
                    Some("/a/..".to_owned()),
                )),
            ),
            ("/a?b", Paths::Never),
            ("/", Paths::All),
        ] {
            assert_eq!(prefix(text, true), expected, "{text}");
        }
    }
}
