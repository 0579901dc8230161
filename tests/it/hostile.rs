//! A hostile or broken key server. Whatever it answers, no token is accepted that the last good
//! keys would not accept, the server is contacted no more often than the back-off allows, and no
//! more of its response is read than the operator's limit.
//!
//! Paused time advances when every task is idle, so a deliberately slow server sleeps by the same
//! clock as the client that times out. A flood never leaves the runtime idle: without a limit, no
//! time-out would end it, and the test would hang.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::keyring::Algorithm::Es256;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::support::authority::authority;
use crate::support::gate::{Gate, NOW, provider};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;

mod answers;
mod documents;

use answers::{Answer, Over};
use documents::Document;

/// How long each server is observed.
const STRETCH: Duration = Duration::from_mins(2);
/// How often tokens arrive meanwhile.
const ROUNDS: u32 = 12;
/// The time limit for one document: the default of `fetch.timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The configured time between two regular fetches, and therefore the maximum pause after a
/// failure. It also equals the default of `refresh.unknown_key_cooldown`.
const REGULARLY: Duration = Duration::from_secs(30);
const MEGABYTE: usize = 1024 * 1024;
/// The configured `fetch.max_bytes`.
const MAX_BYTES: usize = 2 * MEGABYTE;
/// What may be in transit when the client hangs up.
const SOCKET_BUFFERS: usize = 16 * MEGABYTE;
/// The maximum memory of gate and server together, including the server's script.
const MAX_HELD: u64 = 16 * 1024 * 1024;

/// Two servers, of which only one is trusted. Its keys are named `real`; `hostile` is the key in
/// everything that must not be trusted.
pub struct Scene {
    pub issuer: Issuer,
    pub elsewhere: Issuer,
    authority: Option<TempDir>,
}

impl Scene {
    async fn set(over: Over) -> Self {
        let (real, hostile) = (signer(Es256, "real"), signer(Es256, "hostile"));
        let (issuer, authority) = match over {
            Over::Plain => (Issuer::start(&[&real]).await, None),
            Over::Tls => {
                let (pem, server) = authority("127.0.0.1");
                let directory = tempfile::tempdir().unwrap();
                std::fs::write(directory.path().join("ca.pem"), pem).unwrap();
                (Issuer::start_tls(&[&real], server).await, Some(directory))
            }
        };
        Self {
            issuer,
            elsewhere: Issuer::start(&[&hostile]).await,
            authority,
        }
    }

    /// The configuration of a gate that trusts the issuer.
    fn configuration(&self) -> String {
        let ca_file = self.authority.as_ref().map(|directory| {
            let file = directory.path().join("ca.pem");
            format!(", ca_file: {}", file.display())
        });
        let fetch = format!("max_bytes: \"{MAX_BYTES}\"{}", ca_file.unwrap_or_default());
        let refresh = format!("min: {REGULARLY:?}, max: {REGULARLY:?}");
        let more = format!("fetch: {{ {fetch} }}, refresh: {{ {refresh} }}");
        provider(&self.issuer, "acme", &more)
    }

    /// A token that is valid if the key with this name may sign under this id.
    fn token(&self, key: &str, kid: &str) -> String {
        let header = json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"});
        let key = signer(Es256, key);
        key.sign(&header.to_string(), &self.claims()).unwrap()
    }

    fn claims(&self) -> String {
        json!({"iss": self.issuer.url(), "aud": "orders-api", "exp": NOW + 60}).to_string()
    }
}

/// The key with this name, published under this id.
pub fn jwk(key: &str, kid: impl Into<Value>) -> Value {
    let mut jwk = signer(Es256, key).jwk();
    jwk["kid"] = kid.into();
    jwk
}

#[test]
fn hostile_from_the_start() {
    for answer in answers::all() {
        for path in answer.paths {
            watched(answer.what, never_had_keys(&answer, path));
        }
    }
}

#[test]
fn after_good_keys() {
    for answer in answers::all() {
        for path in answer.paths {
            watched(answer.what, had_keys(&answer, path));
        }
    }
}

/// The good keys in a document are used even if the rest is useless, whether the server was honest
/// before or never.
#[test]
fn good_in_part() {
    for document in documents::all() {
        watched(document.what, async {
            let scene = Scene::set(Over::Plain).await;
            (document.publish)(&scene);
            let gate = Gate::start(&scene.configuration()).await;
            gate.service.gate.generation().jwks.all_known().await;
            judged(&document, &scene, &gate).await;
        });
        watched(document.what, async {
            let scene = Scene::set(Over::Plain).await;
            let gate = Gate::start(&scene.configuration()).await;
            gate.service.gate.generation().jwks.all_known().await;
            (document.publish)(&scene);
            sleep(REGULARLY + TIMEOUT).await;
            judged(&document, &scene, &gate).await;
        });
    }
}

