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

/// The other files differ from the example only where they say, so none of them loses a setting.
#[test]
fn the_envoy_files_differ_only_in_their_subject() {
    const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    const HOSTS: &str = "route_config/virtual_hosts";
    const GRPC: &str = "http_filters/0/typed_config/grpc_service";
    let example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let clusters = "/static_resources/clusters";
    for (name, subject) in [
        (
            "unix-socket.yaml",
            &[
                format!("{clusters}/0/type"),
                format!("{clusters}/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address"),
            ][..],
        ),
        (
            "mutual-tls.yaml",
            &[format!("{clusters}/0/transport_socket")],
        ),
        (
            "google-grpc.yaml",
            &[
                format!("{MANAGER}/{GRPC}/google_grpc"),
                format!("{MANAGER}/{GRPC}/envoy_grpc"),
            ],
        ),
        (
            "per-route.yaml",
            &[
                format!("{MANAGER}/{HOSTS}"),
                format!("{MANAGER}/strip_trailing_host_dot"),
            ],
        ),
        (
            "envoy-module.yaml",
            &[
                format!("{MANAGER}/{HOSTS}"),
                format!("{MANAGER}/http_filters/0/name"),
                format!("{MANAGER}/http_filters/0/typed_config"),
                "/bootstrap_extensions".to_owned(),
                "/layered_runtime".to_owned(),
            ],
        ),
        ("rate-limit.yaml", &[]),
        ("login.yaml", &["/node".to_owned()]),
    ] {
        let path = file(&format!("deploy/envoy/{name}"));
        let mut other: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut expected = example.clone();
        if ["google-grpc.yaml", "envoy-module.yaml"].contains(&name) {
            let clusters = expected.pointer_mut(clusters).and_then(Value::as_array_mut);
            clusters.unwrap().remove(0);
        }
        if name == "rate-limit.yaml" {
            let filters = other.pointer_mut(&format!("{MANAGER}/http_filters"));
            let limit = filters.and_then(Value::as_array_mut).unwrap().remove(1);
            assert_eq!(limit["name"], "envoy.filters.http.local_ratelimit");
        }
        if name == "login.yaml" {
            let filters = other.pointer_mut(&format!("{MANAGER}/http_filters"));
            let login = filters.and_then(Value::as_array_mut).unwrap().remove(0);
            assert_eq!(login["name"], "envoy.filters.http.oauth2");
            let clusters = other.pointer_mut(clusters).and_then(Value::as_array_mut);
            assert_eq!(clusters.unwrap().remove(2)["name"], "idp");
        }
        for pointer in subject {
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            let found = [&mut other, &mut expected].map(|document| {
                let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
                parent.unwrap().remove(member)
            });
            assert_ne!(found[0], found[1], "{name}: {pointer} does not differ");
        }
        assert_eq!(other, expected, "{name}");
    }
}

/// docs/operations.md shows the `transport_socket` of the file for mutual TLS.
#[test]
fn the_documents_show_the_tls_of_the_envoy_file() {
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let document = read("docs/operations.md");
    let (_, after) = document
        .split_once("Envoy's cluster then needs a `transport_socket`")
        .unwrap();
    let (block, _) = after
        .split_once("```yaml\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap();
    let shown: Value = serde_saphyr::from_str(block).unwrap();
    let envoy: Value = serde_saphyr::from_str(&read("deploy/envoy/mutual-tls.yaml")).unwrap();
    assert_eq!(
        shown.get("transport_socket"),
        envoy.pointer("/static_resources/clusters/0/transport_socket")
    );
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
            let run = step["run"].as_str().unwrap();
            let Some(target) = run.strip_prefix("make ") else {
                assert!(run.starts_with("sudo sysctl "), "{run}");
                continue;
            };
            match target {
                "${{ matrix.target }}" => called.extend(matrix.unwrap().iter().cloned()),
                target => called.push(target.into()),
            }
        }
    }
    let expected = [
        "lint",
        "test",
        "bench-quick",
        "msrv",
        "advisories",
        "image",
        "test-wheel",
        "publish-dry-run",
        "test-real",
        "test-meshes",
        "module-memory",
    ];
    assert_eq!(Value::from(called), serde_json::json!(expected));
    for target in expected {
        assert!(
            makefile.contains(&format!("\n{target}: ")),
            "no target {target}"
        );
    }
}

/// Docker Compose runs this version, and other images at exact ones.
#[test]
fn the_images_of_compose_are_pinned() {
    let text = std::fs::read_to_string(file("deploy/compose/compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        let (_, tag) = service["image"].as_str().unwrap().rsplit_once(':').unwrap();
        let numbers: Vec<_> = tag.trim_start_matches('v').split('.').collect();
        let is_exact = numbers.len() == 3 && numbers.iter().all(|it| it.parse::<u16>().is_ok());
        assert!(is_exact, "{name}: {tag}");
        let ports = service.get("ports").and_then(Value::as_array);
        for port in ports.into_iter().flatten() {
            let is_local = port
                .as_str()
                .is_some_and(|port| port.starts_with("127.0.0.1:"));
            assert!(is_local, "{name}: {port} is open to other machines");
        }
    }
    let own = format!("claimgate:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(services["claimgate"]["image"], own);
}

/// `rust-version` is what the documents and the image say; `make msrv` compiles with it.
#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_RUST_VERSION");
    for (name, text) in [
        ("README.md", format!("Rust {version}, ")),
        ("deploy/Dockerfile", format!(" rust:{version}.0-")),
    ] {
        let found = std::fs::read_to_string(file(name)).unwrap();
        assert!(found.contains(&text), "{name} has no `{text}`");
    }
}
