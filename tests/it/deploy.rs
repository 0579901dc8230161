//! The files that users start from.

use claimgate::config::Config;
use claimgate::dev::envoy::EXAMPLE;
use serde_json::Value;

use crate::support::examples::file;

#[test]
fn the_kubernetes_configuration_is_valid() {
    let config = Config::load(&file("deploy/kubernetes/claimgate.yaml"))
        .unwrap_or_else(|error| panic!("{error}"));
    let deployment = std::fs::read_to_string(file("deploy/kubernetes/deployment.yaml")).unwrap();
    let grace: u64 = deployment
        .lines()
        .find_map(|line| line.trim().strip_prefix("terminationGracePeriodSeconds: "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        config.server.drain.as_secs() + 5 < grace,
        "killed before it has drained"
    );
}

/// The settings that make the example safe, so that none is lost by accident.
#[test]
fn the_envoy_example_fails_closed() {
    let example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example
        .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
        .unwrap();
    assert_eq!(manager["normalize_path"], true);
    assert_eq!(manager["merge_slashes"], true);
    assert_eq!(
        manager["path_with_escaped_slashes_action"],
        "REJECT_REQUEST"
    );
    let filter = &manager["http_filters"][0];
    assert_eq!(
        filter["name"], "envoy.filters.http.ext_authz",
        "asked before anything else"
    );
    let filter = &filter["typed_config"];
    assert_eq!(filter["failure_mode_allow"], false);
    assert_eq!(filter["validate_mutations"], true);
    assert_eq!(filter["allowed_headers"], Value::Null);
    assert_eq!(filter["transport_api_version"], "V3");
}
