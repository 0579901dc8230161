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
    // POSIX classes, and signs that are operators in Rust.
    row(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/[[:alpha:]]+/admin' } }, <user> }]",
        &["GET /1/admin"],
        &["GET /abc/admin"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/[^[:digit:]]+' } } }, { match: { prefix: / }, <user> }]",
        &[],
        &["GET /7]", "GET /7", "GET /a7", "GET /%C3%A4"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/[+--]+' } }, <user> }]",
        &["GET /a"],
        &["GET /,", "GET /+-"],
    ),
    // Paths that claimgate refuses only where a rule looks at paths.
    row(
        "providers: { <acme> }\nrules: [{ match: { prefix: /a;b }, <user> }]",
        &["GET /a"],
        &["GET /a;b"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { prefix: /a;b }, <user> }, { match: { prefix: / } }, { match: { prefix: /c }, <user> }]",
        &["GET /a", "GET /c"],
        &["GET /a;b"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { prefix: '*' }, <user> }]",
        &["GET /a"],
        &["OPTIONS *"],
    ),
    // Prefixes that end amid a character.
    partial(
        "providers: { <acme> }\nrules: [{ match: { prefix: /caf%C3 }, <user> }, { match: { prefix: /other }, <user> }]",
        &["GET /cafe", "GET /caf", "GET /x"],
        &["GET /caf%C3%A9"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { prefix: /a% }, <user> }]",
        &["GET /ab"],
        &["GET /a%20b", "GET /a%C3%A9"],
    ),
    // Expressions over escapes.
    row(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/a%20b.*' } }, <user> }]",
        &["GET /a"],
        &["GET /a%20b", "GET /a%20bc"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/v\\w+' } } }, { match: { prefix: / }, <user> }]",
        &["GET /vx"],
        &["GET /v%C3%A4"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '(?i)/kiosk.*' } } }, { match: { prefix: / }, <user> }]",
        &["GET /KIOSK/x"],
        &["GET /%E2%84%AAiosk"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/adm[a-z0-9%]+' } }, <user> }]",
        &["GET /x"],
        &["GET /adm%20in", "GET /admin"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/t/[A-Za-z0-9%]{6}' } }, <user> }]",
        &["GET /x"],
        &["GET /t/%C3%A4", "GET /t/abcdef"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/t/.{3}' } }, <user> }]",
        &["GET /x"],
        &["GET /t/%20"],
    ),
    partial(
        "providers: { <acme> }\nrules: [{ match: { safe_regex: { regex: '/[^%]+' } } }, { match: { prefix: / }, <user> }]",
        &[],
        &["GET /a%40b", "GET /a%20b", "GET /a"],
    ),
    // Headers that are absent, case, and what templates match.
    partial(
        "providers: { <acme> }\nrules: [{ match: { prefix: /, headers: [{ name: x-a, string_match: { exact: '' }, treat_missing_header_as_empty: true }] }, <user> }]",
        &[],
        &["GET /", "GET / x-a=b"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { prefix: /kiosk, case_sensitive: false } }, { match: { path: /caf%C3%A9, case_sensitive: false } }, { match: { prefix: / }, <user> }]",
        &["GET /kiosk", "GET /KiOsK/x", "GET /CAF%C3%A9"],
        &["GET /%E2%84%AAiosk", "GET /caf%C3%89"],
    ),
    row(
        "providers: { <acme> }\nrules: [{ match: { path_match_policy: { name: t, typed_config: { '@type': x, path_template: '/a/{x}' } } } }, { match: { prefix: / }, <user> }]",
        &["GET /a/x", "GET /a/x%20y", "GET /a/x:y"],
        &["GET /a/x|y", "GET /a/x\"y", "GET /a/x{y", "GET /a/x/y"],
    ),
    // Fields that are not known.
    partial(
        "providers: { <acme> }\nrules: [{ match: { prefix: /a }, require: { provider_name: acme } }]",
        &["GET /x"],
        &["GET /a"],
    ),
    partial(
        "providers: { <acme> }\nrulez: [{ match: { prefix: / }, <user> }]",
        &[],
        &["GET /"],
    ),
    partial(
        "providers: { <acme> }\nbypass_cors_preflight: true\nlater: 1\nrules: [{ match: { prefix: / } }]",
        &[],
        &["GET /", "OPTIONS / access-control-request-method=GET"],
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
