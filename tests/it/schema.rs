//! The JSON Schema accepts the configurations that claimgate accepts.

use claimgate::config::Config;
use claimgate::config::schema::schema;
use jsonschema::Validator;
use serde_json::Value;

use crate::support::command::run;
use crate::support::examples::configurations;

fn validator() -> Validator {
    jsonschema::draft202012::options().build(&schema()).unwrap()
}

fn json(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

#[tokio::test]
async fn it_is_one() {
    let printed = run(&["schema"], "").await;
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    let printed: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(printed, schema());
    assert_eq!(
        printed["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(jsonschema::draft202012::meta::is_valid(&printed));
}

#[test]
fn every_field_is_described() {
    fn visit(value: &Value, path: &str, missing: &mut Vec<String>) {
        let Some(members) = value.as_object() else {
            return;
        };
        if let Some(properties) = members.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                let described = property.get("description").and_then(Value::as_str);
                if described.is_none_or(|text| text.len() < 4) {
                    missing.push(format!("{path}/{name}"));
                }
            }
        }
        // These are conditions on fields that are described elsewhere.
        let rest = members
            .iter()
            .filter(|(name, _)| !["if", "then"].contains(&name.as_str()));
        for (name, member) in rest {
            visit(member, &format!("{path}/{name}"), missing);
        }
    }
    let mut missing = Vec::new();
    visit(&schema(), "", &mut missing);
    assert_eq!(missing, [""; 0]);
}

/// Helm and other tools in Go know no look-ahead. Neither does `regex`, whose syntax is nearly theirs.
#[test]
fn every_pattern_is_one_for_tools_in_go() {
    fn visit(value: &Value, count: &mut usize) {
        if let Some(pattern) = value.get("pattern").and_then(Value::as_str) {
            regex::Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"));
            *count += 1;
        }
        match value {
            Value::Object(members) => members.values().for_each(|member| visit(member, count)),
            Value::Array(elements) => elements.iter().for_each(|element| visit(element, count)),
            _ => {}
        }
    }
    let mut count = 0;
    visit(&schema(), &mut count);
    assert!(count > 20, "the patterns were not found");
}

#[test]
fn every_example_is_accepted() {
    let validator = validator();
    let examples = configurations();
    assert!(examples.len() > 25, "the examples were not found");
    for (origin, yaml) in examples {
        Config::from_yaml(&yaml).unwrap_or_else(|error| panic!("{origin}: {error}\n{yaml}"));
        let errors: Vec<_> = validator
            .iter_errors(&json(&yaml))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{origin}: {errors:#?}\n{yaml}");
    }
}

/// Renames each member of each example, and changes the type of its value, in turn. The schema
/// accepts the result if and only if claimgate does.
#[test]
fn every_example_with_a_mistake_is_refused() {
    let validator = validator();
    let mut count = 0;
    let mut differences = Vec::new();
    for (origin, yaml) in configurations() {
        let example = json(&yaml);
        let mut pointers = Vec::new();
        members(&example, String::new(), &mut pointers);
        for pointer in &pointers {
            for mistake in [misspell, retype, empty] {
                let mut wrong = example.clone();
                mistake(&mut wrong, pointer);
                count += 1;
                let loaded = Config::from_yaml(&wrong.to_string());
                // A schema cannot express which requests one rule leaves to another, nor that plain
                // HTTP to another machine takes a second setting.
                if let Err(error) = loaded.as_ref().map_err(ToString::to_string)
                    && ["never reached", "set `fetch.allow_http: true`"]
                        .iter()
                        .any(|beyond| error.contains(beyond))
                {
                    continue;
                }
                if validator.is_valid(&wrong) != loaded.is_ok() {
                    let why = loaded.map_or_else(|error| error.to_string(), |_| "right".into());
                    let value = wrong.pointer(pointer);
                    differences.push(format!("{origin}: {pointer}: {value:?}: {why}"));
                }
            }
        }
    }
    assert!(count > 1_000, "too few: {count}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn members(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, member) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                members(member, format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                members(element, format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
    if !pointer.is_empty() {
        found.push(pointer);
    }
}

fn misspell(value: &mut Value, pointer: &str) {
    let (outer, name) = pointer.rsplit_once('/').unwrap();
    if let Some(Value::Object(map)) = value.pointer_mut(outer) {
        let name = name.replace("~1", "/").replace("~0", "~");
        let member = map.remove(&name).unwrap();
        map.insert(format!("{name}x"), member);
    }
}

fn retype(value: &mut Value, pointer: &str) {
    let member = value.pointer_mut(pointer).unwrap();
    *member = match member {
        Value::Object(_) => Value::from(true),
        _ => serde_json::json!({"a": {"b": 1}}),
    };
}

fn empty(value: &mut Value, pointer: &str) {
    let member = value.pointer_mut(pointer).unwrap();
    *member = match member {
        Value::String(_) => Value::from(""),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Bool(truth) => Value::from(!*truth),
        ref other => (*other).clone(),
    };
}
