//! Rules, answers and metadata through a real Envoy.

use std::path::Path;

use claimgate::dev::envoy::EXAMPLE;
use serde_json::{Value, json};

use crate::mesh::{Mesh, Place, access_log, in_both_places};
use crate::setup::{Answer, bearer, eventually, http};

in_both_places! {
    rules_decide_behind_envoy,
    metadata_and_preflights_through_envoy,
    ambiguous_paths_without_normalization,
    pages_of_listed_origins_read_denials,
}

const SECTIONS: &str = "
response_headers: [{ header: x-checked-by, value: claimgate }, { header: x-caller, claim: sub }]
cors_preflight: allow
protected_resources:
  - { resource: 'http://127.0.0.1/mcp', scopes_supported: [orders:read], resource_name: Orders }
rules:
  - { name: health, match: { path: { exact: /healthz }, methods: [GET] }, access: public }
  - { name: catalogue, match: { path: { prefix: /catalogue } }, access: optional }
  - { name: read, match: { path: { prefix: /orders }, methods: [GET] }, scopes: orders:read }
  - { name: write, match: { path: { prefix: /orders } }, scopes: orders:write }
  - name: own
    match: { path: { prefix: /clients } }
    condition: request.path == \"/clients/\" + claims.client_id && source.address == \"127.0.0.1\" && context.team == \"orders\"
  - { name: closed, match: { path: { prefix: /internal } }, access: deny }
  - { name: login, match: { path: { prefix: /pay } }, max_age: 15m }
  - { name: mcp, match: { path: { prefix: /mcp } }, scopes: [mcp:tools] }
  - { name: routed, only_by_name: true, scopes: orders:write }
";

/// The example with an operator's additions: routes with context extensions, and a filter and an
/// access log that read claimgate's metadata.
fn wired(place: Place, log: &Path) -> Value {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example
        .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
        .unwrap();
    if place == Place::Service {
        // This must not affect what claimgate learns. The module then does not know the address.
        manager["xff_num_trusted_hops"] = 1.into();
    }
    let extended = |prefix: &str, extensions: Value| {
        json!({
            "match": {"prefix": prefix},
            "route": {"cluster": "upstream"},
            "typed_per_filter_config": {"envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "check_settings": {"context_extensions": extensions},
            }},
        })
    };
    let routes = manager["route_config"]["virtual_hosts"][0]["routes"]
        .as_array_mut()
        .unwrap();
    routes.insert(0, extended("/routed", json!({"claimgate.rule": "routed"})));
    routes.insert(
        0,
        extended("/misrouted", json!({"claimgate.rule": "ruted"})),
    );
    routes.insert(0, extended("/clients", json!({"team": "orders"})));

    let told = |key: &str, value: &str| {
        let path: Vec<_> = key.split('.').map(|key| json!({"key": key})).collect();
        json!({"metadata": {
            "filter": "envoy.filters.http.ext_authz",
            "path": path,
            "value": {"string_match": {"exact": value}},
        }})
    };
    let under = |prefix: &str| json!({"url_path": {"path": {"prefix": prefix}}});
    let rbac = json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {
                "scope": {"permissions": [under("/rbac/scope")], "principals": [told("claims.scope", "orders:read")]},
                "subject": {"permissions": [under("/rbac/subject")], "principals": [told("subject", "nobody")]},
                "others": {"permissions": [{"not_rule": under("/rbac")}], "principals": [{"any": true}]},
            }},
        },
    });
    manager["http_filters"]
        .as_array_mut()
        .unwrap()
        .insert(1, rbac);
    let member = |name: &str| format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{name})%");
    let format = json!({
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "decision": member("decision"),
        "reason": member("reason"),
        "rule": member("rule"),
        "provider": member("provider"),
        "subject": member("subject"),
        "client": member("claims:client_id"),
    });
    manager["access_log"] = access_log(log, &format);
    example
}

/// The expected outcome of a request.
struct Expected {
    status: u16,
    /// Part of the body or of the challenge.
    says: &'static str,
}

const fn expect(status: u16, says: &'static str) -> Expected {
    Expected { status, says }
}

