//! Values that can be written in more than one way.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};

use crate::document::{Field, SpelledList};

/// One text, or a list of texts.
#[derive(Clone, Debug)]
pub enum Texts {
    /// One text.
    One(String),
    /// Several texts.
    Many(Vec<Field<String>>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Texts, E> {
                Err(E::custom(
                    "expected text or a list of texts, found true or false",
                ))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Texts, E> {
                Err(E::custom(
                    "expected text or a list of texts, found a number",
                ))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Texts, E> {
                Err(E::custom(
                    "expected text or a list of texts, found a number",
                ))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Texts, E> {
                Err(E::custom(
                    "expected text or a list of texts, found a number",
                ))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts::Many(texts))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// One value, or a list of values: text, a number, true or false, exactly as the file spells it.
#[derive(Clone, Debug)]
pub struct Values(pub Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SpelledList(texts) = SpelledList::deserialize(deserializer)?;
        match texts.is_empty() {
            true => Err(de::Error::custom("expected a value, or a list of values")),
            false => Ok(Self(texts)),
        }
    }
}

/// A key set in the configuration file: as a mapping, or as JSON text.
#[derive(Clone, Debug)]
pub struct Inline(pub serde_json::Value);

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(json) => serde_json::from_str(&json)
                .map(Self)
                .map_err(|error| de::Error::custom(format_args!("not JSON: {error}"))),
            value => Ok(Self(value)),
        }
    }
}

impl JsonSchema for Values {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One value, or a list of accepted values. Each stands for the text as written, and for the number or boolean that it spells.",
            "type": ["string", "number", "boolean", "array"],
            "items": {"type": ["string", "number", "boolean"]},
            "minItems": 1,
        })
    }
}

impl JsonSchema for Inline {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JwkSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A JWK Set (RFC 7517 §5), or its JSON text.",
            "type": ["object", "string"],
            "required": ["keys"],
        })
    }
}
