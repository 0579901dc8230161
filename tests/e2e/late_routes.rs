//! Requests that find a route only after the check. Envoy does not ask about a request without a route, and a
//! later filter can give it one. A last route for everything closes the gap, as in `deploy/envoy`.

mod switches;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use claimgate::dev::envoy::{EXAMPLE, Envoy, Wiring};
use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use prost::Message;
use serde_json::{Value, json};

use crate::mesh::{MANAGER, Place};
use crate::setup::{Answer, Claimgate, bearer, configure_for, envoy_binary, http};

const HTTP_FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// A filter behind `ext_authz` that changes `GET /orders`, so that the only route matches.
struct Row {
    filter: fn() -> Value,
    domain: &'static str,
    prefix: &'static str,
    /// The path that reaches the API.
    arrives: &'static str,
}

const ROWS: [Row; 3] = [
    // Another path.
    Row {
        filter: || lua(r#"replace(":path", "/v2/orders")"#),
        domain: "*",
        prefix: "/v2/",
        arrives: "/v2/orders",
    },
    // Another host.
    Row {
        filter: || lua(r#"replace(":authority", "api.example.com")"#),
        domain: "api.example.com",
        prefix: "/",
        arrives: "/orders",
    },
    // The path of a gRPC method.
    Row {
        filter: transcoder,
        domain: "*",
        prefix: "/shop.Orders/",
        arrives: "/shop.Orders/List",
    },
];

/// What becomes of a request that the route of the row does not match.
#[derive(Clone, Copy, Debug)]
enum Others {
    /// Envoy finds no route.
    NoRoute,
    /// A route answers 404.
    NotFound,
    /// A route leads to the API.
    Api,
}

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_request_without_a_route_is_not_checked() {
    for row in &ROWS {
        let mesh = Mesh::start(&configuration(row, Others::NoRoute)).await;
        let answer = mesh
            .ask("/orders", &["x-auth-subject: root".to_owned()])
            .await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", row.arrives);
        let expected = json!({ "path": row.arrives, "subject": "root" });
        assert_eq!(arrived(&answer), expected);
        assert_eq!(mesh.checks().await, 0, "{}", row.arrives);
    }
}

#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_last_route_for_everything_has_it_checked() {
    for row in &ROWS {
        for others in [Others::NotFound, Others::Api] {
            let mesh = Mesh::start(&configuration(row, others)).await;
            let forged = "x-auth-subject: root".to_owned();
            let denied = mesh.ask("/orders", std::slice::from_ref(&forged)).await;
            assert_eq!(
                denied.status, 401,
                "{}, {others:?}: {denied:?}",
                row.arrives
            );
            assert!(denied.body.contains("missing_token"), "{denied:?}");
            let allowed = mesh.ask("/orders", &[mesh.token(), forged]).await;
            assert_eq!(
                allowed.status, 200,
                "{}, {others:?}: {allowed:?}",
                row.arrives
            );
            let expected = json!({ "path": row.arrives, "subject": "alice" });
            assert_eq!(arrived(&allowed), expected, "{others:?}");
            assert_eq!(mesh.checks().await, 2, "{}, {others:?}", row.arrives);
        }
    }
}

/// Envoy runs the module for every request.
#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn the_module_judges_a_request_without_a_route() {
    for row in &ROWS {
        let configuration = configuration(row, Others::NoRoute);
        let mesh = Mesh::start_in(Place::Module, &configuration).await;
        let forged = "x-auth-subject: root".to_owned();
        let denied = mesh.ask("/orders", std::slice::from_ref(&forged)).await;
        assert_eq!(denied.status, 401, "{}: {denied:?}", row.arrives);
        let allowed = mesh.ask("/orders", &[mesh.token(), forged]).await;
        let expected = json!({ "path": row.arrives, "subject": "alice" });
        assert_eq!(arrived(&allowed), expected);
    }
}

/// The path and the subject that reached the API.
fn arrived(answer: &Answer) -> Value {
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    json!({ "path": seen["path"], "subject": seen["headers"]["x-auth-subject"] })
}

/// Envoy between a client and an API that echoes requests.
pub struct Mesh {
    envoy: Envoy,
    claimgate: Claimgate,
    issuer: Issuer,
    _upstream: Upstream,
    _directory: tempfile::TempDir,
}

impl Mesh {
    pub async fn start(configuration: &Value) -> Self {
        Self::start_in(Place::Service, configuration).await
    }

    async fn start_in(place: Place, configuration: &Value) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let issuer = Issuer::start(any, "urn:orders-api").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, configure_for(issuer.url(), "", "")).unwrap();
        let claimgate = Claimgate::start(&file).await;
        claimgate.is_ready().await;
        let upstream = Upstream::start().await.unwrap();
        let wiring = Wiring {
            listen: any,
            claimgate: claimgate.check.into(),
            upstream: upstream.address(),
        };
        let configuration = place.configuration(&configuration.to_string(), &file);
        let envoy = Envoy::start(&envoy_binary(), &configuration, &wiring).await;
        Self {
            envoy: envoy.unwrap(),
            claimgate,
            issuer,
            _upstream: upstream,
            _directory: directory,
        }
    }

    pub async fn ask(&self, path: &str, lines: &[String]) -> Answer {
        http(self.envoy.address(), &format!("GET {path}"), lines).await
    }

    pub fn token(&self) -> String {
        let claims = json!({ "sub": "alice" });
        bearer(&self.issuer.mint(claims.as_object().unwrap()).unwrap())
    }

    /// How often claimgate was asked.
    async fn checks(&self) -> u64 {
        let metrics = self.claimgate.metrics().await;
        let counts = metrics.lines().filter_map(|line| {
            let (_, count) = line
                .strip_prefix("claimgate_checks_total")?
                .split_once(' ')?;
            count.parse::<u64>().ok()
        });
        counts.sum()
    }
}

