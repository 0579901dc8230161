//! `/config`: the configuration in force, as JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::Admin;
use crate::gate::Generation;
use crate::version::VERSION;

/// Rendered on a blocking thread, because 10,000 rules take milliseconds.
pub(super) async fn config(State(admin): State<Admin>) -> Response {
    let generation = admin.gate.generation();
    let rejected = admin.file.rejected.load_full();
    let page = spawn_blocking(move || page(&generation, rejected.as_deref())).await;
    match page {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        // The process is ending.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn page(generation: &Arc<Generation>, rejected: Option<&String>) -> String {
    let configuration: Value = serde_json::from_str(&generation.effective).unwrap_or_default();
    let warnings: Vec<String> = generation
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    let page = json!({
        "version": VERSION,
        "hash": generation.hash.to_string(),
        "file_rejected": rejected,
        "warnings": warnings,
        "configuration": configuration,
    });
    format!("{page:#}\n")
}
