//! The module as an extension of Envoy's bootstrap: what Envoy does in its order, and what it could do in others.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use claimgate_core::keyring::Algorithm::Es256;
use claimgate_dev::signer::Signer;
use serde_json::{Value, json};

use super::bootstrap::{Bootstrap, Cluster, result};
use super::host::{Config, End, Open, VALIDATES, Worker};
use super::{Gate, main_thread, request};

fn extension() -> Bootstrap {
    Bootstrap::new(b"claimgate", b"").expect("the only extension")
}

/// A provider whose keys come through a cluster.
fn provider(name: &str) -> Value {
    json!({
        "name": name,
        "issuer": format!("https://{name}.example.com"),
        "audiences": ["orders-api"],
        "jwks": {"uri": format!("https://{name}.example.com/keys?of={name}")},
        "fetch": {"envoy_cluster": "idp", "timeout": "1m"},
        "refresh": {"unknown_key_wait": "10s"},
    })
}

fn config(names: &[&str]) -> Option<Config> {
    let providers: Vec<_> = names.iter().copied().map(provider).collect();
    Config::new(
        b"claimgate",
        json!({"providers": providers}).to_string().as_bytes(),
    )
}

fn signer(kid: &str) -> Signer {
    Signer::generate(Es256, kid).unwrap()
}

fn token(signer: &Signer) -> String {
    let claims = json!({
        "iss": "https://a.example.com", "aud": "orders-api", "sub": "alice", "exp": 4_000_000_000_u64,
    });
    signer.token(&claims).unwrap()
}

const OK: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/json")];

