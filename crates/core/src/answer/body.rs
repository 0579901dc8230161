//! Renders the body of a denial.

use http::StatusCode;
use serde_json::{Value, json};

use super::denials::{Bodies, Body, Part, Template};
use super::reason::Refusal;

/// The content type, if any, and the body. `reason` is the code, if it may be disclosed.
pub(super) fn render<'a>(
    bodies: &'a Bodies,
    refusal: &Refusal,
    reason: Option<&str>,
) -> (Option<&'a str>, String) {
    let Refusal {
        status, sentence, ..
    } = *refusal;
    match bodies.of(status) {
        Body::None => (None, String::new()),
        Body::Json => {
            let members = json!({"error": sentence});
            (Some("application/json"), with_reason(members, reason))
        }
        // RFC 9457 §4.2.1: with the type `about:blank`, the title is that of the status.
        Body::Problem => {
            let title = StatusCode::from_u16(status)
                .ok()
                .and_then(|status| status.canonical_reason());
            let members = json!({
                "type": "about:blank", "title": title, "status": status, "detail": sentence,
            });
            (
                Some("application/problem+json"),
                with_reason(members, reason),
            )
        }
        Body::Text => {
            let reason = reason.map(|reason| format!(" ({reason})"));
            let text = format!("{sentence}{}\n", reason.unwrap_or_default());
            (Some("text/plain; charset=utf-8"), text)
        }
        Body::Template(Template {
            content_type,
            parts,
        }) => {
            let parts = parts.iter().map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Status => status.to_string(),
                Part::Error => sentence.to_owned(),
                Part::Reason => reason.unwrap_or_default().to_owned(),
            });
            (Some(content_type), parts.collect())
        }
    }
}

fn with_reason(mut document: Value, reason: Option<&str>) -> String {
    if let (Some(members), Some(reason)) = (document.as_object_mut(), reason) {
        members.insert("reason".to_owned(), reason.into());
    }
    document.to_string()
}