/// The example with the row's filter behind `ext_authz`, and the row's route in place of the one for everything.
fn configuration(row: &Row, others: Others) -> Value {
    let to_api = json!({ "match": { "prefix": row.prefix }, "route": { "cluster": "upstream" } });
    let mut host = json!({ "name": "api", "domains": [row.domain], "routes": [to_api] });
    let mut last = json!({ "match": { "prefix": "/" } });
    match others {
        Others::NoRoute => last = Value::Null,
        Others::NotFound => last["direct_response"] = json!({ "status": 404 }),
        Others::Api => last["route"] = json!({ "cluster": "upstream" }),
    }
    let mut hosts = Vec::new();
    if !last.is_null() && row.domain != "*" {
        hosts.push(json!({ "name": "others", "domains": ["*"], "routes": [last] }));
    } else if !last.is_null() {
        host["routes"].as_array_mut().unwrap().push(last);
    }
    hosts.push(host);

    let mut example: Value = serde_saphyr::from_str(EXAMPLE).unwrap();
    let manager = example.pointer_mut(MANAGER).unwrap();
    manager["route_config"]["virtual_hosts"] = hosts.into();
    let filters = manager["http_filters"].as_array_mut().unwrap();
    assert_eq!(filters[0]["name"], "envoy.filters.http.ext_authz");
    filters.insert(1, (row.filter)());
    example
}

/// Changes the headers, and has Envoy choose the route again.
pub fn lua(change: &str) -> Value {
    script(&format!(
        "handle:headers():{change} handle:clearRouteCache()"
    ))
}

/// Runs this for each request, with `handle`.
fn script(code: &str) -> Value {
    let code = format!("function envoy_on_request(handle) {code} end");
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": format!("{HTTP_FILTERS}.lua.v3.Lua"),
            "default_source_code": { "inline_string": code },
        },
    })
}

/// Turns `GET /orders` into a call of the gRPC method `shop.Orders/List`.
fn transcoder() -> Value {
    json!({
        "name": "envoy.filters.http.grpc_json_transcoder",
        "typed_config": {
            "@type": format!("{HTTP_FILTERS}.grpc_json_transcoder.v3.GrpcJsonTranscoder"),
            "proto_descriptor_bin": BASE64_STANDARD.encode(descriptors()),
            "services": ["shop.Orders"],
        },
    })
}

/// The encoded `google.protobuf.FileDescriptorSet` of
/// `service Orders { rpc List(Empty) returns (Empty) { option (google.api.http) = { get: "/orders" }; } }`.
fn descriptors() -> Vec<u8> {
    let empty = || ".shop.Empty".to_owned();
    let list = Method {
        name: "List".to_owned(),
        input_type: empty(),
        output_type: empty(),
        options: Some(MethodOptions {
            http: Some(HttpRule {
                get: "/orders".to_owned(),
            }),
        }),
    };
    let file = File {
        name: "shop.proto".to_owned(),
        package: "shop".to_owned(),
        messages: vec![MessageType {
            name: "Empty".to_owned(),
        }],
        services: vec![Service {
            name: "Orders".to_owned(),
            methods: vec![list],
        }],
        syntax: "proto3".to_owned(),
    };
    Files { files: vec![file] }.encode_to_vec()
}

/// `google.protobuf.FileDescriptorSet`, as far as it is used here. The usual types leave out options such as
/// `google.api.http`.
#[derive(Clone, PartialEq, Message)]
struct Files {
    #[prost(message, repeated, tag = "1")]
    files: Vec<File>,
}

/// `google.protobuf.FileDescriptorProto`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageType>,
    #[prost(message, repeated, tag = "6")]
    services: Vec<Service>,
    #[prost(string, tag = "12")]
    syntax: String,
}

/// `google.protobuf.DescriptorProto`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct MessageType {
    #[prost(string, tag = "1")]
    name: String,
}

/// `google.protobuf.ServiceDescriptorProto`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<Method>,
}

/// `google.protobuf.MethodDescriptorProto`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    input_type: String,
    #[prost(string, tag = "3")]
    output_type: String,
    #[prost(message, optional, tag = "4")]
    options: Option<MethodOptions>,
}

/// `google.protobuf.MethodOptions` with the extension of google/api/annotations.proto.
#[derive(Clone, PartialEq, Message)]
struct MethodOptions {
    #[prost(message, optional, tag = "72295728")]
    http: Option<HttpRule>,
}

/// `google.api.HttpRule`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
struct HttpRule {
    #[prost(string, tag = "2")]
    get: String,
}
