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
pub struct Array<'d>(Nodes<'d>);

/// The members of an object; no name occurs twice.
#[derive(Clone, Copy)]
pub struct Object<'d>(Nodes<'d>);

/// The nodes inside an array or an object.
#[derive(Clone, Copy)]
struct Nodes<'d> {
    document: &'d Document,
    next: usize,
    end: usize,
}

impl<'d> Iterator for Nodes<'d> {
    type Item = Json<'d>;

    fn next(&mut self) -> Option<Json<'d>> {
        if self.next >= self.end {
            return None;
        }
        let Document {
            texts,
            nodes,
            numbers,
        } = self.document;
        let inside = self.next + 1;
        let nodes_until = |end: u16| Nodes {
            document: self.document,
            next: inside,
            end: end.into(),
        };
        let (value, next) = match *nodes.get(self.next)? {
            Node::Null => (Json::Null, inside),
            Node::Bool(truth) => (Json::Bool(truth), inside),
            Node::Number(index) => (Json::Number(numbers.get(usize::from(index))?), inside),
            Node::Text { from, length } => {
                let from = usize::from(from);
                let text = texts.get(from..from + usize::from(length))?;
                (Json::String(text), inside)
            }
            Node::Array { end } => (Json::Array(Array(nodes_until(end))), end.into()),
            Node::Object { end } => (Json::Object(Object(nodes_until(end))), end.into()),
        };
        self.next = next;
        Some(value)
    }
}

impl<'d> Array<'d> {
    /// The elements, in their order.
    pub fn iter(self) -> impl Iterator<Item = Json<'d>> {
        self.0
    }

    /// The element at this position.
    pub fn get(mut self, index: usize) -> Option<Json<'d>> {
        self.0.nth(index)
    }
}

impl<'d> Object<'d> {
    /// The members of the object at this node.
    pub(super) fn new(document: &'d Document, node: usize, end: usize) -> Self {
        Self(Nodes {
            document,
            next: node + 1,
            end,
        })
    }

    /// The members, in the order of the document.
    pub fn iter(mut self) -> impl Iterator<Item = (&'d str, Json<'d>)> {
        std::iter::from_fn(move || match (self.0.next()?, self.0.next()?) {
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
