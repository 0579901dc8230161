//! Regular expressions about paths, and what can be known of them before a request comes.

use regex::Regex;

/// A regular expression that is about whole paths.
#[derive(Clone, Debug)]
pub struct PathRegex {
    text: String,
    whole: Regex,
}

impl PathRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn compile(text: &str) -> Result<Self, regex::Error> {
        // By itself first: it must not close the group that it is put into.
        Regex::new(text)?;
        Ok(Self {
            whole: Regex::new(&format!(r"\A(?:{text})\z"))?,
            text: text.to_owned(),
        })
    }

    /// Whether it is this path, from beginning to end.
    pub(super) fn is_match(&self, path: &str) -> bool {
        self.whole.is_match(path)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether whatever it is about begins with `/`, or it is about everything.
    pub fn is_about_paths(&self) -> bool {
        use regex_syntax::hir::{Hir, HirKind};

        fn begins_with_slash(hir: &Hir) -> bool {
            match hir.kind() {
                HirKind::Literal(literal) => literal.0.starts_with(b"/"),
                HirKind::Capture(capture) => begins_with_slash(&capture.sub),
                HirKind::Repetition(repetition) => {
                    repetition.min > 0 && begins_with_slash(&repetition.sub)
                }
                HirKind::Alternation(parts) => parts.iter().all(begins_with_slash),
                HirKind::Concat(parts) => parts
                    .iter()
                    .find(|part| !matches!(part.kind(), HirKind::Look(_)))
                    .is_some_and(begins_with_slash),
                HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => false,
            }
        }
        self.text.starts_with(".*")
            || regex_syntax::parse(&self.text).is_ok_and(|hir| begins_with_slash(&hir))
    }

    /// The characters of its small classes: `?` and `&` of `[?&]`.
    pub fn class_members(&self) -> Vec<char> {
        use regex_syntax::hir::{Class, Hir, HirKind};

        const SMALL: u32 = 8;

        fn collect(hir: &Hir, found: &mut Vec<char>) {
            match hir.kind() {
                HirKind::Class(Class::Unicode(class)) => {
                    let size = |range: &regex_syntax::hir::ClassUnicodeRange| {
                        u32::from(range.end()) - u32::from(range.start()) + 1
                    };
                    if class.iter().map(size).sum::<u32>() <= SMALL {
                        found.extend(class.iter().flat_map(|range| range.start()..=range.end()));
                    }
                }
                HirKind::Repetition(repetition) => collect(&repetition.sub, found),
                HirKind::Capture(capture) => collect(&capture.sub, found),
                HirKind::Concat(parts) | HirKind::Alternation(parts) => {
                    for part in parts {
                        collect(part, found);
                    }
                }
                HirKind::Empty
                | HirKind::Literal(_)
                | HirKind::Look(_)
                | HirKind::Class(Class::Bytes(_)) => {}
            }
        }
        let mut found = Vec::new();
        if let Ok(parsed) = regex_syntax::parse(&self.text) {
            collect(&parsed, &mut found);
        }
        found
    }

    /// The texts that stand in it as they are.
    pub fn literals(&self) -> Vec<String> {
        use regex_syntax::hir::{Hir, HirKind};

        fn collect(hir: &Hir, found: &mut Vec<String>) {
            match hir.kind() {
                HirKind::Literal(literal) => {
                    found.push(String::from_utf8_lossy(&literal.0).into_owned());
                }
                HirKind::Repetition(repetition) => collect(&repetition.sub, found),
                HirKind::Capture(capture) => collect(&capture.sub, found),
                HirKind::Concat(parts) | HirKind::Alternation(parts) => {
                    for part in parts {
                        collect(part, found);
                    }
                }
                HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) => {}
            }
        }
        let mut found = Vec::new();
        if let Ok(parsed) = regex_syntax::parse(&self.text) {
            collect(&parsed, &mut found);
        }
        found
    }

    /// With what every path of it begins, as far as that is certain.
    pub fn literal_prefix(&self) -> String {
        use regex_syntax::hir::{Hir, HirKind};

        fn literal(hir: &Hir) -> Option<&[u8]> {
            match hir.kind() {
                HirKind::Literal(literal) => Some(&literal.0),
                HirKind::Capture(capture) => literal(&capture.sub),
                _ => None,
            }
        }
        let Ok(parsed) = regex_syntax::parse(&self.text) else {
            return String::new();
        };
        let bytes = match parsed.kind() {
            HirKind::Concat(parts) => parts
                .iter()
                .find(|part| !matches!(part.kind(), HirKind::Look(_)))
                .and_then(literal),
            _ => literal(&parsed),
        };
        let text = bytes.and_then(|bytes| str::from_utf8(bytes).ok());
        text.unwrap_or_default().to_owned()
    }
}
