//! Strict JSON: a member name that occurs twice, at any depth, spoils the document. Parsers
//! disagree about which of the two counts (RFC 7519 §4, RFC 8259 §4), and attackers know it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a JSON object, and nothing behind it. Nesting is bounded by `serde_json`.
///
/// # Errors
///
/// What is wrong, without the document's text except for the name of a repeated member.
pub(super) fn object(json: &[u8]) -> Result<Map<String, Value>, String> {
    let text = str::from_utf8(json).map_err(|_| "not UTF-8".to_owned())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict
        .deserialize(&mut deserializer)
        .map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("not a JSON object".to_owned()),
    }
}

/// Builds a [`Value`], refusing repeated names.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(Strict)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(Name(name)) = map.next_key()? {
            if members.contains_key(&name) {
                let name = crate::shown::Shown::from(name.as_str());
                return Err(A::Error::custom(format_args!(
                    "member `{name}` occurs twice"
                )));
            }
            members.insert(name, map.next_value_seed(Strict)?);
        }
        Ok(Value::Object(members))
    }
}

/// A member name; a type of its own so that keys are read as strings and nothing else.
#[derive(serde::Deserialize)]
struct Name(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict() {
        for (json, error) in [
            (r#"{"a":1,"b":{"c":[{"d":null,"e":1.5,"f":true}]}}"#, None),
            (r#"{"a":1,"a":1}"#, Some("member `a` occurs twice")),
            (r#"{"a":1,"\u0061":2}"#, Some("member `a` occurs twice")),
            (r#"{"b":[{"a":1,"a":2}]}"#, Some("member `a` occurs twice")),
            ("[]", Some("not a JSON object")),
            ("\"{}\"", Some("not a JSON object")),
            ("{} {}", Some("trailing characters")),
            ("\u{feff}{}", Some("expected value")),
            (r#"{"a":NaN}"#, Some("expected value")),
            (r#"{"a":1e400}"#, Some("number out of range")),
            (r#"{"a":"\ud800"}"#, Some("end of hex escape")),
            (r#"{"a":1,}"#, Some("trailing comma")),
            ("", Some("EOF")),
        ] {
            match (object(json.as_bytes()), error) {
                (Ok(_), None) => {}
                (Err(found), Some(expected)) => {
                    assert!(found.contains(expected), "{json}: {found}");
                }
                (found, expected) => panic!("{json}: {found:?}, expected {expected:?}"),
            }
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err("not UTF-8".to_owned()));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(
            object(deep.as_bytes())
                .unwrap_err()
                .contains("recursion limit")
        );
    }

    #[test]
    fn integers_stay_exact() {
        let members =
            object(br#"{"max":18446744073709551615,"min":-9223372036854775808}"#).unwrap();
        assert_eq!(members["max"].as_u64(), Some(u64::MAX));
        assert_eq!(members["min"].as_i64(), Some(i64::MIN));
    }
}
