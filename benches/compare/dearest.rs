//! The most expensive requests that an Envoy with default limits lets through (60 KiB of headers,
//! 100 lines), with thousands of rules of each kind: their CPU time, and the memory that remains
//! allocated.

use std::path::{Path, PathBuf};

use claimgate::keyring::Algorithm;
use prost::Message as _;
use serde_json::{Value, json};

use crate::load::{self, Load, Refused};
use crate::message;
use crate::process::{CLIENT, SERVER, Server, ask};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;
use crate::tokens::{Provider, written};

/// The headers that Envoy accepts by default, in bytes, minus what the other lines take.
const ROOM: usize = 58_000;

const CHECKS: usize = 200;

/// A configuration, and the most expensive request for it.
#[derive(Default)]
struct Case {
    what: &'static str,
    /// The places that may carry a token, which is removed. `null` means the header.
    token_from: Value,
    rules: Vec<Value>,
    path: String,
    headers: Vec<(String, String)>,
}

pub fn rows(scene: &Scene) -> Vec<Row> {
    let provider = Provider::new(300, Algorithm::Rs256);
    let cases = [
        cases_of_matchers(),
        cases_of_conditions(&provider),
        cases_of_places(),
    ];
    cases
        .into_iter()
        .flatten()
        .enumerate()
        .flat_map(|(number, case)| rows_of(scene, &provider, number, &case))
        .collect()
}

fn rows_of(scene: &Scene, provider: &Provider, number: usize, case: &Case) -> [Row; 2] {
    let name = format!("dearest{number}");
    let mut trusted = provider.with_key_file(&scene.directory);
    if !case.token_from.is_null() {
        trusted["token_from"] = case.token_from.clone();
    }
    let config = json!({
        "providers": [trusted],
        "rules": case.rules,
        "upstream": {"forward_token": case.token_from.is_null()},
    });
    let config = written(&scene.directory, &name, &config);
    let ordinary = Provider::check(&provider.token(0));
    let files = [
        (format!("{name}-dear"), dear(case)),
        (format!("{name}-first"), ordinary.clone()),
    ]
    .map(|(name, check)| file(&scene.directory.join(name), check));
    let start = || Server::claimgate(SERVER, &config).wait(load::Protocol::Check, &ordinary);
    let load = |server: &Server, file: &Path, count| Load {
        refused: Refused::Any,
        streams: 4,
        ..server.checks(file, count)
    };
    let cost = Sample::of(|| {
        let server = start();
        server.cost(CLIENT, &load(&server, &files[0], CHECKS)) / 1e3
    });
    let growth = Sample::of(|| {
        let server = start();
        ask(CLIENT, &load(&server, &files[1], 10 * CHECKS));
        let before = server.resident();
        ask(CLIENT, &load(&server, &files[0], CHECKS));
        ask(CLIENT, &load(&server, &files[1], 10 * CHECKS));
        server.resident() - before
    });
    let what = case.what;
    [
        Row {
            what: format!("{what}: CPU time of a check"),
            sample: cost,
            unit: "ms",
            bar: Some(Bar::AtMost(5.0)),
        },
        Row {
            what: format!("{what}: memory that stays"),
            sample: growth,
            unit: "MiB",
            bar: Some(Bar::AtMost(8.0)),
        },
    ]
}

fn file(path: &Path, check: Vec<u8>) -> PathBuf {
    load::write(path, [check]);
    path.to_owned()
}

fn dear(case: &Case) -> Vec<u8> {
    let mut check = message::check(None);
    let http = check
        .attributes
        .as_mut()
        .unwrap()
        .request
        .as_mut()
        .unwrap()
        .http
        .as_mut()
        .unwrap();
    http.path.clone_from(&case.path);
    let headers = case.headers.iter().cloned();
    http.headers.extend(headers);
    check.encode_to_vec()
}

fn rules(count: usize, rule: impl Fn(usize) -> Value) -> Vec<Value> {
    (0..count)
        .map(|number| {
            let mut rule = rule(number);
            rule["name"] = format!("r{number}").into();
            rule
        })
        .collect()
}

/// A rule with a condition that holds for an ordinary request, which lacks the header.
fn condition(text: &str) -> Value {
    let text = format!("!('x-tenant' in request.headers) || ({text})");
    json!({"match": {"path": {"prefix": "/"}}, "condition": text})
}

