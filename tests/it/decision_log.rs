//! The decision log: what is in it, what is not, and what happens to it when things go wrong.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::request::compose;
use claimgate::gate::decision_log::record::{
    Cause, ConfigurationRecord, DecisionRecord, Line, LostRecord, Verdict, schema,
};
use claimgate::keyring::Algorithm::Es256;
use claimgate::request::{Headers, Peer, Request};
use claimgate::time::{Clock as _, SystemClock};
use futures_util::future::join_all;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use crate::support::call::Answer;
use crate::support::command::{claimgate, line_with, run, signal, terminate};
use crate::support::examples::file;
use crate::support::gate::{Gate, NOW};
use crate::support::keys::signer;

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// One provider, whose keys need not be fetched.
fn provider() -> String {
    let key = signer(Es256, "real").jwk();
    format!(
        "providers: [{{ name: acme, issuer: https://idp.example.com, audiences: [api], \
         jwks: {{ inline: {{ keys: [{key}] }} }} }}]\n"
    )
}

/// A configuration whose decision log is `file`, with more of its fields.
fn logging_to(file: &Path, more: &str) -> String {
    let path = file.display();
    format!("decision_log: {{ path: '{path}', {more} }}\n{}", provider())
}

fn token(now: u64, changes: &Value) -> String {
    let mut claims =
        json!({"iss": "https://idp.example.com", "aud": "api", "sub": "alice", "exp": now + 600});
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    signer(Es256, "real").token(&claims).unwrap()
}

/// A request for a path, with these header lines.
fn request<'r>(path: &'r str, lines: &[(&'r str, &'r [u8])]) -> Request<'r> {
    Request {
        method: "GET",
        host: "api.example.com",
        path,
        headers: Headers::from(lines.to_vec()),
        ..Request::default()
    }
}

/// A gate with a decision log in a directory of its own.
struct Logged {
    directory: TempDir,
    gate: Gate,
}

impl Logged {
    async fn start(more: &str, rules: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        let gate = Gate::start(&format!("{}{rules}", logging_to(&file, more))).await;
        Self { directory, gate }
    }

    async fn check(&self, request: &Request<'_>) -> Answer {
        self.send(compose(request)).await
    }

    async fn send(&self, check: CheckRequest) -> Answer {
        let answer = self.gate.service.check(tonic::Request::new(check)).await;
        Answer::read(answer.unwrap().into_inner())
    }

    /// Ends the log.
    async fn stop(&self) {
        self.gate.service.gate.stop_decision_log(PATIENCE).await;
    }

    fn read(&self, name: &str) -> Vec<Line<'static>> {
        lines(&std::fs::read_to_string(self.directory.path().join(name)).unwrap())
    }

    fn metric(&self, series: &str) -> u64 {
        let series = format!("claimgate_decision_log_{series}");
        self.gate.metric(&series).parse().unwrap()
    }
}

fn lines(text: &str) -> Vec<Line<'static>> {
    assert!(text.ends_with('\n'), "the last line is cut");
    let read = |line| Line::read(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(read).collect()
}

