//! What a mesh's policies say about requests, as boolean expressions over a few tests.
//!
//! Some tests have no equivalent in claimgate. So an expression is never used as it is, but by its
//! [`Predicate::lower`] bound where it allows, and by its [`Predicate::upper`] bound where it denies. A bound
//! contains only tests that claimgate can make, and the result is never wider than the source.

use std::collections::HashSet;

mod cel;
pub mod sample;
pub mod spelling;

pub use cel::cel;

/// A boolean expression over a request and its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// True for every request.
    True,
    /// True for no request.
    False,
    /// A test without an equivalent.
    Unknown,
    /// A test.
    Test(Test),
    /// A test that claimgate cannot make exactly: true wherever the first is, and false wherever the second is
    /// not.
    Between(Box<Self>, Box<Self>),
    /// The opposite.
    Not(Box<Self>),
    /// All of these.
    All(Vec<Self>),
    /// At least one of these.
    Any(Vec<Self>),
}

/// One test of a request or its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// The method, in the spelling of the request.
    Method(Text),
    /// The host, in lower case and without its port.
    Host(Text),
    /// The decoded path.
    Path(Path),
    /// A header.
    Header(Header),
    /// A claim at a path of names.
    Claim(Claim),
    /// The address of the connection is in one of these networks.
    Address(Vec<String>),
    /// The name in the caller's certificate.
    Peer(Peer),
}

/// How a text compares.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Text {
    /// This text.
    Exact(String),
    /// Every text that begins with this one.
    Prefix(String),
    /// Every text that ends with this one.
    Suffix(String),
    /// Every text. A claim must not be empty.
    Present,
}

/// A test of a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Its name, in lower case.
    pub name: String,
    /// The value.
    pub value: Text,
    /// Whether one of several lines, or one of several values in a line, suffices.
    pub is_any_line: bool,
}

/// A test of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// The decoded path. Of [`Text::Present`], every path.
    Text(Text),
    /// This path, or one below it, by whole segments.
    Below(String),
    /// A template: an expression that matches no more, and one that matches no less.
    Template {
        /// Matches only what the template matches.
        lower: String,
        /// Matches everything that the template matches.
        upper: String,
    },
    /// An expression for the path together with the query.
    WithQuery(String),
    /// A path that claimgate refuses as ambiguous if any rule looks at paths.
    Refused(String),
}

/// A test of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The names that lead to it.
    pub names: Vec<String>,
    /// Its accepted values.
    pub values: Vec<Text>,
    /// Which types of value count.
    pub shape: Shape,
}

/// Which types of a claim's value count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A text.
    Text,
    /// A list of texts.
    List,
    /// A text, or a list of texts.
    TextOrList,
    /// A text with words between spaces, or a list of texts.
    Words,
}

/// A test of the name in the caller's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The whole name.
    Text(Text),
    /// A regular expression for the whole name.
    Regex(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Lower,
    Upper,
}

impl Bound {
    fn opposite(self) -> Self {
        match self {
            Self::Lower => Self::Upper,
            Self::Upper => Self::Lower,
        }
    }
}

