//! Patterns as Envoy compares them, in the form that claimgate compares: paths are decoded.

use claimgate_core::request::path::{Ambiguity, canonical};

use super::{Path, Predicate, Test, Text, escape};

/// What a template's `{*}` matches for certain (Envoy's `uri_template` takes no other character), and what it
/// matches at most.
const SEGMENT: [&str; 2] = [r#"[^/*"<>\[\]^`{|}]+"#, "[^/]+"];

/// The same for `{**}`.
const SEGMENTS: [&str; 2] = [r#"[^*"<>\[\]^`{|}]*"#, ".*"];

/// A test of the path, which Envoy compares without decoding it. [`Predicate::Unknown`] if the pattern ends
/// amid an escape.
pub fn path(text: &Text) -> Predicate {
    let decoded = match text {
        Text::Exact(path) => decoded("", path, "").map(|it| it.map(Text::Exact)),
        Text::Prefix(path) => decoded("", path, "x").map(|it| it.map(Text::Prefix)),
        Text::Suffix(path) => decoded("/x", path, "").map(|it| it.map(Text::Suffix)),
        Text::Present => return Predicate::True,
    };
    match decoded {
        // Every path that claimgate does not refuse.
        Ok(Some(Text::Prefix(path))) if path == "/" => Predicate::True,
        Ok(Some(text)) => Predicate::Test(Test::Path(Path::Text(text))),
        Ok(None) => {
            let text = match text {
                Text::Exact(text) | Text::Prefix(text) | Text::Suffix(text) => text.clone(),
                Text::Present => String::new(),
            };
            Predicate::Test(Test::Path(Path::Refused(text)))
        }
        Err(()) => Predicate::Unknown,
    }
}

/// A path and every path below it.
pub fn below(path: &str) -> Predicate {
    let path = path.strip_suffix('/').unwrap_or(path);
    match decoded("", path, "") {
        _ if path.is_empty() => Predicate::True,
        Ok(Some(path)) => Predicate::Test(Test::Path(Path::Below(path))),
        Ok(None) => Predicate::Test(Test::Path(Path::Refused(path.to_owned()))),
        Err(()) => Predicate::Unknown,
    }
}

/// A template with `{*}` for one segment and `{**}` for any number of them.
pub fn template(text: &str) -> Predicate {
    let [mut lower, mut upper] = [String::new(), String::new()];
    let mut rest = text;
    while !rest.is_empty() {
        let next = rest.find("{*");
        let (literal, after) = rest.split_at(next.unwrap_or(rest.len()));
        let literal = match decoded("/x", literal, "x") {
            Ok(Some(literal)) => escape(&literal),
            Ok(None) => return Predicate::Test(Test::Path(Path::Refused(text.to_owned()))),
            Err(()) => return Predicate::Unknown,
        };
        lower.push_str(&literal);
        upper.push_str(&literal);
        let ([least, most], left) = match (after.strip_prefix("{**}"), after.strip_prefix("{*}")) {
            (Some(left), _) => (SEGMENTS, left),
            (None, Some(left)) => (SEGMENT, left),
            (None, None) if after.is_empty() => break,
            (None, None) => return Predicate::Unknown,
        };
        lower.push_str(least);
        upper.push_str(most);
        rest = left;
    }
    Predicate::Test(Test::Path(Path::Template { lower, upper }))
}

/// The text decoded, between two others. `None` if claimgate refuses every path with it, an error if it
/// contains a part of an escape.
fn decoded(before: &str, text: &str, after: &str) -> Result<Option<String>, ()> {
    match canonical(&format!("{before}{text}{after}")) {
        Ok(path) => {
            let inner = path
                .strip_prefix(before)
                .and_then(|path| path.strip_suffix(after));
            Ok(inner.map(str::to_owned))
        }
        Err(Ambiguity::Encoding | Ambiguity::NotUtf8) => Err(()),
        Err(_) => Ok(None),
    }
}