fn decisions(lines: &[Line<'static>]) -> Vec<DecisionRecord<'static>> {
    let decisions = lines.iter().filter_map(|line| match line {
        Line::Decision(decision) => Some((**decision).clone()),
        Line::Configuration(_) | Line::Lost(_) | Line::Stopped(_) => None,
    });
    decisions.collect()
}

fn configurations(lines: &[Line<'static>]) -> Vec<ConfigurationRecord> {
    let configurations = lines.iter().filter_map(|line| match line {
        Line::Configuration(configuration) => Some(configuration.clone()),
        Line::Decision(_) | Line::Lost(_) | Line::Stopped(_) => None,
    });
    configurations.collect()
}

/// Checks that the numbers leave no gap but those that are declared. Returns the number of decisions,
/// and of lost ones.
fn account(lines: &[Line<'static>], mut next: u64) -> (u64, u64) {
    let (mut written, mut lost) = (0, 0);
    for line in lines {
        match line {
            Line::Configuration(ConfigurationRecord { n, .. }) => assert_eq!(*n, next, "{line:?}"),
            Line::Decision(decision) => {
                assert_eq!(decision.n, next, "{line:?}");
                next += 1;
                written += 1;
            }
            Line::Lost(LostRecord { n, count, .. }) => {
                assert_eq!(*n, next, "{line:?}");
                next += count;
                lost += count;
            }
            Line::Stopped(stopped) => assert_eq!(stopped.n, next, "{line:?}"),
        }
    }
    (written, lost)
}

/// Waits for a condition.
async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("not within a minute: {what}"));
}

const RULES: &str = "
rules:
  - name: prod
    match: { headers: { x-env: any, x-api-key: any } }
  - name: certificate
    match: { path: { prefix: /certificate } }
    condition: 'request.headers[\"x-forwarded-client-cert\"] == \"a\" || request.headers[\"client-cert\"] == \"a\"'
  - name: condition
    match: { path: { prefix: /condition } }
    condition: 'request.headers[\"x-tenant\"] == \"a\" && context.team == \"b\" && request.query == \"\" && source.address != \"\"'
  - { name: open, match: { path: { prefix: /open } }, access: public }
  - { name: watched, match: { path: { prefix: /watched } }, enforce: false }
";

/// The members of the record of a request, without those that differ from run to run.
async fn record(log: &str, request: Request<'_>) -> Value {
    let logged = Logged::start(log, RULES).await;
    logged.check(&request).await;
    logged.stop().await;
    let lines = logged.read("log");
    assert_eq!(account(&lines, 1), (1, 0));
    let schema = jsonschema::draft202012::options().build(&schema()).unwrap();
    for line in &lines {
        let line = serde_json::to_value(line).unwrap();
        let problem = schema.validate(&line).err().map(|error| error.to_string());
        assert_eq!(problem, None, "{line}");
    }
    let mut record = serde_json::to_value(&decisions(&lines)[0]).unwrap();
    for member in ["n", "took_us", "configuration"] {
        record.as_object_mut().unwrap().remove(member).unwrap();
    }
    record
}

/// Adds what all these records have.
fn usual(members: Value) -> Value {
    let mut record = json!({
        "time": "2026-01-01T00:00:00.000Z",
        "request_id": "1",
        "method": "GET",
        "host": "api.example.com",
    });
    let Value::Object(members) = members else {
        panic!("not an object");
    };
    record.as_object_mut().unwrap().extend(members);
    record
}

#[tokio::test]
async fn a_record_has_what_rules_look_at() {
    let good = format!("Bearer {}", token(NOW, &json!({"roles": ["a", 1.50]})));
    let good = ("authorization", good.as_bytes());
    let id = ("x-request-id", b"1".as_slice());
    let denied = json!({"decision": "deny", "status": 401});
    let with = |base: &Value, more: Value| {
        let mut all = base.clone();
        let Value::Object(more) = more else {
            panic!("not an object");
        };
        all.as_object_mut().unwrap().extend(more);
        usual(all)
    };
    let missing = with(
        &denied,
        json!({"reason": "missing_token", "token": "absent"}),
    );
    let jwt = b"a=eyJhbGciOiJub25lIn0.e30.".as_slice();
    for (request, expected) in [
        (
            request("/orders?page=2", &[id]),
            with(
                &missing,
                json!({"rule": "default", "path": "/orders", "query": true, "withheld": ["query"]}),
            ),
        ),
        (
            request("/orders", &[id, good]),
            usual(json!({
                "decision": "allow", "rule": "default", "provider": "acme", "token": "valid",
                "claims": {"roles": ["a", 1.5]}, "path": "/orders",
            })),
        ),
        (
            request("/watched", &[id]),
            usual(json!({
                "decision": "allow", "would_be": "missing_token", "rule": "watched",
                "token": "absent", "path": "/watched",
            })),
        ),
        (
            request("/open/a\"\n", &[id, good]),
            with(
                &denied,
                json!({
                    "reason": "ambiguous_path", "status": 400, "token": "unread",
                    "path": "/open/a\"\n",
                }),
            ),
        ),
        (
            request("/open", &[id, good]),
            usual(json!({"decision": "allow", "rule": "open", "token": "unread", "path": "/open"})),
        ),
        (
            request("/open/eyJhbGciOi.e30.c2ln/x%3Ftoken=a", &[id]),
            with(
                &denied,
                json!({
                    "reason": "ambiguous_path", "status": 400, "token": "unread",
                    "path": "/open/eyJ…/x", "path_cut": true,
                }),
            ),
        ),
        (
            request(
                "/",
                &[id, ("X-Env", b"a"), ("x-env", b"\"\n"), ("accept", b"*/*")],
            ),
            with(
                &missing,
                json!({
                    "rule": "default", "path": "/", "headers": {"x-env": ["a", "\"\n"]},
                }),
            ),
        ),
        (
            request("/", &[id, ("x-env", b"\xff\xfe"), ("x_tenant", b"b")]),
            with(
                &missing,
                json!({
                    "rule": "default", "path": "/",
                    "headers": {"x-env": [{"base64": "//4="}], "x_tenant": ["b"]},
                }),
            ),
        ),
        (
            request(
                "/",
                &[
                    id,
                    ("x-env", b"a"),
                    ("x-env", jwt),
                    ("x-api-key", b"opaque"),
                ],
            ),
            with(
                &missing,
                json!({
                    "rule": "prod", "path": "/", "withheld": ["x-env", "x-api-key"],
                }),
            ),
        ),
        (
            Request {
                context: vec![
                    ("claimgate.rule", "condition"),
                    ("team", "b"),
                    ("my_secret", "c"),
                ],
                source: Peer {
                    address: "10.0.0.1",
                    principal: "spiffe://a/b",
                    certificate: "-----BEGIN",
                },
                ..request("/condition?a", &[id, ("x-tenant", b"a")])
            },
            with(
                &missing,
                json!({
                    "rule": "condition", "path": "/condition", "query": true,
                    "headers": {"x-tenant": ["a"]},
                    "context": {"claimgate.rule": "condition", "team": "b"},
                    "source": "10.0.0.1", "source_principal": "spiffe://a/b",
                    "withheld": ["query", "source.certificate", "context.my_secret"],
                }),
            ),
        ),
        (
            request("/open/%65wogICJhbGciOi.e30.c2ln/x", &[id]),
            with(
                &denied,
                json!({
                    "reason": "ambiguous_path", "status": 400, "token": "unread",
                    "path": "/open/eyJ…/x", "path_cut": true,
                }),
            ),
        ),
        (
            request("/", &[id, ("x-env", b"a=%65yJhbGci")]),
            with(
                &missing,
                json!({"rule": "default", "path": "/", "withheld": ["x-env"]}),
            ),
        ),
        (
            request(
                "/certificate",
                &[
                    ("x-request-id", b"eyJhbGciOiJub25lIn0.e30."),
                    (
                        "traceparent",
                        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                    ),
                    ("x-forwarded-client-cert", b"Hash=1;Cert=\"-----BEGIN\""),
                    ("client-cert", b":MIIB:"),
                ],
            ),
            with(
                &missing,
                json!({
                    "rule": "certificate", "path": "/certificate",
                    "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                    "withheld": ["x-forwarded-client-cert", "client-cert"],
                }),
            ),
        ),
        (
            Request {
                method: "OPTIONS",
                host: "eyJhbGciOiJub25lIn0.e30.x",
                ..request(
                    "/",
                    &[
                        id,
                        ("origin", b"https://a.example"),
                        ("access-control-request-method", b"GET"),
                        (
                            "traceparent",
                            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                        ),
                    ],
                )
            },
            with(
                &denied,
                json!({
                    "reason": "ambiguous_host", "status": 400, "token": "unread",
                    "path": "/", "method": "OPTIONS", "host": "", "preflight": true,
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "withheld": ["host"],
                }),
            ),
        ),
    ] {
        let found = record("claims: [roles, absent], subject: omit", request).await;
        assert_eq!(found, expected);
    }
}

/// Text that no rule looks at, or that exceeds a limit, makes no record large.
#[tokio::test]
async fn long_texts_are_left_out() {
    let long = "a".repeat(20_000);
    let path = format!("/{long}");
    let lines = [("x-env", long.as_bytes()), ("accept", long.as_bytes())];
    let found = record(
        "",
        Request {
            host: &long,
            ..request(&path, &lines)
        },
    )
    .await;
    assert_eq!(
        found["path"].as_str().unwrap().len(),
        8 * 1024 + '…'.len_utf8()
    );
    assert_eq!(found["withheld"], json!(["host", "x-env"]));
    assert_eq!(found["host"], "");
}

#[tokio::test]
async fn subjects_and_claims_are_written_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "0123456789abcdef").unwrap();
    let key = key.display();
    let claims = json!({"a": {"b": [1]}, "c.d": "e", "empty": null, "jwt": "eyJhbGci"});
    let bearer = format!("Bearer {}", token(NOW, &claims));
    for (more, subject, claims) in [
        (
            format!("subject_key_file: '{key}', claims: [a.b, /c.d, empty, x]"),
            json!("fdbf8b1cacd3d578e062d0e41104357d"),
            json!({"a.b": [1], "/c.d": "e", "empty": null}),
        ),
        (
            "subject: plain, claims: a".to_owned(),
            json!("alice"),
            json!({"a": {"b": [1]}}),
        ),
        (
            "subject: omit, claims: sub".to_owned(),
            Value::Null,
            json!({"sub": "alice"}),
        ),
        (
            "subject: omit, claims: jwt".to_owned(),
            Value::Null,
            Value::Null,
        ),
    ] {
        let lines = [("authorization", bearer.as_bytes())];
        let found = record(&more, request("/", &lines)).await;
        assert_eq!(
            (&found["subject"], &found["claims"]),
            (&subject, &claims),
            "{more}"
        );
        let withheld = more.contains("jwt").then(|| json!(["claims.jwt"]));
        assert_eq!(found.get("withheld").cloned(), withheld, "{more}");
    }
}

