//! `/explain`: judges a token that an operator has pasted, and shows each step.
//!
//! The token is judged with the keys in use. It is neither logged nor counted, and enters no cache.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;
use url::form_urlencoded;

use super::guard::Access;
use super::page;
use super::peer::Peer;
use super::{Admin, MAX_READING};
use crate::decision::Denial;
use crate::explain::place::{claimed_provider, place_of, put};
use crate::explain::{Report, bare_token, explain};
use crate::gate::{Gate, Generation, hints};
use crate::request::Request;

/// The maximum size of the form in bytes: more than the largest token, encoded.
const MAX_BYTES: usize = 256 * 1024;

/// The form. Its token is never shown again.
pub(super) struct Asked {
    token: String,
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            token: String::new(),
            method: "GET".to_owned(),
            host: "localhost".to_owned(),
            path: "/".to_owned(),
        }
    }
}

impl Asked {
    /// Reads the form (`application/x-www-form-urlencoded`). Unknown fields are ignored.
    fn read(form: &[u8]) -> Self {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(form) {
            let field = match &*name {
                "token" => &mut asked.token,
                "method" => &mut asked.method,
                "host" => &mut asked.host,
                "path" => &mut asked.path,
                _ => continue,
            };
            *field = value.into_owned();
        }
        asked
    }
}

/// The explanation, as text.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explained {
    /// `allow`, `deny` or `metadata`.
    pub(super) decision: &'static str,
    pub(super) verdict: &'static str,
    /// Each check that held.
    pub(super) passed: Vec<(&'static str, String)>,
    /// The reason code and what was wrong.
    pub(super) failed: Option<(String, String)>,
    pub(super) notes: Vec<String>,
    /// Who receives what.
    pub(super) received: Vec<(String, String)>,
}

pub(super) async fn post(
    State(admin): State<Admin>,
    State(access): State<Arc<Access>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !access.explains_to(peer) {
        let why = "explaining tokens is off for connections from other machines: set \
                   `admin.explain: true`, or use `claimgate check`";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let body = match timeout(MAX_READING, to_bytes(body, MAX_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, "over 256 KiB"),
        Err(_) => {
            return refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the form did not arrive in time",
            );
        }
    };
    let asked = Asked::read(&body);
    let explained = judge(&admin.gate, &asked);
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match accept.is_some_and(|accept| accept.contains("text/html")) {
        true => page::respond(&admin, &access, peer, None, Some((&asked, explained))),
        false => Json(explained).into_response(),
    }
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

fn judge(gate: &Gate, asked: &Asked) -> Explained {
    let generation = gate.generation();
    let policy = &generation.policy;
    let token = bare_token(&asked.token);
    let provider = claimed_provider(policy, token);
    let mut path = asked.path.clone();
    let mut lines = Vec::new();
    if !token.is_empty() {
        put(token, &place_of(policy, provider), &mut path, &mut lines);
    }
    let request = Request {
        method: &asked.method,
        host: &asked.host,
        path: &path,
        path_bytes: Some(path.as_bytes()),
        headers: lines.iter().collect(),
        ..Request::default()
    };
    let Generation { denials, jwks, .. } = &*generation;
    let keyring = jwks.snapshot();
    let likely_cause = |denial: &Denial| hints::likely_cause(&generation, denial, &request);
    let now = gate.now();
    let mut report = explain(policy, denials, &keyring, &request, now, likely_cause).report;
    if let Some(age) = provider.and_then(|id| jwks.age(id)) {
        report.say_how_old_keys_are(&format!("fetched {} s ago", age.as_secs()));
    }
    Explained::of(report)
}

impl Explained {
    fn of(report: Report) -> Self {
        let received = report.received().into_iter();
        let received = received.map(|(receiver, lines)| (receiver, lines.join("\n")));
        let received = received.collect();
        let see = report.see().map(|section| format!("See {section}."));
        let (decision, verdict) = (report.decision(), report.verdict_words());
        let rules = report.note_on_rules();
        let cause = report
            .likely_cause
            .map(|cause| format!("Likely cause: {cause}"));
        let notes = rules.into_iter().chain(cause);
        let notes = notes.chain(report.too_long);
        Self {
            decision,
            verdict,
            notes: notes.chain(see).collect(),
            passed: report.steps,
            failed: report.failed,
            received,
        }
    }
}
