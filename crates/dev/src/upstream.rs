//! An API that echoes each request as JSON, over HTTP/1.1 or HTTP/2: method, path, every header
//! line and any trailers.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running echo API. It stops when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    ///
    /// Fails if no port is free.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            let routes = Router::new().fallback(echo);
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the upstream failed");
            }
        });
        Ok(Self { address, server })
    }

    /// The address of the API.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn echo(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut shown = json!({
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map(ToString::to_string),
        "headers": lines(&head.headers),
    });
    if let (Some(trailers), Some(shown)) = (body.trailers(), shown.as_object_mut()) {
        shown.insert("trailers".to_owned(), lines(trailers));
    }
    ([(CONTENT_TYPE, "application/json")], format!("{shown:#}\n")).into_response()
}

/// The header lines as JSON: a string for a header that occurs once, otherwise an array.
fn lines(headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for name in headers.keys() {
        let lines: Vec<Value> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
            .collect();
        let value = match <[Value; 1]>::try_from(lines) {
            Ok([line]) => line,
            Err(lines) => lines.into(),
        };
        shown.insert(name.to_string(), value);
    }
    shown.into()
}
