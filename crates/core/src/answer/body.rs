//! Renders the body of a denial.

use http::StatusCode;
use serde_json::{Value, json};

use super::denials::{Bodies, Body, Part, Template};
use super::reason::Refusal;

/// The content type, if any, and the body. `reason` is the code, if it may be disclosed; `id` is that
/// of the request.
pub(super) fn render<'a>(
    bodies: &'a Bodies,
    refusal: &Refusal,
    reason: Option<&str>,
    id: Option<&str>,
) -> (Option<&'a str>, String) {
    let Refusal {
        status, sentence, ..
    } = *refusal;
    match bodies.of(status) {
        Body::None => (None, String::new()),
        Body::Json => {
            let members = json!({"error": sentence});
            (Some("application/json"), with_facts(members, reason, id))
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
                with_facts(members, reason, id),
            )
        }
        Body::Text => {
            let facts = [
                reason.map(str::to_owned),
                id.map(|id| format!("request {id}")),
            ];
            let facts: Vec<String> = facts.into_iter().flatten().collect();
            let text = match facts.is_empty() {
                true => format!("{sentence}\n"),
                false => format!("{sentence} ({})\n", facts.join(", ")),
            };
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
                Part::RequestId => id.unwrap_or_default().to_owned(),
            });
            (Some(content_type), parts.collect())
        }
    }
}

fn with_facts(mut document: Value, reason: Option<&str>, id: Option<&str>) -> String {
    if let Some(members) = document.as_object_mut() {
        for (name, fact) in [("reason", reason), ("request_id", id)] {
            members.extend(fact.map(|fact| (name.to_owned(), fact.into())));
        }
    }
    document.to_string()
}
