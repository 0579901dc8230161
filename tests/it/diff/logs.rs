//! Predictions from a decision log: the log under one configuration, the prediction for another, and
//! what that one really decides about the same requests.

use claimgate::config::Config;
use claimgate::diff::Side;
use claimgate::diff::log::{Prediction, Replay, Told};
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::gate::decision_log::record::{DecisionRecord, Line, Verdict};
use claimgate::keyring::Algorithm::Es256;
use claimgate::request::{Peer, Request};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

use super::{NOW, random};
use crate::support::command::run;
use crate::support::gate::Gate;
use crate::support::keys::signer;

/// Every claim of the random tokens.
pub const CLAIMS: [&str; 11] = [
    "iss", "aud", "exp", "iat", "nbf", "scope", "role", "level", "staff", "groups", "ver",
];

/// The configuration with keys, and with a decision log in a file of the directory that has all
/// claims.
fn logging(config: &Value, directory: &Path, name: &str) -> String {
    logging_claims(config, &CLAIMS, directory, name)
}

/// The same with these claims.
fn logging_claims(config: &Value, claims: &[&str], directory: &Path, name: &str) -> String {
    let mut config = config.clone();
    let keys = json!({"keys": [signer(Es256, "verify").jwk()]});
    for provider in config["providers"].as_array_mut().unwrap() {
        provider["jwks"] = json!({"inline": keys});
    }
    let path = directory.join(name);
    config["decision_log"] = json!({"path": path, "claims": claims});
    config.to_string()
}

/// Sends the requests through a whole gate, and returns the lines of its log.
async fn decide(yaml: &str, requests: &[Value], log: &Path) -> Vec<String> {
    let gate = Gate::start_at(yaml, NOW.as_secs()).await;
    for asked in requests {
        let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        let request = &asked["request"];
        let mut lines: Vec<(String, String)> = Vec::new();
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            lines.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
        if let Some(token) = asked["token"].as_object() {
            let header = json!({"alg": "ES256", "kid": "verify", "typ": token["typ"]});
            let claims = token["claims"].to_string();
            let signed = signer(Es256, "verify").sign(&header.to_string(), &claims);
            lines.push((
                "authorization".to_owned(),
                format!("Bearer {}", signed.unwrap()),
            ));
        }
        let (method, host) = (text(&request["method"], "GET"), text(&request["host"], ""));
        let path = text(&request["path"], "/");
        let address = text(&request["source"]["address"], "192.0.2.1");
        let mut context = Vec::new();
        for (name, value) in request["context"].as_object().into_iter().flatten() {
            context.push((name.as_str(), value.as_str().unwrap()));
        }
        let check = compose(&Request {
            method: &method,
            host: &host,
            path: &path,
            headers: lines.iter().collect(),
            source: Peer {
                address: &address,
                principal: request["source"]["principal"].as_str().unwrap_or_default(),
                ..Peer::default()
            },
            context,
            ..Request::default()
        });
        gate.service
            .check(tonic::Request::new(check))
            .await
            .unwrap();
    }
    gate.service
        .gate
        .stop_decision_log(Duration::from_mins(1))
        .await;
    let log = std::fs::read_to_string(log).unwrap();
    log.lines().map(str::to_owned).collect()
}

fn decisions(lines: &[String]) -> Vec<DecisionRecord<'static>> {
    let read = lines.iter().map(|line| Line::read(line).unwrap());
    read.filter_map(|line| match line {
        Line::Decision(record) => Some(*record),
        Line::Configuration(_) | Line::Lost(_) | Line::Stopped(_) => None,
    })
    .collect()
}

fn outcome(record: &DecisionRecord<'_>) -> (String, Option<String>, Option<String>) {
    let decision = match record.decision {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::Respond => "metadata",
    };
    let reason = record.reason.as_ref().or(record.would_be.as_ref());
    (
        decision.to_owned(),
        reason.map(ToString::to_string),
        record.rule.as_ref().map(ToString::to_string),
    )
}

/// Logs under the first, predicts the second, and compares with what the second decides. Returns how
/// many could be told, how many of those are judged otherwise, and why others cannot be told.
async fn predict(old: &Value, new: &Value, requests: &[Value]) -> (usize, usize, Vec<String>) {
    predict_with(old, new, &CLAIMS, requests).await
}

