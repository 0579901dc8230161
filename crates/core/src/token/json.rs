//! Strict JSON: a document in which any object repeats a member name is refused. Parsers disagree
//! about which of the two counts (RFC 7519 §4, RFC 8259 §4), and attackers exploit that.
//!
//! Numbers are exact. `serde_json` reads them as 64-bit integers or doubles, so the spelling of
//! doubles is taken from the text. (Its feature `arbitrary_precision` would change every crate in
//! the build, and takes some objects for numbers.)
//!
//! A document takes three allocations, however many values it has, because the token cache keeps
//! thousands of them.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
mod number;
mod view;

pub use number::{Decimal, Number};
pub use view::{Array, Json, Object};

/// A JSON document.
#[derive(Clone)]
pub struct ClaimsDocument {
    /// All names and strings, one after another, and the numbers that are not 64-bit integers.
    texts: Box<str>,
    /// All values, each before the values inside it. In an object, each name stands before its
    /// value.
    nodes: Box<[Node]>,
    integers: Box<[i64]>,
}

/// One value, or one name. 16 bits suffice for positions: a value takes at most one byte of memory
/// per byte of its text, and base64url turns four characters into three bytes.
#[derive(Clone, Copy)]
enum Node {
    Null,
    Bool(bool),
    Integer(u16),
    Decimal { from: u16, length: u16 },
    Text { from: u16, length: u16 },
    Array { end: u16 },
    Object { end: u16 },
}

impl ClaimsDocument {
    /// Reads a JSON object and rejects anything after it. `serde_json` bounds the nesting.
    ///
    /// # Errors
    ///
    /// Says what is wrong. The message quotes nothing of the document except the name of a repeated
    /// member.
    pub fn object(json: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(json).map_err(|_| "not UTF-8".to_owned())?;
        let mut builder = Builder {
            texts: String::with_capacity(text.len()),
            nodes: Vec::with_capacity(text.len() / 8),
            integers: Vec::new(),
            numbers: 0,
            decimals: Vec::new(),
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        builder
            .deserialize(&mut deserializer)
            .map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        builder.spell(text)?;
        match builder.nodes.first() {
            Some(Node::Object { .. }) => Ok((&builder).into()),
            _ => Err("not a JSON object".to_owned()),
        }
    }

    /// The members of the outermost object.
    pub fn members(&self) -> Object<'_> {
        Object::new(self, 0, self.nodes.len())
    }

    /// Whether the value at this node is this text.
    fn is_text(&self, node: usize, text: &str) -> bool {
        let Some(Node::Text { from, length }) = self.nodes.get(node) else {
            return false;
        };
        let from = usize::from(*from);
        usize::from(*length) == text.len()
            && self.texts.as_bytes().get(from..from + text.len()) == Some(text.as_bytes())
    }

    /// The node after the value at this node, and after everything inside it.
    fn after(&self, node: usize) -> usize {
        match self.nodes.get(node) {
            Some(Node::Array { end } | Node::Object { end }) => usize::from(*end),
            _ => node + 1,
        }
    }

    /// The approximate memory in bytes, including the overhead of each allocation.
    pub(super) fn bytes(&self) -> usize {
        const PIECE: usize = 16;
        let (nodes, integers) = (size_of_val(&*self.nodes), size_of_val(&*self.integers));
        self.texts.len() + nodes + integers + 3 * PIECE
    }

    /// The maximum size of the document as a `google.protobuf.Struct`, in bytes. A document that is
    /// nested so deep that parts become JSON text may be larger.
    pub(super) fn max_encoded_bytes(&self) -> usize {
        /// The overhead of a name or a value in bytes: its keys and lengths, or those and a double.
        const NODE: usize = 16;
        // An integer that a double cannot hold becomes text.
        self.texts.len() + NODE * self.nodes.len() + size_of_val(&*self.integers)
    }
}

impl fmt::Debug for ClaimsDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Json::Object(self.members()), f)
    }
}

