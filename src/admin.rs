//! The operator's HTTP listener: liveness, readiness, metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::jwks::Jwks;
use crate::lifecycle::Phase;
use crate::policy::Policy;
use crate::telemetry::exposition::Format;
use crate::telemetry::metrics::Metrics;
use crate::token_cache::TokenCache;

/// What there is to be told.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) jwks: Arc<Jwks>,
    pub(crate) token_cache: Arc<TokenCache>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    let routes = Router::new()
        .route("/", get(index))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the admin listener failed");
    }
}

async fn index() -> &'static str {
    concat!(
        "claimgate ",
        env!("CARGO_PKG_VERSION"),
        "\n\n",
        "/livez    is the process alive\n",
        "/readyz   can it judge tokens of every provider\n",
        "/metrics  Prometheus metrics\n",
    )
}

async fn livez() -> &'static str {
    "alive\n"
}

/// 200, or 503 with a line for each thing that is missing.
async fn readyz(State(admin): State<Admin>) -> Response {
    let mut missing = Vec::new();
    if *admin.phase.borrow() != Phase::Serving {
        missing.push("not ready: shutting down\n".to_owned());
    }
    for id in admin.jwks.awaited() {
        let name = admin
            .policy
            .provider(id)
            .map_or("?", |provider| &provider.name);
        let why = admin
            .jwks
            .status(id)
            .and_then(|status| status.error.clone())
            .map_or_else(
                || "still being fetched".to_owned(),
                |error| error.to_string(),
            );
        missing.push(format!("not ready: no keys of provider `{name}`: {why}\n"));
    }
    match missing.is_empty() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, missing.concat()).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    admin.jwks.observe();
    admin.token_cache.observe();
    match admin.metrics.encode() {
        Ok(text) => {
            let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::accepted(accept.unwrap_or_default());
            (
                [(CONTENT_TYPE, format.content_type())],
                format.render(&text),
            )
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "cannot write metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
