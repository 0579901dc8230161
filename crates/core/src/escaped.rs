//! Makes text from outside safe to show in logs and errors.

use std::fmt;

/// Text with control characters and backslashes escaped, cut after 120 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escaped(String);

impl Escaped {
    const MAX_CHARS: usize = 120;
}

impl From<&str> for Escaped {
    fn from(text: &str) -> Self {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
        if text.len() <= Self::MAX_CHARS && text.bytes().all(is_plain) {
            return Self(text.to_owned());
        }
        let mut shown = String::with_capacity(text.len().min(Self::MAX_CHARS));
        for c in text.chars().take(Self::MAX_CHARS) {
            match c {
                // Messages put the text between backticks, so quotes need no escape.
                '"' | '\'' => shown.push(c),
                _ => shown.extend(c.escape_debug()),
            }
        }
        if text.chars().nth(Self::MAX_CHARS).is_some() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names in backticks. Lists at most [`MAX_LISTED`], because an operator may configure
/// thousands.
pub fn listed(names: &[impl fmt::Display], between: &str) -> String {
    joined_by(names, between, |name| format!("`{name}`"))
}

/// Like [`listed`], for items that have their own backticks.
pub fn joined(items: &[impl fmt::Display], between: &str) -> String {
    joined_by(items, between, ToString::to_string)
}

fn joined_by<T>(items: &[T], between: &str, text: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = items.iter().take(MAX_LISTED).map(text).collect();
    match items.len() - shown.len() {
        0 => shown.join(between),
        more => format!("{} and {more} more", shown.join(between)),
    }
}

/// The maximum number of names that an error lists.
pub const MAX_LISTED: usize = 8;

/// The known name that was probably meant: at most one edit, plus one for every four letters of the
/// known name, away from `name`. A swap of two neighbouring letters is one edit.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

/// Writes a value of a log line (logfmt): in quotes unless it is one plain word, so that no value can
/// pretend to be another field.
///
/// # Errors
///
/// Fails as `into` does.
pub fn write_value(into: &mut impl fmt::Write, value: &str) -> fmt::Result {
    let is_plain = |c: char| !(c.is_whitespace() || c.is_control() || "\"\\=".contains(c));
    match !value.is_empty() && value.chars().all(is_plain) {
        true => into.write_str(value),
        false => write!(into, "{value:?}"),
    }
}

/// Writes the message of a log line, with its control characters escaped.
///
/// # Errors
///
/// Fails as `into` does.
pub fn write_message(into: &mut impl fmt::Write, message: &str) -> fmt::Result {
    message.chars().try_for_each(|c| match c.is_control() {
        true => write!(into, "{}", c.escape_debug()),
        false => into.write_char(c),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_pretend_to_be_fields() {
        for (value, expected) in [
            ("expired", "expired"),
            (
                "https://idp.example.com/realms/acme",
                "https://idp.example.com/realms/acme",
            ),
            ("Müller", "Müller"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("a=b", r#""a=b""#),
            (r#"say "x" reason=none"#, r#""say \"x\" reason=none""#),
            (r#""a" b="c""#, r#""\"a\" b=\"c\"""#),
            ("one\nlevel=ERROR", r#""one\nlevel=ERROR""#),
            ("\u{1b}[31m", r#""\u{1b}[31m""#),
            (r"back\slash", r#""back\\slash""#),
        ] {
            let mut text = String::new();
            write_value(&mut text, value).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn shown() {
        for (text, expected) in [
            ("plain", "plain"),
            ("two\nlines\u{1b}[31m", "two\\nlines\\u{1b}[31m"),
            ("Zoë", "Zoë"),
            (r"a\b", r"a\\b"),
            ("", ""),
            ("~ \u{7f}", "~ \\u{7f}"),
            (r#"a == "b" || c == 'd'"#, r#"a == "b" || c == 'd'"#),
        ] {
            assert_eq!(Escaped::from(text).to_string(), expected);
        }
        let long = Escaped::from("x".repeat(100_000).as_str()).to_string();
        assert_eq!(long, format!("{}…", "x".repeat(Escaped::MAX_CHARS)));
    }
}
