//! `/metrics`: the metrics, for Prometheus.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Admin;
use crate::telemetry::exposition::Format;

/// Renders one page at a time, on a blocking thread, because 10,000 series take milliseconds and
/// would delay checks.
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    static ONE: Semaphore = Semaphore::const_new(1);
    let turn = ONE.acquire().await;
    admin.gate.generation().observe();
    let metrics = Arc::clone(&admin.gate.metrics);
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let encode = move || {
        let _turn = turn;
        metrics.encode().map(|text| format.render(&text))
    };
    let text = spawn_blocking(encode).await;
    match text.unwrap_or(Err(std::fmt::Error)) {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
