//! The overlays for service meshes and gateways ask claimgate about everything, and fail closed. `make
//! test-meshes` runs them with the real servers.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::examples::{blocks, file, files};

const OVERLAYS: [&str; 6] = [
    "contour",
    "envoy-gateway",
    "envoy-gateway-login",
    "gateway-api",
    "istio",
    "istio-ambient",
];

/// Each way to install Istio makes the same provider known, in the same way.
#[test]
fn the_mesh_configurations_are_one() {
    let mesh = |name: &str, pointer: &str| {
        let document = read(&file(&format!("deploy/istio/{name}.yaml"))).remove(0);
        document.pointer(pointer).unwrap().clone()
    };
    let expected = json!({
        "pathNormalization": { "normalization": "MERGE_SLASHES" },
        "extensionProviders": [{
            "name": "claimgate",
            "envoyExtAuthzGrpc": {
                "service": "claimgate.claimgate.svc.cluster.local",
                "port": 9001,
                "timeout": "0.5s",
                "failOpen": false,
                "statusOnError": "503",
            },
        }],
    });
    assert_eq!(mesh("istioctl", "/spec/meshConfig"), expected);
    assert_eq!(mesh("ambient", "/spec/meshConfig"), expected);
    assert_eq!(mesh("helm-values", "/meshConfig"), expected);
}

#[test]
fn every_file_is_named_by_its_kustomization() {
    for overlay in OVERLAYS {
        let directory = format!("deploy/kubernetes/overlays/{overlay}");
        let kustomization = file(&format!("{directory}/kustomization.yaml"));
        let text = std::fs::read_to_string(kustomization).unwrap();
        for path in files(&directory, ".yaml") {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(
                name == "kustomization.yaml" || text.contains(name),
                "{directory}: {name}"
            );
        }
    }
}

#[test]
fn istios_policies_ask_about_every_request() {
    let mut asking = Vec::new();
    for (path, object) in objects("AuthorizationPolicy") {
        let spec = &object["spec"];
        if spec["action"] != "CUSTOM" {
            continue;
        }
        assert_eq!(spec["provider"]["name"], "claimgate", "{path}");
        let is_ambient = path.contains("istio-ambient");
        assert_eq!(
            is_ambient,
            spec.get("targetRefs").is_some(),
            "{path}: what enforces it"
        );
        assert!(
            !is_ambient || spec.get("selector").is_none(),
            "{path}: ztunnel cannot ask"
        );
        let is_whole_mesh = path.ends_with("whole-mesh.yaml");
        let expected = if is_whole_mesh {
            // A request is left out only if neither operation matches it.
            json!([{ "to": [
                { "operation": { "notPorts": ["9001"] } },
                { "operation": { "notPaths": ["/envoy.service.auth.v3.Authorization/Check"] } },
            ] }])
        } else {
            json!([{}])
        };
        assert_eq!(spec["rules"], expected, "{path}");
        asking.push(path);
    }
    assert_eq!(asking.len(), 3, "{asking:?}");
}

/// No check travels in plain text inside a mesh.
#[test]
fn istio_encrypts_checks() {
    let policies = objects("PeerAuthentication");
    assert_eq!(policies.len(), 2);
    for (path, policy) in policies {
        let expected = json!({
            "selector": { "matchLabels": { "app.kubernetes.io/name": "claimgate" } },
            "mtls": { "mode": "STRICT" },
            "portLevelMtls": { "9002": { "mode": "PERMISSIVE" } },
        });
        assert_eq!(policy["spec"], expected, "{path}");
        assert_eq!(policy["metadata"]["namespace"], "claimgate", "{path}");
    }
    for (overlay, label, value) in [
        ("istio", "istio-injection", "enabled"),
        ("istio-ambient", "istio.io/dataplane-mode", "ambient"),
    ] {
        let name = format!("deploy/kubernetes/overlays/{overlay}/namespace.yaml");
        let namespace = read(&file(&name)).remove(0);
        assert_eq!(namespace["metadata"]["name"], "claimgate", "{name}");
        assert_eq!(namespace["metadata"]["labels"][label], value, "{name}");
    }
}

