//! What the imported configuration decides about single requests, where Envoy was seen to decide so.

use serde_json::{Map, Value, json};

use super::{Kind, imported, notes};
use crate::support::command::run;

/// A source, and its requests.
struct Row {
    /// The message, in which `<acme>` is a provider, and `<user>` needs it.
    source: &'static str,
    /// Whether a part of it has no equivalent.
    is_partial: bool,
    /// Requests that pass without a token: method and path.
    pass: &'static [&'static str],
    /// Requests that do not.
    fail: &'static [&'static str],
}

const fn row(
    source: &'static str,
    pass: &'static [&'static str],
    fail: &'static [&'static str],
) -> Row {
    Row {
        source,
        is_partial: false,
        pass,
        fail,
    }
}

const fn partial(
    source: &'static str,
    pass: &'static [&'static str],
    fail: &'static [&'static str],
) -> Row {
    Row {
        is_partial: true,
        ..row(source, pass, fail)
    }
}

const ROWS: &[Row] = &[
    // A single value is a list of one.
    row(
        "providers: { <acme> }\nrules: { match: { prefix: / }, <user> }",
        &[],
        &["GET /"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { prefix: /, headers: { name: ':method', string_match: { exact: GET } } } }, { match: { prefix: / }, <user> }]",
        &["GET /"],
        &["POST /"],
    ),
    // Flags may be texts.
    row(
        "providers: { <acme> }\nrules: [{ match: { prefix: /admin, case_sensitive: 'false' }, <user> }]",
        &["GET /a"],
        &["GET /admin", "GET /ADMIN"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { prefix: /admin, case_sensitive: no way }, <user> }]",
        &[],
        &["GET /admin"],
    ),
];

fn source(row: &Row) -> String {
    row.source
        .replace(
            "<acme>",
            "acme: { issuer: https://idp.example.com, audiences: [orders-api], local_jwks: { filename: keys.json } }",
        )
        .replace("<user>", "requires: { provider_name: acme }")
}

/// The tests of one row, for `claimgate test`.
fn cases(row: &Row) -> Value {
    let case = |line: &str, decision: &str| {
        let (method, rest) = line.split_once(' ').unwrap();
        let (path, header) = rest.split_once(' ').unwrap_or((rest, ""));
        let headers: Map<String, Value> = header
            .split_once('=')
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .into_iter()
            .collect();
        json!({
            "name": format!("{line} {decision}"),
            "request": {"method": method, "host": "api.example.com", "path": path, "headers": headers},
            "expect": {"decision": decision},
        })
    };
    let pass = row.pass.iter().map(|line| case(line, "allow"));
    let fail = row.fail.iter().map(|line| case(line, "deny"));
    json!({"config": "claimgate.yaml", "cases": pass.chain(fail).collect::<Vec<_>>()})
}

#[tokio::test]
async fn requests_are_decided_as_by_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut wrong = Vec::new();
    for (index, row) in ROWS.iter().enumerate() {
        let found = match imported(&source(row)) {
            Ok(found) => found,
            Err(error) => {
                wrong.push(format!("{}: {error}", row.source));
                continue;
            }
        };
        let left_out = notes(&found, Kind::LeftOut);
        if left_out.is_empty() == row.is_partial {
            wrong.push(format!("{}: left out: {left_out:#?}", row.source));
        }
        let own = directory.path().join(index.to_string());
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("claimgate.yaml"), &found.configuration).unwrap();
        for (name, text) in [
            ("policy.test.yaml", found.tests),
            ("decisions.test.yaml", cases(row).to_string()),
        ] {
            std::fs::write(own.join(name), text).unwrap();
            let file = own.join(name).display().to_string();
            let outcome = run(&["test", &file], "").await;
            if outcome.code != Some(0) {
                wrong.push(format!(
                    "{}: {name}: {}{}\n{}",
                    row.source, outcome.out, outcome.err, found.configuration
                ));
            }
            files.push(file);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(files.len(), 2 * ROWS.len());
}
