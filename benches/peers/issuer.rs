//! Serves the keys and the metadata of the issuer, for as long as the program runs.

use std::net::SocketAddr;

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// Serves this key set, and returns the address.
pub fn serve(issuer: &str, key_set: &Value) -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let metadata = json!({"issuer": issuer, "jwks_uri": format!("http://{address}/jwks")});
    let key_set = key_set.clone();
    let routes = Router::new()
        .route("/jwks", get(async move || Json(key_set)))
        .route(
            "/.well-known/openid-configuration",
            get(async move || Json(metadata)),
        );
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}
