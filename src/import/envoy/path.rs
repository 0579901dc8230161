//! Envoy's path matchers as claimgate's patterns.
//!
//! Envoy compares bytes, claimgate compares decoded paths and refuses those with two readings. So literals
//! are decoded here, and a path that claimgate refuses belongs to no rule.

use percent_encoding::percent_decode_str;

use crate::import::model::PathPattern;
use crate::request::path::canonical;

/// What becomes of a path matcher.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Paths {
    /// Every path fits.
    All,
    /// These paths fit.
    These(PathPattern),
    /// claimgate refuses every request that fits, or none can.
    None,
}

/// Text before which a prefix is completed to a path, to see whether claimgate accepts it.
const REST: &str = "x";

pub(super) fn exact(path: &str, is_case_sensitive: bool) -> Paths {
    if path.contains(['?', '#']) {
        return Paths::None;
    }
    match (canonical(path), is_case_sensitive) {
        (Err(_), _) => Paths::None,
        (Ok(_), true) => Paths::These(PathPattern::Exact(without_signs(path))),
        (Ok(decoded), false) => {
            let regex = format!("(?i){}", escaped(&decoded));
            Paths::These(PathPattern::Regex(regex, Some(path.to_owned())))
        }
    }
}

/// Every path that begins with this text, whole segments or not.
pub(super) fn prefix(prefix: &str, is_case_sensitive: bool) -> Paths {
    if matches!(prefix, "" | "/") {
        return Paths::All;
    }
    if prefix.contains(['?', '#']) || canonical(&format!("{prefix}{REST}")).is_err() {
        return Paths::None;
    }
    let decoded = percent_decode_str(prefix).decode_utf8_lossy();
    let case = if is_case_sensitive { "" } else { "(?i)" };
    let regex = format!("{case}{}.*", escaped(&decoded));
    Paths::These(PathPattern::Regex(regex, Some(prefix.to_owned())))
}

/// The path and every path below it.
pub(super) fn segments(path: &str, is_case_sensitive: bool) -> Paths {
    match (canonical(path), is_case_sensitive) {
        (Err(_), _) => Paths::None,
        (Ok(_), true) => Paths::These(PathPattern::Prefix(without_signs(path))),
        (Ok(decoded), false) => {
            let regex = format!("(?i){}(/.*)?", escaped(&decoded));
            Paths::These(PathPattern::Regex(regex, Some(path.to_owned())))
        }
    }
}