fn cases_of_matchers() -> Vec<Case> {
    let matching = |matches: Value| json!({"match": matches, "scopes": ["orders:read"]});
    let commas = || vec![("x-tenant".to_owned(), ",".repeat(ROOM))];
    let values = |number: usize| -> Vec<String> {
        (0..1_000)
            .map(|value| format!("t{number}-{value}"))
            .collect()
    };
    vec![
        Case {
            what: "10,000 rules by header, a header of commas",
            rules: rules(10_000, |number| {
                matching(json!({"headers": {"x-tenant": format!("t{number}")}}))
            }),
            path: "/orders".to_owned(),
            headers: commas(),
            ..Case::default()
        },
        Case {
            what: "10,000 rules by prefix and header, a header of commas",
            rules: rules(10_000, |number| {
                matching(
                    json!({"path": {"prefix": "/orders"}, "headers": {"x-tenant": format!("t{number}")}}),
                )
            }),
            path: "/orders".to_owned(),
            headers: commas(),
            ..Case::default()
        },
        Case {
            what: "10 rules by header with 1,000 values each, a header of commas",
            rules: rules(10, |number| {
                matching(json!({"headers": {"x-tenant": values(number)}}))
            }),
            path: "/orders".to_owned(),
            headers: commas(),
            ..Case::default()
        },
        Case {
            what: "10,000 rules by 80 headers, all of them sent",
            rules: rules(10_000, |number| {
                matching(json!({"headers": {format!("x-{}", number % 80): format!("t{number}")}}))
            }),
            path: "/orders".to_owned(),
            headers: (0..80)
                .map(|number| (format!("x-{number}"), ",".repeat(700)))
                .collect(),
            ..Case::default()
        },
        Case {
            what: "1,000 expressions that begin with `.*`, the longest path",
            rules: rules(1_000, |number| {
                matching(json!({"path": {"regex": format!(".*-[a-z0-9-]{{1,40}}/edit{number}")}}))
            }),
            path: format!("/{}/edit", "a-".repeat(508)),
            headers: Vec::new(),
            ..Case::default()
        },
        Case {
            what: "2,000 expressions that begin with different segments, the longest path",
            rules: rules(2_000, |number| {
                matching(json!({"path": {"regex": format!("/team/{number}/.*x[a-z]{{40}}/e")}}))
            }),
            path: format!("/team/1999/{}", "x".repeat(8_000)),
            headers: Vec::new(),
            ..Case::default()
        },
        Case {
            what: "10,000 rules by host, a host of dots",
            rules: rules(10_000, |number| {
                matching(json!({"hosts": [format!("*.s{number}.example.org")]}))
            }),
            path: format!("/{}", "a/".repeat(ROOM / 2)),
            headers: Vec::new(),
            ..Case::default()
        },
    ]
}

fn cases_of_conditions(provider: &Provider) -> Vec<Case> {
    let token = provider.token_of(8_000);
    let with_token = |value: String| {
        let token = ("authorization".to_owned(), format!("Bearer {token}"));
        vec![token, ("x-tenant".to_owned(), value)]
    };
    vec![
        Case {
            what: "a condition that splits a header of commas",
            rules: vec![{
                let mut rule = condition(
                    "request.headers['x-tenant'].split(',').size() > 3 && size(claims.sub) > 0",
                );
                rule["name"] = "split".into();
                rule
            }],
            path: "/orders".to_owned(),
            headers: with_token(",".repeat(ROOM - 8_000)),
            ..Case::default()
        },
        Case {
            what: "a condition with 100 `matches` on a long header",
            rules: vec![{
                let text: Vec<String> = (0..100)
                    .map(|number| format!("request.headers['x-tenant'].matches('b[a-z]*{number}')"))
                    .collect();
                let mut rule = condition(&text.join(" || "));
                rule["name"] = "matches".into();
                rule
            }],
            path: "/orders".to_owned(),
            headers: with_token("b".repeat(ROOM - 8_000)),
            ..Case::default()
        },
    ]
}

/// Requests whose credentials are made of separators.
fn cases_of_places() -> Vec<Case> {
    let schemes = ["Bearer", "DPoP", "JWT", "Token"];
    let in_header = |scheme: &str| json!({"header": "authorization", "scheme": scheme});
    let optional = || vec![json!({"name": "all", "access": "optional"})];
    vec![
        Case {
            what: "four schemes in one header, a header of commas",
            token_from: schemes.iter().map(|scheme| in_header(scheme)).collect(),
            rules: optional(),
            path: "/orders".to_owned(),
            headers: vec![("authorization".to_owned(), format!("x{}", ",".repeat(ROOM)))],
        },
        Case {
            what: "four schemes in one header, a header of short words",
            token_from: schemes.iter().map(|scheme| in_header(scheme)).collect(),
            rules: optional(),
            path: "/orders".to_owned(),
            headers: vec![(
                "authorization".to_owned(),
                format!("x{}", ",aaaaaa".repeat(ROOM / 7)),
            )],
        },
        Case {
            what: "header, cookie and query, a query of separators",
            token_from: json!([in_header("Bearer"), {"cookie": "t"}, {"query": "access_token"}]),
            rules: optional(),
            path: format!("/orders?{}", "&".repeat(ROOM)),
            ..Case::default()
        },
    ]
}
