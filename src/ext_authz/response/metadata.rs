//! Converts metadata to Envoy's `dynamic_metadata`, a `google.protobuf.Struct`.
//!
//! The only numbers in a `Struct` are doubles, so an integer that shares its double with another
//! one becomes text. A value that is nested too deep becomes JSON text.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::answer::Metadata;
use crate::token::json::Json;

/// The maximum depth at which claims keep their structure, counting the outermost object. Envoy
/// reads messages of up to 100 levels, and each level of JSON takes three. Envoy treats a message
/// that it cannot read as an error, which `failure_mode_allow` turns into an allow.
const MAX_DEPTH: usize = 17;

/// The metadata as a `Struct`.
pub(super) fn to_struct(metadata: &Metadata<'_>) -> Struct {
    fields(metadata.entries(), MAX_DEPTH)
}

/// A `Struct` with one text.
pub(super) fn one(name: &str, text: &str) -> Struct {
    fields([(name, Json::String(text))], MAX_DEPTH)
}

fn fields<'n, 'j>(members: impl IntoIterator<Item = (&'n str, Json<'j>)>, depth: usize) -> Struct {
    let members = members.into_iter();
    Struct {
        fields: members
            .map(|(name, json)| (name.to_owned(), value(json, depth)))
            .collect(),
    }
}

fn value(json: Json<'_>, depth: usize) -> Value {
    let text = Kind::StringValue;
    let kind = match (json, depth.checked_sub(1)) {
        (json, None) => text(json.to_string()),
        (Json::Null, _) => Kind::NullValue(0),
        (Json::Bool(truth), _) => Kind::BoolValue(truth),
        (Json::Number(number), _) => match number.as_distinct_f64() {
            Some(double) => Kind::NumberValue(double),
            None => text(number.to_text()),
        },
        (Json::String(string), _) => text(string.to_owned()),
        (Json::Array(elements), Some(inside)) => Kind::ListValue(ListValue {
            values: elements.iter().map(|json| value(json, inside)).collect(),
        }),
        (Json::Object(members), Some(inside)) => Kind::StructValue(fields(members.iter(), inside)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::token::json::ClaimsDocument;

    /// A value of a `Struct` as JSON.
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
            // Deeper than four levels, counting the outermost object.
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
            let found = all(fields([("claims", claims)], 4));
            assert_eq!(found, json!({"claims": expected}), "{json}");
        }
    }
}