/// The same with these logged claims.
pub async fn predict_with(
    old: &Value,
    new: &Value,
    claims: &[&str],
    requests: &[Value],
) -> (usize, usize, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let old = logging_claims(old, claims, directory.path(), "old");
    let new = logging_claims(new, claims, directory.path(), "new");
    let before = decide(&old, requests, &directory.path().join("old")).await;
    let after = decide(&new, requests, &directory.path().join("new")).await;
    let load = |text: &str| Config::from_yaml(text).unwrap();
    let (old_config, new_config) = (load(&old), load(&new));
    let old_side = Side::old(
        &old_config.policy,
        &old_config.denials,
        old_config.effective(),
    );
    let new_side = Side::new(
        &new_config.policy,
        &new_config.denials,
        new_config.effective(),
    );
    let hash = old_config.hash.to_string();
    let mut replay = Replay::new(&old_side, &new_side, hash, NOW).unwrap();
    replay.begin_file();
    replay.line(before[0].as_bytes()).unwrap();
    let (before, after) = (decisions(&before), decisions(&after));
    assert_eq!(
        (before.len(), after.len()),
        (requests.len(), requests.len())
    );
    let (mut told, mut otherwise, mut unknown) = (0, 0, Vec::new());
    for ((logged, real), request) in before.iter().zip(&after).zip(requests) {
        match replay.predict(logged).unwrap() {
            Prediction::Told(Told {
                outcome: predicted,
                reason,
                rule,
            }) => {
                let predicted = (predicted.name().to_owned(), reason, rule);
                assert_eq!(
                    predicted,
                    outcome(real),
                    "{request:#}\n{logged:?}\n{old}\n{new}"
                );
                told += 1;
                otherwise += usize::from(predicted != outcome(logged));
            }
            Prediction::CannotTell(why) => unknown.push(why.to_string()),
        }
    }
    (told, otherwise, unknown)
}

/// Every prediction comes true, whatever changes.
#[tokio::test]
async fn predictions_come_true() {
    let (mut told, mut otherwise) = (0, 0);
    for seed in 0..30 {
        let (old, new) = random::pair_of_values(seed);
        let requests = random::requests(seed);
        let (now_told, now_otherwise, unknown) = predict(&old, &new, &requests).await;
        told += now_told;
        otherwise += now_otherwise;
        let guessed = "the log and OLD disagree about the request";
        assert!(
            !unknown.iter().any(|why| why == guessed),
            "seed {seed}: {unknown:?}"
        );
    }
    assert!(told > 900, "only {told} of 1200 were told");
    assert!(otherwise > 100, "only {otherwise} differ");
}

/// A change as operators make it: less than one request in a hundred cannot be told.
#[tokio::test]
async fn nearly_every_request_is_told() {
    let rules = |write: Value, more: Value| {
        let mut rules = vec![
            json!({"name": "open", "match": {"path": {"exact": "/b"}}, "access": "public"}),
            json!({"name": "users", "match": {"path": {"prefix": "/a/b"}}, "claims": {"role": ["admin", "user"]}}),
            write,
            json!({"name": "staff", "match": {"path": {"prefix": "/b"}}, "condition": "claims.level >= 3 || source.address == '10.0.0.1'"}),
        ];
        rules.extend(more.as_array().unwrap().clone());
        json!({
            "providers": [
                {"name": "acme", "issuer": "https://acme.example.com", "audiences": ["api"]},
                {"name": "beta", "issuer": "https://beta.example.com", "audiences": ["api"]},
            ],
            "rules": rules,
        })
    };
    let old = rules(
        json!({"name": "write", "match": {"methods": ["POST", "PUT"], "path": {"prefix": "/a"}}, "scopes": ["w"]}),
        json!([]),
    );
    let mut new = rules(
        json!({"name": "write", "match": {"methods": ["POST", "PUT"], "path": {"prefix": "/a"}}, "any_scope": ["w", "x"], "condition": "has(claims.staff)"}),
        json!([{"name": "read", "match": {"path": {"prefix": "/a"}}, "scopes": ["r"]}]),
    );
    new["providers"][1]["audiences"] = json!(["api", "web"]);
    // A refused token is not logged, so clients of other APIs cannot be told if audiences change.
    let is_ours = |request: &Value| request["token"]["claims"]["aud"] != "web";
    let requests: Vec<Value> = (0..25).flat_map(random::requests).filter(is_ours).collect();
    let (told, otherwise, unknown) = predict(&old, &new, &requests).await;
    assert!(otherwise > 50, "only {otherwise} differ");
    assert!(
        100 * unknown.len() < requests.len(),
        "{} of {} told; {unknown:?}",
        told,
        requests.len()
    );
}

