//! An OpenID issuer on this machine in place of each provider of a configuration: metadata, keys, and a
//! token endpoint that mints any claims. It authenticates nobody, so it listens on loopback only.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::header::DATE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::clock::ShiftedClock;
use crate::issuer::{asked_claims, granted, refused};
use crate::mint::{Mint, MintError, lifetime};
use claimgate_core::keyring::ProviderId;
use claimgate_core::policy::Policy;
use claimgate_core::time::Clock as _;

/// The end of the year 9999, in seconds since 1970.
const END_OF_DATES: u64 = 253_402_300_800;

/// A free port of this machine, where issuers will answer.
#[derive(Debug)]
pub struct BoundIssuers {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundIssuers {
    /// Binds any free port of the loopback address `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// Fails if no port can be bound.
    pub async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The URL of the first provider's issuer.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers for the providers of this policy. Tokens are minted by this clock.
    pub fn serve(self, policy: &Arc<Policy>, clock: ShiftedClock) -> Issuers {
        let mint = Arc::new(Mutex::new(Mint::new(Arc::clone(policy))));
        let mut routes = Router::new();
        for (id, provider) in policy.providers() {
            let issuer = Arc::new(ProviderIssuer {
                id,
                issuer: provider.terms.issuer.clone(),
                base: format!("http://{}{}", self.address, path(id)),
                lifetime: lifetime(provider),
                mint: Arc::clone(&mint),
                clock: clock.clone(),
            });
            let own = Router::new()
                .route("/.well-known/openid-configuration", get(metadata))
                .route("/jwks", get(jwks))
                .route("/token", post(token))
                .route("/rotate", post(rotate))
                .with_state(issuer);
            routes = match path(id).as_str() {
                "" => routes.merge(own),
                path => routes.nest(path, own),
            };
        }
        // Otherwise claimgate would find that its clock differs from the provider's.
        let routes = routes.layer(map_response_with_state(clock.clone(), with_date));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(self.listener, routes).await {
                tracing::error!(%error, "the issuer failed");
            }
        });
        Issuers {
            address: self.address,
            mint,
            clock,
            server,
        }
    }
}

/// Running issuers. They stop when dropped.
#[derive(Debug)]
pub struct Issuers {
    address: SocketAddr,
    mint: Arc<Mutex<Mint>>,
    clock: ShiftedClock,
    server: JoinHandle<()>,
}

impl Issuers {
    /// Where a provider's keys are. `None` only if the address makes no URL, which cannot happen.
    pub fn jwks_uri(&self, id: ProviderId) -> Option<Url> {
        let uri = format!("http://{}{}/jwks", self.address, path(id));
        Url::parse(&uri).ok()
    }

    /// A valid token of a provider, apart from these changes of its claims and header.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn mint(
        &self,
        id: ProviderId,
        claims: &Map<String, Value>,
        header: &Map<String, Value>,
    ) -> Result<String, MintError> {
        locked(&self.mint).token(id, claims, header, self.clock.now())
    }

    /// Signs a provider's tokens with a new key from now on, and returns its id. The previous key stays
    /// published.
    ///
    /// # Errors
    ///
    /// See [`MintError`].
    pub fn rotate(&self, id: ProviderId) -> Result<String, MintError> {
        locked(&self.mint).rotate(id)
    }
}

impl Drop for Issuers {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The path of a provider's issuer: none for the first, so that its URL is short.
fn path(id: ProviderId) -> String {
    match id {
        ProviderId(0) => String::new(),
        ProviderId(number) => format!("/{number}"),
    }
}

/// What one provider's issuer knows.
#[derive(Debug)]
struct ProviderIssuer {
    id: ProviderId,
    /// The configured `iss`, which need not be this issuer's URL.
    issuer: String,
    base: String,
    /// The usual lifetime of its tokens, in seconds.
    lifetime: u64,
    mint: Arc<Mutex<Mint>>,
    clock: ShiftedClock,
}

fn locked(mint: &Mutex<Mint>) -> MutexGuard<'_, Mint> {
    mint.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says the time of the shifted clock.
async fn with_date(State(clock): State<ShiftedClock>, mut response: Response) -> Response {
    let now = UNIX_EPOCH.checked_add(Duration::from_secs(clock.now().as_secs()));
    // Years above 9999 have no form as a date.
    let date = now
        .filter(|_| clock.now().as_secs() < END_OF_DATES)
        .map(httpdate::fmt_http_date);
    if let Some(date) = date.and_then(|date| HeaderValue::try_from(date).ok()) {
        response.headers_mut().insert(DATE, date);
    }
    response
}

async fn metadata(State(issuer): State<Arc<ProviderIssuer>>) -> Json<Value> {
    let base = &issuer.base;
    Json(json!({
        "issuer": issuer.issuer,
        "jwks_uri": format!("{base}/jwks"),
        "token_endpoint": format!("{base}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
    }))
}

async fn jwks(State(issuer): State<Arc<ProviderIssuer>>) -> Response {
    match locked(&issuer.mint).jwks(issuer.id) {
        Ok(document) => Json(document).into_response(),
        Err(error) => failed(&error),
    }
}

/// Accepts what the issuer of `claimgate dev` accepts.
async fn token(State(issuer): State<Arc<ProviderIssuer>>, request: Request) -> Response {
    let now = issuer.clock.now();
    let claims = match asked_claims(request, now.as_secs()).await {
        Ok(claims) => claims,
        Err(why) => return refused(why),
    };
    let minted = locked(&issuer.mint).token(issuer.id, &claims, &Map::new(), now);
    match minted {
        Ok(token) => {
            let exp = claims.get("exp").and_then(Value::as_u64);
            let lifetime = exp.map_or(issuer.lifetime, |exp| exp.saturating_sub(now.as_secs()));
            granted(&token, lifetime)
        }
        Err(error) => failed(&error),
    }
}

async fn rotate(State(issuer): State<Arc<ProviderIssuer>>) -> Response {
    match locked(&issuer.mint).rotate(issuer.id) {
        Ok(kid) => Json(json!({"kid": kid})).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &MintError) -> Response {
    let error = json!({"error": "server_error", "error_description": error.to_string()});
    (StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response()
}