async fn rules_decide_behind_envoy(place: Place) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let mesh = Mesh::with_sections(place, &wired(place, &log).to_string(), SECTIONS).await;
    let token = mesh.provider.token("urn:orders-api").await;
    let good = vec![bearer(&token)];
    let spoof = vec![
        "x-auth-subject: root".to_owned(),
        "x-auth-claims: e30".to_owned(),
        "x-forwarded-for: 203.0.113.9, 203.0.113.10".to_owned(),
    ];
    let bad = vec![bearer("nonsense")];
    let none = Vec::new();
    let cases = [
        ("GET /healthz", &none, expect(200, "\"path\": \"/healthz\"")),
        (
            "GET /healthz?verbose=1",
            &bad,
            expect(200, "\"path\": \"/healthz?verbose=1\""),
        ),
        ("POST /healthz", &none, expect(401, "missing_token")),
        ("GET /catalogue/7", &none, expect(200, "/catalogue/7")),
        (
            "GET /catalogue/7",
            &good,
            expect(200, "\"x-auth-subject\": \"machine\""),
        ),
        ("GET /catalogue/7", &bad, expect(401, "malformed_token")),
        (
            "GET /orders",
            &good,
            expect(200, "\"x-auth-subject\": \"machine\""),
        ),
        ("GET /orders", &none, expect(401, "scope=\"orders:read\"")),
        (
            "POST /orders",
            &good,
            expect(403, "error=\"insufficient_scope\""),
        ),
        (
            "GET /clients/machine",
            &good,
            expect(200, "/clients/machine"),
        ),
        ("GET /clients/other", &good, expect(403, "access_denied")),
        ("GET /internal/x", &good, expect(403, "access_denied")),
        (
            "GET /pay",
            &good,
            expect(
                401,
                "error=\"insufficient_user_authentication\", error_description=\"insufficient_user_authentication\", max_age=\"900\"",
            ),
        ),
        (
            "GET /routed/healthz",
            &good,
            expect(403, "insufficient_scope"),
        ),
        ("GET /misrouted", &good, expect(500, "unknown_rule")),
        (
            "GET /other",
            &good,
            expect(200, "\"x-auth-subject\": \"machine\""),
        ),
        ("GET /rbac/scope", &good, expect(200, "/rbac/scope")),
        (
            "GET /rbac/subject",
            &good,
            expect(403, "RBAC: access denied"),
        ),
        (
            "GET /healthz/../orders",
            &none,
            expect(401, "missing_token"),
        ),
        ("GET /healthz%2f..%2forders", &none, expect(400, "")),
        (
            "GET /healthz;/../orders",
            &none,
            expect(401, "missing_token"),
        ),
        ("GET /internal;x", &good, expect(400, "ambiguous_path")),
        ("GET /internal/%3bx", &good, expect(400, "ambiguous_path")),
        ("GET /%69nternal", &good, expect(403, "access_denied")),
        (
            "GET /mcp",
            &none,
            expect(
                401,
                "scope=\"mcp:tools\", resource_metadata=\"http://127.0.0.1/.well-known/oauth-protected-resource/mcp\"",
            ),
        ),
        (
            "GET /mcp",
            &good,
            expect(
                403,
                "error=\"insufficient_scope\", error_description=\"insufficient_scope\", scope=\"mcp:tools\", resource_metadata=",
            ),
        ),
    ];
    for (request, lines, Expected { status, says }) in &cases {
        let lines: Vec<String> = lines.iter().chain(&spoof).cloned().collect();
        let answer = http(mesh.envoy.address(), request, &lines).await;
        assert_eq!(answer.status, *status, "{request}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let found = answer.body.contains(says) || challenge.contains(says);
        assert!(found, "{request}: no `{says}` in {answer:?}");
        if *status == 200 {
            let seen: Value = serde_json::from_str(&answer.body).unwrap();
            let headers = seen["headers"].as_object().unwrap();
            assert_eq!(headers.get("authorization"), None, "{request}");
            assert_ne!(
                headers.get("x-auth-subject"),
                Some(&"root".into()),
                "{request}"
            );
            assert_ne!(
                headers.get("x-auth-claims"),
                Some(&"e30".into()),
                "{request}"
            );
            assert_eq!(
                answer.header("x-checked-by"),
                Some("claimgate"),
                "{request}"
            );
            let known = headers
                .get("x-auth-subject")
                .map(|subject| subject.as_str().unwrap());
            assert_eq!(answer.header("x-caller"), known, "{request}");
        }
    }
    told_to_the_access_log(&log, cases.len()).await;
}

async fn told_to_the_access_log(log: &Path, requests: usize) {
    let read = || -> Vec<Value> {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines.collect()
    };
    eventually("the access log is written", async || {
        read().len() >= requests
    })
    .await;
    let lines = read();
    let told = |path: &str, status: u16| {
        let line = lines
            .iter()
            .find(|line| line["path"] == path && line["status"] == status)
            .unwrap_or_else(|| panic!("no {path} {status} in {lines:#?}"));
        [
            "decision", "reason", "rule", "provider", "subject", "client",
        ]
        .map(|name| line[name].as_str().map(ToOwned::to_owned))
    };
    let some = |texts: [&str; 6]| texts.map(|text| (!text.is_empty()).then(|| text.to_owned()));
    for (path, status, expected) in [
        ("/healthz", 200, ["allow", "", "health", "", "", ""]),
        (
            "/orders",
            200,
            ["allow", "", "read", "acme", "machine", "machine"],
        ),
        (
            "/orders",
            403,
            [
                "deny",
                "insufficient_scope",
                "write",
                "acme",
                "machine",
                "machine",
            ],
        ),
        (
            "/clients/other",
            403,
            ["deny", "access_denied", "own", "acme", "machine", "machine"],
        ),
        (
            "/catalogue/7",
            401,
            ["deny", "malformed_token", "catalogue", "", "", ""],
        ),
        ("/misrouted", 500, ["deny", "unknown_rule", "", "", "", ""]),
        (
            "/internal;x",
            400,
            ["deny", "ambiguous_path", "", "", "", ""],
        ),
    ] {
        assert_eq!(told(path, status), some(expected), "{path} {status}");
    }
}