impl Predicate {
    /// The conjunction.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::All(parts.into_iter().collect())
    }

    /// The disjunction.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::Any(parts.into_iter().collect())
    }

    /// A test that is known only by its bounds.
    pub fn between(lower: Self, upper: Self) -> Self {
        Self::Between(Box::new(lower), Box::new(upper))
    }

    /// The negation.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// An expression without unknown tests that is true for no other requests than this one.
    #[must_use]
    pub fn lower(&self) -> Self {
        self.bound(Bound::Lower).simplified()
    }

    /// An expression without unknown tests that is true for all requests that this one is true for.
    #[must_use]
    pub fn upper(&self) -> Self {
        self.bound(Bound::Upper).simplified()
    }

    fn bound(&self, bound: Bound) -> Self {
        match self {
            Self::True => Self::True,
            Self::False => Self::False,
            Self::Unknown => match bound {
                Bound::Lower => Self::False,
                Bound::Upper => Self::True,
            },
            Self::Test(test) => test.bound(bound),
            Self::Between(lower, upper) => match bound {
                Bound::Lower => lower.bound(bound),
                Bound::Upper => upper.bound(bound),
            },
            Self::Not(inner) => inner.bound(bound.opposite()).negated(),
            Self::All(parts) => Self::all(parts.iter().map(|part| part.bound(bound))),
            Self::Any(parts) => Self::any(parts.iter().map(|part| part.bound(bound))),
        }
    }

    /// An equal expression without constants, repetitions and double negations inside.
    #[must_use]
    pub fn simplified(&self) -> Self {
        match self {
            Self::Not(inner) => inner.simplified().opposite(),
            Self::All(parts) => {
                let parts = parts
                    .iter()
                    .map(Self::simplified)
                    .flat_map(|part| match part {
                        Self::All(parts) => parts,
                        other => vec![other],
                    });
                Self::joined(parts, &Self::True, &Self::False, Self::disjuncts, Self::All)
            }
            Self::Any(parts) => {
                let parts = parts
                    .iter()
                    .map(Self::simplified)
                    .flat_map(|part| match part {
                        Self::Any(parts) => parts,
                        other => vec![other],
                    });
                let parts = with_claims_merged(parts);
                Self::joined(
                    parts,
                    &Self::False,
                    &Self::True,
                    Self::conjuncts_of,
                    Self::Any,
                )
            }
            other => other.clone(),
        }
    }

    /// The negation of a simplified expression, simplified.
    fn opposite(&self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Not(inner) => (**inner).clone(),
            other => other.clone().negated(),
        }
    }

    /// Simplified parts of a conjunction or disjunction as a whole. `inner` has the operands of the opposite
    /// kind: `a || a && b` is `a`, and `a && (a || b)` is `a`.
    fn joined(
        parts: impl IntoIterator<Item = Self>,
        neutral: &Self,
        absorbing: &Self,
        inner: impl Fn(&Self) -> &[Self],
        whole: impl Fn(Vec<Self>) -> Self,
    ) -> Self {
        let parts: Vec<Self> = parts.into_iter().filter(|part| part != neutral).collect();
        let mut known = Known::default();
        let mut is_new = Vec::with_capacity(parts.len());
        for part in &parts {
            if part == absorbing || known.contains_opposite(part) {
                return absorbing.clone();
            }
            is_new.push(known.insert(part));
        }
        let absorbed = |part: &Self| {
            let operands = inner(part);
            operands.len() > 1 && operands.iter().any(|operand| known.contains(operand))
        };
        let is_left: Vec<bool> = parts
            .iter()
            .zip(is_new)
            .map(|(part, is_new)| is_new && !absorbed(part))
            .collect();
        let left = parts.into_iter().zip(is_left).filter(|(_, it)| *it);
        let mut left: Vec<Self> = left.map(|(part, _)| part).collect();
        match left.len() {
            0 => neutral.clone(),
            1 => left.remove(0),
            _ => whole(left),
        }
    }

    /// Whether no request without a token makes it true.
    pub fn needs_token(&self) -> bool {
        self.without_token() == Self::False
    }

    /// What it says of requests without a token.
    #[must_use]
    pub fn without_token(&self) -> Self {
        let replaced = self.replaced(&|test| match test {
            Test::Claim(_) => Some(Self::False),
            _ => None,
        });
        replaced.simplified()
    }

    /// The expression with some of its tests replaced.
    #[must_use]
    pub fn replaced(&self, by: &impl Fn(&Test) -> Option<Self>) -> Self {
        match self {
            Self::Test(test) => by(test).unwrap_or_else(|| self.clone()),
            Self::Between(lower, upper) => Self::between(lower.replaced(by), upper.replaced(by)),
            Self::Not(inner) => inner.replaced(by).negated(),
            Self::All(parts) => Self::all(parts.iter().map(|part| part.replaced(by))),
            Self::Any(parts) => Self::any(parts.iter().map(|part| part.replaced(by))),
            constant => constant.clone(),
        }
    }

    /// The operands of the outermost conjunctions, however they are nested.
    pub fn operands(&self) -> Vec<&Self> {
        match self {
            Self::All(parts) => parts.iter().flat_map(Self::operands).collect(),
            other => vec![other],
        }
    }

    /// The operands of a simplified conjunction.
    pub fn conjuncts(self) -> Vec<Self> {
        match self {
            Self::True => Vec::new(),
            Self::All(parts) => parts,
            other => vec![other],
        }
    }

    fn conjuncts_of(&self) -> &[Self] {
        match self {
            Self::All(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }

    /// The operands of the outermost disjunction.
    pub fn disjuncts(&self) -> &[Self] {
        match self {
            Self::Any(parts) => parts,
            other => std::slice::from_ref(other),
        }
    }
}

/// Parts of a conjunction or disjunction, by what they negate or are.
#[derive(Default)]
struct Known<'p> {
    plain: HashSet<&'p Predicate>,
    negated: HashSet<&'p Predicate>,
}