async fn judged(document: &Document, scene: &Scene, gate: &Gate) {
    let Document {
        what,
        publish: _,
        passes,
        fails,
    } = document;
    for (key, kid) in *passes {
        let status = gate.check(&scene.token(key, kid)).await.status();
        assert_eq!(status, 200, "{what}: {key} as {kid}");
    }
    for (key, kid) in *fails {
        let status = gate.check(&scene.token(key, kid)).await.status();
        assert_eq!(status, 401, "{what}: {key} as {kid}");
    }
}

/// A published secret is never used as a key.
#[tokio::test(start_paused = true)]
async fn a_published_secret_signs_nothing() {
    let scene = Scene::set(Over::Plain).await;
    let secret = [7; 32];
    let symmetric = json!({
        "kty": "oct", "kid": "symmetric", "alg": "HS256", "use": "sig",
        "k": BASE64_URL_SAFE_NO_PAD.encode(secret),
    });
    let keys = json!({"keys": [symmetric, jwk("real", "real")]});
    scene.issuer.reply(JWKS, Reply::json(&keys));
    let gate = Gate::trusting(&scene.issuer, "").await;
    assert!(gate.check(&scene.token("real", "real")).await.is_allow());

    let header = json!({"alg": "HS256", "kid": "symmetric", "typ": "at+jwt"}).to_string();
    let [header, claims] = [header, scene.claims()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let signed = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let tag = hmac::sign(&key, signed.as_bytes());
    let token = format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
    assert_eq!(gate.check(&token).await.status(), 401);
}

/// Good and bad responses alternate. Each good one resets the back-off, but fetches still keep
/// their pauses.
#[tokio::test(start_paused = true)]
async fn flapping() {
    let set = json!({"keys": [jwk("real", "real")]});
    let hostile = json!({"keys": [jwk("hostile", "hostile")]}).to_string();
    let cut = hostile[..hostile.len() - 1].to_owned();
    for path in [DISCOVERY, JWKS] {
        let scene = Scene::set(Over::Plain).await;
        let url = scene.issuer.url();
        let good = match path {
            JWKS => Reply::json(&set),
            _ => Reply::json(&json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")})),
        };
        let turns = [
            Reply::status(500),
            Reply::json(&json!({"keys": []})),
            Reply::Http(200, vec![], cut.clone()),
            Reply::Hang,
            Reply::Raw(vec![]),
            Reply::status(204),
        ];
        let turns = turns.into_iter().flat_map(|bad| [good.clone(), bad]);
        scene.issuer.reply(path, Reply::Turns(turns.collect()));
        let gate = Gate::start(&scene.configuration()).await;
        gate.service.gate.generation().jwks.all_known().await;

        let seconds = 600;
        for second in 0..seconds {
            let status = async |key, kid| gate.check(&scene.token(key, kid)).await.status();
            assert_eq!(status("real", "real").await, 200, "{path} after {second} s");
            assert_eq!(
                status("hostile", "real").await,
                401,
                "{path} after {second} s"
            );
            sleep(Duration::from_secs(1)).await;
        }
        // A successful fetch is followed by a long pause, a failed one by a short pause. Without
        // metadata, the keys may still be at their previous URL. The bad signature triggers fetches
        // too, three at once and one more per cool-down. The length of the short pauses is partly
        // random.
        let fewest = seconds / (REGULARLY + TIMEOUT).as_secs();
        let most = 4 * (seconds / REGULARLY.as_secs() + 1);
        let asked = scene.issuer.asked(path) as u64;
        assert!(
            (fewest..=most).contains(&asked),
            "{path}: {asked} times, at most {most}"
        );
    }
}

/// Runs in paused time and checks the memory: nothing that a provider sends may accumulate.
fn watched(what: &str, scene: impl Future<Output = ()>) {
    let held = allocation_counter::measure(|| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(scene);
    });
    assert!(
        held.bytes_max < MAX_HELD,
        "{what}: held {} bytes",
        held.bytes_max
    );
}

/// Without keys, good and bad tokens cannot be told apart, so all get an error that does not blame
/// the caller.
async fn never_had_keys(answer: &Answer, path: &str) {
    let scene = Scene::set(answer.over).await;
    scene.issuer.reply(path, (answer.reply)(&scene, path));
    let gate = Gate::start(&scene.configuration()).await;
    let mut turned_away = 0;
    for _ in 0..ROUNDS {
        sleep(STRETCH / ROUNDS).await;
        for (key, kid) in [
            ("real", "real"),
            ("hostile", "real"),
            ("hostile", "hostile"),
        ] {
            let status = gate.check(&scene.token(key, kid)).await.status();
            assert_eq!(status, 503, "{}: {key} as {kid}", answer.what);
            turned_away += 1;
        }
    }
    let reason = "claimgate_denials_total{reason=\"keys_unavailable\",provider=\"acme\"}";
    assert_eq!(gate.metric(reason), turned_away.to_string());
    left_in_peace(answer, &scene, &gate, 0, 0).await;
}

/// Keys that were fetched before stay, and no others are added.
async fn had_keys(answer: &Answer, path: &str) {
    let scene = Scene::set(answer.over).await;
    let gate = Gate::start(&scene.configuration()).await;
    gate.service.gate.generation().jwks.all_known().await;
    let before = scene.issuer.connections();
    scene.issuer.reply(path, (answer.reply)(&scene, path));
    for _ in 0..ROUNDS {
        sleep(STRETCH / ROUNDS).await;
        let status = async |key, kid| gate.check(&scene.token(key, kid)).await.status();
        assert_eq!(status("real", "real").await, 200, "{}", answer.what);
        assert_eq!(status("hostile", "real").await, 401, "{}", answer.what);
        // Whether such a key exists by now is unknown, unless the keys are still at their URL and
        // only the metadata fails.
        let unknown = status("hostile", "hostile").await;
        let expected: &[i32] = if path == JWKS { &[503] } else { &[401, 503] };
        assert!(expected.contains(&unknown), "{}: {unknown}", answer.what);
    }
    // Tokens triggered fetches too: three at once, and one more per cool-down.
    let asked = times(REGULARLY) + 3;
    left_in_peace(answer, &scene, &gate, before, asked).await;
}

/// Further checks of a server after the observation. `before` is the number of connections before
/// it, and `asked` the number of fetches that requests triggered.
async fn left_in_peace(answer: &Answer, scene: &Scene, gate: &Gate, before: usize, asked: usize) {
    let Answer {
        what,
        error,
        requests,
        ..
    } = answer;
    let fetches = |result: &str| -> usize {
        let series =
            format!("claimgate_jwks_fetches_total{{provider=\"acme\",result=\"{result}\"}}");
        gate.metric(&series).parse().unwrap()
    };
    let ended = fetches("success") + fetches("failure");
    let most = max_fetches() + asked;
    assert!(
        (fewest_fetches()..=most).contains(&ended),
        "{what}: {ended} fetches, at most {most}"
    );

    let connections = scene.issuer.connections() - before;
    // One fetch may be under way.
    let most = (ended + 1) * requests;
    assert!(
        connections <= most,
        "{what}: {connections} connections, at most {most}"
    );
    // The server notices an abandoned connection when it polls it.
    for _ in 0..100_000 {
        if scene.issuer.open() <= 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(
        scene.issuer.open() <= 1,
        "{what}: {} left open",
        scene.issuer.open()
    );
    assert_eq!(scene.elsewhere.connections(), 0, "{what}: went elsewhere");
    assert!(!scene.issuer.head(DISCOVERY).contains("accept-encoding"));

    let taken = scene.issuer.taken();
    assert!(
        taken <= MAX_BYTES + SOCKET_BUFFERS,
        "{what}: took {taken} bytes"
    );

    let (id, _) = gate
        .service
        .gate
        .generation()
        .policy
        .providers()
        .next()
        .unwrap();
    let status = gate.service.gate.generation().jwks.status(id).unwrap();
    match &status.error {
        Some(found) => assert!(found.to_string().contains(error), "{what}: {found}"),
        // The keys were fetched from their previous URL.
        None => assert!(status.fetched.is_some(), "{what}"),
    }
}

/// The pauses of `jwks::schedule` after one failure and after several, each as short as the
/// randomness allows.
fn max_fetches() -> usize {
    let mut doubled = Duration::from_secs(1);
    let (mut at, mut fetches) = (Duration::ZERO, 0);
    while at <= STRETCH {
        fetches += 1;
        at += doubled.min(REGULARLY) / 2;
        doubled *= 2;
    }
    fetches
}

/// The case in which metadata and keys both take the maximum time, and the pause is at its maximum.
fn fewest_fetches() -> usize {
    times(REGULARLY + 2 * TIMEOUT)
}

/// How many times the given time fits into the observation.
fn times(span: Duration) -> usize {
    usize::try_from(STRETCH.as_secs() / span.as_secs()).unwrap()
}
