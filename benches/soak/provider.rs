//! An OpenID provider under the soak's control: it rotates its keys, fails and hangs on command, and
//! knows which keys claimgate has been given.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A running provider.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    name: &'static str,
    algorithm: Algorithm,
    address: SocketAddr,
    /// Whether it answers every fetch, now and later.
    is_reliable: bool,
    fetches: AtomicU64,
    state: Mutex<Rotation>,
}

struct Rotation {
    mode: Mode,
    /// Published keys, the newest last.
    keys: Vec<Arc<Key>>,
    /// Withdrawn keys that claimgate may still have.
    leaving: Vec<Arc<Key>>,
    /// The key that signs.
    current: Arc<Key>,
    made: u32,
}

/// How the provider answers fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Answers,
    /// 503.
    Unavailable,
    /// Closes the connection within the answer.
    Breaks,
    /// 200 with a page.
    Page,
    /// Accepts requests and never answers.
    Hangs,
}

/// A signing key, and what claimgate can know about it.
pub struct Key {
    pub signer: Signer,
    /// When it was published.
    pub published: Instant,
    times: Mutex<Times>,
}

/// What claimgate was told about a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// When the first key set with the key was served.
    pub served: Option<Instant>,
    /// When the key was withdrawn.
    pub withdrawn: Option<Instant>,
    /// When the first key set without the withdrawn key was served.
    pub gone: Option<Instant>,
}

impl Key {
    fn generate(algorithm: Algorithm, kid: &str) -> Arc<Self> {
        Arc::new(Self {
            signer: Signer::generate(algorithm, kid).unwrap(),
            published: Instant::now(),
            times: Mutex::default(),
        })
    }

    pub fn times(&self) -> Times {
        *self.times.lock().unwrap()
    }

    fn tell(&self, change: impl FnOnce(&mut Times)) {
        change(&mut self.times.lock().unwrap());
    }
}

impl Provider {
    pub async fn start(name: &'static str, algorithm: Algorithm, is_reliable: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let first = Key::generate(algorithm, &format!("{name}-1"));
        let provider = Self(Arc::new(Inner {
            name,
            algorithm,
            address: listener.local_addr().unwrap(),
            is_reliable,
            fetches: AtomicU64::new(0),
            state: Mutex::new(Rotation {
                mode: Mode::Answers,
                keys: vec![Arc::clone(&first)],
                leaving: Vec::new(),
                current: first,
                made: 1,
            }),
        }));
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        provider
    }

    pub fn name(&self) -> &'static str {
        self.0.name
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Whether it answers every fetch.
    pub fn is_reliable(&self) -> bool {
        self.0.is_reliable
    }

    /// The number of requests for its keys.
    pub fn fetches(&self) -> u64 {
        self.0.fetches.load(Ordering::Relaxed)
    }

    pub fn set_mode(&self, mode: Mode) {
        self.state().mode = mode;
    }

    /// The key that signs now.
    pub fn current(&self) -> Arc<Key> {
        Arc::clone(&self.state().current)
    }

    /// Publishes a new key beside the one that signs, and withdraws the others.
    pub fn publish(&self) {
        let made = {
            let mut state = self.state();
            state.made += 1;
            state.made
        };
        // An RSA key takes a while, and fetches must not wait for it.
        let fresh = Key::generate(self.0.algorithm, &format!("{}-{made}", self.0.name));
        let mut state = self.state();
        let current = Arc::clone(&state.current);
        state.keep(|key| Arc::ptr_eq(key, &current));
        state.keys.push(fresh);
    }

    /// Signs with the newest key from now on. The previous one stays published.
    pub fn sign_with_newest(&self) {
        let mut state = self.state();
        let newest = state.keys.last().map(Arc::clone);
        state.current = newest.unwrap();
    }

    /// Withdraws every key except the one that signs.
    pub fn withdraw_others(&self) {
        let mut state = self.state();
        let current = Arc::clone(&state.current);
        state.keep(|key| Arc::ptr_eq(key, &current));
    }

    fn state(&self) -> MutexGuard<'_, Rotation> {
        self.0.state.lock().unwrap()
    }
}

impl Rotation {
    fn keep(&mut self, is_kept: impl Fn(&Arc<Key>) -> bool) {
        let now = Instant::now();
        for key in self.keys.extract_if(.., |key| !is_kept(key)) {
            key.tell(|times| times.withdrawn = Some(now));
            self.leaving.push(key);
        }
    }

    /// The published keys, about to be sent.
    fn serve(&mut self) -> Value {
        let now = Instant::now();
        for key in &self.keys {
            key.tell(|times| times.served = times.served.or(Some(now)));
        }
        for key in self.leaving.drain(..) {
            key.tell(|times| times.gone = Some(now));
        }
        json!({"keys": self.keys.iter().map(|key| key.signer.jwk()).collect::<Vec<_>>()})
    }
}

async fn metadata(State(provider): State<Provider>) -> Response {
    let issuer = provider.issuer();
    let mode = provider.state().mode;
    let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/jwks")});
    answer(mode, || document).await
}

async fn jwks(State(provider): State<Provider>) -> Response {
    provider.0.fetches.fetch_add(1, Ordering::Relaxed);
    let mode = provider.state().mode;
    answer(mode, || provider.state().serve()).await
}

async fn answer(mode: Mode, document: impl FnOnce() -> Value) -> Response {
    match mode {
        Mode::Answers => axum::Json(document()).into_response(),
        Mode::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mode::Page => Html("<h1>Maintenance</h1>").into_response(),
        Mode::Breaks => {
            let parts = [Ok("{\"keys\": ["), Err(std::io::ErrorKind::BrokenPipe)];
            let parts = parts.map(|part| part.map_err(std::io::Error::from));
            Body::from_stream(tokio_stream::iter(parts)).into_response()
        }
        Mode::Hangs => std::future::pending().await,
    }
}