#[tokio::test]
async fn what_is_allowed_is_written_as_configured() {
    const RULES: &str = "
rules:
  - { name: audited, match: { path: { prefix: /audited } }, access: public, audit: always }
  - { name: watched, match: { path: { prefix: /watched } }, enforce: false }
  - { name: open, match: { path: { prefix: /open } }, access: public }
";
    for (allow, expected) in [
        ("all", &["/audited", "/open", "/watched", "/x"][..]),
        ("none", &["/audited", "/watched", "/x"]),
        ("sampled, sample_ratio: 0", &["/audited", "/watched", "/x"]),
        (
            "sampled, sample_ratio: 1",
            &["/audited", "/open", "/watched", "/x"],
        ),
    ] {
        let logged = Logged::start(&format!("allow: {allow}"), RULES).await;
        for path in ["/audited", "/open", "/watched", "/x"] {
            logged.check(&request(path, &[])).await;
        }
        logged.stop().await;
        let lines = logged.read("log");
        let found = decisions(&lines);
        let paths: Vec<&str> = found.iter().map(|decision| &*decision.path).collect();
        assert_eq!(paths, expected, "{allow}");
    }
}

/// The same request is written by every instance or by none.
#[tokio::test]
async fn samples_depend_on_the_request() {
    const OPEN: &str =
        "rules: [{ name: open, match: { path: { prefix: /open } }, access: public }]";
    let mut samples = Vec::new();
    for _ in 0..2 {
        let logged = Logged::start("allow: sampled, sample_ratio: 0.25", OPEN).await;
        for number in 0..400 {
            let id = format!("request-{number}");
            let trace = format!(
                "00-4bf92f3577b34da6{:016x}-00f067aa0ba902b7-01",
                number << 55
            );
            let name = ["x-request-id", "traceparent"][number % 2];
            let value = [id, trace][number % 2].clone();
            logged
                .check(&request("/open", &[(name, value.as_bytes())]))
                .await;
        }
        logged.stop().await;
        let ids = decisions(&logged.read("log")).into_iter();
        let ids: BTreeSet<String> = ids.map(|it| it.request_id.unwrap().into_owned()).collect();
        samples.push(ids);
    }
    assert_eq!(samples[0], samples[1]);
    for start in ["request-", "4bf9"] {
        let count = samples[0].iter().filter(|id| id.starts_with(start)).count();
        assert!((30..=70).contains(&count), "{count} of 200 with {start}");
    }
}