/// Fills a [`ClaimsDocument`] while the parser finds values.
struct Builder {
    texts: String,
    nodes: Vec<Node>,
    integers: Vec<i64>,
    /// How many numbers the parser has found so far.
    numbers: usize,
    /// For each number that is not a 64-bit integer: its position among all numbers, and its node.
    decimals: Vec<(usize, usize)>,
}

impl From<&Builder> for ClaimsDocument {
    /// Copies the buffers, because an allocator that shrinks memory in place does not free the
    /// rest.
    fn from(builder: &Builder) -> Self {
        Self {
            texts: builder.texts.as_str().into(),
            nodes: builder.nodes.as_slice().into(),
            integers: builder.integers.as_slice().into(),
        }
    }
}

const _: () = assert!(super::MAX_TOKEN_BYTES / 4 * 3 <= u16::MAX as usize);

fn position<E: Error>(position: usize) -> Result<u16, E> {
    u16::try_from(position).map_err(|_| E::custom("too large"))
}

impl Builder {
    fn integer<E: Error>(&mut self, integer: i64) -> Result<Node, E> {
        let index = position(self.integers.len())?;
        self.integers.push(integer);
        Ok(Node::Integer(index))
    }

    fn number<E: Error>(&mut self, integer: i64) -> Result<(), E> {
        self.numbers += 1;
        let node = self.integer(integer)?;
        self.nodes.push(node);
        Ok(())
    }

    /// Adds a number whose spelling [`Builder::spell`] fills in later.
    fn decimal(&mut self) {
        self.decimals.push((self.numbers, self.nodes.len()));
        self.numbers += 1;
        self.nodes.push(Node::Null);
    }

    /// Fills in the numbers that the parser does not give exactly. The parser found all numbers in
    /// the order of the text, so a count identifies each spelling.
    fn spell(&mut self, json: &str) -> Result<(), String> {
        let mut spellings = number::spellings(json).enumerate();
        for (number, node) in std::mem::take(&mut self.decimals) {
            let (_, text) = spellings
                .find(|(index, _)| *index == number)
                .ok_or("a number is not where it should be")?;
            let decimal = Decimal::parse(text).ok_or("number out of range")?;
            let integer = decimal.whole().and_then(|whole| i64::try_from(whole).ok());
            let found = match integer {
                Some(integer) => self.integer(integer),
                None => self
                    .piece(text)
                    .map(|(from, length)| Node::Decimal { from, length }),
            };
            let found = found.map_err(|error: serde_json::Error| error.to_string())?;
            if let Some(node) = self.nodes.get_mut(node) {
                *node = found;
            }
        }
        Ok(())
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        let (from, length) = self.piece(text)?;
        self.nodes.push(Node::Text { from, length });
        Ok(())
    }

    /// Stores a text, and returns its position and length.
    fn piece<E: Error>(&mut self, text: &str) -> Result<(u16, u16), E> {
        let piece = (position(self.texts.len())?, position(text.len())?);
        self.texts.push_str(text);
        Ok(piece)
    }

    /// Closes the array or object at `index`: every node after it was inside.
    fn close<E: Error>(&mut self, index: usize, close: impl FnOnce(u16) -> Node) -> Result<(), E> {
        let end = position(self.nodes.len())?;
        if let Some(node) = self.nodes.get_mut(index) {
            *node = close(end);
        }
        Ok(())
    }

    /// The first name that occurs twice. `names` are indexes of nodes.
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
        self.number(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(integer) => self.number(integer),
            Err(_) => {
                self.decimal();
                Ok(())
            }
        }
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.decimal();
        Ok(())
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
            let name = crate::escaped::Escaped::from(name);
            return Err(A::Error::custom(format_args!(
                "member `{name}` occurs twice"
            )));
        }
        self.close(index, |end| Node::Object { end })
    }
}

/// Reads the name of a member. A separate type, so that a name can only be a string.
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
