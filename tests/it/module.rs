//! The module for Envoy, in a host that keeps a record: what waits, what leaves the thread of the stream, and
//! what happens without a configuration. `tests/cases` has the decisions.

mod leaks;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claimgate::config::Config;
use claimgate::dev::signer::Signer;
use claimgate::ext_authz::service::Service;
use claimgate::keyring::Algorithm::{EdDsa, Es256, Es384, Es512, Rs256};
use claimgate::time::{Clock, UnixTime};
use claimgate_envoy::filter::{Context, Filter, Judge, Next};
use claimgate_envoy::guard::or_deny;
use claimgate_envoy::stream::Source;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::host::{Fuse, Host, Record, Waker, Wakers, borrowed};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;

/// A request of one stream, and what becomes of it.
struct Exchange {
    filter: Filter<Waker>,
    lines: Vec<(String, Vec<u8>)>,
    record: Rc<RefCell<Record>>,
    wakers: Arc<Wakers>,
    refused: &'static str,
    fuse: Arc<Fuse>,
}

impl Exchange {
    fn new(gate: Option<&Gate>, lines: &[(&str, &str)]) -> Self {
        let judge = gate.map(|gate| Judge {
            gate: gate.service.gate.clone(),
            runtime: Handle::current(),
        });
        let usual = [
            (":method", "GET"),
            (":authority", "a.example"),
            (":path", "/"),
        ];
        let lines = usual.iter().chain(lines);
        Self {
            filter: Filter::new(judge.map(Arc::new)),
            lines: lines
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
            record: Rc::default(),
            wakers: Arc::default(),
            refused: "",
            fuse: Arc::default(),
        }
    }

    fn with_token(gate: &Gate, token: &str) -> Self {
        Self::new(Some(gate), &[("authorization", &format!("Bearer {token}"))])
    }

    fn host(&self) -> Host<'_> {
        Host {
            lines: borrowed(&self.lines),
            source: Source::default(),
            record: Rc::clone(&self.record),
            wakers: Arc::clone(&self.wakers),
            refused: self.refused,
            fuse: Arc::clone(&self.fuse),
        }
    }

    fn begin(&self) -> Next {
        self.filter
            .on_request_headers(self.host(), &Context::from([]))
    }

    /// The status of the denial after the wait. `None` if the request passes.
    async fn end(&self) -> Option<u16> {
        self.wakers.woken.notified().await;
        self.filter.on_woken(self.host());
        let record = self.record.borrow();
        let status = record.denied.as_ref().map(|(status, ..)| *status);
        assert_eq!(record.resumed, usize::from(status.is_none()));
        status
    }

    fn wakers(&self) -> usize {
        self.wakers.there.load(Ordering::SeqCst)
    }
}

fn stranger() -> Arc<Signer> {
    signer(Es256, "stranger")
}

#[tokio::test]
async fn slow_signatures_leave_the_thread_of_the_stream() {
    for (algorithm, first) in [
        (Rs256, Next::Continue),
        (Es256, Next::Continue),
        (EdDsa, Next::Continue),
        (Es384, Next::Wait),
        (Es512, Next::Wait),
    ] {
        let key: Arc<Signer> = signer(algorithm, algorithm.name());
        let issuer = Issuer::start(&[&key]).await;
        let gate = Gate::trusting(&issuer, ACCEPTED).await;
        let token = token(&issuer, &key);
        let exchange = Exchange::with_token(&gate, &token);
        assert_eq!(exchange.begin(), first, "{algorithm}");
        if first == Next::Wait {
            assert_eq!(exchange.end().await, None, "{algorithm}");
        }
        // Known tokens are decided at once.
        let again = Exchange::with_token(&gate, &token);
        assert_eq!(again.begin(), Next::Continue, "{algorithm}");
        let forged = Exchange::with_token(&gate, &forged(&token));
        if forged.begin() == Next::Wait {
            assert_eq!(forged.end().await, Some(401), "{algorithm}");
        }
        assert!(forged.record.borrow().denied.is_some(), "{algorithm}");
    }
}

/// The token with another signature.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{first}{}", &signature[1..])
}

/// All algorithms of the test.
const ACCEPTED: &str = "algorithms: [RS256, ES256, EdDSA, ES384, ES512]";

