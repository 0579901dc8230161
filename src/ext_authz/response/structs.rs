//! JSON as a `google.protobuf.Struct`, written where it goes and without building one.
//!
//! A message stands behind its length. Those of arrays and objects are measured once and kept, as
//! they would have to be found anew at each level around them.

use prost::encoding::{encode_varint, encoded_len_varint};

use crate::token::json::Json;

/// What stands before a field of a message: its number, and that its length follows.
pub(super) const fn key(field: u8) -> u8 {
    field << 3 | 2
}

/// The bytes of a field of this length, its key and its length included.
pub(super) fn field(length: usize) -> usize {
    match length {
        0..0x80 => 2 + length,
        _ => 1 + encoded_len_varint(length as u64) + length,
    }
}

/// What stands before the bytes of a field.
pub(super) fn begin(key: u8, length: usize, into: &mut Vec<u8>) {
    match u8::try_from(length) {
        // Nearly always.
        Ok(short @ 0..0x80) => into.extend_from_slice(&[key, short]),
        _ => {
            into.push(key);
            encode_varint(length as u64, into);
        }
    }
}

/// A field that is text.
fn put_text(key: u8, text: &str, into: &mut Vec<u8>) {
    begin(key, text.len(), into);
    into.extend_from_slice(text.as_bytes());
}

/// The lengths of the arrays and objects of some JSON, each before those inside it.
pub(super) type Lengths = Box<[u32]>;

/// The bytes of a field of a `Struct`, which is an entry of a map. What is inside its value is
/// measured already, as for all that follows; of what is deeper than `depth`, JSON text is written.
pub(super) fn entry_len(name: &str, value: Json<'_>, depth: usize, lengths: &[u32]) -> usize {
    field(inner_len(name, value, depth, lengths))
}

fn inner_len(name: &str, value: Json<'_>, depth: usize, lengths: &[u32]) -> usize {
    field(name.len()) + field(value_len(value, depth, lengths))
}

/// Writes a field of a `Struct`. Gives the lengths that are left.
pub(super) fn put_entry<'l>(
    name: &str,
    value: Json<'_>,
    depth: usize,
    lengths: &'l [u32],
    into: &mut Vec<u8>,
) -> &'l [u32] {
    begin(key(1), inner_len(name, value, depth, lengths), into);
    put_text(key(1), name, into);
    begin(key(2), value_len(value, depth, lengths), into);
    put_value(value, depth, lengths, into)
}

/// Measures what is inside a value.
pub(super) fn measure(json: Json<'_>, depth: usize) -> Lengths {
    let mut lengths = Vec::new();
    measure_value(json, depth, &mut lengths);
    lengths.into()
}

/// The bytes of a `Value`; what is inside it is measured too.
fn measure_value(json: Json<'_>, depth: usize, lengths: &mut Vec<u32>) -> usize {
    let Some(inside) = depth.checked_sub(1) else {
        return value_len(json, depth, &[]);
    };
    let slot = lengths.len();
    let length: usize = match json {
        Json::Object(members) => {
            lengths.push(0);
            let entry = |(name, value): (&str, Json<'_>)| {
                field(field(name.len()) + field(measure_value(value, inside, lengths)))
            };
            members.iter().map(entry).sum()
        }
        Json::Array(elements) => {
            lengths.push(0);
            let element = |value| field(measure_value(value, inside, lengths));
            elements.iter().map(element).sum()
        }
        scalar => return value_len(scalar, depth, &[]),
    };
    if let Some(slot) = lengths.get_mut(slot) {
        // A token is far shorter.
        *slot = u32::try_from(length).unwrap_or(u32::MAX);
    }
    field(length)
}

/// The bytes of a `Value` whose own length, if it is an array or an object, is the first of these.
fn value_len(json: Json<'_>, depth: usize, lengths: &[u32]) -> usize {
    match json {
        _ if depth == 0 => field(json.to_string().len()),
        Json::Null | Json::Bool(_) => 2,
        Json::Number(number) => match number.as_distinct_f64() {
            Some(_) => 9,
            None => field(number.to_text().len()),
        },
        Json::String(text) => field(text.len()),
        Json::Array(_) | Json::Object(_) => {
            field(lengths.first().map_or(0, |length| *length as usize))
        }
    }
}