#[test]
fn gateways_fail_closed() {
    let (path, policy) = only("SecurityPolicy", "security-policy.yaml");
    let ask = &policy["spec"]["extAuth"];
    for (field, expected) in [
        ("failOpen", json!(false)),
        ("statusOnError", json!(503)),
        ("timeout", json!("500ms")),
        ("headersToExtAuth", Value::Null),
        ("bodyToExtAuth", Value::Null),
    ] {
        assert_eq!(ask[field], expected, "{path}: {field}");
    }
    let (path, team) = only("SecurityPolicy", "team-policy.yaml");
    assert_eq!(team["spec"]["mergeType"], "StrategicMerge", "{path}");
    let (path, login) = only("SecurityPolicy", "login-policy.yaml");
    assert_eq!(login["spec"]["mergeType"], "StrategicMerge", "{path}");
    assert_eq!(login["spec"]["oidc"]["forwardAccessToken"], true, "{path}");
    // Without a section `jwt`, the policy would not be accepted.
    let passes = &login["spec"]["oidc"]["passThroughAuthHeader"];
    assert_eq!(passes, &Value::Null, "{path}");
    let (path, proxy) = only("EnvoyProxy", "envoy-proxy.yaml");
    let order = json!([{
        "name": "envoy.filters.http.ext_authz",
        "after": "envoy.filters.http.oauth2",
    }]);
    assert_eq!(proxy["spec"]["filterOrder"], order, "{path}");

    let (path, proxy) = only("HTTPProxy", "http-proxy.yaml");
    let ask = &proxy["spec"]["virtualhost"]["authorization"];
    assert_eq!(ask["failOpen"], false, "{path}");
    assert_eq!(ask["responseTimeout"], "500ms", "{path}");
    for route in proxy["spec"]["routes"].as_array().unwrap() {
        assert_eq!(route["permitInsecure"], Value::Null, "{path}");
        assert_eq!(route["authPolicy"], Value::Null, "{path}");
    }

    let (path, route) = only("HTTPRoute", "http-route.yaml");
    for rule in route["spec"]["rules"].as_array().unwrap() {
        let filter = &rule["filters"][0];
        assert_eq!(filter["type"], "ExternalAuth", "{path}");
        assert_eq!(filter["externalAuth"]["protocol"], "GRPC", "{path}");
        assert_eq!(filter["externalAuth"]["grpc"], json!({}), "{path}");
    }
}

/// The login's configuration repeats that of the base, and the rules of the guide.
#[test]
fn the_login_has_the_rules_of_the_guide() {
    let login = "deploy/kubernetes/overlays/envoy-gateway-login";
    let own = read(&file(&format!("{login}/claimgate.yaml"))).remove(0);
    let mut base = read(&file("deploy/kubernetes/base/claimgate.yaml")).remove(0);
    base["providers"][0]["audiences"] = json!(["app"]);
    for section in ["server", "admin", "providers"] {
        assert_eq!(own[section], base[section], "{section}");
    }
    let guide = std::fs::read_to_string(file("docs/guides/login.md")).unwrap();
    let blocks = blocks(&guide);
    let (_, text) = blocks
        .iter()
        .find(|(info, _)| info == "yaml title=claimgate.yaml")
        .unwrap();
    let guide: Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(own["rules"], guide["rules"]);
}

/// Whatever refers to claimgate's Service has its name, its namespace and its port.
#[test]
fn references_lead_to_the_service() {
    let service = read(&file("deploy/kubernetes/base/service.yaml")).remove(0);
    assert_eq!(service["metadata"]["name"], "claimgate");
    let port = &service["spec"]["ports"][0];
    assert_eq!(port["appProtocol"], "grpc");
    let references = [
        (
            "SecurityPolicy",
            "security-policy.yaml",
            "/spec/extAuth/grpc/backendRefs/0",
        ),
        (
            "HTTPRoute",
            "http-route.yaml",
            "/spec/rules/0/filters/0/externalAuth/backendRef",
        ),
        (
            "ExtensionService",
            "extension-service.yaml",
            "/spec/services/0",
        ),
    ];
    for (kind, name, pointer) in references {
        let (path, object) = only(kind, name);
        let reference = object.pointer(pointer).unwrap();
        assert_eq!(reference["name"], "claimgate", "{path}");
        assert_eq!(reference["port"], port["port"], "{path}");
        let namespace = reference
            .get("namespace")
            .unwrap_or(&object["metadata"]["namespace"]);
        assert_eq!(namespace, "claimgate", "{path}");
    }
    // Across namespaces, a grant lets the reference in.
    for (kind, name, granted) in [
        ("SecurityPolicy", "security-policy.yaml", "envoy-gateway"),
        ("HTTPRoute", "http-route.yaml", "gateway-api"),
    ] {
        let (_, object) = only(kind, name);
        let grants = objects("ReferenceGrant");
        let (path, grant) = grants
            .iter()
            .find(|(path, _)| path.contains(granted))
            .unwrap();
        let from = &grant["spec"]["from"][0];
        assert_eq!(from["kind"], kind, "{path}");
        assert_eq!(from["namespace"], object["metadata"]["namespace"], "{path}");
        assert_eq!(grant["spec"]["to"][0]["name"], "claimgate", "{path}");
        assert_eq!(grant["metadata"]["namespace"], "claimgate", "{path}");
    }
}

/// The objects of a kind in all overlays, each with its file.
fn objects(kind: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for overlay in OVERLAYS {
        for path in files(&format!("deploy/kubernetes/overlays/{overlay}"), ".yaml") {
            let of_kind = read(&path).into_iter().filter(|it| it["kind"] == kind);
            found.extend(of_kind.map(|it| (path.display().to_string(), it)));
        }
    }
    assert!(!found.is_empty(), "no {kind}");
    found
}

/// The only object of a kind in the files of this name.
fn only(kind: &str, name: &str) -> (String, Value) {
    let mut found = objects(kind);
    found.retain(|(path, _)| path.ends_with(&format!("/{name}")));
    assert_eq!(found.len(), 1, "{kind} in {name}");
    found.remove(0)
}

fn read(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
