//! The JSON Schema (2020-12) of the configuration, for editors and for those who generate files.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::Root;

/// The schema. It accepts what [`Config::load`](super::Config::load) does, but for what a schema
/// cannot say, such as that two names differ.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Root>().to_value();
    if let Some(members) = schema.as_object_mut() {
        members.insert(
            "$id".to_owned(),
            "https://claimgate/config.schema.json".into(),
        );
    }
    schema
}

/// Every field that there is: `providers.fetch.timeout`, without the positions of lists.
pub fn fields() -> BTreeSet<String> {
    let schema = schema();
    let mut found = BTreeSet::new();
    collect(&schema, &schema, "", &mut found);
    found
}

fn collect(root: &Value, schema: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    let reference = schema.get("$ref").and_then(Value::as_str);
    let target = reference
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    for inner in target.into_iter().chain(schema.get("items")) {
        collect(root, inner, prefix, found);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let path = match prefix {
            "" => name.clone(),
            prefix => format!("{prefix}.{name}"),
        };
        collect(root, property, &path, found);
        found.insert(path);
    }
}
