//! Requests that some server would mistake for others, through a real Envoy. Most use HTTP/2, which
//! carries what HTTP/1.1 does not.

use claimgate::dev::envoy::EXAMPLE;
use claimgate::dev::issuer::Issuer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http2::{Request, send};
use crate::mesh::{MANAGER, Mesh, Place, in_both_places};
use crate::setup::{bearer, http};

in_both_places! {
    methods_and_paths_that_could_be_others,
    headers_that_name_another_request_stay_behind,
    preflights_are_nothing_but_that,
    trailers_do_not_reach_the_upstream,
    trailers_reach_the_upstream_without_the_filter,
    connection_names_no_claim_header,
}

const SECTIONS: &str = "
cors_preflight: allow
rules:
  - { name: delete, match: { path: { prefix: /orders }, methods: [DELETE] }, scopes: orders:admin }
  - { name: put, match: { methods: [PUT] }, access: deny }
  - { name: mark, match: { path: { exact: /intern! } }, access: public }
  - { name: intern, match: { path: { prefix: /interné } }, access: deny }
  - { name: public, match: { path: { prefix: /public } }, access: public }
  - { name: orders, match: { path: { prefix: /orders } }, scopes: orders:read }
";

/// The example without path normalisation, with headers in one of the two forms.
fn lenient(encode_raw_headers: bool) -> String {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example.pointer_mut(MANAGER).unwrap();
    manager["normalize_path"] = false.into();
    manager["merge_slashes"] = false.into();
    manager["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED".into();
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW".into();
    let filter = &mut manager["http_filters"][0]["typed_config"];
    assert_eq!(filter["encode_raw_headers"], true);
    filter["encode_raw_headers"] = encode_raw_headers.into();
    example.to_string()
}

/// What reached the upstream, or what claimgate answered.
async fn ask(mesh: &Mesh, request: Request<'_>) -> Value {
    let body = send(mesh.envoy.address(), request).await;
    let text = String::from_utf8_lossy(&body);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

async fn methods_and_paths_that_could_be_others(place: Place) {
    for &encode_raw_headers in place.encode_raw_headers() {
        let mesh = Mesh::with_sections(place, &lenient(encode_raw_headers), SECTIONS).await;
        let token = mesh.provider.token("urn:orders-api").await;
        let authorization = format!("Bearer {token}");
        let good = [("authorization", authorization.as_str())];
        for (method, path, reason) in [
            ("delete", &b"/orders/7"[..], "ambiguous_method"),
            ("Delete", b"/orders/7", "ambiguous_method"),
            ("put", b"/other", "ambiguous_method"),
            ("DELETE", b"/orders/7", "insufficient_scope"),
            ("PUT", b"/other", "access_denied"),
            ("GET", b"/intern\xe9", "ambiguous_path"),
            ("GET", b"/intern\xe9/7", "ambiguous_path"),
            ("GET", b"/intern\xc3\xa9", "ambiguous_path"),
            ("GET", b"/intern%C3%A9", "access_denied"),
            ("GET", b"/public/%E2%80%A5/orders", "ambiguous_path"),
            ("GET", b"/public/%EF%B8%B0/orders", "ambiguous_path"),
            ("GET", b"/public%E2%84%80dmin", "ambiguous_path"),
            ("GET", b"/public%CD%BEx", "ambiguous_path"),
            ("GET", b"/orders.", "ambiguous_path"),
            ("GET", b"/orders./7", "ambiguous_path"),
            ("GET", b"/orders%20", "ambiguous_path"),
            ("GET", b"/orders%20/7", "ambiguous_path"),
            ("GET", b"/%C2%A0orders", "ambiguous_path"),
        ] {
            let request = Request {
                method,
                path,
                headers: &good,
                ..Request::default()
            };
            let answer = ask(&mesh, request).await;
            let shown = String::from_utf8_lossy(path);
            assert_eq!(answer["reason"], reason, "{method} {shown}: {answer}");
        }
        for (path, headers, expected) in [
            (
                "/orders/7",
                &good[..],
                json!({"method": "GET", "path": "/orders/7"}),
            ),
            (
                "/public/a",
                &[],
                json!({"method": "GET", "path": "/public/a"}),
            ),
            (
                "/public?q=!",
                &[],
                json!({"method": "GET", "path": "/public?q=!"}),
            ),
        ] {
            let request = Request {
                method: "GET",
                path: path.as_bytes(),
                headers,
                ..Request::default()
            };
            let mut seen = ask(&mesh, request).await;
            seen.as_object_mut().unwrap().remove("headers");
            assert_eq!(seen, expected);
        }
        // A `!` may stand for another byte, unless Envoy sends the original bytes.
        let request = Request {
            method: "GET",
            path: b"/intern!",
            ..Request::default()
        };
        let answer = ask(&mesh, request).await;
        match encode_raw_headers {
            true => assert_eq!(answer["path"], "/intern!", "{answer}"),
            false => assert_eq!(answer["reason"], "ambiguous_path", "{answer}"),
        }
    }
}

async fn headers_that_name_another_request_stay_behind(place: Place) {
    let overrides = [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-original-url", "/orders"),
        ("x-rewrite-url", "/orders"),
        ("x_http_method_override", "DELETE"),
        ("x-original_url", "/orders"),
    ];
    for &encode_raw_headers in place.encode_raw_headers() {
        let mesh = Mesh::with_sections(place, &lenient(encode_raw_headers), SECTIONS).await;
        let token = bearer(&mesh.provider.token("urn:orders-api").await);
        let lines: Vec<String> = overrides
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        for (path, more) in [("/public/a", None), ("/orders/7", Some(token))] {
            let lines: Vec<String> = lines.iter().cloned().chain(more).collect();
            let answer = http(mesh.envoy.address(), &format!("GET {path}"), &lines).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let seen: Value = serde_json::from_str(&answer.body).unwrap();
            let headers = seen["headers"].as_object().unwrap();
            for (name, _) in overrides {
                assert!(!headers.contains_key(name), "{path}: {name} in {headers:?}");
            }
        }
        let request = Request {
            method: "GET",
            path: b"/public/a",
            headers: &overrides,
            ..Request::default()
        };
        let seen = ask(&mesh, request).await;
        let headers = seen["headers"].as_object().unwrap();
        for (name, _) in overrides {
            assert!(!headers.contains_key(name), "{name} in {headers:?}");
        }
    }
}

/// A request that looks like a preflight, but is more than that to some server, no longer passes
/// freely.
async fn preflights_are_nothing_but_that(place: Place) {
    let mesh = Mesh::with_sections(place, EXAMPLE, SECTIONS).await;
    let question = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "DELETE"),
    ];
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (more, body, is_free) in [
        (&[][..], None, true),
        (&[("content-length", "0")], None, true),
        (
            &[("content-length", "14")],
            Some(&b"_method=DELETE"[..]),
            false,
        ),
        (&[form], Some(b"_method=DELETE"), false),
        (&[("x-http-method-override", "DELETE")], None, false),
    ] {
        let headers: Vec<_> = question.iter().chain(more).copied().collect();
        let request = Request {
            method: "OPTIONS",
            path: b"/orders/7",
            headers: &headers,
            body,
            ..Request::default()
        };
        let answer = ask(&mesh, request).await;
        match is_free {
            true => assert_eq!(answer["method"], "OPTIONS", "{more:?}: {answer}"),
            false => assert_eq!(answer["reason"], "missing_token", "{more:?}: {answer}"),
        }
    }
    let mut lines: Vec<String> = question
        .iter()
        .chain([&form])
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    // Ends the header block and the body at once.
    lines.push("transfer-encoding: chunked\r\n\r\n0".to_owned());
    let answer = http(mesh.envoy.address(), "OPTIONS /orders/7", &lines).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

/// Otherwise trailers would arrive beside the claim headers.
async fn trailers_do_not_reach_the_upstream(place: Place) {
    let own = ("x-auth-subject", "evil");
    let alias = ("x_auth_subject", "evil");
    let others = [("authorization", "Bearer x"), ("checksum", "1")];
    for (configuration, first) in [(EXAMPLE, own), (&lenient(true), alias)] {
        let mesh = Mesh::with_sections(place, configuration, SECTIONS).await;
        let token = mesh.provider.token("urn:orders-api").await;
        let authorization = format!("Bearer {token}");
        let good = [("authorization", authorization.as_str())];
        for (path, headers, subject) in [
            (&b"/orders/7"[..], &good[..], json!("machine")),
            (b"/public/a", &[], Value::Null),
        ] {
            for body in [None, Some(&b"{}"[..])] {
                let request = Request {
                    method: "POST",
                    path,
                    headers,
                    body,
                    trailers: &[first, others[0], others[1]],
                };
                let seen = ask(&mesh, request).await;
                assert_eq!(seen["method"], "POST", "{seen}");
                assert_eq!(seen["trailers"], Value::Null, "{seen}");
                assert_eq!(seen["headers"]["x-auth-subject"], subject);
            }
        }
    }
}

/// Without that filter trailers do arrive, so the filter is needed.
async fn trailers_reach_the_upstream_without_the_filter(place: Place) {
    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let filters = example
        .pointer_mut(&format!("{MANAGER}/http_filters"))
        .and_then(Value::as_array_mut)
        .unwrap();
    filters.retain(|filter| filter["name"] != "envoy.filters.http.header_mutation");
    let mesh = Mesh::with_sections(place, &example.to_string(), SECTIONS).await;
    let request = Request {
        method: "POST",
        path: b"/public/a",
        body: Some(b"{}"),
        trailers: &[("x-auth-subject", "evil")],
        ..Request::default()
    };
    let seen = ask(&mesh, request).await;
    assert_eq!(
        seen["trailers"],
        json!({"x-auth-subject": "evil"}),
        "{seen}"
    );
}

/// Where a WebSocket is allowed, a client's `connection` reaches the upstream, and a proxy there would remove the
/// claim headers that it names. The mutation in docs/envoy.md prevents this.
async fn connection_names_no_claim_header(place: Place) {
    let document = include_str!("../../docs/envoy.md");
    let (_, mutation) = document.split_once("`request_mutations: ").unwrap();
    let (mutation, _) = mutation.split_once('`').unwrap();
    let mut upgrades: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = upgrades.pointer_mut(MANAGER).unwrap();
    manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
    let mut replaced = upgrades.clone();
    let filters = format!("{MANAGER}/http_filters");
    let filters = replaced.pointer_mut(&filters).unwrap();
    let filters = filters.as_array_mut().unwrap().iter_mut();
    let mut filters = filters.filter(|it| it["name"] == "envoy.filters.http.header_mutation");
    filters.next().unwrap()["typed_config"]["mutations"]["request_mutations"] =
        serde_saphyr::from_str(mutation).unwrap();

    let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), "urn:orders-api")
        .await
        .unwrap();
    let claims = json!({ "sub": "alice" });
    let token = issuer.mint(claims.as_object().unwrap()).unwrap();
    for (configuration, expected) in [
        (&upgrades, "connection: close,upgrade, x-auth-subject"),
        (&replaced, "connection: upgrade"),
    ] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = upstream.local_addr().unwrap();
        let configuration = configuration.to_string();
        let mesh = Mesh::in_front_of(place, &configuration, issuer.url(), "", address).await;
        let lines = [
            bearer(&token),
            "upgrade: websocket".to_owned(),
            "connection: upgrade, x-auth-subject".to_owned(),
        ];
        let asked = http(mesh.envoy.address(), "GET /socket", &lines);
        let (head, answer) = tokio::join!(head_of_next(&upstream), asked);
        assert_eq!(answer.status, 404, "{answer:?}");
        for line in [expected, "x-auth-subject: alice"] {
            assert!(head.lines().any(|it| it == line), "no {line} in {head}");
        }
    }
}

/// The head of the next request, which gets 404.
async fn head_of_next(upstream: &TcpListener) -> String {
    let (mut stream, _) = upstream.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(answer).await.unwrap();
    String::from_utf8(head).unwrap()
}