/// A key set in pieces of all lengths.
fn answer(bootstrap: &Bootstrap, number: u64, signers: &[&Signer]) {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    let body = json!({"keys": keys}).to_string();
    let mut pieces: Vec<&[u8]> = vec![b""];
    let mut left = body.as_bytes();
    while !left.is_empty() {
        let (piece, rest) = left.split_at(pieces.len().min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    bootstrap.answer(number, OK, &pieces);
}

#[test]
fn the_start_waits_for_keys_of_a_cluster() {
    let _main = main_thread();
    let bootstrap = extension();
    let config = config(&["a"]).unwrap();
    bootstrap.initialized();
    let callout = bootstrap.sent();
    assert_eq!((callout.cluster.as_str(), bootstrap.ready()), ("idp", 0));
    assert_eq!(
        callout.headers[..4],
        [
            ":method=GET",
            ":scheme=https",
            ":authority=a.example.com",
            ":path=/keys?of=a"
        ]
    );
    assert!((50_000..=60_000).contains(&callout.max_wait));
    // Answers to nobody.
    let (first, second, third) = (signer("first"), signer("second"), signer("third"));
    answer(&bootstrap, u64::MAX, &[&third]);
    bootstrap.fail(0, result::RESET);
    answer(&bootstrap, callout.number, &[&first]);
    answer(&bootstrap, callout.number, &[&third]);
    bootstrap.is_ready();

    let worker = Worker::new();
    let begin = |signer: &Signer| {
        let source = (&*request(Some(&token(signer))), "127.0.0.1:4711");
        Open::begin(&worker, &config, None, source, End::Complete)
    };
    assert!(begin(&first).finish().passed());
    let waiting = begin(&second);
    let callout = bootstrap.sent();
    answer(&bootstrap, callout.number, &[&first, &second]);
    assert!(waiting.finish().passed());
    let waiting = begin(&third);
    let callout = bootstrap.sent();
    bootstrap.fail(callout.number, result::RESET);
    assert!(!waiting.finish().passed());
    assert_eq!(bootstrap.ready(), 1);
    bootstrap.shut_down();
}

/// No answer but a good one brings keys.
#[test]
fn the_start_waits_after_bad_answers() {
    let _main = main_thread();
    let key = signer("key");
    let keys = json!({"keys": [key.jwk()]}).to_string();
    let large = vec![b' '; 2 * 1024 * 1024];
    let bad: HashMap<&str, &[(&str, &str)]> = HashMap::from([
        ("none", &[][..]),
        ("text", &[(":status", "OK")]),
        ("low", &[(":status", "20")]),
        ("high", &[(":status", "70000")]),
        ("unasked", &[(":status", "304"), ("location", "/other")]),
        ("empty", &[(":status", "204")]),
        ("partial", &[(":status", "206")]),
        (
            "away",
            &[(":status", "302"), ("location", "https://b.example/keys")],
        ),
        ("unreached", &[(":status", "503")]),
        ("large", OK),
        ("reset", OK),
        ("larger", OK),
        ("names", &[(":status", "200"), ("", "x"), ("a b", "\0")]),
    ]);
    let mut names: Vec<_> = bad.keys().copied().collect();
    names.sort_unstable();
    let bootstrap = extension();
    let _config = config(&names).unwrap();
    bootstrap.initialized();
    let mut asked: HashMap<String, usize> = HashMap::new();
    while asked.values().filter(|times| **times > 1).count() < bad.len() - 1 {
        let callout = bootstrap.sent();
        let (_, name) = callout.headers[3].split_once("of=").unwrap();
        let times = asked.entry(name.to_owned()).or_default();
        *times += 1;
        assert_eq!(bootstrap.ready(), 0);
        match name {
            // A good answer: those headers are left out.
            "names" => answer(&bootstrap, callout.number, &[&key]),
            _ if *times > 1 => answer(&bootstrap, callout.number, &[&key]),
            "reset" => bootstrap.fail(callout.number, result::RESET),
            "larger" => bootstrap.fail(callout.number, result::TOO_LARGE),
            "large" => bootstrap.answer(callout.number, OK, &[keys.as_bytes(), &large]),
            name => bootstrap.answer(callout.number, bad[name], &[keys.as_bytes()]),
        }
    }
    bootstrap.is_ready();
    assert_eq!(asked["names"], 1);
    bootstrap.shut_down();
}

/// A request that cannot be sent is sent again.
#[test]
fn the_start_waits_for_the_cluster() {
    let _main = main_thread();
    let key = signer("key");
    for cluster in [Cluster::Unknown, Cluster::Empty] {
        let bootstrap = extension();
        let _config = config(&["a"]).unwrap();
        bootstrap.reach(cluster);
        bootstrap.initialized();
        bootstrap.run();
        bootstrap.reach(Cluster::Reached);
        let callout = bootstrap.sent();
        assert_eq!(bootstrap.ready(), 0, "{cluster:?}");
        answer(&bootstrap, callout.number, &[&key]);
        bootstrap.is_ready();
        bootstrap.shut_down();
    }
}

#[test]
fn the_start_does_not_wait_for_what_is_gone() {
    let _main = main_thread();
    let gate = Gate::new();
    let bootstrap = extension();
    let there = gate.config();
    let gone = config(&["a"]).unwrap();
    bootstrap.initialized();
    let callout = bootstrap.sent();
    assert_eq!(bootstrap.ready(), 0);
    drop(gone);
    bootstrap.is_ready();
    answer(&bootstrap, callout.number, &[&signer("key")]);
    drop(there);
    bootstrap.shut_down();
    assert_eq!(bootstrap.ready(), 1);
}

/// How far Envoy gets before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Configured,
    /// Something waits to be sent.
    Initialized,
    Sent,
    Ready,
}

/// Envoy ends at any time, in its order, and without a shutdown, as it does while the start is held.
#[test]
fn envoy_ends_at_any_time() {
    let _main = main_thread();
    let key = signer("key");
    for progress in [
        Progress::Configured,
        Progress::Initialized,
        Progress::Sent,
        Progress::Ready,
    ] {
        for (is_shut_down, config_is_last) in [(true, true), (true, false), (false, true)] {
            let bootstrap = extension();
            let config = config(&["a"]).unwrap();
            let mut sent = None;
            if progress != Progress::Configured {
                bootstrap.initialized();
            }
            if matches!(progress, Progress::Sent | Progress::Ready) {
                sent = Some(bootstrap.sent().number);
            }
            if let (Progress::Ready, Some(number)) = (progress, sent) {
                answer(&bootstrap, number, &[&key]);
                bootstrap.is_ready();
            }
            if is_shut_down {
                bootstrap.shut_down();
            }
            // What Envoy has queued, and what it cancels.
            if is_shut_down || progress == Progress::Configured {
                bootstrap.run();
            }
            if let Some(number) = sent {
                bootstrap.fail(number, result::RESET);
                answer(&bootstrap, number, &[&key]);
            }
            assert_eq!(bootstrap.ready(), usize::from(progress == Progress::Ready));
            match config_is_last {
                true => drop(bootstrap),
                false => drop(config),
            }
        }
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let _main = main_thread();
    for (name, text) in [
        (&b"other"[..], &b""[..]),
        (b"", b""),
        (b"\xff", b""),
        (b"claimgate", b"providers: []"),
    ] {
        assert!(Bootstrap::new(name, text).is_none(), "{name:?}");
    }
    assert!(config(&["a"]).is_none(), "there are no clusters");
    let gate = Gate::new();
    let first = extension();
    assert!(Bootstrap::new(b"claimgate", b"").is_none(), "once");
    let _config = gate.config();
    first.initialized();
    first.is_ready();
}

/// `--mode validate` finds the same.
#[test]
fn validation_needs_no_keys() {
    let _main = main_thread();
    VALIDATES.store(true, Ordering::SeqCst);
    let without = config(&["a"]).is_none();
    let bootstrap = extension();
    let ready = bootstrap.ready();
    let with = config(&["a"]).is_some();
    let twice = Bootstrap::new(b"claimgate", b"").is_some();
    drop(bootstrap);
    VALIDATES.store(false, Ordering::SeqCst);
    assert_eq!((without, ready, with, twice), (true, 1, true, false));
}
