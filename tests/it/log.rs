//! What is logged about checks, and what is not.

use std::time::Duration;

use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::keyring::Algorithm::Es256;
use claimgate::telemetry::lines::{Line, Lines};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tonic::Request;

use crate::support::call::{Answer, bearer, check};
use crate::support::gate::{Gate, token};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;

/// The reasons in the lines about denials, and the counts in closing lines.
fn told(lines: &[Value]) -> Vec<(String, Option<u64>)> {
    let is_about_denials = |line: &&Value| line.get("reason").is_some();
    let told = lines.iter().filter(is_about_denials).map(|line| {
        let (reason, more) = (line["reason"].as_str().unwrap(), line["more"].as_u64());
        let message = line["message"].as_str().unwrap();
        match more {
            None => assert_eq!(message, "denied"),
            Some(more) => assert_eq!(message, format!("… and {more} more")),
        }
        (reason.to_owned(), more)
    });
    told.collect()
}

/// A flood of one reason is counted, and does not hide other reasons.
#[tokio::test(start_paused = true)]
async fn a_flood_of_denials_is_a_few_lines() {
    const DROPPED: &str = "claimgate_log_lines_dropped_total{cause=\"limit\"}";
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "").await;
    let log = Log::start("info");
    let flood = async |count: usize| {
        for _ in 0..count {
            gate.service.check(Request::new(check(&[]))).await.unwrap();
        }
    };
    let missing = |more| ("missing_token".to_owned(), more);

    flood(2034).await;
    assert_eq!(told(&log.take()), vec![missing(None); 100]);
    assert_eq!(gate.metric(DROPPED), "1934");
    // Another reason is logged at once.
    assert_eq!(gate.check("x").await.status(), 401);
    assert_eq!(told(&log.take()), [("malformed_token".to_owned(), None)]);

    // The closing line is written even if no further request comes.
    sleep(Duration::from_secs(11)).await;
    assert_eq!(told(&log.take()), [missing(Some(1934))]);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(told(&log.take()), []);

    flood(102).await;
    sleep(Duration::from_secs(11)).await;
    let lines = told(&log.take());
    assert_eq!(lines.len(), 101);
    assert_eq!(lines.last(), Some(&missing(Some(2))));

    // The remaining count is also written when the gate is dropped.
    flood(101).await;
    log.take();
    drop(gate);
    let mut lines = log.take();
    while lines.is_empty() {
        tokio::task::yield_now().await;
        lines = log.take();
    }
    assert_eq!(told(&lines), [missing(Some(1))]);
}

#[tokio::test(start_paused = true)]
async fn at_debug_every_denial_is_logged() {
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let gate = Gate::trusting(&issuer, "").await;
    for (level, expected) in [("debug", 300), ("info", 100), ("warn", 0)] {
        let log = Log::start(level);
        for _ in 0..300 {
            gate.service.check(Request::new(check(&[]))).await.unwrap();
        }
        assert_eq!(told(&log.take()).len(), expected, "{level}");
    }
    let dropped = gate.metric("claimgate_log_lines_dropped_total{cause=\"limit\"}");
    assert_eq!(dropped, "200", "what no level asks for is not dropped");
}

/// Lines about claims that are too long for a header are limited in the same way.
#[tokio::test(start_paused = true)]
async fn a_flood_of_long_claims_is_a_few_lines() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let upstream = "upstream: { claim_headers: [{ header: x-auth-team, claim: team }] }";
    let yaml = crate::support::gate::provider(&issuer, "acme", "");
    let gate = Gate::start(&format!("{yaml}{upstream}")).await;
    gate.service.gate.generation().jwks.all_known().await;
    let claims = serde_json::json!({
        "iss": issuer.url(), "aud": "orders-api", "sub": "alice", "team": "x".repeat(4097),
        "exp": crate::support::gate::NOW + 60,
    });
    let long = key.token(&claims).unwrap();
    let log = Log::start("info");
    for _ in 0..110 {
        assert!(gate.check(&long).await.is_allow());
    }
    sleep(Duration::from_secs(11)).await;
    let lines = log.take();
    let about = |text: &str| {
        let is_about = |line: &&Value| line["message"] == text;
        lines.iter().filter(is_about).count()
    };
    assert_eq!(about("claims too long for a header"), 100);
    assert_eq!(about("… and 10 more"), 1);
}

