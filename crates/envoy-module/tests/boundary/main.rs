//! The module through its C interface, in a host that is stricter than Envoy. `make module-memory` runs these tests
//! under Valgrind.

#![expect(
    unsafe_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a C interface, and a test fails by panicking"
)]

mod bootstrap;
mod callbacks;
mod extension;
mod host;
mod memory;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use claimgate_core::keyring::Algorithm::{Es256, Es384};
use claimgate_dev::signer::Signer;
// Links the hooks.
use claimgate_envoy as _;
use host::{
    CONTINUE, Config, End, MAX_WAIT, Open, Route, STOP_ALL_ITERATION_AND_WATERMARK, Seen,
    VALIDATES, Worker,
};
use serde_json::json;

/// How many streams each thread handles.
const STREAMS: usize = 300;

/// Envoy makes and destroys configurations one at a time.
fn main_thread() -> MutexGuard<'static, ()> {
    static MAIN: Mutex<()> = Mutex::new(());
    MAIN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A configuration, and tokens that it accepts.
struct Gate {
    yaml: String,
    /// Verified at once.
    fast: Vec<String>,
    /// Verified on another thread.
    slow: Vec<String>,
}

impl Gate {
    fn new() -> Self {
        let signers = [Es256, Es384].map(|alg| Signer::generate(alg, alg.name()).unwrap());
        let keys: Vec<_> = signers.iter().map(Signer::jwk).collect();
        let config = json!({
            "providers": [{
                "name": "idp",
                "issuer": "https://idp.example.com",
                "audiences": ["orders-api"],
                "jwks": {"inline": {"keys": keys}},
            }],
            "upstream": {
                "claim_headers": [
                    {"header": "x-auth-subject", "claim": "sub"},
                    {"header": "x-auth-roles", "claim": "roles"},
                ],
                "payload_header": "x-auth-claims",
                "forward_token": false,
                "dynamic_metadata": true,
            },
            "response_headers": [{"header": "x-checked-by", "value": "claimgate"}],
            "rules": [{"name": "open", "only_by_name": true, "access": "public"}],
        });
        let [fast, slow] = signers.map(|signer| {
            let token = |number: usize| {
                let claims = json!({
                    "iss": "https://idp.example.com", "aud": "orders-api", "sub": "alice",
                    "exp": 4_000_000_000_u64, "jti": number.to_string(), "roles": ["a", "b"],
                });
                signer.token(&claims).unwrap()
            };
            (0..STREAMS).map(token).collect()
        });
        Self {
            yaml: config.to_string(),
            fast,
            slow,
        }
    }