/// The document, a HEAD request for it, and a preflight from a page of another origin.
async fn metadata_and_preflights_through_envoy(place: Place) {
    let mesh = Mesh::with_sections(place, EXAMPLE, SECTIONS).await;
    let origin = "origin: https://inspector.example".to_owned();
    let ask = async |request: &str, lines: &[String]| -> Answer {
        http(mesh.envoy.address(), request, lines).await
    };
    let path = "/.well-known/oauth-protected-resource/mcp";

    let answer = ask(&format!("GET {path}"), &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let document: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        document,
        json!({
            "resource": "http://127.0.0.1/mcp",
            "authorization_servers": [mesh.provider.issuer],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["orders:read"],
            "resource_name": "Orders",
        })
    );

    let answer = ask(&format!("HEAD {path}"), &[]).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, ""),
        "{answer:?}"
    );

    let preflight = [
        origin.clone(),
        "access-control-request-method: GET".to_owned(),
        "access-control-request-headers: mcp-protocol-version".to_owned(),
    ];
    let answer = ask(&format!("OPTIONS {path}"), &preflight).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-headers"), Some("*"));

    let answer = ask("GET /.well-known/oauth-protected-resource", &[]).await;
    assert_eq!(answer.status, 401, "{answer:?}");

    // The preflight that a browser sends before a page may send its token.
    let preflight = [
        origin.clone(),
        "access-control-request-method: POST".to_owned(),
        "access-control-request-headers: authorization,content-type".to_owned(),
        "sec-fetch-mode: cors".to_owned(),
    ];
    let answer = ask("OPTIONS /orders", &preflight).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["method"], "OPTIONS");
    assert_eq!(seen["headers"]["x-auth-subject"], Value::Null);
    assert_eq!(ask("OPTIONS /orders", &[origin]).await.status, 401);
    assert_eq!(ask("OPTIONS /internal", &preflight).await.status, 403);
}

/// With an Envoy that leaves paths unchanged, claimgate refuses paths that could be read in two
/// ways.
async fn ambiguous_paths_without_normalization(place: Place) {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example
        .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
        .unwrap();
    manager["normalize_path"] = false.into();
    manager["merge_slashes"] = false.into();
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED".into();
    let mesh = Mesh::with_sections(place, &example.to_string(), SECTIONS).await;
    for path in [
        "/healthz/../orders",
        "/healthz/%2e%2e/orders",
        "/healthz/.%2E/orders",
        "//internal/x",
        "/healthz//x",
        "/internal%2fx",
        "/internal%5Cx",
        "/healthz\\..\\internal",
        "/internal;v=1",
        "/internal%252fx",
        "/healthz%00",
        "/healthz%zz",
        "/healthz%3f",
    ] {
        let answer = http(mesh.envoy.address(), &format!("GET {path}"), &[]).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.body.contains("ambiguous_path"), "{path}: {answer:?}");
    }
    for (path, status) in [
        ("/healthz?/../x;%2f", 200),
        ("/internal?/healthz", 403),
        ("/healthz?", 200),
    ] {
        let answer = http(mesh.envoy.address(), &format!("GET {path}"), &[]).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

/// A page of a listed origin can read a denial, with its configured headers. A page of another
/// origin cannot.
async fn pages_of_listed_origins_read_denials(place: Place) {
    let sections = "
denials:
  headers: [{ header: x-robots-tag, value: noindex }]
  cors: { origins: ['https://shop.example'] }
";
    let mesh = Mesh::with_sections(place, EXAMPLE, sections).await;
    for (origin, shared) in [
        ("https://shop.example", Some("https://shop.example")),
        ("https://evil.example", None),
    ] {
        let line = format!("origin: {origin}");
        let answer = http(mesh.envoy.address(), "GET /orders", &[line]).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let header = |name: &str| answer.header(name);
        assert_eq!(header("access-control-allow-origin"), shared, "{answer:?}");
        assert_eq!(header("vary"), Some("origin"), "{answer:?}");
        assert_eq!(header("x-robots-tag"), Some("noindex"), "{answer:?}");
        assert!(header("www-authenticate").is_some(), "{answer:?}");
    }
}
