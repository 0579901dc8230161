//! Strict JSON: a member name that occurs twice, at any depth, spoils the document. Parsers
//! disagree about which of the two counts (RFC 7519 §4, RFC 8259 §4), and attackers know it.
//!
//! A document is kept in three pieces of memory however many values it has: thousands of them are
//! remembered.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

mod view;

pub use view::{Array, Json, Object};

/// A JSON document.
#[derive(Clone)]
pub struct Document {
    /// All names and texts, one behind the other.
    texts: Box<str>,
    /// All values, each before those inside it; in an object a name before each.
    nodes: Box<[Node]>,
    numbers: Box<[Number]>,
}

/// One value, or the name of one. Positions of 16 bits do for what a token can hold.
#[derive(Clone, Copy)]
enum Node {
    Null,
    Bool(bool),
    Number(u16),
    Text { from: u16, length: u16 },
    Array { end: u16 },
    Object { end: u16 },
}

impl Document {
    /// Reads a JSON object, and nothing behind it. Nesting is bounded by `serde_json`.
    ///
    /// # Errors
    ///
    /// What is wrong, without the document's text except for the name of a repeated member.
    pub(crate) fn object(json: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(json).map_err(|_| "not UTF-8".to_owned())?;
        let mut builder = Builder {
            texts: String::with_capacity(text.len()),
            nodes: Vec::with_capacity(text.len() / 8),
            numbers: Vec::new(),
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        builder
            .deserialize(&mut deserializer)
            .map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        match builder.nodes.first() {
            Some(Node::Object { .. }) => Ok((&builder).into()),
            _ => Err("not a JSON object".to_owned()),
        }
    }

    /// The members of the outermost object.
    pub fn members(&self) -> Object<'_> {
        Object::new(self, 0, self.nodes.len())
    }

    /// About how many bytes of memory it takes, what each piece costs besides included.
    pub(super) fn bytes(&self) -> usize {
        const PIECE: usize = 16;
        let (nodes, numbers) = (size_of_val(&*self.nodes), size_of_val(&*self.numbers));
        self.texts.len() + nodes + numbers + 3 * PIECE
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Value::from(Json::Object(self.members())).fmt(f)
    }
}

/// Fills a [`Document`] as a parser finds its values.
struct Builder {
    texts: String,
    nodes: Vec<Node>,
    numbers: Vec<Number>,
}

impl From<&Builder> for Document {
    /// Copies: an allocator that shrinks memory in place leaves it as large as it was.
    fn from(builder: &Builder) -> Self {
        Self {
            texts: builder.texts.as_str().into(),
            nodes: builder.nodes.as_slice().into(),
            numbers: builder.numbers.as_slice().into(),
        }
    }
}

fn position<E: Error>(position: usize) -> Result<u16, E> {
    u16::try_from(position).map_err(|_| E::custom("too large"))
}

impl Builder {
    fn number<E: Error>(&mut self, number: Number) -> Result<(), E> {
        let index = position(self.numbers.len())?;
        self.numbers.push(number);
        self.nodes.push(Node::Number(index));
        Ok(())
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let (from, length) = (position(self.texts.len())?, position(text.len())?);
        self.texts.push_str(text);
        self.nodes.push(Node::Text { from, length });
        Ok(())
    }

    /// Everything behind `index` was inside the array or object there.
    fn close<E: Error>(&mut self, index: usize, close: impl FnOnce(u16) -> Node) -> Result<(), E> {
        let end = position(self.nodes.len())?;
        if let Some(node) = self.nodes.get_mut(index) {
            *node = close(end);
        }
        Ok(())
    }

    /// The names in `names`, which are indexes of nodes, that are the same.
    fn repeated(&self, names: &[usize]) -> Option<&str> {
        let mut names: Vec<&str> = names.iter().filter_map(|index| self.name(*index)).collect();
        names.sort_unstable();
        names.windows(2).find_map(|pair| match pair {
            [one, other] if one == other => Some(*one),
            _ => None,
        })
    }

    fn name(&self, index: usize) -> Option<&str> {
        match self.nodes.get(index)? {
            Node::Text { from, length } => {
                let from = usize::from(*from);
                self.texts.get(from..from + usize::from(*length))
            }
            _ => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Builder {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Builder {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.nodes.push(Node::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        self.number(number)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.text(value)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.nodes.push(Node::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        let index = self.nodes.len();
        self.nodes.push(Node::Null);
        while sequence.next_element_seed(&mut *self)?.is_some() {}
        self.close(index, |end| Node::Array { end })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let index = self.nodes.len();
        self.nodes.push(Node::Null);
        let mut names = Vec::new();
        loop {
            let name = self.nodes.len();
            if map.next_key_seed(Name(self))?.is_none() {
                break;
            }
            names.push(name);
            map.next_value_seed(&mut *self)?;
        }
        if let Some(name) = self.repeated(&names) {
            let name = crate::shown::Shown::from(name);
            return Err(A::Error::custom(format_args!(
                "member `{name}` occurs twice"
            )));
        }
        self.close(index, |end| Node::Object { end })
    }
}

/// The name of a member; a type of its own so that names are read as strings and nothing else.
struct Name<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<(), E> {
        self.0.text(name)
    }
}

#[cfg(test)]
mod tests;
