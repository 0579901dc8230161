//! Every field of the configuration matters: without it, some case fails.

use std::collections::BTreeSet;

use serde_json::Value;

use super::file::{Case, File, files, read};
use super::run::{configuration, requests, run, service};

/// Fields that no single decision can show, with the tests that cover them.
const SHOWN_ELSEWHERE: [(&str, &str); 13] = [
    ("server", "serving, e2e"),
    ("admin", "admin, serving, e2e"),
    ("log", "log, denials, reload"),
    ("decision_log", "decision_log"),
    ("rules.audit", "decision_log"),
    ("telemetry", "telemetry"),
    ("token_cache", "token_cache"),
    ("providers.discovery_url", "key_sources, refresh"),
    (
        "providers.jwks",
        "key_sources: the cases put their own keys there",
    ),
    ("providers.fetch", "key_sources, hostile, tls"),
    ("providers.refresh", "refresh"),
    ("providers.required", "readiness"),
    ("providers.name", "the cases need it to find their keys"),
];

pub async fn every_field_has_a_case_that_fails_without_it() {
    let mut open: BTreeSet<String> = claimgate::config::schema::fields()
        .into_iter()
        .filter(|field| {
            let mut elsewhere = SHOWN_ELSEWHERE.iter();
            !elsewhere.any(|(prefix, _)| field.starts_with(prefix))
        })
        .collect();
    assert!(open.len() > 40, "the fields were not found: {open:?}");
    for path in files() {
        let file = read(&path);
        for case in &file.cases {
            let config = configuration(&file, case);
            let mut present = BTreeSet::new();
            collect(&config, "", &mut present);
            for field in present {
                if open.contains(&field) && fails_without(&file, case, &config, &field).await {
                    open.remove(&field);
                }
            }
        }
    }
    let open: Vec<_> = open.into_iter().collect();
    assert!(open.is_empty(), "no case depends on:\n{}", open.join("\n"));
}

async fn fails_without(file: &File, case: &Case, config: &Value, field: &str) -> bool {
    let names: Vec<&str> = field.split('.').collect();
    let mut without = config.clone();
    remove(&mut without, &names);
    for (_, request) in requests(file, case) {
        if run(file, case, without.clone(), request, service)
            .await
            .is_err()
        {
            return true;
        }
    }
    false
}

/// The names of all members. Members inside lists are named as if the list were absent.
fn collect(value: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = match prefix {
                    "" => name.clone(),
                    prefix => format!("{prefix}.{name}"),
                };
                collect(member, &path, found);
                found.insert(path);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                collect(element, prefix, found);
            }
        }
        _ => {}
    }
}

fn remove(value: &mut Value, names: &[&str]) {
    match (value, names) {
        (Value::Array(elements), _) => elements
            .iter_mut()
            .for_each(|element| remove(element, names)),
        (Value::Object(members), [last]) => drop(members.remove(*last)),
        (Value::Object(members), [first, rest @ ..]) => {
            if let Some(member) = members.get_mut(*first) {
                remove(member, rest);
            }
        }
        _ => {}
    }
}
