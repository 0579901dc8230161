//! The JSON Schema (2020-12) of the configuration, for editors and tools that generate files.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::Root;

/// The schema. It accepts what [`Config::load`](super::Config::load) accepts, except for rules that
/// a schema cannot express: for example that two names differ, or that no rule hides another.
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

/// Every field in the configuration, such as `providers.fetch.timeout`. List positions are left
/// out.
pub fn fields() -> BTreeSet<String> {
    let schema = schema();
    let mut found = BTreeSet::new();
    collect(&schema, &schema, "", &mut found);
    found
}

/// The name of the form that a field's value has: `Duration` for `providers.clock_skew`.
pub(crate) fn form(path: &str) -> Option<String> {
    let root = schema();
    let mut at = &root;
    for name in path.split('.') {
        at = target(&root, at).unwrap_or(at);
        if let Some(items) = at.get("items") {
            at = target(&root, items).unwrap_or(items);
        }
        at = at.get("properties")?.get(name)?;
    }
    let form = at.get("$ref")?.as_str()?.rsplit('/').next();
    form.map(ToOwned::to_owned)
}

fn target<'s>(root: &'s Value, schema: &Value) -> Option<&'s Value> {
    let reference = schema.get("$ref")?.as_str()?;
    root.pointer(reference.strip_prefix('#')?)
}

fn collect(root: &Value, schema: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for inner in target(root, schema).into_iter().chain(schema.get("items")) {
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