impl<'p> Known<'p> {
    /// Returns whether the part is new.
    fn insert(&mut self, part: &'p Predicate) -> bool {
        match part {
            Predicate::Not(inner) => self.negated.insert(inner),
            part => self.plain.insert(part),
        }
    }

    fn contains(&self, part: &Predicate) -> bool {
        match part {
            Predicate::Not(inner) => self.negated.contains(&**inner),
            part => self.plain.contains(part),
        }
    }

    fn contains_opposite(&self, part: &Predicate) -> bool {
        match part {
            Predicate::Not(inner) => self.plain.contains(&**inner),
            part => self.negated.contains(part),
        }
    }
}

impl Test {
    /// Tests whose spelling in claimgate depends on what they are for.
    fn bound(&self, bound: Bound) -> Predicate {
        let own = || Predicate::Test(self.clone());
        match (self, bound) {
            // claimgate does not compare ports. A name without one stands for the host.
            (Self::Host(Text::Exact(host) | Text::Prefix(host)), _) if has_port(host) => {
                let name = host.rsplit_once(':').map_or("", |(name, _)| name);
                match bound {
                    Bound::Lower => Predicate::False,
                    Bound::Upper => Predicate::Test(Self::Host(Text::Exact(name.to_owned()))),
                }
            }
            (Self::Host(Text::Suffix(host)), _) if host.contains(':') => match bound {
                Bound::Lower => Predicate::False,
                Bound::Upper => Predicate::True,
            },
            (Self::Path(Path::Refused(_)), Bound::Lower) => Predicate::False,
            (Self::Path(Path::Template { lower, upper }), _) => {
                let regex = match bound {
                    Bound::Lower => lower,
                    Bound::Upper => upper,
                };
                let (lower, upper) = (regex.clone(), regex.clone());
                Predicate::Test(Self::Path(Path::Template { lower, upper }))
            }
            // Envoy may compare each line of a repeated header, and claimgate sees them joined.
            (Self::Header(header), bound) => Predicate::Test(Self::Header(Header {
                is_any_line: bound == Bound::Upper,
                ..header.clone()
            })),
            // claimgate knows the caller only if TLS ends where it is asked.
            (Self::Peer(_), Bound::Upper) => Predicate::any([
                own(),
                Predicate::Test(Self::Peer(Peer::Text(Text::Exact(String::new())))),
            ]),
            _ => own(),
        }
    }
}

/// The parts of a disjunction, with one test for all values of a claim.
fn with_claims_merged(parts: impl IntoIterator<Item = Predicate>) -> Vec<Predicate> {
    let mut merged: Vec<Predicate> = Vec::new();
    for part in parts {
        if let Predicate::Test(Test::Claim(new)) = &part {
            let same = merged.iter_mut().find_map(|known| match known {
                Predicate::Test(Test::Claim(known))
                    if known.names == new.names && known.shape == new.shape =>
                {
                    Some(&mut known.values)
                }
                _ => None,
            });
            if let Some(values) = same {
                for value in &new.values {
                    if !values.contains(value) {
                        values.push(value.clone());
                    }
                }
                continue;
            }
        }
        merged.push(part);
    }
    merged
}

/// The text as a regular expression that matches only this text.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Whether a host is written with a port. An address of IPv6 is in brackets.
fn has_port(host: &str) -> bool {
    let name = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    name.contains(':')
}

#[cfg(test)]
mod tests;