#[tokio::test]
async fn full_files_are_renamed() {
    let logged = Logged::start("max_bytes: 1MiB, rotate: 2", "").await;
    let path = format!("/{}", "a".repeat(8_000));
    for _ in 0..600 {
        logged.check(&request(&path, &[])).await;
    }
    logged.stop().await;
    let mut all = Vec::new();
    for name in ["log.2", "log.1", "log"] {
        let bytes = logged.directory.path().join(name).metadata().unwrap().len();
        assert!(bytes <= 1024 * 1024, "{name}: {bytes} bytes");
        assert!(
            name == "log" || bytes > 1024 * 1024 - 10_000,
            "{name}: {bytes} bytes"
        );
        let lines = logged.read(name);
        let Line::Configuration(head) = &lines[0] else {
            panic!("{name} does not say what it is: {:?}", lines[0]);
        };
        assert_eq!(head.cause, Cause::Rotated, "{name}");
        all.extend(lines);
    }
    assert!(!logged.directory.path().join("log.3").exists());
    let first = configurations(&all)[0].n;
    assert_eq!(account(&all, first), (601 - first, 0));
    assert!(matches!(all.last(), Some(Line::Stopped(stopped)) if stopped.n == 601));
}

#[tokio::test]
async fn a_file_that_cannot_be_renamed_grows() {
    let logged = Logged::start("max_bytes: 1MiB, rotate: 1", "").await;
    std::fs::create_dir(logged.directory.path().join("log.1")).unwrap();
    let path = format!("/{}", "a".repeat(8_000));
    for _ in 0..200 {
        logged.check(&request(&path, &[])).await;
    }
    logged.stop().await;
    assert_eq!(account(&logged.read("log"), 1), (200, 0));
}

