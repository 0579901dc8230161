//! A real OpenID issuer for one machine: metadata, keys, a token endpoint that mints any claims,
//! and key rotation on demand. It authenticates nobody, so it listens on loopback only.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::error::Unspecified;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::signer::Signer;
use claimgate_core::keyring::Algorithm;
use claimgate_core::time::{Clock, SystemClock};

/// The default lifetime of minted tokens, in seconds.
const LIFETIME: u64 = 3600;

/// A running issuer. It stops when dropped.
#[derive(Debug)]
pub struct Issuer {
    state: Arc<IssuerState>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct IssuerState {
    url: String,
    audience: String,
    keys: Mutex<Keys>,
}

#[derive(Debug)]
struct Keys {
    current: Signer,
    /// Still published until the next rotation, so that its tokens stay valid.
    previous: Option<Signer>,
    made: u32,
}

/// Why the issuer did not start.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        error: std::io::Error,
    },
    /// The address is reachable from the network, where anyone could get a token.
    #[error("{0} is not a loopback address; the issuer gives a token to anyone who asks")]
    NotLoopback(SocketAddr),
    /// The system provides no randomness.
    #[error("cannot create a signing key")]
    Key(#[from] Unspecified),
}

impl Issuer {
    /// Starts an issuer of tokens for `audience`. Port 0 picks any free port.
    ///
    /// # Errors
    ///
    /// Fails if the address cannot be bound, or is not a loopback address.
    pub async fn start(address: SocketAddr, audience: &str) -> Result<Self, IssuerError> {
        if !address.ip().is_loopback() {
            return Err(IssuerError::NotLoopback(address));
        }
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, bound) = bind
            .await
            .map_err(|error| IssuerError::Bind { address, error })?;
        let state = Arc::new(IssuerState {
            url: format!("http://{bound}"),
            audience: audience.to_owned(),
            keys: Mutex::new(Keys {
                current: Signer::generate(Algorithm::Rs256, "dev-1")?,
                previous: None,
                made: 1,
            }),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/rotate", post(rotate))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "the issuer failed");
            }
        });
        Ok(Self { state, server })
    }

    /// The `iss` of its tokens, which is also its URL.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// A token with the usual claims, changed by `claims`; a `null` removes a claim.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness.
    pub fn mint(&self, claims: &Map<String, Value>) -> Result<String, Unspecified> {
        self.state.mint(claims)
    }

    /// Signs with a new key from now on. The previous key stays published; older ones do not.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness.
    pub fn rotate(&self) -> Result<(), Unspecified> {
        self.state.rotate().map(|_| ())
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl IssuerState {
    fn mint(&self, asked: &Map<String, Value>) -> Result<String, Unspecified> {
        let now = SystemClock.now().as_secs();
        let mut claims = json!({
            "iss": self.url,
            "sub": "alice",
            "aud": self.audience,
            "client_id": "dev-client",
            "scope": "orders:read",
            "iat": now,
            "exp": now + LIFETIME,
            "jti": format!("{:016x}", fastrand::u64(..)),
        });
        if let Some(claims) = claims.as_object_mut() {
            claims.extend(asked.clone());
            claims.retain(|_, value| !value.is_null());
        }
        self.keys().current.token(&claims)
    }

    fn rotate(&self) -> Result<String, Unspecified> {
        let mut keys = self.keys();
        let made = keys.made + 1;
        let fresh = Signer::generate(Algorithm::Rs256, &format!("dev-{made}"))?;
        keys.made = made;
        keys.previous = Some(std::mem::replace(&mut keys.current, fresh));
        Ok(keys.current.kid().to_owned())
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn metadata(State(issuer): State<Arc<IssuerState>>) -> Json<Value> {
    let url = &issuer.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "token_endpoint": format!("{url}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn jwks(State(issuer): State<Arc<IssuerState>>) -> Json<Value> {
    let keys = issuer.keys();
    let published = [Some(&keys.current), keys.previous.as_ref()];
    Json(json!({"keys": published.into_iter().flatten().map(Signer::jwk).collect::<Vec<_>>()}))
}

/// Accepts claims as a JSON object, or as an OAuth form whose fields become claims. In a form,
/// `audience` sets `aud`, `expires_in` counts seconds from now, and `claims` is a JSON object.
async fn token(State(issuer): State<Arc<IssuerState>>, request: Request) -> Response {
    let now = SystemClock.now().as_secs();
    let claims = match asked_claims(request, now).await {
        Ok(claims) => claims,
        Err(why) => return refused(why),
    };
    let exp = claims.get("exp").and_then(Value::as_u64);
    let lifetime = exp.map_or(LIFETIME, |exp| exp.saturating_sub(now));
    match issuer.mint(&claims) {
        Ok(token) => granted(&token, lifetime),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The claims that a token request asks for at `now`, in seconds since 1970.
pub(crate) async fn asked_claims(
    request: Request,
    now: u64,
) -> Result<Map<String, Value>, &'static str> {
    let is_json = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let Ok(body) = axum::body::to_bytes(request.into_body(), 64 * 1024).await else {
        return Err("the body cannot be read, or has over 64 KiB");
    };
    match is_json {
        true => read_json(&body),
        false => read_form(&body, now),
    }
}

/// An OAuth response with a token that is valid for this many seconds (RFC 6749 §5.1).
pub(crate) fn granted(token: &str, lifetime: u64) -> Response {
    Json(json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime,
    }))
    .into_response()
}

/// An OAuth error response (RFC 6749 §5.2).
pub(crate) fn refused(why: &str) -> Response {
    let error = json!({"error": "invalid_request", "error_description": why});
    (StatusCode::BAD_REQUEST, Json(error)).into_response()
}

fn read_json(body: &Bytes) -> Result<Map<String, Value>, &'static str> {
    serde_json::from_slice(body).map_err(|_| "the body is not a JSON object of claims")
}

fn read_form(body: &Bytes, now: u64) -> Result<Map<String, Value>, &'static str> {
    let mut claims = Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        match name.as_ref() {
            "grant_type" | "client_secret" => {}
            "audience" | "resource" => {
                claims.insert("aud".to_owned(), value.as_ref().into());
            }
            "expires_in" => {
                let seconds: i64 = value.parse().map_err(|_| "`expires_in` is not a number")?;
                let exp = now.saturating_add_signed(seconds);
                claims.insert("exp".to_owned(), exp.into());
            }
            "claims" => {
                let asked: Map<String, Value> =
                    serde_json::from_str(&value).map_err(|_| "`claims` is not a JSON object")?;
                claims.extend(asked);
            }
            _ => {
                claims.insert(name.into_owned(), value.as_ref().into());
            }
        }
    }
    Ok(claims)
}

async fn rotate(State(issuer): State<Arc<IssuerState>>) -> Response {
    match issuer.rotate() {
        Ok(kid) => Json(json!({"kid": kid})).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
