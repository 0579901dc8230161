//! `/stats`: the numbers and texts that change on the page, as JSON.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Admin, health, providers, view};

pub(super) async fn stats(State(admin): State<Admin>) -> Json<Value> {
    let generation = admin.gate.generation();
    let not_ready = health::not_ready(&admin, &generation);
    let totals = generation.metrics.totals();
    let (rules, _) = view::rules(&totals);
    let rules: Vec<_> = rules
        .iter()
        .map(|(_, outcomes)| (outcomes.allow, outcomes.deny, outcomes.sum()))
        .collect();
    let reasons: Vec<_> = totals
        .reasons
        .iter()
        .map(|(reason, count)| (reason.code(), count))
        .collect();
    let providers: Vec<_> = providers::views(&generation, admin.gate.now())
        .iter()
        .map(|provider| {
            json!({
                "state": provider.state.words(),
                "good": provider.state.is_good(),
                "fetched": provider.fetched_words(),
                "next": provider.next_words(),
                "error": provider.error_words(),
            })
        })
        .collect();
    Json(json!({
        "hash": generation.hash.to_string(),
        "ready": not_ready.is_empty(),
        "problems": view::problems(&admin, &generation, &not_ready),
        "checks": {
            "allow": totals.all.allow,
            "deny": totals.all.deny,
            "metadata": totals.all.metadata,
        },
        "reasons": reasons,
        "rules": rules,
        "providers": providers,
        "denials": view::denials(&admin),
    }))
}