#[tokio::test]
async fn another_program_may_move_the_file() {
    let logged = Logged::start("rotate: 0", "").await;
    let file = logged.directory.path().join("log");
    logged.check(&request("/1", &[])).await;
    eventually("the first line", || logged.metric("lines_total") == 2).await;
    std::fs::rename(&file, logged.directory.path().join("moved")).unwrap();
    eventually("a new file", || file.exists()).await;
    logged.check(&request("/2", &[])).await;
    logged.stop().await;
    let [before, after] = ["moved", "log"].map(|name| logged.read(name));
    assert_eq!(account(&before, 1), (1, 0));
    assert_eq!(account(&after, 2), (1, 0));
    assert_eq!(configurations(&after)[0].cause, Cause::Reopened);
}

#[tokio::test]
async fn a_reload_changes_the_log() {
    let logged = Logged::start("claims: [sub]", "").await;
    let [first, other] = ["log", "other"].map(|name| logged.directory.path().join(name));
    // A decision that waits during a reload may be written after the new configuration.
    let written = async |lines: u64| {
        eventually("all lines", || logged.metric("lines_total") == lines).await;
    };
    let reload = async |yaml: &str, lines: u64| {
        logged.gate.reload(yaml).await;
        written(lines).await;
    };
    let check = async |path: &str, lines: u64| {
        logged.check(&request(path, &[])).await;
        written(lines).await;
    };
    written(1).await;
    check("/1", 2).await;
    reload(&logging_to(&first, "claims: [a], allow: none"), 3).await;
    check("/2", 4).await;
    reload(&logging_to(&other, ""), 6).await;
    check("/3", 7).await;
    reload(&provider(), 8).await;
    check("/unwritten", 8).await;
    reload(&logging_to(&first, ""), 9).await;
    check("/4", 10).await;
    logged.stop().await;

    let lines = logged.read("log");
    let heads = configurations(&lines);
    let shown: Vec<_> = heads.iter().map(|head| (head.cause, head.n)).collect();
    assert_eq!(shown[0], (Cause::Started, 1));
    assert_eq!(shown[1..], [(Cause::Reloaded, 2), (Cause::Reloaded, 4)]);
    assert_eq!(heads[1].claims, ["a"]);
    assert_eq!(
        (heads[0].allow.as_str(), heads[1].allow.as_str()),
        ("all", "none")
    );
    let found = decisions(&lines);
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.n, &*it.path, &*it.configuration))
        .collect();
    let expected = [(1, "/1", 0), (2, "/2", 1), (4, "/4", 2)];
    let expected = expected.map(|(n, path, head)| (n, path, heads[head].configuration.as_str()));
    assert_eq!(found, expected);
    assert_eq!(account(&logged.read("other"), 3), (1, 0));
    assert_eq!(logged.metric("lost_total{cause=\"stopped\"}"), 0);
}

