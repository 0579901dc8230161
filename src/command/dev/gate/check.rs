//! Decides one request.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::protocol::Check;
use crate::answer::Answer;
use crate::explain::{Explained, Steps, explain_judged};
use crate::gate::{Circumstances, Gate};
use crate::identity::Changes;
use crate::request::pseudo::PseudoHeaders;
use crate::request::{Headers, Peer, Request, without_parameters};

/// The decision, its explanation, and the request that the upstream gets.
pub(super) async fn answer(gate: &Gate, check: &Check) -> Value {
    let Check {
        method,
        host,
        path,
        headers,
        source_address,
        source_principal,
        context,
    } = check;
    // Envoy shows names in lower case.
    let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
    let lines: Vec<(String, String)> = headers.iter().map(lower).collect();
    let headers: Headers<'_> = lines.iter().collect();
    let conflict = PseudoHeaders::of(&headers).conflict(method, host, path);
    let request = Request {
        method,
        host,
        path,
        path_bytes: Some(path.as_bytes()),
        headers,
        source: Peer {
            address: source_address,
            principal: source_principal,
            certificate: "",
        },
        context: context
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        conflict,
    };
    let arrived = Instant::now();
    let mut steps = Steps::default();
    let judged = gate
        .decide_showing(&request, Duration::MAX, &mut steps)
        .await;
    let circumstances = Circumstances {
        request: Some(&request),
        took: arrived.elapsed(),
        max_wait: Duration::MAX,
        trace_id: None,
    };
    gate.conclude(&judged, circumstances);
    let upstream = match judged.answer(&request) {
        Answer::Pass(pass) => upstream(&pass.changes(), path, &lines),
        Answer::Direct(_) => Value::Null,
    };
    let Explained {
        rule,
        provider,
        report,
    } = explain_judged(&judged, &request, steps);
    let mut answer = report.json();
    if let Some(members) = answer.as_object_mut() {
        members.insert("rule".to_owned(), rule.into());
        members.insert("provider".to_owned(), provider.into());
        members.insert("upstream".to_owned(), upstream);
        members.insert("explanation".to_owned(), report.text().into());
    }
    answer
}

/// What the upstream gets after these changes, which Envoy makes in this order.
fn upstream(changes: &Changes<'_>, path: &str, lines: &[(String, String)]) -> Value {
    let Changes {
        set,
        remove,
        remove_query,
        response: _,
        oversized: _,
    } = changes;
    let mut headers = lines.to_vec();
    for (name, value) in set {
        headers.retain(|(other, _)| other != name);
        headers.push(((*name).to_owned(), value.clone().into_owned()));
    }
    headers.retain(|(name, _)| !remove.iter().any(|removed| removed == name));
    let path = without_parameters(path.as_bytes(), remove_query);
    json!({
        "path": String::from_utf8_lossy(&path),
        "headers": headers,
    })
}
