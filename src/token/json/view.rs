//! Looking into a document.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Number, Value};

use super::{Document, Node};

/// A value of a document.
#[derive(Clone, Copy)]
pub enum Json<'d> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; integers are exact.
    Number(&'d Number),
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

/// The members of an object; no name occurs twice.
#[derive(Clone, Copy)]
pub struct Object<'d>(Inside<'d>);

/// The nodes inside an array or an object.
#[derive(Clone, Copy)]
struct Inside<'d> {
    document: &'d Document,
    from: usize,
    end: usize,
}

/// The values from here on.
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
        let Document {
            texts,
            nodes,
            numbers,
        } = document;
        let next = from + 1;
        let until = |end: u16| Inside {
            document,
            from: next,
            end: end.into(),
        };
        let (value, behind) = match *nodes.get(from)? {
            Node::Null => (Json::Null, next),
            Node::Bool(truth) => (Json::Bool(truth), next),
            Node::Number(index) => (Json::Number(numbers.get(usize::from(index))?), next),
            Node::Text { from, length } => {
                let from = usize::from(from);
                let text = texts.get(from..from + usize::from(length))?;
                (Json::String(text), next)
            }
            Node::Array { end } => (Json::Array(Array(until(end))), end.into()),
            Node::Object { end } => (Json::Object(Object(until(end))), end.into()),
        };
        self.0.from = behind;
        Some(value)
    }
}

impl<'d> Array<'d> {
    /// The elements, in their order.
    pub fn iter(self) -> impl Iterator<Item = Json<'d>> {
        Values(self.0)
    }

    /// The element at this position.
    pub fn get(self, index: usize) -> Option<Json<'d>> {
        Values(self.0).nth(index)
    }
}

impl<'d> Object<'d> {
    /// The members of the object at this node.
    pub(super) fn new(document: &'d Document, node: usize, end: usize) -> Self {
        Self(Inside {
            document,
            from: node + 1,
            end,
        })
    }

    /// The members, in the order of the document.
    pub fn iter(self) -> impl Iterator<Item = (&'d str, Json<'d>)> {
        let mut values = Values(self.0);
        std::iter::from_fn(move || match (values.next()?, values.next()?) {
            (Json::String(name), value) => Some((name, value)),
            _ => None,
        })
    }

    /// The member of this name.
    pub fn get(self, name: &str) -> Option<Json<'d>> {
        self.iter()
            .find_map(|(own, value)| (own == name).then_some(value))
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

    /// A string, number or boolean as text; `None` for anything else.
    pub fn scalar_text(self) -> Option<Cow<'d, str>> {
        match self {
            Self::String(text) => Some(text.into()),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Bool(true) => Some("true".into()),
            Self::Bool(false) => Some("false".into()),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

impl From<Json<'_>> for Value {
    fn from(json: Json<'_>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => truth.into(),
            Json::Number(number) => Self::Number(number.clone()),
            Json::String(text) => text.into(),
            Json::Array(elements) => elements.iter().map(Self::from).collect(),
            Json::Object(members) => members
                .iter()
                .map(|(name, value)| (name.to_owned(), Self::from(value)))
                .collect(),
        }
    }
}

impl fmt::Display for Json<'_> {
    /// As JSON, without spaces, and members in the order of their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Value::from(*self).fmt(f)
    }
}
