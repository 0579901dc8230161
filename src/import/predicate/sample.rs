//! Whether a predicate holds for the request of a test: what is expected of claimgate comes from the source, and
//! not from the condition that claimgate is given.

use serde_json::{Map, Value};

use super::{Claim, Header, Path, Predicate, Shape, Test, Text};

/// A request, with the claims of its token.
pub struct Sample<'s> {
    /// The method.
    pub method: &'s str,
    /// The host, in lower case.
    pub host: &'s str,
    /// The decoded path.
    pub path: &'s str,
    /// Headers by name in lower case.
    pub headers: &'s [(String, String)],
    /// The claims; `None` without a token.
    pub claims: Option<&'s Map<String, Value>>,
}

impl Predicate {
    /// Whether it holds. `None` if that depends on more than the sample says.
    pub fn holds(&self, sample: &Sample<'_>) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Unknown => None,
            Self::Test(test) => test.holds(sample),
            Self::Between(lower, upper) => match (lower.holds(sample), upper.holds(sample)) {
                (Some(true), _) => Some(true),
                (_, Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(inner) => Some(!inner.holds(sample)?),
            Self::All(parts) => decided(parts, sample, false),
            Self::Any(parts) => decided(parts, sample, true),
        }
    }
}

/// Whether one of the parts decides, or all of them say the opposite.
fn decided(parts: &[Predicate], sample: &Sample<'_>, deciding: bool) -> Option<bool> {
    let all: Vec<Option<bool>> = parts.iter().map(|part| part.holds(sample)).collect();
    match (all.contains(&Some(deciding)), all.contains(&None)) {
        (true, _) => Some(deciding),
        (false, true) => None,
        (false, false) => Some(!deciding),
    }
}

impl Test {
    fn holds(&self, sample: &Sample<'_>) -> Option<bool> {
        match self {
            Self::Method(text) => Some(text.fits(sample.method)),
            Self::Host(text) => Some(text.fits(sample.host)),
            Self::Path(Path::Text(text)) => Some(text.fits(sample.path)),
            Self::Path(Path::Below(outer)) => {
                let rest = sample.path.strip_prefix(outer.as_str());
                Some(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
            }
            Self::Path(Path::Template { .. } | Path::WithQuery(_) | Path::Refused(_))
            | Self::Address(_)
            | Self::Peer(_) => None,
            Self::Header(Header { name, value, .. }) => {
                let mut values = sample.headers.iter().filter(|(other, _)| other == name);
                Some(values.any(|(_, text)| *value == Text::Present || value.fits(text)))
            }
            Self::Claim(claim) => Some(sample.claims.is_some_and(|claims| claim.fits(claims))),
        }
    }
}

impl Text {
    /// Whether the text compares.
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exact(value) => text == value,
            Self::Prefix(value) => text.starts_with(value.as_str()),
            Self::Suffix(value) => text.ends_with(value.as_str()),
            Self::Present => !text.is_empty(),
        }
    }
}

impl Claim {
    fn fits(&self, claims: &Map<String, Value>) -> bool {
        let mut members = Some(claims);
        let mut found = None;
        for name in &self.names {
            found = members.and_then(|members| members.get(name));
            members = found.and_then(Value::as_object);
        }
        let fits = |text: &str| self.values.iter().any(|value| value.fits(text));
        let one = |value: &Value| value.as_str().is_some_and(fits);
        match (self.shape, found) {
            (Shape::Words, Some(Value::String(text))) => {
                text.split(' ').filter(|word| !word.is_empty()).any(fits)
            }
            (Shape::Text | Shape::TextOrList, Some(Value::String(text))) => fits(text),
            (Shape::List | Shape::TextOrList | Shape::Words, Some(Value::Array(values))) => {
                values.iter().any(one)
            }
            _ => false,
        }
    }
}
