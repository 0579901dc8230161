//! The dashboard and the alerts ask for metrics and labels that exist, and each alert has a section in
//! the runbook. `make observability` tests the alerts themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::documents::{PROVIDERS, anchors, read};
use crate::support::examples::file;
use crate::support::server::Server;

/// Labels that Prometheus or a histogram adds.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// The rules of the alerts.
fn alerts() -> Vec<Value> {
    let text = read(&file("deploy/observability/alerts.yaml"));
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

/// The expressions of the dashboard and of the alerts.
fn expressions() -> Vec<String> {
    let text = read(&file("deploy/observability/dashboard.json"));
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<Value> = targets.map(|target| target["expr"].clone()).collect();
    let alerts = alerts().into_iter().map(|rule| rule["expr"].clone());
    let all = queries.into_iter().chain(alerts);
    all.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The labels of each metric, as docs/metrics.md lists them.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let names = |cell: &str| -> BTreeSet<String> {
        // The values of a label stand in brackets behind it.
        let outside = cell.split('(').map(|part| part.rsplit(')').next().unwrap());
        let names = outside.flat_map(|part| part.split('`').skip(1).step_by(2));
        names.map(str::to_owned).collect()
    };
    let text = read(&file("docs/metrics.md"));
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((name, names(cells.nth(1)?)))
    });
    rows.collect()
}

/// The labels that an expression selects or groups by.
fn used_labels(expression: &str) -> BTreeSet<&str> {
    let between = |opens: &'static str, closes: char| {
        let parts = expression.split(opens).skip(1);
        parts.flat_map(move |part| part.split(closes).next().unwrap().split(','))
    };
    let selected = between("{", '}').map(|label| label.split(['=', '!']).next().unwrap());
    let all = selected.chain(between("by (", ')'));
    all.map(str::trim).collect()
}

#[tokio::test]
async fn every_query_names_a_metric_and_labels_that_exist() {
    let server = Server::start(PROVIDERS).await;
    let (_, page) = server.page("/metrics").await;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeMap<&str, &str> = types.map(|line| line.split_once(' ').unwrap()).collect();
    let documented = documented();
    let mut used = BTreeSet::new();
    for expression in expressions() {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_metric =
            |word: &&str| word.starts_with("claimgate_") || word.starts_with("process_");
        for word in words.filter(is_metric) {
            let histogram = word.strip_suffix("_bucket");
            let name = histogram.unwrap_or(word);
            let found = exported.get(name);
            assert!(
                found.is_some_and(|kind| (*kind == "histogram") == histogram.is_some()),
                "`{word}` is not exported: {expression}"
            );
            let labels = &documented[name];
            for label in used_labels(&expression) {
                assert!(
                    ADDED.contains(&label) || labels.contains(label),
                    "`{name}` has no label `{label}`: {expression}"
                );
            }
            used.insert(name.to_owned());
        }
    }
    let unused: Vec<_> = exported
        .keys()
        .filter(|name| !used.contains(**name))
        .collect();
    assert_eq!(
        unused,
        [
            &"claimgate_jwks_startup_grace_ended_total",
            &"process_start_time_seconds"
        ],
        "metrics that neither the dashboard nor an alert shows"
    );
    server.stop().await;
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let sections = anchors(&read(&file("docs/runbook.md")));
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        let runbook = alert["annotations"]["runbook"].as_str().unwrap();
        let anchor = runbook.strip_prefix("docs/runbook.md#").unwrap();
        assert_eq!(anchor, name.to_lowercase());
        assert!(sections.contains(anchor), "no {runbook}");
    }
}
