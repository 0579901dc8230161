//! Encodes JSON as a `google.protobuf.Struct`, the form of metadata inside a proxy.
//!
//! The only numbers in a `Struct` are doubles, so an integer that shares its double with another
//! one becomes text. A value that is nested too deep becomes JSON text.

use crate::token::json::Json;

/// The maximum depth at which claims keep their structure, counting the outermost object. Envoy
/// reads messages of up to 100 levels, and each level of JSON takes three. Envoy treats a message
/// that it cannot read as an error, which `failure_mode_allow` turns into an allow.
pub const MAX_DEPTH: usize = 17;

/// The capacity to begin with, in bytes.
const FIRST_CAPACITY: usize = 128;

/// A field whose value has a length: a message or a text (Protocol Buffers, "Encoding").
const fn with_length(number: u8) -> u8 {
    number << 3 | 2
}

/// The fields of `Value`. Exactly one is present.
const NULL: u8 = 1 << 3;
const NUMBER: u8 = 2 << 3 | 1;
const STRING: u8 = with_length(3);
const BOOL: u8 = 4 << 3;
const STRUCT: u8 = with_length(5);
const LIST: u8 = with_length(6);

/// The members as the bytes of a `Struct`. What is nested deeper than `depth` becomes text.
pub fn encode<'n, 'j>(
    members: impl IntoIterator<Item = (&'n str, Json<'j>)>,
    depth: usize,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIRST_CAPACITY);
    put_members(members, depth, &mut bytes);
    bytes
}

fn put_members<'n, 'j>(
    members: impl IntoIterator<Item = (&'n str, Json<'j>)>,
    depth: usize,
    bytes: &mut Vec<u8>,
) {
    for (name, json) in members {
        put(with_length(1), bytes, |entry| {
            put_text(with_length(1), name, entry);
            put_value(with_length(2), json, depth, entry);
        });
    }
}

/// Writes a field with a `Value`.
fn put_value(key: u8, json: Json<'_>, depth: usize, bytes: &mut Vec<u8>) {
    put(key, bytes, |bytes| match (json, depth.checked_sub(1)) {
        (json, None) => put_text(STRING, &json.to_string(), bytes),
        (Json::Null, _) => bytes.extend([NULL, 0]),
        (Json::Bool(truth), _) => bytes.extend([BOOL, u8::from(truth)]),
        (Json::Number(number), _) => match number.as_distinct_f64() {
            Some(double) => {
                bytes.push(NUMBER);
                bytes.extend(double.to_le_bytes());
            }
            None => put_text(STRING, &number.to_text(), bytes),
        },
        (Json::String(string), _) => put_text(STRING, string, bytes),
        (Json::Array(elements), Some(inside)) => put(LIST, bytes, |bytes| {
            for json in elements.iter() {
                put_value(with_length(1), json, inside, bytes);
            }
        }),
        (Json::Object(members), Some(inside)) => put(STRUCT, bytes, |bytes| {
            put_members(members.iter(), inside, bytes);
        }),
    });
}

fn put_text(key: u8, text: &str, bytes: &mut Vec<u8>) {
    put(key, bytes, |bytes| bytes.extend_from_slice(text.as_bytes()));
}

/// Writes a field whose value has a length. `write` appends the value.
fn put(key: u8, bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    bytes.extend([key, 0]);
    let start = bytes.len();
    write(bytes);
    let length = bytes.len() - start;
    match (u8::try_from(length), bytes.get_mut(start - 1)) {
        // Most values are so short that one byte is enough, and nothing has to move.
        (Ok(short @ ..0x80), Some(place)) => *place = short,
        _ => drop(bytes.splice(start - 1..start, varint(length))),
    }
}

/// Seven bits a byte, the lowest first. All but the last byte have their high bit set.
fn varint(mut number: usize) -> impl Iterator<Item = u8> {
    let mut is_done = false;
    std::iter::from_fn(move || {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        let byte = (!is_done).then_some(if number == 0 { low } else { low | 0x80 });
        is_done |= number == 0;
        byte
    })
}

/// The members of an encoded `Struct` that are texts. Ends at what [`encode`] does not write.
pub fn texts(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let members = std::iter::from_fn(move || {
        let mut entry = take(&mut bytes, with_length(1))?;
        let name = take(&mut entry, with_length(1))?;
        let mut value = take(&mut entry, with_length(2))?;
        Some((name, take(&mut value, STRING)))
    });
    members
        .filter_map(|(name, text)| Some((str::from_utf8(name).ok()?, str::from_utf8(text?).ok()?)))
}

/// Reads a field that [`put`] wrote with this key.
fn take<'b>(bytes: &mut &'b [u8], key: u8) -> Option<&'b [u8]> {
    let rest = bytes.strip_prefix(&[key])?;
    let end = rest.iter().position(|byte| *byte < 0x80)?;
    let (digits, rest) = rest.split_at_checked(end + 1)?;
    let length = digits.iter().rev().try_fold(0_usize, |length, digit| {
        length
            .checked_mul(0x80)?
            .checked_add(usize::from(*digit & 0x7f))
    })?;
    let (value, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::json::ClaimsDocument;

    #[test]
    fn texts_are_found() {
        let long = "é".repeat(10_000);
        let json = format!(r#"{{"a":"1","b":{{"c":"2"}},"d":7,"":"","e":"{long}","f":null}}"#);
        let document = ClaimsDocument::object(json.as_bytes()).unwrap();
        let bytes = encode(document.members().iter(), MAX_DEPTH);
        let found: Vec<_> = texts(&bytes).collect();
        assert_eq!(found, [("a", "1"), ("", ""), ("e", &*long)]);
        for end in 0..bytes.len() {
            let (cut, _) = bytes.split_at(end);
            assert!(texts(cut).count() < found.len() + 1);
        }
    }
}
