//! The whole gate inside a test: an API's own tests pass requests through it as Envoy would.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};
use serde_json::{Map, Value};

use crate::mint::{Mint, MintError};
use claimgate_config::{Config, ConfigError, KeySource};
use claimgate_core::answer::{Answer, DirectResponse};
use claimgate_core::identity::Changes;
use claimgate_core::keyring::ProviderId;
use claimgate_core::policy::Policy;
use claimgate_core::request::{Request, without_parameters};
use claimgate_core::time::{Clock, SystemClock, UnixTime};
use claimgate_gate::Circumstances;

/// Decides requests by a configuration, with keys created for the test instead of the providers'
/// keys. Fetches nothing.
pub struct Gate {
    inner: claimgate_gate::Gate,
    policy: Arc<Policy>,
    mint: Mutex<Mint>,
    clock: Arc<MovableClock>,
}

/// What the upstream's response gets besides its own headers (`upstream.response_headers`): an
/// extension of the requests that [`Gate::check`] lets pass.
#[derive(Clone, Debug, Default)]
pub struct ResponseHeaders(pub HeaderMap);

/// Why a [`Gate`] could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No key can be created.
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that decides by this configuration, for example the one used in production. Its
    /// clock starts at the machine's time and stands still. It writes no decision log. Call it inside a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(yaml: &str) -> Result<Self, StartError> {
        let mut config = Config::from_yaml(yaml)?;
        config.decision_log = None;
        let policy = Arc::clone(&config.policy);
        let mut mint = Mint::new(Arc::clone(&policy));
        for (index, settings) in config.keys.iter_mut().enumerate() {
            settings.source = KeySource::Inline(mint.keys(ProviderId(index))?);
        }
        let clock = Arc::new(MovableClock::new(SystemClock.now()));
        let dynamic: Arc<dyn Clock> = Arc::<MovableClock>::clone(&clock);
        Ok(Self {
            inner: claimgate_gate::Gate::start(config, dynamic).await,
            policy,
            mint: Mutex::new(mint),
            clock,
        })
    }

    /// A valid token of the first provider with these claims (a JSON object). Claims that the
    /// provider requires are there unless given; `null` removes one.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn mint(&self, claims: &Value) -> Result<String, MintError> {
        self.mint_by(ProviderId(0), claims)
    }

    /// The same for the provider with this name.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn mint_as(&self, provider: &str, claims: &Value) -> Result<String, MintError> {
        let mut providers = self.policy.providers();
        let found = providers.find(|(_, known)| known.name == provider);
        let (id, _) = found.ok_or_else(|| MintError::Provider(provider.to_owned()))?;
        self.mint_by(id, claims)
    }

    fn mint_by(&self, id: ProviderId, claims: &Value) -> Result<String, MintError> {
        let claims = claims.as_object().ok_or(MintError::NoObject)?;
        let mut mint = self.mint.lock().unwrap_or_else(PoisonError::into_inner);
        mint.token(id, claims, &Map::new(), self.clock.now())
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.clock.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    /// Decides a request as Envoy sends it. The host is that of the URI, else of the header `host`.
    ///
    /// # Errors
    ///
    /// The response that the caller gets, if the request may not pass.
    pub async fn check<B>(
        &self,
        mut request: http::Request<B>,
    ) -> Result<http::Request<B>, Box<http::Response<String>>> {
        let (uri, method) = (request.uri().clone(), request.method().clone());
        let headers = request.headers().clone();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(Authority::as_str).or(host);
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        // Envoy shows the host only as `:authority`.
        let lines = headers.iter().filter(|(name, _)| *name != HOST);
        let seen = Request {
            method: method.as_str(),
            host: host.unwrap_or_default(),
            path,
            path_bytes: Some(path.as_bytes()),
            headers: lines
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect(),
            ..Request::default()
        };
        let judged = self.inner.decide(&seen, Duration::MAX).await;
        let circumstances = Circumstances {
            request: Some(&seen),
            took: Duration::ZERO,
            max_wait: Duration::MAX,
            trace_id: None,
        };
        self.inner.conclude(&judged, circumstances);
        match judged.answer(&seen) {
            Answer::Pass(pass) => {
                apply(&pass.changes(), &mut request);
                Ok(request)
            }
            Answer::Direct(direct) => Err(Box::new(response(direct))),
        }
    }
}

/// Changes a request as Envoy does.
fn apply<B>(changes: &Changes<'_>, request: &mut http::Request<B>) {
    put(&changes.set, request.headers_mut());
    for name in &changes.remove {
        request.headers_mut().remove(&**name);
    }
    if !changes.remove_query.is_empty() {
        let without = uri_without(request.uri(), &changes.remove_query);
        *request.uri_mut() = without.unwrap_or_else(|| request.uri().clone());
    }
    let mut added = HeaderMap::new();
    put(&changes.response, &mut added);
    request.extensions_mut().insert(ResponseHeaders(added));
}

fn response(direct: DirectResponse<'_>) -> http::Response<String> {
    let mut response = http::Response::new(direct.body.into_owned());
    *response.status_mut() = http::StatusCode::from_u16(direct.status).unwrap_or_default();
    put(&direct.headers, response.headers_mut());
    response
}

/// Sets headers. Each replaces all headers with its name.
fn put<V: AsRef<str>>(from: &[(&str, V)], into: &mut HeaderMap) {
    for (name, value) in from {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            continue;
        };
        match HeaderValue::from_str(value.as_ref()) {
            Ok(value) => into.insert(name, value),
            // In a request, the existing header comes from the client and must not stay.
            Err(_) => into.remove(name),
        };
    }
}

/// The URI without these parameters. `None` if the result is not a valid URI.
fn uri_without(uri: &Uri, names: &[&str]) -> Option<Uri> {
    let path = without_parameters(uri.path_and_query()?.as_str().as_bytes(), names);
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.as_slice().try_into().ok()?);
    Uri::from_parts(parts).ok()
}

/// Shows the time that it is told, in whole seconds.
struct MovableClock(AtomicU64);

impl MovableClock {
    fn new(now: UnixTime) -> Self {
        Self(AtomicU64::new(now.as_secs()))
    }
}

impl Clock for MovableClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::Relaxed))
    }
}
