//! What `globalExtAuth` does not cover. Contour puts it on the plain port, and on the hosts with TLS of an `HTTPProxy`,
//! but on no other port with TLS.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Contour, HOST, front, global, proxy};
use crate::process::free_port;
use crate::setup::{eventually, http};
use crate::stream;

/// The host of an Ingress with `tls`. An `HTTPProxy` for the host closes it.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn an_ingress_with_tls_is_not_checked() {
    let service = json!({ "service": { "name": "orders-api", "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": service });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "orders", "namespace": "orders" },
        "spec": {
            "tls": [{ "hosts": [HOST], "secretName": "api-example-com" }],
            "rules": [{ "host": HOST, "http": { "paths": [path] } }],
        },
    });
    let contour = Contour::run(global(), ingress).await;
    checked_without_tls_only(&contour, contour.plain, contour.tls).await;
    is_closed_by_a_proxy(&contour, contour.tls).await;
}

/// An `HTTPRoute` on an HTTPS listener, where Contour serves a Gateway. An `HTTPProxy` for the host closes it.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn a_route_on_an_https_listener_is_not_checked() {
    let [plain, tls] = [(); 2].map(|()| free_port());
    let mut settings = global();
    settings["gateway"] = json!({ "gatewayRef": { "namespace": "orders", "name": "public" } });
    let contour = Contour::run(settings, gateway(plain, tls)).await;
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let plain = front(at(plain), None).await;
    let tls = front(at(tls), Some(contour.roots.clone())).await;
    checked_without_tls_only(&contour, plain, tls).await;
    is_closed_by_a_proxy(&contour, tls).await;
}

/// Without TLS 401. With TLS 200, and the API receives the claim headers that the client sends.
async fn checked_without_tls_only(contour: &Contour, plain: SocketAddr, tls: SocketAddr) {
    contour.backends.are_behind(plain).await;
    eventually("the port with TLS passes requests", async || {
        http(tls, "GET /orders", &[]).await.status == 200
    })
    .await;
    contour.passes_claim_headers(tls, "GET /orders").await;
    // Still: it is not a question of when Envoy received which part.
    contour.backends.are_behind(plain).await;
    contour.passes_claim_headers(tls, "GET /orders").await;
}

/// With the overlay's `HTTPProxy`, `globalExtAuth` covers the port with TLS.
async fn is_closed_by_a_proxy(contour: &Contour, tls: SocketAddr) {
    let mut proxy = proxy();
    let virtual_host = proxy["spec"]["virtualhost"].as_object_mut().unwrap();
    virtual_host.remove("authorization").unwrap();
    contour.api.apply("an HTTPProxy", &stream([&proxy])).await;
    contour.backends.are_behind(tls).await;
    contour.backends.are_protected_by(tls, &super::FORGED).await;
    assert!(contour.accepts("orders").await);
}

/// A Gateway whose Envoy listens on these ports, with one route.
fn gateway(plain: u16, tls: u16) -> Value {
    let version = "gateway.networking.k8s.io/v1";
    // Contour adds 8000 to each port, so that Envoy needs no privileges.
    let listener = |name: &str, protocol: &str, port: u16| json!({ "name": name, "protocol": protocol, "port": port - 8000 });
    let mut https = listener("https", "HTTPS", tls);
    https["tls"] = json!({ "certificateRefs": [{ "name": "api-example-com" }] });
    let class = json!({
        "apiVersion": version,
        "kind": "GatewayClass",
        "metadata": { "name": "contour" },
        "spec": { "controllerName": "projectcontour.io/gateway-controller" },
    });
    let gateway = json!({
        "apiVersion": version,
        "kind": "Gateway",
        "metadata": { "name": "public", "namespace": "orders" },
        "spec": {
            "gatewayClassName": "contour",
            "listeners": [listener("http", "HTTP", plain), https],
        },
    });
    let route = json!({
        "apiVersion": version,
        "kind": "HTTPRoute",
        "metadata": { "name": "orders", "namespace": "orders" },
        "spec": {
            "parentRefs": [{ "name": "public" }],
            "hostnames": [HOST],
            "rules": [{ "backendRefs": [{ "name": "orders-api", "port": 80 }] }],
        },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [class, gateway, route] })
}
