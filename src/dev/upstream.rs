//! An API that shows what reached it: method, path and every header line, as JSON.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running echo; it stops when dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Upstream {
    /// Starts on a free port of loopback.
    ///
    /// # Errors
    ///
    /// When there is none.
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

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A header that came once is a string, one that came more often an array.
async fn echo(request: Request) -> Response {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let lines: Vec<Value> = request
            .headers()
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
            .collect();
        let value = match <[Value; 1]>::try_from(lines) {
            Ok([line]) => line,
            Err(lines) => lines.into(),
        };
        headers.insert(name.to_string(), value);
    }
    let shown = json!({
        "method": request.method().as_str(),
        "path": request.uri().to_string(),
        "headers": headers,
    });
    ([(CONTENT_TYPE, "application/json")], format!("{shown:#}\n")).into_response()
}
