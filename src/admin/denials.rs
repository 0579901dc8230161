//! `/denials`: the last denials, as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Admin;
use crate::gate::denials::DenialRecord;

/// The last denials, newest first.
pub(super) async fn newest(State(admin): State<Admin>) -> Response {
    let denials: Vec<_> = admin.gate.denials.newest().collect();
    let denials: Vec<&DenialRecord> = denials.iter().map(Arc::as_ref).collect();
    Json(json!({ "denials": denials })).into_response()
}

/// One denial, by its request id or trace id.
pub(super) async fn by_id(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    match admin.gate.denials.find(&id) {
        Some(record) => Json(record).into_response(),
        None => {
            let error = "none of the last denials has this request id or trace id";
            (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response()
        }
    }
}
