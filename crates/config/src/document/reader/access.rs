//! Access to the contents of a node: the parts of a field, the elements of a list, the members of a
//! mapping.

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess};
use serde_saphyr::Spanned;

use super::super::Problem;
use super::super::node::Node;
use super::Reader;

/// The four parts of a [`Field`](super::super::Field): line, column, path and value. The value is
/// left out if it is wrong.
pub(super) struct Place<'n> {
    pub(super) reader: Reader<'n>,
    pub(super) part: u8,
}

impl<'de> SeqAccess<'de> for Place<'_> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        self.part += 1;
        match self.part {
            1 => seed
                .deserialize(self.reader.node.line.into_deserializer())
                .map(Some),
            2 => seed
                .deserialize(self.reader.node.column.into_deserializer())
                .map(Some),
            3 => {
                let path = StringDeserializer::<Problem>::new(self.reader.path.clone());
                seed.deserialize(path).map(Some)
            }
            4 => Ok(
                match self.reader.place(seed.deserialize(self.reader.clone())) {
                    Ok(value) => Some(value),
                    Err(problem) => {
                        self.reader.problems.borrow_mut().push(problem);
                        None
                    }
                },
            ),
            _ => Ok(None),
        }
    }
}

pub(super) struct List<'r, 'n> {
    pub(super) reader: &'r Reader<'n>,
    pub(super) nodes: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'de> SeqAccess<'de> for List<'_, '_> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        self.nodes
            .next()
            .map(|(index, node)| seed.deserialize(self.reader.element(index, node)))
            .transpose()
    }
}

pub(super) struct Map<'r, 'n> {
    pub(super) reader: &'r Reader<'n>,
    pub(super) entries: std::vec::IntoIter<&'n (Spanned<String>, Node)>,
    pub(super) value: Option<Reader<'n>>,
}

impl<'de> MapAccess<'de> for Map<'_, '_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        let Some((name, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(self.reader.member(&name.value, node));
        seed.deserialize(name.value.as_str().into_deserializer())
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        match self.value.take() {
            Some(reader) => seed.deserialize(reader),
            None => Err(Problem::custom("a value was read before its name")),
        }
    }
}