/// The command reads several files, tells what is missing, and exits as asked.
#[tokio::test]
async fn the_command_reads_logs() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = random::pair_of_values(3);
    let mut new = new;
    new["rules"] =
        json!([{"name": "closed", "match": {"path": {"prefix": "/"}}, "access": "deny"}]);
    let old = logging(&old, directory.path(), "log");
    let new = logging(&new, directory.path(), "other");
    let lines = decide(&old, &random::requests(3), &directory.path().join("log")).await;
    let write = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (old, new) = (write("old.yaml", &old), write("new.yaml", &new));
    // A line that a crash has cut, and one that somebody has removed.
    let mut cut = lines.clone();
    cut.remove(5);
    let end = cut.len() - 1;
    cut.truncate(end);
    cut.push("{\"kind\":\"decision\",\"n\":4".to_owned());
    let log = write("cut", &cut.join("\n"));
    let outcome = run(&["diff", &old, &new, "--log", &log, "--output", "json"], "").await;
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let report: Value = serde_json::from_str(&outcome.out).unwrap();
    let log_report = &report["log"];
    assert_eq!(log_report["requests"], 39, "{log_report:#}");
    assert_eq!(log_report["missing"]["gaps"], 1, "{log_report:#}");
    assert_eq!(
        log_report["missing"]["unreadable_lines"], 1,
        "{log_report:#}"
    );
    assert!(
        log_report["narrowed"].as_u64().unwrap() > 0,
        "{log_report:#}"
    );
    let narrowed = ["diff", &old, &new, "--log", &log, "--fail-on", "narrowed"];
    let outcome = run(&narrowed, "").await;
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    assert!(
        outcome.out.contains("39 logged requests"),
        "{}",
        outcome.out
    );
    // The log of another configuration tells nothing.
    let outcome = run(&["diff", &new, &old, "--log", &log], "").await;
    assert!(
        outcome.out.contains("39 cannot be told (100.00 %)"),
        "{}",
        outcome.out
    );
    assert!(outcome.out.contains("not by OLD"), "{}", outcome.out);
    let outcome = run(&["diff", &old, &new, "--log", "/nonexistent"], "").await;
    assert_eq!(outcome.code, Some(2), "{}", outcome.out);
}

/// Numbers of the report, each by its JSON pointer.
type Counts = &'static [(&'static str, u64)];

