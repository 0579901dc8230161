//! A filter before `ext_authz` that has Envoy choose another route. Envoy builds the filter chain for the first route,
//! so a filter that this route leaves out stays out.

use claimgate::dev::envoy::EXAMPLE;
use serde_json::{Value, json};

use super::{MANAGER, Mesh, arrived, lua, script};

const EXT_AUTHZ: &str = "envoy.filters.http.ext_authz";

/// What is changed in the connection manager. Its routes: `/v1/` and everything else, which is guarded.
type Change = fn(&mut Value);

/// `/v1/orders` becomes `/orders` before the check.
const OPEN: [(&str, Change); 3] = [
    // Envoy Gateway programs this.
    ("off, and on for the guarded route", |manager| {
        filter(manager)["disabled"] = true.into();
        set(manager, 1, on());
    }),
    ("off for the first route by `FilterConfig`", |manager| {
        set(
            manager,
            0,
            json!({ "@type": FILTER_CONFIG, "disabled": true }),
        );
    }),
    // A last route for everything, which leaves the check off.
    ("off, and the first route is the last one", |manager| {
        filter(manager)["disabled"] = true.into();
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"]
            .as_array_mut()
            .unwrap();
        routes.reverse();
        routes[0]["match"]["prefix"] = "/orders".into();
        routes[1]["match"]["prefix"] = "/".into();
        set(manager, 0, on());
    }),
];

const CLOSED: [(&str, Change); 4] = [
    ("no switch", |_| {}),
    // Asked once the request has its last route.
    ("off for the first route by `ExtAuthzPerRoute`", |manager| {
        set(manager, 0, json!({ "@type": PER_ROUTE, "disabled": true }));
    }),
    ("off, and on for each route", |manager| {
        filter(manager)["disabled"] = true.into();
        set(manager, 0, on());
        set(manager, 1, on());
    }),
    ("off, and on for the virtual host", |manager| {
        filter(manager)["disabled"] = true.into();
        let host = &mut manager["route_config"]["virtual_hosts"][0];
        host["typed_per_filter_config"][EXT_AUTHZ] = on();
    }),
];

const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
const PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_filter_that_the_first_route_leaves_out_stays_out() {
    for (what, change) in OPEN {
        let mesh = Mesh::start(&configuration(change)).await;
        let direct = mesh.ask("/orders", &[]).await;
        assert_eq!(direct.status, 401, "{what}: {direct:?}");
        let answer = mesh.ask("/v1/orders", &forged()).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        let expected = json!({ "path": "/orders", "subject": "root" });
        assert_eq!(arrived(&answer), expected, "{what}");
        assert_eq!(mesh.checks().await, 1, "{what}");
    }
}

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_check_that_no_route_leaves_out_is_made() {
    for (what, change) in CLOSED {
        let mesh = Mesh::start(&configuration(change)).await;
        for path in ["/orders", "/v1/orders"] {
            let denied = mesh.ask(path, &forged()).await;
            assert_eq!(denied.status, 401, "{what}, {path}: {denied:?}");
            let allowed = mesh
                .ask(path, &[forged(), vec![mesh.token()]].concat())
                .await;
            let expected = json!({ "path": "/orders", "subject": "alice" });
            assert_eq!(arrived(&allowed), expected, "{what}, {path}");
        }
        assert_eq!(mesh.checks().await, 4, "{what}");
    }
}

/// A filter before the check that changes the path and leaves the choice of the route to a filter behind it:
/// Envoy's first choice found no route, so it does not ask.
#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_route_that_is_chosen_again_behind_the_check_is_not_checked() {
    let rename = r#"replace(":path", "/v2/orders")"#;
    for (chooses, status, checks) in [(false, 200, 0), (true, 401, 1)] {
        let mut before = lua(rename);
        if !chooses {
            before = script(&format!("handle:headers():{rename}"));
            before["typed_config"]["clear_route_cache"] = false.into();
        }
        let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
        let manager = example.pointer_mut(MANAGER).unwrap();
        manager["route_config"]["virtual_hosts"][0]["routes"][0]["match"]["prefix"] = "/v2/".into();
        let filters = manager["http_filters"].as_array_mut().unwrap();
        filters.insert(1, script("handle:clearRouteCache()"));
        filters.insert(0, before);
        let mesh = Mesh::start(&example).await;
        let answer = mesh.ask("/orders", &forged()).await;
        assert_eq!(answer.status, status, "{chooses}: {answer:?}");
        assert_eq!(mesh.checks().await, checks, "{chooses}");
    }
}

fn forged() -> Vec<String> {
    vec!["x-auth-subject: root".to_owned()]
}

/// The example with the filter that changes `/v1/`, and with two routes to the API.
fn configuration(change: Change) -> Value {
    let to_api =
        |prefix: &str| json!({ "match": { "prefix": prefix }, "route": { "cluster": "upstream" } });
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example.pointer_mut(MANAGER).unwrap();
    manager["route_config"]["virtual_hosts"][0]["routes"] = json!([to_api("/v1/"), to_api("/")]);
    let shorten = lua(r#"replace(":path", (handle:headers():get(":path"):gsub("^/v1/", "/")))"#);
    manager["http_filters"]
        .as_array_mut()
        .unwrap()
        .insert(0, shorten);
    change(manager);
    example
}

fn filter(manager: &mut Value) -> &mut Value {
    let filter = &mut manager["http_filters"][1];
    assert_eq!(filter["name"], EXT_AUTHZ);
    filter
}

/// Turns on a filter that is off in `http_filters`.
fn on() -> Value {
    let settings = json!({ "@type": PER_ROUTE, "check_settings": {} });
    json!({ "@type": FILTER_CONFIG, "config": settings })
}

/// The settings of the check for a route.
fn set(manager: &mut Value, route: usize, settings: Value) {
    let route = &mut manager["route_config"]["virtual_hosts"][0]["routes"][route];
    route["typed_per_filter_config"][EXT_AUTHZ] = settings;
}