#[tokio::test]
async fn a_new_key_is_fetched_while_the_request_waits() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, "refresh: { unknown_key_wait: 10s }").await;
    issuer.publish(&[&old, &new]);
    let exchange = Exchange::with_token(&gate, &token(&issuer, &new));
    assert_eq!(exchange.begin(), Next::Wait);
    assert_eq!(exchange.end().await, None);
    assert_eq!(exchange.wakers(), 0);
}

/// A flood of invented key ids is denied at once when the look-ups are used up: nothing is spawned, and
/// the signature is not checked again.
#[tokio::test]
async fn a_flood_does_not_wait() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "refresh: { unknown_key_wait: 10s }").await;
    let mut waited = 0;
    for _ in 0..1_000 {
        let exchange = Exchange::with_token(&gate, &token(&issuer, &stranger()));
        if exchange.begin() == Next::Wait {
            waited += 1;
            assert!(exchange.end().await.is_some());
        }
    }
    assert!(waited <= 3, "{waited}");
}

/// A stream that is reset while it waits is not touched again, and what wakes it is gone at once.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_gone_is_left_alone() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "refresh: { unknown_key_wait: 300ms }").await;
    issuer.reply(JWKS, Reply::Hang);
    let exchange = Exchange::with_token(&gate, &token(&issuer, &stranger()));
    assert_eq!(exchange.begin(), Next::Wait);
    assert_eq!(exchange.wakers(), 1);
    let Exchange {
        filter,
        record,
        wakers,
        ..
    } = exchange;
    drop(filter);
    assert_eq!(wakers.there.load(Ordering::SeqCst), 0);
    let woken = timeout(Duration::from_millis(600), wakers.woken.notified()).await;
    assert!(woken.is_err(), "the stream was woken");
    assert!(record.borrow().denied.is_none());
}

/// Envoy's configuration changes while the key endpoint is down: the new one begins with the keys of the
/// one before, and fetches by itself when that is gone.
#[tokio::test(start_paused = true)]
async fn a_new_configuration_begins_with_known_keys() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let before = Gate::trusting(&issuer, "").await;
    issuer.reply(JWKS, Reply::status(503));
    let config = provider(&issuer, "renamed", "refresh: { min: 1m, max: 1m }");
    let config = Config::from_yaml(&config).unwrap();
    let others = [&before.service.gate];
    let beside = claimgate::gate::Gate::start_beside(&others, config, before.clock.clone()).await;
    let after = Gate {
        service: Service { gate: beside },
        clock: before.clock.clone(),
    };
    let exchange = Exchange::with_token(&after, &token(&issuer, &old));
    assert_eq!(exchange.begin(), Next::Continue);
    drop(before);
    issuer.publish(&[&new]);
    let newer = token(&issuer, &new);
    let mut left = 600;
    while !after.check(&newer).await.is_allow() {
        sleep(Duration::from_secs(1)).await;
        left -= 1;
        assert!(left > 0, "the new key is not fetched");
    }
}

/// A configuration that fetches over another way may trust somebody else: it takes over no keys.
#[tokio::test(start_paused = true)]
async fn keys_of_another_way_are_not_taken_over() {
    let key = signer(Es256, "old");
    let issuer = Issuer::start(&[&key]).await;
    let before = Gate::trusting(&issuer, "").await;
    issuer.reply(JWKS, Reply::status(503));
    for way in [
        "envoy_cluster: other",
        "ca_file: other.pem",
        "proxy: \"http://proxy.example:3128\"",
    ] {
        let config = provider(&issuer, "acme", &format!("fetch: {{ {way} }}"));
        let config = Config::from_yaml(&config).unwrap();
        let others = [&before.service.gate];
        let beside =
            claimgate::gate::Gate::start_beside(&others, config, before.clock.clone()).await;
        let after = Gate {
            service: Service { gate: beside },
            clock: before.clock.clone(),
        };
        let exchange = Exchange::with_token(&after, &token(&issuer, &key));
        assert_eq!(exchange.begin(), Next::Answered, "{way}");
    }
}

/// The key endpoint hangs: the request is denied when the wait is over.
#[tokio::test(start_paused = true)]
async fn a_wait_ends() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "refresh: { unknown_key_wait: 100ms }").await;
    issuer.reply(JWKS, Reply::Hang);
    let exchange = Exchange::with_token(&gate, &token(&issuer, &stranger()));
    assert_eq!(exchange.begin(), Next::Wait);
    assert_eq!(exchange.end().await, Some(503));
}

