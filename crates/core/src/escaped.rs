//! Text from outside, made fit to be shown in logs and errors.

use std::fmt;

/// Control characters and backslashes are escaped, and what is too long is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escaped(String);

impl Escaped {
    const MAX_CHARS: usize = 120;
}

impl From<&str> for Escaped {
    fn from(text: &str) -> Self {
        let mut shown = String::new();
        for c in text.chars().take(Self::MAX_CHARS) {
            match c {
                // What is shown stands between backticks.
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

/// Names in backticks, at most [`MAX_LISTED`] of them: an operator may have configured thousands.
pub fn listed(names: &[impl fmt::Display], between: &str) -> String {
    joined_by(names, between, |name| format!("`{name}`"))
}

/// The same of what has its own backticks.
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

/// How many names an error lists.
pub const MAX_LISTED: usize = 8;

/// The one of the known names that was probably meant: a letter or two are wrong, or two swapped.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown() {
        for (text, expected) in [
            ("plain", "plain"),
            ("two\nlines\u{1b}[31m", "two\\nlines\\u{1b}[31m"),
            ("Zoë", "Zoë"),
            (r#"a == "b" || c == 'd'"#, r#"a == "b" || c == 'd'"#),
        ] {
            assert_eq!(Escaped::from(text).to_string(), expected);
        }
        let long = Escaped::from("x".repeat(100_000).as_str()).to_string();
        assert_eq!(long, format!("{}…", "x".repeat(Escaped::MAX_CHARS)));
    }
}
