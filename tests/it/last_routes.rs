//! Envoy does not ask about a request without a route, and a later filter could still give it one. So in every file for
//! Envoy, each request has a route from the start.

use serde_json::{Value, json};

use crate::support::examples::{file, files};

#[test]
fn each_request_has_a_route() {
    let mut own = files("deploy/envoy", ".yaml");
    own.push(file("deploy/kubernetes/overlays/sidecar/envoy.yaml"));
    for path in own {
        let text = std::fs::read_to_string(&path).unwrap();
        let envoy: Value = serde_saphyr::from_str(&text).unwrap();
        let mut tables = Vec::new();
        collect(&envoy, &mut tables);
        assert!(!tables.is_empty(), "{}: no routes", path.display());
        for table in tables {
            assert_eq!(gaps(table), [""; 0], "{}", path.display());
        }
    }
}

#[test]
fn a_request_without_a_route_is_found() {
    let everything = json!({ "match": { "prefix": "/" } });
    let orders = json!({ "match": { "prefix": "/orders" } });
    let only_get = json!({ "match": { "prefix": "/", "headers": [{ "name": ":method" }] } });
    let host = |domain: &str, routes: &[&Value]| json!({ "name": domain, "domains": [domain], "routes": routes });
    let any = host("*", &[&orders, &everything]);
    for (hosts, expected) in [
        (json!([any]), &[][..]),
        (json!([any, host("a.example", &[&everything])]), &[]),
        (
            json!([any, host("a.example", &[&orders])]),
            &["a.example: the last route"],
        ),
        (
            json!([any, host("a.example", &[])]),
            &["a.example: the last route"],
        ),
        (json!([host("*", &[&only_get])]), &["*: the last route"]),
        (
            json!([host("*", &[&everything, &orders])]),
            &["*: the last route"],
        ),
        (json!([host("a.example", &[&everything])]), &["no host `*`"]),
        (json!([host("*.example", &[&everything])]), &["no host `*`"]),
    ] {
        let table = json!({ "virtual_hosts": hosts });
        assert_eq!(gaps(&table), expected, "{table}");
    }
}

/// Why a request may have no route in a `RouteConfiguration`.
fn gaps(table: &Value) -> Vec<String> {
    let hosts = table["virtual_hosts"].as_array().unwrap();
    let is_for_any = |host: &Value| host["domains"].as_array().unwrap().contains(&"*".into());
    let mut found = Vec::new();
    if !hosts.iter().any(is_for_any) {
        found.push("no host `*`".to_owned());
    }
    for host in hosts {
        let last = host["routes"].as_array().and_then(|routes| routes.last());
        if last.is_none_or(|route| route["match"] != json!({ "prefix": "/" })) {
            found.push(format!(
                "{}: the last route",
                host["name"].as_str().unwrap()
            ));
        }
    }
    found
}

/// Every `RouteConfiguration` in a configuration of Envoy.
fn collect<'a>(value: &'a Value, tables: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("virtual_hosts") {
                tables.push(value);
            }
            fields.values().for_each(|it| collect(it, tables));
        }
        Value::Array(items) => items.iter().for_each(|it| collect(it, tables)),
        _ => {}
    }
}