#[tokio::test]
async fn nothing_passes_without_a_configuration() {
    let exchange = Exchange::new(None, &[]);
    assert_eq!(exchange.begin(), Next::Answered);
    let record = exchange.record.borrow();
    assert_eq!(record.denied, Some((500, Vec::new(), String::new())));
}

#[tokio::test]
async fn what_cannot_be_read_is_denied() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "").await;
    let long = "x".repeat(300 * 1024);
    for (lines, status) in [
        (&[("x-long", long.as_str())][..], 413),
        (&[(":path", "/other")], 400),
        (&[("host", "b.example")], 400),
    ] {
        let exchange = Exchange::new(Some(&gate), lines);
        assert_eq!(exchange.begin(), Next::Answered);
        let record = exchange.record.borrow();
        let found = record.denied.as_ref().map(|(status, ..)| *status);
        assert_eq!(found, Some(status), "{:?}", lines[0].0);
    }
    let spurious = Exchange::new(Some(&gate), &[]);
    spurious.filter.on_woken(spurious.host());
    spurious.filter.on_response_headers(spurious.host());
    let record = spurious.record.borrow();
    assert_eq!((record.resumed, record.response.len()), (0, 0));
}

/// Without an answer in its terms, a gRPC client would be told that all is well.
#[tokio::test]
async fn a_failure_is_one_for_grpc_too() {
    for (content_type, expected) in [
        ("application/json", vec![]),
        ("application/grpc", vec![("grpc-status", "13")]),
    ] {
        let exchange = Exchange::new(None, &[("content-type", content_type)]);
        assert_eq!(exchange.begin(), Next::Answered);
        assert!(!exchange.filter.has_passed());
        let record = exchange.record.borrow();
        let (status, headers, _) = record.denied.as_ref().unwrap();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!((*status, headers), (500, expected), "{content_type}");
    }
}

/// What the host does not do must not be taken for done.
#[tokio::test]
async fn a_host_that_refuses_is_believed() {
    let key = signer(Es256, "key");
    let issuer = Issuer::start(&[&key]).await;
    let upstream = "upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }] }";
    let config = format!("{}{upstream}\n", provider(&issuer, "acme", ""));
    let gate = Gate::start(&config).await;
    gate.service.gate.generation().jwks.all_known().await;
    for refused in [
        "request_headers",
        "set x-auth-subject",
        "remove x_auth_subject",
    ] {
        let mut exchange = Exchange::with_token(&gate, &token(&issuer, &key));
        exchange
            .lines
            .push(("x_auth_subject".to_owned(), b"root".to_vec()));
        exchange.refused = refused;
        assert_eq!(exchange.begin(), Next::Answered, "{refused}");
        assert!(!exchange.filter.has_passed(), "{refused}");
        let record = exchange.record.borrow();
        let status = record.denied.as_ref().map(|(status, ..)| *status);
        assert_eq!(status, Some(500), "{refused}");
    }
}

/// Everything that the module does to a stream.
const EVERYTHING: &str = "
upstream:
  claim_headers: [{ header: x-auth-subject, claim: sub }, { header: x-auth-email, claim: email }]
  forward_token: false
  dynamic_metadata: true
response_headers: [{ header: x-checked-by, value: claimgate }]
";