/// Every path that the expression matches as a whole.
pub(super) fn regex(regex: &str) -> Paths {
    if regex == ".*" || regex == "/.*" {
        return Paths::All;
    }
    Paths::These(PathPattern::Regex(ascii_classes(regex), example(regex)))
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
                regex.push_str("[^/]+");
                example.push_str("some");
            }
            "**" => {
                regex.push_str(".*");
                example.push_str("some");
            }
            literal if literal.contains(['*', '{', '}', '=']) => return None,
            literal => {
                regex.push_str(&escaped(&percent_decode_str(literal).decode_utf8_lossy()));
                example.push_str(literal);
            }
        }
    }
    Some(PathPattern::Regex(regex, Some(example)))
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
fn escaped(literal: &str) -> String {
    let mut escaped = String::with_capacity(literal.len());
    for c in literal.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// The expression with the classes of RE2, which know ASCII only: `\d` also stands for digits of other
/// scripts in claimgate.
pub(super) fn ascii_classes(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut chars = regex.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match (chars.next(), in_class) {
                (Some('d'), false) => out.push_str("[0-9]"),
                (Some('d'), true) => out.push_str("0-9"),
                (Some('D'), _) => out.push_str("[^0-9]"),
                (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
                (Some('s'), false) => out.push_str(r"[\t\n\f\r ]"),
                (Some('s'), true) => out.push_str(r"\t\n\f\r "),
                (Some('S'), _) => out.push_str(r"[^\t\n\f\r ]"),
                (Some('b'), false) => out.push_str(r"(?-u:\b)"),
                (Some('B'), false) => out.push_str(r"(?-u:\B)"),
                (Some(other), _) => out.extend(['\\', other]),
                (None, _) => out.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                out.push('[');
            }
            // In RE2 it stands for itself, here it would begin another class.
            '[' => out.push_str(r"\["),
            ']' => {
                in_class = false;
                out.push(']');
            }
            // In RE2 these stand for themselves in a class, here they are operators if doubled.
            '&' | '~' if in_class => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

/// A path that the expression probably matches.
fn example(regex: &str) -> Option<String> {
    some_match(regex).filter(|text| text.starts_with('/'))
}

/// A text that the expression probably matches. Its user checks that.
pub(super) fn some_match(regex: &str) -> Option<String> {
    let mut chars = regex.chars().peekable();
    let mut out = String::new();
    alternative(&mut chars, &mut out, 0)?;
    Some(out)
}

type Chars<'r> = std::iter::Peekable<std::str::Chars<'r>>;

/// Reads the first alternative of a group or of the whole, and skips the others.
fn alternative(chars: &mut Chars<'_>, out: &mut String, depth: usize) -> Option<()> {
    if depth > 8 {
        return None;
    }
    let mut is_first = true;
    while let Some(c) = chars.next() {
        let atom = match c {
            ')' if depth > 0 => return Some(()),
            '|' => {
                is_first = false;
                String::new()
            }
            '^' | '$' => String::new(),
            '(' => {
                let mut inner = String::new();
                if group(chars)? {
                    alternative(chars, &mut inner, depth + 1)?;
                }
                inner
            }
            '[' => class(chars)?.to_string(),
            '.' => "x".to_owned(),
            '\\' => match chars.next()? {
                'd' => "1".to_owned(),
                'w' | 'S' | 'D' => "x".to_owned(),
                other if other.is_ascii_alphanumeric() => return None,
                other => other.to_string(),
            },
            c => c.to_string(),
        };
        let times = quantity(chars)?;
        if is_first {
            out.push_str(&atom.repeat(times));
        }
    }
    (depth == 0).then_some(())
}

/// Skips the `?:` or the flags of a group. Returns false if it holds nothing else, such as `(?i)`.
fn group(chars: &mut Chars<'_>) -> Option<bool> {
    if chars.peek() != Some(&'?') {
        return Some(true);
    }
    loop {
        match chars.next()? {
            ':' | '>' => return Some(true),
            ')' => return Some(false),
            _ => {}
        }
    }
}

/// One character of a class.
fn class(chars: &mut Chars<'_>) -> Option<char> {
    let first = chars.next()?;
    let picked = match first {
        '^' => 'x',
        '\\' => match chars.next()? {
            'd' => '1',
            'w' => 'x',
            other => other,
        },
        other => other,
    };
    while chars.next()? != ']' {}
    Some(picked)
}

/// The smallest number of times that the quantifier after an atom allows.
fn quantity(chars: &mut Chars<'_>) -> Option<usize> {
    let times = match chars.peek() {
        Some('*' | '?') => {
            chars.next();
            0
        }
        Some('+') => {
            chars.next();
            1
        }
        Some('{') => {
            chars.next();
            let mut digits = String::new();
            loop {
                match chars.next()? {
                    '}' => break,
                    c if c.is_ascii_digit() => digits.push(c),
                    _ => {
                        while chars.next()? != '}' {}
                        break;
                    }
                }
            }
            digits.parse().ok().filter(|times| *times < 100)?
        }
        _ => return Some(1),
    };
    if chars.peek() == Some(&'?') {
        chars.next();
    }
    Some(times)
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
            (r"/[a&&b]", r"/[a\&\&b]"),
            (r"/a\b.*", r"/a(?-u:\b).*"),
        ] {
            assert_eq!(ascii_classes(regex), expected, "{regex}");
        }
    }

    #[test]
    fn examples() {
        for (regex, expected) in [
            ("/a/.*", Some("/a/")),
            (r"/a/[0-9]+\.json", Some("/a/0.json")),
            ("/(orders|items)/[^/]+", Some("/orders/x")),
            ("/a(b(c|d)e)?/f{3}", Some("/a/fff")),
            (r"^/(?:v1|v2)/\d{2,3}$", Some("/v1/11")),
            ("(?i)/a", Some("/a")),
            (".*/a", Some("/a")),
            ("a/b", None),
            ("/a(", None),
        ] {
            assert_eq!(example(regex).as_deref(), expected, "{regex}");
        }
    }
}