/// What is missing, read twice, or of a newer version is counted as such, and nothing else changes.
#[tokio::test]
async fn the_command_tells_what_files_lack() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = random::pair_of_values(3);
    let old = logging(&old, directory.path(), "log");
    let new = logging(&new, directory.path(), "other");
    let lines = decide(&old, &random::requests(3), &directory.path().join("log")).await;
    let write = |name: &str, text: &[u8]| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (old, new) = (
        write("old.yaml", old.as_bytes()),
        write("new.yaml", new.as_bytes()),
    );
    let whole = lines.join("\n");
    let with = |position: usize, line: &str| {
        let mut lines = lines.clone();
        lines.insert(position, line.to_owned());
        lines.join("\n").into_bytes()
    };
    let changed = |position: usize, from: &str, to: &str| {
        let mut lines = lines.clone();
        assert!(lines[position].contains(from), "{}", lines[position]);
        lines[position] = lines[position].replacen(from, to, 1);
        lines.join("\n")
    };
    // The first ten decisions are in a file that was removed.
    let rotated = |n: u64| {
        let first = lines[0].replacen("\"n\":1,", &format!("\"n\":{n},"), 1);
        let first = first.replacen("started", "rotated", 1);
        [&[first][..], &lines[11..]].concat().join("\n")
    };
    let not_utf8 = changed(4, "\"path\":\"/", "\"path\":\"/\u{1}").replace('\u{1}', "\u{fffd}");
    let not_utf8: Vec<u8> = {
        let at = not_utf8.find('\u{fffd}').unwrap();
        let (before, after) = not_utf8.as_bytes().split_at(at);
        [before, b"\xff", &after["\u{fffd}".len()..]].concat()
    };
    let bytes = |text: &str| text.as_bytes().to_vec();
    let cases: [(&str, Vec<Vec<u8>>, Counts); 13] = [
        ("whole", vec![bytes(&whole)], &[]),
        (
            "twice",
            vec![bytes(&whole), bytes(&whole)],
            &[("/read_before", 40)],
        ),
        (
            "a copy from before",
            vec![bytes(&lines[..21].join("\n")), bytes(&whole)],
            &[("/read_before", 20)],
        ),
        (
            "two parts with a gap that a copy hides",
            vec![
                bytes(&lines[..21].join("\n")),
                bytes(&lines[..21].join("\n")),
                bytes(&rotated(11).replacen(&lines[23], "", 1)),
            ],
            &[
                ("/read_before", 30),
                ("/requests", 39),
                ("/missing/gaps", 1),
            ],
        ),
        (
            "without its first line",
            vec![bytes(&lines[1..].join("\n"))],
            &[("/cannot_tell/requests", 40)],
        ),
        (
            "with a byte order mark and other line ends",
            vec![bytes(&format!(
                "\u{feff}{}\r\n",
                whole.replace('\n', "\r\n")
            ))],
            &[],
        ),
        (
            "without what was rotated away",
            vec![bytes(&rotated(11))],
            &[
                ("/requests", 30),
                ("/missing/begins_later/instances", 1),
                ("/missing/begins_later/decisions", 10),
            ],
        ),
        (
            "without lines after its first",
            vec![bytes(&rotated(9))],
            &[
                ("/requests", 30),
                ("/missing/gaps", 2),
                ("/missing/begins_later/instances", 1),
                ("/missing/begins_later/decisions", 8),
            ],
        ),
        (
            "with a kind of line that is not known",
            vec![with(4, "{\"kind\":\"pause\",\"n\":4}")],
            &[("/unknown_kinds", 1)],
        ),
        (
            "with a value that is not known",
            vec![bytes(&changed(4, "\"token\":\"", "\"token\":\"more_"))],
            &[("/cannot_tell/requests", 1)],
        ),
        (
            "with bytes that are not UTF-8",
            vec![not_utf8],
            &[
                ("/requests", 39),
                ("/missing/gaps", 1),
                ("/missing/unreadable_lines", 1),
            ],
        ),
        (
            "with a count that no log reaches",
            vec![with(
                41,
                &format!(
                    "{{\"kind\":\"lost\",\"n\":41,\"time\":\"\",\"count\":{}}}",
                    u64::MAX
                ),
            )],
            &[("/missing/lost", u64::MAX - 40)],
        ),
        (
            "with a reason for its first line that is not known",
            vec![bytes(&changed(0, "started", "moved"))],
            &[],
        ),
    ];
    for (what, files, differing) in cases {
        let mut arguments = vec!["diff", &old, &new, "--output", "json"];
        let files: Vec<String> = (files.iter().enumerate())
            .map(|(at, text)| write(&format!("log{at}"), text))
            .collect();
        for file in &files {
            arguments.extend(["--log", file]);
        }
        let outcome = run(&arguments, "").await;
        assert_eq!(outcome.code, Some(0), "{what}: {}", outcome.err);
        let report: Value = serde_json::from_str(&outcome.out).unwrap();
        let report = &report["log"];
        for pointer in [
            "/requests",
            "/cannot_tell/requests",
            "/missing/lost",
            "/missing/gaps",
            "/missing/unreadable_lines",
            "/missing/unclean_ends",
            "/missing/begins_later/instances",
            "/missing/begins_later/decisions",
            "/read_before",
            "/unknown_kinds",
        ] {
            let usual = if pointer == "/requests" { 40 } else { 0 };
            let own = differing.iter().find(|(name, _)| *name == pointer);
            let expected = own.map_or(usual, |(_, count)| *count);
            let found = report.pointer(pointer).and_then(Value::as_u64);
            assert_eq!(found, Some(expected), "{what}: {pointer}\n{report:#}");
        }
        assert_eq!(report["all_numbers_are_checked"], true, "{what}");
    }
    // What a log says reaches no terminal as it is.
    let hash = lines[1].find("\"configuration\":\"").unwrap() + "\"configuration\":\"".len();
    let mut forged = lines.clone();
    forged[1].insert_str(hash, "\\u001b[2J");
    let log = write("log", forged.join("\n").as_bytes());
    let outcome = run(&["diff", &old, &new, "--log", &log], "").await;
    assert!(outcome.out.contains("not by OLD"), "{}", outcome.out);
    assert!(!outcome.out.contains('\u{1b}'), "{}", outcome.out);
    let log = write("log", lines[1..].join("\n").as_bytes());
    let outcome = run(&["diff", &old, &new, "--log", &log], "").await;
    let cause = "the file's `configuration` line is missing";
    assert!(outcome.out.contains(cause), "{}", outcome.out);
}