/// Neither the log nor the list of denials says more about a caller than is configured, from the next
/// reload on.
#[tokio::test(start_paused = true)]
async fn callers_are_named_as_configured() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let rule =
        "rules: [{ name: writers, match: { path: { prefix: / } }, scopes: [orders:write] }]\n";
    let open = crate::support::gate::provider(&issuer, "acme", "");
    let yaml = |subject: &str| format!("{open}{rule}log: {{ subject: {subject} }}\n");
    let claims = serde_json::json!({
        "iss": issuer.url(), "aud": "orders-api", "sub": "alice in wonderland", "azp": "rabbit",
        "exp": crate::support::gate::NOW + 60,
    });
    let token = key.token(&claims).unwrap();
    let gate = Gate::start(&yaml("plain")).await;
    gate.service.gate.generation().jwks.all_known().await;
    let log = Log::start("debug");
    let denied = async |subject: &str| {
        gate.reload(&yaml(subject)).await;
        log.take();
        assert_eq!(gate.check(&token).await.status(), 403);
        let record = gate.service.gate.denials.newest().next().unwrap();
        let lines = log.take();
        let line = lines
            .iter()
            .find(|line| line["message"] == "denied")
            .unwrap();
        let members = [&record.subject, &record.client];
        for (member, name) in members.into_iter().zip(["subject", "client"]) {
            assert_eq!(line[name].as_str(), member.as_deref(), "{subject}: {line}");
        }
        if subject != "plain" {
            let all = format!("{lines:?}{record:?}");
            assert!(
                !all.contains("wonderland") && !all.contains("rabbit"),
                "{all}"
            );
        }
        members.map(Clone::clone)
    };
    let plain = denied("plain").await;
    assert_eq!(
        plain,
        [
            Some("alice in wonderland".to_owned()),
            Some("rabbit".to_owned())
        ]
    );
    assert_eq!(denied("omit").await, [None, None]);
    let [subject, client] = denied("hash").await.map(Option::unwrap);
    for hash in [&subject, &client] {
        assert!(
            hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{hash}"
        );
    }
    assert_ne!(subject, client);

    // An allow, at `debug`.
    for (mode, expected) in [
        ("plain", Some("alice in wonderland")),
        ("hash", Some(&*subject)),
        ("omit", None),
    ] {
        gate.reload(&format!("{open}log: {{ subject: {mode} }}\n"))
            .await;
        log.take();
        assert!(gate.check(&token).await.is_allow());
        let lines = log.take();
        let line = lines
            .iter()
            .find(|line| line["message"] == "allowed")
            .unwrap();
        assert_eq!(line["subject"].as_str(), expected, "{mode}");
    }
}

/// Any number of threads may count at the same time, without waiting for each other.
#[test]
fn lines_are_counted_together() {
    let now = Instant::now();
    let lines = std::sync::Arc::new(Lines::new(now));
    let line = Line::Denied(claimgate::decision::Reason::Expired);
    let written: usize = std::thread::scope(|scope| {
        let count = || (0..1000).filter(|_| lines.may_write(line, now)).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(written, 100);
    assert_eq!(lines.left_out(), 3900);
    assert!(lines.may_write(line, now + Duration::from_secs(10)));
}

/// If nobody reads the log, dropped lines are counted.
#[tokio::test]
async fn unread_lines_are_counted() {
    use std::io::Write as _;
    use tracing_appender::non_blocking::NonBlockingBuilder;

    /// A pipe that is full until it is closed.
    struct Full(std::sync::mpsc::Receiver<()>);

    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let gate = Gate::trusting(&issuer, "").await;
    let (open, full) = std::sync::mpsc::channel();
    let (mut writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(4)
        .finish(Full(full));
    gate.service
        .gate
        .metrics
        .lines()
        .watch(writer.error_counter());
    for _ in 0..20 {
        writer.write_all(b"a line").unwrap();
    }
    let series = "claimgate_log_lines_dropped_total{cause=\"blocked\"}";
    let lost: u64 = gate.metric(series).parse().unwrap();
    // Four lines wait, and the one being written may have left room for a fifth.
    assert!((15..=16).contains(&lost), "{lost}");
    drop(open);
    drop(guard);
}

/// A denial after a futile wait says how long the request waited, and what to set.
#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_says_what_to_set() {
    for (timeout, wait, expected) in [
        (
            "200m",
            "100ms",
            "waited 100 ms for the provider's keys, which is all that `refresh.unknown_key_wait` allows",
        ),
        (
            "100m",
            "100ms",
            "waited 50 ms for the provider's keys, which is half of the 100 ms that Envoy's time-out \
             left: set `timeout` in Envoy's `grpc_service` to more than twice \
             `refresh.unknown_key_wait` (100 ms)",
        ),
        (
            "200m",
            "2s",
            "waited 100 ms for the provider's keys, which is half of the 200 ms that Envoy's time-out \
             left: set `timeout` in Envoy's `grpc_service` to more than twice \
             `refresh.unknown_key_wait` (2000 ms)",
        ),
    ] {
        let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
        let issuer = Issuer::start(&[&old]).await;
        let refresh = format!("refresh: {{ unknown_key_wait: {wait} }}");
        let gate = Gate::trusting(&issuer, &refresh).await;
        sleep(Duration::from_mins(2)).await;
        issuer.reply(JWKS, Reply::Hang);
        let log = Log::start("info");
        let mut check = Request::new(bearer(&token(&issuer, &new)));
        check
            .metadata_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
        let answer = gate.service.check(check).await.unwrap();
        assert_eq!(Answer::read(answer.into_inner()).status(), 503);
        let lines = log.take();
        let denied = lines.iter().find(|line| line["message"] == "denied");
        let hint = denied.unwrap()["hint"].as_str().unwrap();
        assert!(hint.starts_with(expected), "{timeout}, {wait}: {hint}");

        // Once the fetch has failed, its error says more.
        sleep(Duration::from_mins(2)).await;
        let newer = bearer(&token(&issuer, &signer(Es256, "newer")));
        let answer = gate.service.check(Request::new(newer)).await.unwrap();
        assert_eq!(Answer::read(answer.into_inner()).status(), 503);
        let lines = log.take();
        let denied = lines.iter().rfind(|line| line["message"] == "denied");
        let hint = denied.unwrap()["hint"].as_str().unwrap();
        assert!(
            hint.contains("the time ran out"),
            "{timeout}, {wait}: {hint}"
        );
    }
}
