//! Headers that rules look at.

use std::fmt;

use crate::request::{Headers, Request, is_alias};

/// A header, whatever the lines that it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderPattern {
    name: String,
    /// The values of which it has one; empty: whatever value. Each is a list of elements.
    values: Vec<Vec<String>>,
}

impl HeaderPattern {
    /// The header of this name with one of these values, or with any if there are none.
    pub fn new(name: &str, values: &[String]) -> Self {
        let elements = |value: &String| split(value.as_bytes()).map(text).collect();
        Self {
            name: name.to_ascii_lowercase(),
            values: values.iter().map(elements).collect(),
        }
    }

    /// Whether the request has the header, and it says that value and nothing else.
    pub(super) fn is_of(&self, request: &Request<'_>) -> bool {
        let Self { name, values } = self;
        let Some(elements) = elements(&request.headers, name) else {
            return false;
        };
        values.is_empty() || values.iter().any(|value| is_value(&elements, value))
    }
}

/// Whether a header says this, be it several times.
fn is_value(elements: &[&[u8]], value: &[String]) -> bool {
    let same = |element: &&[u8], own: &String| *element == own.as_bytes();
    match value {
        [one] => elements.iter().all(|element| same(element, one)),
        several => {
            elements.len() == several.len()
                && elements
                    .iter()
                    .zip(several)
                    .all(|(element, own)| same(element, own))
        }
    }
}

/// The elements of all lines of this name, `None` if there are none.
fn elements<'h>(headers: &Headers<'h>, name: &str) -> Option<Vec<&'h [u8]>> {
    // Of a line there is at least one, be it empty.
    let elements: Vec<&[u8]> = headers.all(name).flat_map(split).collect();
    (!elements.is_empty()).then_some(elements)
}

/// A list's elements (RFC 9110 §5.6.1). Proxies join lines like that.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn text(element: &[u8]) -> String {
    String::from_utf8_lossy(element).into_owned()
}

impl fmt::Display for HeaderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(|value| value.join(", ")).collect();
        match values.is_empty() {
            true => write!(f, "a header `{}`", self.name),
            false => write!(f, "the header `{}: {}`", self.name, values.join("` or `")),
        }
    }
}

/// Every header that some rule looks at, to tell those that say several things: by one of these a
/// client could choose its rule, while the upstream reads another.
#[derive(Clone, Debug, Default)]
pub struct SeenHeaders(Vec<HeaderPattern>);

impl SeenHeaders {
    /// Those of these patterns.
    pub fn of<'p>(patterns: impl Iterator<Item = &'p HeaderPattern>) -> Self {
        let mut seen: Vec<HeaderPattern> = Vec::new();
        for pattern in patterns {
            match seen.iter_mut().find(|other| other.name == pattern.name) {
                Some(other) => other.values.extend(pattern.values.iter().cloned()),
                None => seen.push(pattern.clone()),
            }
        }
        Self(seen)
    }

    /// The name of a header of which rules and the upstream could read different values: it comes
    /// under another spelling of its name, too or alone; or it says one of the values that rules
    /// look for, and something else besides.
    pub fn ambiguous(&self, request: &Request<'_>) -> Option<&str> {
        let found = self.0.iter().find(|HeaderPattern { name, values }| {
            if request.headers.names().any(|sent| is_alias(name, sent)) {
                return true;
            }
            elements(&request.headers, name).is_some_and(|elements| {
                let looked_for = |element: &&[u8]| {
                    let mut own = values.iter().flatten();
                    own.any(|own| own.as_bytes() == *element)
                };
                elements.iter().any(looked_for)
                    && !values.iter().any(|value| is_value(&elements, value))
            })
        });
        found.map(|header| header.name.as_str())
    }
}