/// While the disk is full, checks go on. What does not fit into the queue is lost and counted.
#[tokio::test]
async fn a_full_disk_delays_no_check() {
    let directory = tempfile::tempdir().unwrap();
    let yaml = logging_to(Path::new("/dev/full"), "");
    let logged = Logged {
        directory,
        gate: Gate::start(&yaml).await,
    };
    eventually("an attempt", || logged.metric("blocked") == 1).await;
    let path = format!("/{}", "a".repeat(8_000));
    let mut checks = 0;
    while logged.metric("lost_total{cause=\"unwritable\"}") == 0 {
        assert_eq!(logged.check(&request(&path, &[])).await.status(), 401);
        checks += 1;
        assert!(checks < 3_000, "the queue has no end");
    }
    assert!(checks > 500, "{checks}");
    assert_eq!(logged.metric("lines_total"), 0);
    logged.stop().await;
    let lost = ["unwritable", "stopped"]
        .map(|cause| logged.metric(&format!("lost_total{{cause=\"{cause}\"}}")));
    assert_eq!(lost.iter().sum::<u64>(), checks);
}

/// A pipe whose reader is slow: what it gets is in order, and says what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_learns_what_it_missed() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("log");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let gate = Gate::start(&logging_to(&pipe, "")).await;
    let logged = Logged { directory, gate };
    eventually("nobody reads", || logged.metric("blocked") == 1).await;
    let reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    eventually("somebody reads", || logged.metric("blocked") == 0).await;
    let path = format!("/{}", "a".repeat(8_000));
    let mut checks = 0;
    while logged.metric("lost_total{cause=\"slow\"}") < 100 {
        assert_eq!(logged.check(&request(&path, &[])).await.status(), 401);
        checks += 1;
        assert!(checks < 3_000, "the queue has no end");
    }
    let mut reading = std::fs::File::open(&pipe).unwrap();
    // Ends with the writer.
    drop(reader);
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reading.read_to_string(&mut text).unwrap();
        text
    });
    let lost = logged.metric("lost_total{cause=\"slow\"}");
    eventually("room", || logged.metric("lines_total") >= checks - lost).await;
    logged.check(&request("/last", &[])).await;
    logged.stop().await;
    let lines = lines(&reading.await.unwrap());
    let (written, lost) = account(&lines, 1);
    assert_eq!(written + lost, checks + 1);
    assert_eq!(lost, logged.metric("lost_total{cause=\"slow\"}"));
    assert!(matches!(lines.last(), Some(Line::Stopped(_))));
}

/// A child process that serves with a decision log.
struct Process {
    child: Child,
    channel: Channel,
}

impl Process {
    async fn start(config: &Path) -> Self {
        let config = config.to_str().unwrap();
        let mut child = claimgate(&[
            "serve",
            "--config",
            config,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "off",
            "--log-format",
            "json",
        ])
        .spawn()
        .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let event = line_with(&mut log, "serving Check").await;
        let address = event["address"].as_str().unwrap();
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self {
            child,
            channel: channel.connect().await.unwrap(),
        }
    }

    async fn check(&self, path: &str) -> bool {
        let mut client = AuthorizationClient::new(self.channel.clone());
        client.check(compose(&request(path, &[]))).await.is_ok()
    }
}

