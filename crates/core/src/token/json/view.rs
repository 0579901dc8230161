//! Read access to a [`ClaimsDocument`].

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::{ClaimsDocument, Decimal, Node, Number};

/// A value in a document.
#[derive(Clone, Copy)]
pub enum Json<'d> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exact.
    Number(Number<'d>),
    /// A string.
    String(&'d str),
    /// An array.
    Array(Array<'d>),
    /// An object.
    Object(Object<'d>),
}

/// The elements of an array.
#[derive(Clone, Copy)]
pub struct Array<'d>(Inside<'d>);

/// The members of an object. No name occurs twice.
#[derive(Clone, Copy)]
pub struct Object<'d>(Inside<'d>);

/// The nodes inside an array or an object.
#[derive(Clone, Copy)]
struct Inside<'d> {
    document: &'d ClaimsDocument,
    from: usize,
    end: usize,
}

/// An iterator over the values from here on.
struct Values<'d>(Inside<'d>);

impl<'d> Iterator for Values<'d> {
    type Item = Json<'d>;

    fn next(&mut self) -> Option<Json<'d>> {
        let Inside {
            document,
            from,
            end,
        } = self.0;
        if from >= end {
            return None;
        }
        let ClaimsDocument {
            texts,
            nodes,
            integers,
        } = document;
        let text = |from: u16, length: u16| {
            let from = usize::from(from);
            texts.get(from..from + usize::from(length))
        };
        let next = from + 1;
        let until = |end: u16| Inside {
            document,
            from: next,
            end: end.into(),
        };
        let (value, behind) = match *nodes.get(from)? {
            Node::Null => (Json::Null, next),
            Node::Bool(truth) => (Json::Bool(truth), next),
            Node::Integer(index) => {
                let integer = integers.get(usize::from(index))?;
                (Json::Number(Number::Integer(*integer)), next)
            }
            Node::Decimal { from, length } => {
                let decimal = Decimal::accepted(text(from, length)?);
                (Json::Number(Number::Decimal(decimal)), next)
            }
            Node::Text { from, length } => (Json::String(text(from, length)?), next),
            Node::Array { end } => (Json::Array(Array(until(end))), end.into()),
            Node::Object { end } => (Json::Object(Object(until(end))), end.into()),
        };
        self.0.from = behind;
        Some(value)
    }
}

impl<'d> Array<'d> {
    /// The elements, in order.
    pub fn iter(self) -> impl Iterator<Item = Json<'d>> {
        Values(self.0)
    }

    /// The element at this position, counted from 0.
    pub fn get(self, index: usize) -> Option<Json<'d>> {
        Values(self.0).nth(index)
    }
}

impl<'d> Object<'d> {
    /// The members of the object at this node.
    pub(super) fn new(document: &'d ClaimsDocument, node: usize, end: usize) -> Self {
        Self(Inside {
            document,
            from: node + 1,
            end,
        })
    }

    /// The members, in document order.
    pub fn iter(self) -> impl Iterator<Item = (&'d str, Json<'d>)> {
        let mut values = Values(self.0);
        std::iter::from_fn(move || match (values.next()?, values.next()?) {
            (Json::String(name), value) => Some((name, value)),
            _ => None,
        })
    }

    /// The member with this name. A token's claims are looked up many times, so the values of the
    /// other members are not read.
    pub fn get(self, name: &str) -> Option<Json<'d>> {
        let Inside {
            document,
            from: mut member,
            end,
        } = self.0;
        while member < end {
            let value = member + 1;
            if document.is_text(member, name) {
                return Values(Inside {
                    document,
                    from: value,
                    end,
                })
                .next();
            }
            member = document.after(value);
        }
        None
    }
}

impl<'d> Json<'d> {
    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string.
    pub fn as_str(self) -> Option<&'d str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A lower bound for the length of the value as text, in bytes, without reading what is inside.
    /// In an array or object, each value takes at least one byte, and a comma or a bracket.
    pub fn min_text_bytes(self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::Array(Array(inside)) | Self::Object(Object(inside)) => {
                (2 * (inside.end - inside.from)).saturating_sub(1)
            }
            Self::Null => 0,
            Self::Bool(_) | Self::Number(_) => 1,
        }
    }

    /// A string, number or boolean as text. `None` for anything else. A whole number becomes
    /// digits; any other number stays as it is spelled.
    pub fn scalar_text(self) -> Option<Cow<'d, str>> {
        match self {
            Self::String(text) => Some(text.into()),
            Self::Number(number) => Some(number.to_text().into()),
            Self::Bool(true) => Some("true".into()),
            Self::Bool(false) => Some("false".into()),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

impl fmt::Display for Json<'_> {
    /// Compact JSON, with members sorted by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => truth.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::String(text) => quoted(text, f),
            Self::Array(elements) => {
                f.write_char('[')?;
                for (index, element) in elements.iter().enumerate() {
                    separate(index, f)?;
                    element.fmt(f)?;
                }
                f.write_char(']')
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                f.write_char('{')?;
                for (index, (name, value)) in members.into_iter().enumerate() {
                    separate(index, f)?;
                    quoted(name, f)?;
                    f.write_char(':')?;
                    value.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

fn separate(index: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match index {
        0 => Ok(()),
        _ => f.write_char(','),
    }
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let json = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    f.write_str(&json)
}
