//! Headers that rules match on.
//!
//! [`SeenHeaders::observe`] reads a request's headers once, and rules compare the result. So the
//! cost of a long header does not grow with the number of rules.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::{fmt, iter, mem};

use crate::request::by_header_name::ByHeaderName;
use crate::request::{Request, is_alias};

/// A condition on one header, across all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderPattern {
    name: String,
    /// The accepted values, with their list elements joined by `,`. If empty, any value is
    /// accepted.
    values: Vec<String>,
    /// The same values, if there are too many to compare one by one.
    lookup: HashSet<String>,
    /// The length of the longest value in bytes. Longer headers are not compared.
    longest: usize,
}

/// The maximum number of values that are compared one by one, which is faster than hashing so few.
const FEW_VALUES: usize = 8;

impl HeaderPattern {
    /// The header `name` with one of `values`, or with any value if `values` is empty.
    pub fn new(name: &str, values: &[String]) -> Self {
        let canonical = |value: &String| {
            let elements: Vec<_> = value.split(',').map(str::trim_ascii).collect();
            elements.join(",")
        };
        let values: Vec<String> = values.iter().map(canonical).collect();
        Self {
            name: name.to_ascii_lowercase(),
            lookup: match values.len() > FEW_VALUES {
                true => values.iter().cloned().collect(),
                false => HashSet::new(),
            },
            longest: values.iter().map(String::len).max().unwrap_or(0),
            values,
        }
    }

    /// The header's name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The accepted values. If empty, any value is accepted.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether every request that matches `later` also matches this pattern.
    pub(in crate::policy) fn covers(&self, later: &Self) -> bool {
        let Self { name, values, .. } = self;
        let is_own = |value: &String| values.contains(value);
        *name == later.name
            && (values.is_empty() || (!later.values.is_empty() && later.values.iter().all(is_own)))
    }

    /// Whether the request has this header, with exactly one of the values.
    pub(super) fn is_of(&self, headers: &Observed<'_>) -> bool {
        headers
            .get(&self.name)
            .is_some_and(|header| self.values.is_empty() || self.accepts(header))
    }

    /// Whether the header is one of the values: the same list of elements, or one element repeated
    /// any number of times (RFC 9110 §5.3 lets a proxy join lines).
    fn accepts(&self, header: &ObservedHeader<'_>) -> bool {
        let joined = header.value.as_deref();
        joined
            .into_iter()
            .chain(header.repeated)
            .any(|value| self.has(value))
    }

    fn has(&self, value: &[u8]) -> bool {
        if value.len() > self.longest {
            return false;
        }
        match self.lookup.is_empty() {
            true => self.values.iter().any(|own| own.as_bytes() == value),
            false => str::from_utf8(value).is_ok_and(|value| self.lookup.contains(value)),
        }
    }
}

impl fmt::Display for HeaderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &String| value.replace(',', ", ");
        let values: Vec<String> = self.values.iter().take(8).map(shown).collect();
        match values.is_empty() {
            true => write!(f, "a header `{}`", self.name),
            false => write!(f, "the header `{}: {}`", self.name, values.join("` or `")),
        }
    }
}

/// The headers of one request that some rule matches on.
#[derive(Clone, Debug, Default)]
pub struct Observed<'r>(Vec<ObservedHeader<'r>>);

/// All lines of one header.
#[derive(Clone, Debug)]
struct ObservedHeader<'r> {
    name: &'r str,
    /// The list elements (RFC 9110 §5.6.1), trimmed and joined by `,`. `None` if that is longer than
    /// every value of a rule.
    value: Option<Cow<'r, [u8]>>,
    /// The element, if all elements are equal.
    repeated: Option<&'r [u8]>,
}

impl<'r> Observed<'r> {
    fn get(&self, name: &str) -> Option<&ObservedHeader<'r>> {
        let found = self.0.binary_search_by(|header| header.name.cmp(name));
        self.0.get(found.ok()?)
    }
}

/// All headers that some rule matches on.
#[derive(Clone, Debug, Default)]
pub struct SeenHeaders(ByHeaderName<SeenHeader>);

/// One header that rules match on.
#[derive(Clone, Debug)]
struct SeenHeader {
    /// Accepts the values of all rules.
    pattern: HeaderPattern,
    /// Every list element in these values.
    elements: HashSet<Vec<u8>>,
}

impl SeenHeaders {
    /// The headers that these patterns name.
    pub fn of<'p>(patterns: impl Iterator<Item = &'p HeaderPattern>) -> Self {
        let mut values: HashMap<&str, Vec<String>> = HashMap::new();
        for pattern in patterns {
            let all = values.entry(&pattern.name).or_default();
            all.extend(pattern.values.iter().cloned());
        }
        let mut seen = ByHeaderName::default();
        for (name, values) in values {
            seen.insert(name, SeenHeader::new(name, &values));
        }
        Self(seen)
    }

    /// Reads the headers of the request that some rule matches on.
    ///
    /// # Errors
    ///
    /// Returns the name of a header that rules and the upstream could read differently. Either the
    /// name is spelled differently; or one of its elements is a value that a rule accepts, but the
    /// whole header is not.
    pub fn observe<'r>(&'r self, request: &Request<'r>) -> Result<Observed<'r>, &'r str> {
        if self.0.is_empty() {
            return Ok(Observed::default());
        }
        let mut lines = Vec::new();
        for (sent, value) in request.headers.lines() {
            for header in self.0.get(sent) {
                if is_alias(&header.pattern.name, sent) {
                    return Err(&header.pattern.name);
                }
                lines.push((header, value));
            }
        }
        // The sort is stable, so the lines of one header keep their order.
        lines.sort_by_key(|(header, _)| header.pattern.name.as_str());
        lines
            .chunk_by(|(one, _), (other, _)| one.pattern.name == other.pattern.name)
            .map(SeenHeader::observe)
            .collect::<Result<_, _>>()
            .map(Observed)
    }
}