/// After kill -9 under load, every line is complete, or is the last one. What follows says that the
/// earlier instance ended without its last lines.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_a_readable_log() {
    let directory = tempfile::tempdir().unwrap();
    let (config, file) = (
        directory.path().join("claimgate.yaml"),
        directory.path().join("log"),
    );
    std::fs::write(&config, logging_to(&file, "max_bytes: 64MiB")).unwrap();
    let process = Arc::new(Process::start(&config).await);
    let load = (0..8).map(|client| {
        let process = Arc::clone(&process);
        tokio::spawn(async move {
            let path = format!("/{client}/{}", "a".repeat(1_000));
            while process.check(&path).await {}
        })
    });
    let load: Vec<_> = load.collect();
    let bytes = || file.metadata().map_or(0, |file| file.len());
    eventually("a large file", || bytes() > 1024 * 1024).await;
    signal(&process.child, "KILL").await;
    join_all(load).await;
    let Ok(Process { mut child, .. }) = Arc::try_unwrap(process) else {
        panic!("the load has ended");
    };
    child.wait().await.unwrap();

    let text = std::fs::read_to_string(&file).unwrap();
    let (complete, _cut) = text.rsplit_once('\n').unwrap();
    let complete = lines(&format!("{complete}\n"));
    let (written, lost) = account(&complete, 1);
    assert!(written > 100, "{written}");
    assert_eq!(lost, 0);
    assert!(!complete.iter().any(|line| matches!(line, Line::Stopped(_))));

    // Cut for certain.
    let cut = text.trim_end().len() - 20;
    std::fs::write(&file, &text[..cut]).unwrap();
    let process = Process::start(&config).await;
    assert!(process.check("/after").await);
    assert_eq!(terminate(process.child).await, Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    let before = text[..cut].rfind('\n').unwrap() + 1;
    assert!(Line::read(&text[before..cut]).is_err());
    assert_eq!(&text[cut..=cut], "\n");
    let after = lines(&text[cut + 1..]);
    assert_eq!(configurations(&after)[0].cause, Cause::Started);
    assert_ne!(
        configurations(&after)[0].instance,
        configurations(&complete)[0].instance
    );
    assert_eq!(account(&after, 1), (1, 0));
    assert!(matches!(after.last(), Some(Line::Stopped(_))));
}

#[tokio::test]
async fn standard_output_has_nothing_but_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("claimgate.yaml");
    let yaml = format!("decision_log: {{ stdout: true }}\n{}", provider());
    std::fs::write(&config, yaml).unwrap();
    let mut process = Process::start(&config).await;
    let now = SystemClock.now();
    assert!(process.check("/").await);
    let mut out = BufReader::new(process.child.stdout.take().unwrap()).lines();
    assert_eq!(terminate(process.child).await, Some(0));
    let mut text = String::new();
    while let Some(line) = out.next_line().await.unwrap() {
        text += &line;
        text.push('\n');
    }
    let lines = lines(&text);
    assert_eq!(account(&lines, 1), (1, 0));
    let found = decisions(&lines);
    assert_eq!(found[0].decision, Verdict::Deny);
    assert!(
        *found[0].time >= *now.with_millis().to_string(),
        "{found:?}"
    );
}

#[tokio::test]
async fn validate_tells_whether_the_file_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("claimgate.yaml");
    let validate = async |file: &str, more: &str| {
        let file = directory.path().join(file);
        std::fs::write(&config, logging_to(&file, more)).unwrap();
        run(&["validate", config.to_str().unwrap()], "").await
    };
    let good = validate("log", "").await;
    assert_eq!(good.code, Some(0), "{}", good.err);
    assert!(!directory.path().join("log").exists());
    let bad = validate("missing/log", "subject_key_file: missing").await;
    assert_eq!(bad.code, Some(1));
    let starts = [
        "decision_log.path: cannot write `",
        "decision_log.subject_key_file: cannot use `",
    ];
    for start in starts {
        assert!(
            bad.err.lines().any(|line| line.starts_with(start)),
            "{}",
            bad.err
        );
    }
}

/// The lines in the document are lines as they are written, and the document describes every member.
#[test]
fn the_document_describes_every_member() {
    let text = std::fs::read_to_string(file("docs/decision-log.md")).unwrap();
    let examples = text.lines().filter(|line| line.starts_with("{\"kind\":"));
    let mut count = 0;
    for example in examples {
        let read = Line::read(example).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), example);
        count += 1;
    }
    assert!(count > 0, "no line was found");
    let schema = schema();
    let records = schema["$defs"].as_object().unwrap();
    let mut missing = Vec::new();
    for record in records.keys().filter(|name| name.ends_with("Record")) {
        for member in records[record]["properties"].as_object().unwrap().keys() {
            if !text.contains(&format!("`{member}`")) {
                missing.push(format!("{record}.{member}"));
            }
        }
    }
    assert!(
        records.contains_key("DecisionRecord"),
        "{:?}",
        records.keys()
    );
    assert_eq!(missing, [""; 0]);
}

#[tokio::test]
async fn the_schema_is_printed() {
    let printed = run(&["schema", "decision-log"], "").await;
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    let printed: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(printed, schema());
    assert!(jsonschema::draft202012::meta::is_valid(&printed));
}