    fn config(&self) -> Config {
        Config::new(b"claimgate", self.yaml.as_bytes()).expect("a valid configuration")
    }
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

fn request(token: Option<&str>) -> Lines {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let lines = [
        (":method", "GET"),
        (":authority", "api.example.com"),
        (":path", "/orders?page=2"),
        ("x-auth-subject", "root"),
        ("x_auth_roles", "admin"),
        ("x-auth-roles", "admin"),
        ("accept", "*/*"),
    ];
    let lines = lines.into_iter();
    let token = bearer.as_deref().map(|bearer| ("authorization", bearer));
    lines
        .chain(token)
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn run(worker: &Worker, config: &Config, route: Option<&Route>, lines: &Lines, end: End) -> Seen {
    Open::begin(worker, config, route, (lines, "127.0.0.1:4711"), end).finish()
}

/// What reaches the upstream and the client.
fn is_changed(seen: &Seen) {
    assert!(seen.metadata > 0);
    assert_eq!(seen.request("x-auth-subject"), [b"alice"]);
    assert_eq!(seen.request("x-auth-roles"), [b"a,b"]);
    for gone in ["x_auth_roles", "authorization"] {
        assert_eq!(seen.request(gone).len(), 0, "{gone}");
    }
    assert_eq!(seen.response("x-checked-by"), [b"claimgate"]);
}

#[test]
fn requests_pass_or_are_answered() {
    let _main = main_thread();
    let gate = Gate::new();
    let (config, worker) = (gate.config(), Worker::new());
    let route = Route::new(b"open").unwrap();
    // The second time, the token is known.
    for _ in 0..2 {
        let seen = run(
            &worker,
            &config,
            None,
            &request(Some(&gate.fast[0])),
            End::Complete,
        );
        assert_eq!((seen.status, seen.answered), (Some(CONTINUE), None));
        is_changed(&seen);
    }
    let seen = run(
        &worker,
        &config,
        None,
        &request(Some(&gate.slow[0])),
        End::Complete,
    );
    let waited = Some(STOP_ALL_ITERATION_AND_WATERMARK);
    assert_eq!((seen.status, seen.resumed), (waited, 1));
    is_changed(&seen);
    let seen = run(&worker, &config, None, &request(None), End::Complete);
    assert_eq!(
        (seen.status, seen.answered),
        (Some(STOP_ALL_ITERATION_AND_WATERMARK), Some(401))
    );
    assert_eq!(seen.response("www-authenticate").len(), 1);
    let seen = run(
        &worker,
        &config,
        Some(&route),
        &request(None),
        End::Complete,
    );
    assert_eq!(seen.status, Some(CONTINUE));
    assert_eq!(seen.request("x-auth-subject").len(), 0);
    let checks = config.metric("claimgate_checks_total", MAX_WAIT);
    assert!(checks >= Some(5), "{checks:?}");
}

/// Streams end at every moment, many at once, on two threads.
#[test]
fn streams_end_at_any_time() {
    let _main = main_thread();
    let gate = Gate::new();
    let route = Route::new(br#"{"claimgate.rule": "open"}"#).unwrap();
    let config = gate.config();
    thread::scope(|scope| {
        for part in 0..2 {
            let (config, route, gate) = (&config, &route, &gate);
            scope.spawn(move || {
                let worker = Worker::new();
                let mut open = Vec::new();
                for number in 0..STREAMS {
                    let end = End::ALL[number % End::ALL.len()];
                    let token = match number % 4 {
                        0 => Some(&gate.fast[number]),
                        1 => None,
                        _ => Some(&gate.slow[STREAMS / 2 * part + number / 2]),
                    };
                    let route = (number % 9 == 0).then_some(route);
                    let lines = request(token.map(String::as_str));
                    let source = (&*lines, "[::1]:4711");
                    open.push(Open::begin(&worker, config, route, source, end));
                    if open.len() == 20 {
                        open.drain(..).for_each(|open| drop(open.finish()));
                    }
                }
                open.drain(..).for_each(|open| drop(open.finish()));
            });
        }
    });
}

/// Configurations come and go, while streams of others go on.
#[test]
fn configurations_come_and_go() {
    let _main = main_thread();
    let gate = Gate::new();
    let worker = Worker::new();
    let first = gate.config();
    for number in 0..10 {
        // Twice the same, and one of its own.
        let same = gate.config();
        let other = format!("{}\n", gate.yaml.replace("orders-api", "other-api"));
        let other = Config::new(b"claimgate", other.as_bytes()).unwrap();
        for config in [&first, &same] {
            let seen = run(
                &worker,
                config,
                None,
                &request(Some(&gate.slow[number])),
                End::Complete,
            );
            assert!(seen.passed());
        }
        let seen = run(
            &worker,
            &other,
            None,
            &request(Some(&gate.fast[0])),
            End::Complete,
        );
        assert_eq!(seen.answered, Some(401));
        let seen = run(
            &worker,
            &other,
            None,
            &request(Some(&gate.slow[0])),
            End::Waiting,
        );
        assert!(!seen.passed());
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let _main = main_thread();
    let gate = Gate::new();
    let yaml = gate.yaml.as_bytes();
    let cut = &yaml[..yaml.len() / 2];
    for (name, config) in [
        (&b"claimgate"[..], &b""[..]),
        (b"claimgate", b"\xff\xfe"),
        (b"claimgate", b"file:"),
        (b"claimgate", cut),
        (b"other", yaml),
        (b"\xff", yaml),
        (b"", yaml),
    ] {
        assert!(Config::new(name, config).is_none(), "{name:?}");
    }
    for route in [&b""[..], b"\xff", b"{}", br#"{"claimgate.rule": 7}"#] {
        assert!(Route::new(route).is_none(), "{route:?}");
    }
    VALIDATES.store(true, Ordering::SeqCst);
    let validated = gate.config();
    VALIDATES.store(false, Ordering::SeqCst);
    let seen = run(
        &Worker::new(),
        &validated,
        None,
        &request(Some(&gate.fast[0])),
        End::Complete,
    );
    assert_eq!(seen.answered, Some(500), "nothing passes");
}

/// Headers that no client sends, and those that a client can make large.
#[test]
fn any_bytes_are_read() {
    let _main = main_thread();
    let gate = Gate::new();
    let (config, worker) = (gate.config(), Worker::new());
    let long = vec![b'x'; 300 * 1024];
    for (name, value) in [
        (&b""[..], &b""[..]),
        (b"\xff", b"x"),
        (b"x", b"\xff\n\0"),
        (b"x-long", &long),
        (b":path", b"/other"),
        (b"host", b""),
    ] {
        for token in [None, Some(gate.slow[1].as_str())] {
            let mut lines = request(token);
            lines.push((name.to_vec(), value.to_vec()));
            for end in End::ALL {
                let seen = run(&worker, &config, None, &lines, end);
                assert!(token.is_some() || !seen.passed(), "{name:?}");
            }
        }
    }
    let seen = run(&worker, &config, None, &Vec::new(), End::Complete);
    assert!(!seen.passed());
}