impl SeenHeader {
    fn new(name: &str, values: &[String]) -> Self {
        let elements = values.iter().flat_map(|value| split(value.as_bytes()));
        Self {
            pattern: HeaderPattern::new(name, values),
            elements: elements.map(<[u8]>::to_vec).collect(),
        }
    }

    /// Reads all lines of one header.
    fn observe<'r>(lines: &[(&'r Self, &'r [u8])]) -> Result<ObservedHeader<'r>, &'r str> {
        let (header, first) = match lines {
            [(header, first), ..] => (*header, *first),
            // `chunk_by` never yields an empty chunk.
            [] => return Err(""),
        };
        let elements = || lines.iter().flat_map(|(_, line)| split(line));
        let one = elements().next().unwrap_or(first);
        // Consecutive equal elements are looked up once, because a header may consist of thousands
        // of commas.
        let mut last = one;
        let mut changes = elements().filter(|element| mem::replace(&mut last, element) != *element);
        let change = changes.next();
        let observed = ObservedHeader {
            name: &header.pattern.name,
            value: joined(elements(), header.pattern.longest),
            repeated: change.is_none().then_some(one),
        };
        let is_known = |element| header.elements.contains(element);
        let says_more = !header.pattern.accepts(&observed)
            && iter::once(one).chain(change).chain(changes).any(is_known);
        match says_more {
            true => Err(&header.pattern.name),
            false => Ok(observed),
        }
    }
}

/// The elements joined by `,`. `None` if that is longer than `max_bytes`.
fn joined<'r>(
    mut elements: impl Iterator<Item = &'r [u8]>,
    max_bytes: usize,
) -> Option<Cow<'r, [u8]>> {
    let mut joined = Cow::Borrowed(elements.next()?);
    for element in elements {
        if joined.len() > max_bytes {
            return None;
        }
        let joined = joined.to_mut();
        joined.push(b',');
        joined.extend_from_slice(element);
    }
    Some(joined).filter(|joined| joined.len() <= max_bytes)
}

/// The elements of a list (RFC 9110 §5.6.1). A proxy joins lines in the same way.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(patterns: &[HeaderPattern]) -> SeenHeaders {
        SeenHeaders::of(patterns.iter())
    }

    fn request<'r>(lines: &'r [(&'r str, &'r str)]) -> Request<'r> {
        Request {
            headers: lines
                .iter()
                .map(|(name, value)| (*name, value.as_bytes()))
                .collect(),
            ..Request::default()
        }
    }

    /// Whether each of two patterns on `x-env` matches these lines; `None` if they are ambiguous.
    #[test]
    fn values() {
        let patterns = [
            HeaderPattern::new("X-Env", &["prod".to_owned()]),
            HeaderPattern::new("x-env", &["a, b".to_owned(), String::new()]),
        ];
        for (lines, expected) in [
            (&[][..], Some([false, false])),
            (&[("x-env", "prod")], Some([true, false])),
            (&[("X-ENV", " prod ")], Some([true, false])),
            (&[("x-env", "prod,prod")], Some([true, false])),
            (&[("x-env", "prod"), ("x-env", "prod")], Some([true, false])),
            (&[("x-env", "prod, dev")], None),
            (&[("x-env", "prod"), ("x-env", "dev")], None),
            (&[("x-env", "dev"), ("x-env", "prod")], None),
            (&[("x-env", "dev,test")], Some([false, false])),
            (&[("x-env", "Prod")], Some([false, false])),
            (&[("x-env", "a,b")], Some([false, true])),
            (&[("x-env", "a"), ("x-env", "b")], Some([false, true])),
            (&[("x-env", "b,a")], None),
            (&[("x-env", "a")], None),
            (&[("x-env", "")], Some([false, true])),
            (&[("x-env", ",")], Some([false, true])),
            (&[("x-env", "prod,")], None),
            (&[("x_env", "prod")], None),
            (&[("x_env", "dev")], None),
            (&[("x.env", "dev"), ("x-env", "prod")], None),
            (&[("x-envy", "prod")], Some([false, false])),
        ] {
            let seen = seen(&patterns);
            let request = request(lines);
            let observed = seen.observe(&request);
            let found = observed
                .ok()
                .map(|found| [0, 1].map(|nr: usize| patterns[nr].is_of(&found)));
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn any_value_and_many_values() {
        let many: Vec<String> = (0..1_000)
            .map(|number| format!("tenant-{number}"))
            .collect();
        let patterns = [
            HeaderPattern::new("x-tenant", &many),
            HeaderPattern::new("x-tenant", &[]),
        ];
        for (value, expected) in [
            ("tenant-999", [true, true]),
            ("tenant-999,tenant-999", [true, true]),
            ("tenant-1000", [false, true]),
            ("", [false, true]),
        ] {
            let lines = [("x-tenant", value)];
            let (seen, request) = (seen(&patterns), request(&lines));
            let observed = seen.observe(&request).unwrap();
            let found = [0, 1].map(|nr: usize| patterns[nr].is_of(&observed));
            assert_eq!(found, expected, "{value}");
        }
        assert_eq!(
            seen(&patterns)
                .observe(&request(&[("x-tenant", "tenant-1, tenant-2")]))
                .err(),
            Some("x-tenant")
        );
    }
}
