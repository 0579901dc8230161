//! Metadata as Envoy's `dynamic_metadata`, a `google.protobuf.Struct`.

use prost::Message as _;
use prost_types::Struct;

use crate::answer::Metadata;

/// The metadata as a `Struct`.
pub(super) fn to_struct(metadata: &Metadata<'_>) -> Struct {
    // A `Struct` with all that can be read of it, and this can all be read.
    Struct::decode(metadata.encode().as_slice()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;
    use serde_json::json;

    use super::*;
    use crate::answer::metadata::encoding::encode;
    use crate::token::json::{ClaimsDocument, Json};

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
            let bytes = encode([("claims", claims)], 4);
            let found = all(Struct::decode(bytes.as_slice()).unwrap());
            assert_eq!(found, json!({"claims": expected}), "{json}");
        }
    }
}
