//! `/livez` and `/readyz`: whether the process is alive, and whether it can judge.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Admin;
use crate::gate::Generation;
use crate::lifecycle::Phase;

pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// Responds with 200, or with 503 and a line for everything that is missing. `?verbose` adds the state
/// of the configuration and of each provider.
pub(super) async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let generation = admin.gate.generation();
    let reasons = not_ready(&admin, &generation);
    let mut lines: Vec<String> = reasons
        .into_iter()
        .map(|reason| format!("not ready: {reason}"))
        .collect();
    let status = match lines.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    if lines.is_empty() {
        lines.push("ready".to_owned());
    }
    if is_verbose(query.as_deref()) {
        lines.extend(details(&admin, &generation));
    }
    (status, lines.join("\n") + "\n").into_response()
}

/// Why the service is not ready. Empty if it is.
pub(super) fn not_ready(admin: &Admin, generation: &Generation) -> Vec<String> {
    let mut lines = Vec::new();
    if *admin.phase.borrow() != Phase::Serving {
        lines.push("shutting down".to_owned());
    }
    let Generation { policy, jwks, .. } = generation;
    for id in jwks.awaited() {
        let provider = policy.provider(id);
        let name = provider.map_or("?", |provider| &provider.name);
        let status = jwks.status(id).unwrap_or_default();
        let why = status.why_no_keys();
        lines.push(format!("no keys of provider `{name}`: {why}"));
    }
    lines
}

pub(super) fn is_verbose(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "verbose" | "verbose=" | "verbose=true"))
}

/// The state of the configuration and of each provider, one per line. A problem with the
/// configuration may take several lines.
fn details(admin: &Admin, generation: &Generation) -> Vec<String> {
    let Generation {
        hash, policy, jwks, ..
    } = generation;
    let mut lines = vec![format!("configuration {hash} is in force")];
    if let Some(problems) = &*admin.file.rejected.load() {
        let rejected = problems
            .lines()
            .map(|problem| format!("the configuration file is rejected: {problem}"));
        lines.extend(rejected);
    }
    let restart = admin.file.restart_needed();
    lines.extend(restart.map(|restart| format!("restart needed: {restart}")));
    let bad = admin.gate.metrics.bad_connections().recent().all();
    // Without clients and causes, because everyone may read this.
    lines.extend(bad.iter().map(|bad| {
        let (kind, times, ago) = (bad.kind, bad.times, bad.ago.as_secs());
        let advice = &bad.advice;
        format!("bad connections: {times} of kind `{kind}`, the last {ago} s ago: {advice}")
    }));
    let warnings = generation.warnings.iter();
    lines.extend(warnings.map(|warning| format!("the configuration: {warning}")));
    for (id, provider) in policy.providers() {
        let name = &provider.name;
        let status = jwks.status(id).unwrap_or_default();
        let exemption = jwks.exemption(id).map(|exemption| format!("; {exemption}"));
        let exemption = exemption.unwrap_or_default();
        let state = match (status.fetched, &status.error) {
            (Some(fetched), error) => {
                let age = fetched.elapsed().as_secs();
                let failed = error.as_ref();
                let failed = failed.map(|error| format!("; the last fetch failed: {error}"));
                format!(
                    "keys fetched {age} s ago{exemption}{}",
                    failed.unwrap_or_default()
                )
            }
            // The first lines say why.
            (None, _) if jwks.awaited().contains(&id) => format!("no keys{exemption}"),
            (None, None) => format!("no keys{exemption}; {}", status.why_no_keys()),
            (None, Some(_)) => format!(
                "no keys{exemption}; the last fetch failed: {}",
                status.why_no_keys()
            ),
        };
        lines.push(format!("provider `{name}`: {state}"));
        let clock = status.large_clock_difference();
        lines.extend(clock.map(|clock| format!("provider `{name}`: {clock}")));
    }
    lines
}
