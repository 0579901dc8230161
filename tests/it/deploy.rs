//! The files that users start from.

use claimgate::config::Config;
use claimgate::dev::envoy::EXAMPLE;
use serde_json::Value;

use crate::support::examples::file;

/// The settings that make the example safe, so that none is lost by accident.
#[test]
fn the_envoy_example_fails_closed() {
    fails_closed(&serde_saphyr::from_str(EXAMPLE).unwrap());
}

pub fn fails_closed(envoy: &Value) {
    let manager = envoy
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

/// The unit waits as long as stopping takes, and gives no more than is needed.
#[test]
fn the_systemd_unit_is_hardened() {
    let unit = std::fs::read_to_string(file("deploy/systemd/claimgate.service")).unwrap();
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        "ExecStart=/usr/local/bin/claimgate serve --config /etc/claimgate/claimgate.yaml",
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
    ] {
        assert!(unit.lines().any(|found| found == line), "no `{line}`");
    }
    let grace = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let grace: u64 = grace.unwrap().trim_end_matches('s').parse().unwrap();
    let yaml = "providers: [{ issuer: 'https://idp.example.com', audiences: [a] }]";
    let drain = Config::from_yaml(yaml).unwrap().server.drain.as_secs();
    assert!(drain + 8 < grace, "killed before it has drained");
}

/// CI runs nothing that a developer cannot run by the same name, and no action that can change.
#[test]
fn the_workflow_calls_targets_of_the_makefile() {
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let makefile = read("Makefile");
    let workflow: Value = serde_saphyr::from_str(&read(".github/workflows/ci.yml")).unwrap();
    let mut called = Vec::new();
    for job in workflow["jobs"].as_object().unwrap().values() {
        let matrix = job["strategy"]["matrix"]["target"].as_array();
        for step in job["steps"].as_array().unwrap() {
            if let Some(action) = step["uses"].as_str() {
                let (_, commit) = action.split_once('@').unwrap();
                let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
                assert!(is_commit, "{action}");
                continue;
            }
            match step["run"].as_str().unwrap().strip_prefix("make ").unwrap() {
                "${{ matrix.target }}" => called.extend(matrix.unwrap().iter().cloned()),
                target => called.push(target.into()),
            }
        }
    }
    let expected = ["advisories", "lint", "test", "bench-quick", "msrv"];
    assert_eq!(Value::from(called), serde_json::json!(expected));
    for target in expected {
        assert!(
            makefile.contains(&format!("\n{target}: ")),
            "no target {target}"
        );
    }
}

/// `rust-version` is what the documents and the image say; `make msrv` compiles with it.
#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    for (name, text) in [
        ("README.md", format!("Rust {version}, ")),
        ("deploy/Dockerfile", format!("FROM rust:{version}-")),
    ] {
        let found = std::fs::read_to_string(file(name)).unwrap();
        assert!(found.contains(&text), "{name} has no `{text}`");
    }
}