/// A panic anywhere in the host, and so anywhere between its calls, ends in a denial, and lets nothing pass.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_host_denies() {
    let (fast, slow) = (signer(Es256, "fast"), signer(Es384, "slow"));
    let issuer = Issuer::start(&[&fast, &slow]).await;
    let more = "algorithms: [ES256, ES384]";
    let gate = Gate::start(&format!("{}{EVERYTHING}", provider(&issuer, "acme", more))).await;
    gate.service.gate.generation().jwks.all_known().await;
    for (what, key) in [
        ("allowed", Some(&fast)),
        ("waits", Some(&slow)),
        ("denied", None),
    ] {
        let (mut call, mut unanswered) = (0, 0);
        loop {
            call += 1;
            let bearer = key.map(|key| format!("Bearer {}", fresh(&issuer, key, call)));
            let lines = bearer.as_deref().map(|bearer| ("authorization", bearer));
            let mut exchange = Exchange::new(Some(&gate), lines.as_slice());
            exchange.fuse = Arc::new(fuse(call));
            let passed = exchange.guarded().await;
            let is_burnt = calls(&exchange.fuse) >= call;
            let record = exchange.record.borrow();
            let denied = record.denied.as_ref().map(|(status, ..)| *status);
            match (is_burnt, key) {
                (true, _) => assert!(!passed && record.resumed == 0, "{what}, call {call}"),
                (false, Some(_)) => assert!(passed, "{what}"),
                (false, None) => assert_eq!(denied, Some(401)),
            }
            unanswered += usize::from(denied.is_none() && !passed);
            if !is_burnt {
                break;
            }
        }
        assert!(call > 4, "{what}: {call} calls");
        // A stream that cannot be woken stays where it is.
        assert_eq!(unanswered, usize::from(what == "waits"), "{what}");
    }
}

/// Call number `call` panics, counted from 1.
fn fuse(call: usize) -> Fuse {
    Fuse {
        left: call.into(),
        calls: 0.into(),
    }
}

fn calls(fuse: &Fuse) -> usize {
    fuse.calls.load(Ordering::SeqCst)
}

/// A clock that panics when it is told to.
#[derive(Default)]
struct Broken(Mutex<Arc<Fuse>>);

impl Clock for Broken {
    fn now(&self) -> UnixTime {
        let fuse = Arc::clone(&self.0.lock().unwrap());
        fuse.burn();
        UnixTime::from_secs(NOW)
    }
}

/// A panic while the gate decides ends in a denial. One while it counts and logs changes no answer.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_gate_denies() {
    let (fast, slow) = (signer(Es256, "fast"), signer(Es384, "slow"));
    let issuer = Issuer::start(&[&fast, &slow]).await;
    let more = "algorithms: [ES256, ES384]";
    let config = Config::from_yaml(&format!("{}{EVERYTHING}", provider(&issuer, "acme", more)));
    let clock = Arc::<Broken>::default();
    let gate = claimgate::gate::Gate::start(config.unwrap(), clock.clone()).await;
    gate.generation().jwks.all_known().await;
    let judge = Arc::new(Judge {
        gate,
        runtime: Handle::current(),
    });
    for key in [Some(&fast), Some(&slow), None] {
        let mut failed = 0;
        for call in 1.. {
            let bearer = key.map(|key| format!("Bearer {}", fresh(&issuer, key, call)));
            let lines = bearer.as_deref().map(|bearer| ("authorization", bearer));
            let mut exchange = Exchange::new(None, lines.as_slice());
            exchange.filter = Filter::new(Some(Arc::clone(&judge)));
            let fuse = Arc::new(fuse(call));
            *clock.0.lock().unwrap() = Arc::clone(&fuse);
            let passed = exchange.guarded().await;
            let record = exchange.record.borrow();
            match record.denied.as_ref().map(|(status, ..)| *status) {
                Some(500) => failed += 1,
                Some(status) => assert_eq!((status, key.is_none()), (401, true)),
                None => assert!(passed && key.is_some(), "call {call}"),
            }
            if calls(&fuse) < call {
                break;
            }
        }
        assert!(failed > 0, "no panic");
    }
}

/// A good token that is not known yet.
fn fresh(issuer: &Issuer, key: &Signer, number: usize) -> String {
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": NOW + 60, "jti": number.to_string()});
    key.token(&claims).unwrap()
}

impl Exchange {
    /// Handles the request as the hooks do. Returns whether it passes.
    async fn guarded(&self) -> bool {
        let begin = || {
            let context = Context::from([]);
            Some(self.filter.on_request_headers(self.host(), &context))
        };
        match or_deny(|| Some(self.host()), begin) {
            Some(Next::Continue) => true,
            Some(Next::Answered) | None => false,
            Some(Next::Wait) => {
                let woken = timeout(Duration::from_secs(10), self.wakers.woken.notified());
                if woken.await.is_err() {
                    return false;
                }
                let go_on = || {
                    self.filter.on_woken(self.host());
                    Some(())
                };
                or_deny(|| Some(self.host()), go_on);
                self.record.borrow().resumed == 1
            }
        }
    }
}