/// Writes a `Value`. Gives the lengths that are left.
fn put_value<'l>(
    json: Json<'_>,
    depth: usize,
    lengths: &'l [u32],
    into: &mut Vec<u8>,
) -> &'l [u32] {
    let Some(inside) = depth.checked_sub(1) else {
        put_text(key(3), &json.to_string(), into);
        return lengths;
    };
    let (first, rest) = lengths.split_first().unwrap_or((&0, &[]));
    let first = *first as usize;
    match json {
        // Fields of a number: `null_value` 1, `number_value` 2, `bool_value` 4.
        Json::Null => into.extend_from_slice(&[0x08, 0]),
        Json::Number(number) => match number.as_distinct_f64() {
            Some(double) => {
                into.push(0x11);
                into.extend_from_slice(&double.to_le_bytes());
            }
            None => put_text(key(3), &number.to_text(), into),
        },
        Json::Bool(truth) => into.extend_from_slice(&[0x20, u8::from(truth)]),
        Json::String(text) => put_text(key(3), text, into),
        Json::Object(members) => {
            begin(key(5), first, into);
            return members.iter().fold(rest, |lengths, (name, value)| {
                put_entry(name, value, inside, lengths, into)
            });
        }
        Json::Array(elements) => {
            begin(key(6), first, into);
            return elements.iter().fold(rest, |lengths, value| {
                begin(key(1), value_len(value, inside, lengths), into);
                put_value(value, inside, lengths, into)
            });
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Struct;
    use prost_types::value::Kind;
    use serde_json::json;

    use super::*;
    use crate::token::json::ClaimsDocument;

    /// What a `Struct` says, as JSON.
    fn said(kind: Option<Kind>) -> serde_json::Value {
        match kind.unwrap() {
            Kind::NullValue(_) => json!(null),
            Kind::NumberValue(number) => json!(number),
            Kind::StringValue(text) => json!(text),
            Kind::BoolValue(truth) => json!(truth),
            Kind::StructValue(members) => all(members),
            Kind::ListValue(list) => list.values.into_iter().map(|it| said(it.kind)).collect(),
        }
    }

    fn all(members: Struct) -> serde_json::Value {
        let members = members.fields.into_iter();
        members
            .map(|(name, value)| (name, said(value.kind)))
            .collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "é".repeat(100);
        for (json, expected) in [
            (json!({}), json!({})),
            (
                json!({"a": null, "b": true, "c": false}),
                json!({"a": null, "b": true, "c": false}),
            ),
            (
                json!({"a": 1, "b": -1.5, "c": u64::MAX}),
                json!({"a": 1.0, "b": -1.5, "c": "18446744073709551615"}),
            ),
            (json!({"": "", "é": "ö"}), json!({"": "", "é": "ö"})),
            (
                json!({"a": [], "b": {}, "c": [{}, []]}),
                json!({"a": [], "b": {}, "c": [{}, []]}),
            ),
            (
                json!({"a": {"b": [long, 1]}}),
                json!({"a": {"b": [long, 1.0]}}),
            ),
            (
                json!({"a": [[1], {"b": [2]}], "c": [[]]}),
                json!({"a": [[1.0], {"b": ["2"]}], "c": [[]]}),
            ),
            // Deeper than four levels, of which the outermost object is one.
            (
                json!({"a": {"b": {"c": {"d": [1]}}}}),
                json!({"a": {"b": {"c": {"d": "[1]"}}}}),
            ),
            (
                json!({"a": [[["e"], null]]}),
                json!({"a": [[[r#""e""#], null]]}),
            ),
        ] {
            let document = ClaimsDocument::object(json.to_string().as_bytes()).unwrap();
            let claims = Json::Object(document.members());
            let lengths = measure(claims, 4);
            let mut bytes = Vec::new();
            let left = put_entry("claims", claims, 4, &lengths, &mut bytes);
            assert!(left.is_empty(), "{json}");
            assert_eq!(
                bytes.len(),
                entry_len("claims", claims, 4, &lengths),
                "{json}"
            );
            let found = all(Struct::decode(&*bytes).unwrap());
            assert_eq!(found, json!({"claims": expected}), "{json}");
        }
    }
}
