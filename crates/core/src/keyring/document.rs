//! Reads a JWK Set and keeps only the members that matter. The size of a document is bounded in
//! bytes, but a tree of very small members would take eighty times that in memory. So irrelevant
//! members are skipped, never built.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::MAX_KEYS;

/// The maximum number of elements read from an array member: `key_ops` can have eight (RFC 7517
/// §4.3).
const MAX_ELEMENTS: usize = 32;

/// The members that carry private or secret key material (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
pub(super) const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The other members that are read. A member in neither list is skipped by the parser.
const PUBLIC_MEMBERS: [&str; 11] = [
    "kty", "kid", "use", "key_ops", "alg", "crv", "n", "e", "x", "y", "issuer",
];

/// Whether the parser reads the member with this name.
pub(super) fn matters(member: &str) -> bool {
    PUBLIC_MEMBERS.contains(&member) || PRIVATE_MEMBERS.contains(&member)
}

/// The document. Members other than `keys` are ignored (RFC 7517 §5). If a name occurs twice, the
/// last occurrence counts (RFC 7517 §4).
pub(super) struct JwkSetDocument {
    pub(super) keys: Listed,
}

impl<'de> Deserialize<'de> for JwkSetDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = JwkSetDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an array `keys`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JwkSetDocument, A::Error> {
                let mut keys = None;
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "keys" => keys = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                keys.map(|keys| JwkSetDocument { keys })
                    .ok_or_else(|| A::Error::custom("it has no array `keys`"))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The array `keys`.
pub(super) struct Listed {
    /// The first [`MAX_KEYS`] keys.
    pub(super) keys: Vec<Value>,
    /// The number of keys in the document.
    pub(super) count: usize,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array `keys`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Listed, A::Error> {
                let keys = first(&mut sequence, MAX_KEYS, Skim::Key)?;
                let more = skip_elements(&mut sequence)?;
                Ok(Listed {
                    count: keys.len() + more,
                    keys,
                })
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}

/// Builds a [`Value`] from the document and drops the parts that do not matter at this depth.
#[derive(Clone, Copy)]
enum Skim {
    /// An element of `keys`: keeps the members that [`matters`] lists.
    Key,
    /// A member of a key: keeps text, or a short list.
    Member,
    /// An element of such a list: keeps text.
    Element,
}

impl<'de> DeserializeSeed<'de> for Skim {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skim {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let elements = match self {
            Self::Member => first(&mut sequence, MAX_ELEMENTS, Self::Element)?,
            Self::Key | Self::Element => Vec::new(),
        };
        skip_elements(&mut sequence)?;
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            match self {
                Self::Key if matters(&name) => {
                    let value = map.next_value_seed(Self::Member)?;
                    put(&mut members, name, value);
                }
                Self::Key | Self::Member | Self::Element => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(members))
    }
}

/// Adds a member to a key. A `null` or empty member counts as absent, because some providers write
/// every member of their key type. If a name occurs twice, the last occurrence counts (RFC 7517
/// §4); but an empty one does not erase private key material, so a leaked private key is always
/// noticed.
fn put(members: &mut Map<String, Value>, name: String, value: Value) {
    let says_nothing = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        // The contents of an object were skipped, so it may only look empty.
        Value::Object(_) | Value::Bool(_) | Value::Number(_) => false,
    };
    if !says_nothing {
        members.insert(name, value);
    } else if !PRIVATE_MEMBERS.contains(&name.as_str()) {
        members.remove(&name);
    }
}

fn first<'de, A: SeqAccess<'de>>(
    sequence: &mut A,
    most: usize,
    skim: Skim,
) -> Result<Vec<Value>, A::Error> {
    let mut elements = Vec::new();
    while elements.len() < most {
        match sequence.next_element_seed(skim)? {
            Some(element) => elements.push(element),
            None => break,
        }
    }
    Ok(elements)
}

/// Skips the remaining elements and returns how many there were.
fn skip_elements<'de, A: SeqAccess<'de>>(sequence: &mut A) -> Result<usize, A::Error> {
    let mut skipped = 0;
    while sequence.next_element::<IgnoredAny>()?.is_some() {
        skipped += 1;
    }
    Ok(skipped)
}
