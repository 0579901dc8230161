//! Decides who may read what, before a route sees the request.
//!
//! | routes | without a token | with `admin.token_file` |
//! |---|---|---|
//! | `/livez`, `/readyz` | everyone | everyone |
//! | `/metrics`, `/readyz?verbose` | everyone | who has the token |
//! | all others | who is on this machine, or has a client certificate | who has the token |
//!
//! The other routes are also closed to web pages: a page elsewhere may make a browser send requests
//! to this machine, and may give its own name this machine's address (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use super::health::is_verbose;
use super::peer::{self, Peer};
use super::token::{AccessToken, TokenError};
use crate::config;

/// Who may read what.
#[derive(Debug)]
pub(crate) struct Access {
    token: Option<Arc<AccessToken>>,
    allowed_hosts: Vec<String>,
    explains_to_all: bool,
}

/// What a route shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// Whether the service is alive and ready, for probes.
    Health,
    /// Numbers and names of the configuration, for monitoring.
    Metrics,
    /// Subjects, hosts, paths and the configuration, for an operator.
    Details,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Host,
    CrossSite,
    NoToken,
    WrongToken,
    NotLocal,
    /// A proxy has added this header.
    Forwarded(&'static str),
}

impl Access {
    /// Reads the token, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the token's file cannot be used.
    pub(crate) async fn new(settings: &config::Admin) -> Result<Self, TokenError> {
        Ok(Self {
            token: match &settings.token_file {
                Some(file) => Some(Arc::new(AccessToken::load(file).await?)),
                None => None,
            },
            allowed_hosts: settings.allowed_hosts.clone(),
            explains_to_all: settings.explain,
        })
    }

    /// Reads the token again whenever its file changes. Runs until the future is dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        match &self.token {
            Some(token) => Arc::clone(token).watch().await,
            None => std::future::pending().await,
        }
    }

    /// Whether this client may have a token explained.
    pub(super) fn explains_to(&self, peer: Peer) -> bool {
        self.explains_to_all || peer.is_local()
    }

    fn admit(&self, peer: Peer, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let shows = Shows::of(uri);
        if shows == Shows::Details {
            let host = host(uri, headers);
            if peer != Peer::Unix && !host.as_ref().is_some_and(|host| self.is_ours(host)) {
                return Err(Refusal::Host);
            }
            if is_cross_site(host.as_ref(), headers) {
                return Err(Refusal::CrossSite);
            }
        }
        match (&self.token, shows) {
            (_, Shows::Health) | (None, Shows::Metrics) => Ok(()),
            (Some(token), Shows::Metrics | Shows::Details) => match token.is_in(headers) {
                true => Ok(()),
                false if headers.contains_key(AUTHORIZATION) => Err(Refusal::WrongToken),
                false => Err(Refusal::NoToken),
            },
            (None, Shows::Details) => match peer {
                Peer::Unix | Peer::Loopback | Peer::Certified => Ok(()),
                Peer::Remote => Err(match peer::forwarded_by(headers) {
                    Some(header) => Refusal::Forwarded(header),
                    None => Refusal::NotLocal,
                }),
            },
        }
    }

    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .allowed_hosts
                .iter()
                .any(|allowed| name.eq_ignore_ascii_case(allowed))
    }
}

impl Shows {
    /// A path that is not known shows details, so that a new route is closed.
    fn of(uri: &Uri) -> Self {
        match uri.path() {
            "/livez" => Self::Health,
            "/readyz" => match is_verbose(uri.query()) {
                true => Self::Metrics,
                false => Self::Health,
            },
            "/metrics" => Self::Metrics,
            _ => Self::Details,
        }
    }
}

/// The host that the client addresses. `None` if it is absent, repeated or invalid.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    // It replaces `Host` (RFC 9112 §3.2.2).
    if let Some(authority) = uri.authority() {
        return Some(authority.clone());
    }
    let mut lines = headers.get_all(HOST).iter();
    let (line, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let host: Authority = line.to_str().ok()?.parse().ok()?;
    // RFC 9110 §7.2: a host and a port.
    (!host.as_str().contains('@')).then_some(host)
}

/// Whether another site's page has caused the request. Browsers say so in `Sec-Fetch-Site` (Fetch
/// Metadata), and in `Origin` with each `POST`.
fn is_cross_site(host: Option<&Authority>, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    match site {
        None | Some(b"none" | b"same-origin") => {}
        Some(_) => return true,
    }
    match headers.get(ORIGIN).map(HeaderValue::as_bytes) {
        None => false,
        // A form of our own page sends this, because its referrer policy hides its origin.
        Some(b"null") => site != Some(b"same-origin"),
        Some(origin) => {
            let own = |scheme: &str| host.map(|host| format!("{scheme}://{host}").into_bytes());
            ![own("http"), own("https")].contains(&Some(origin.to_vec()))
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let forwarded;
        let (status, error) = match self {
            Self::Host => (
                StatusCode::FORBIDDEN,
                "the request addresses this listener by an unknown name: use an IP address or \
                 `localhost`, or add the name to `admin.allowed_hosts`",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "another site's page has caused this request: type the address into the browser \
                 instead of following a link",
            ),
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                "`admin.token_file` requires a token: send `Authorization: Bearer` with it, or in \
                 a browser, enter it as the password",
            ),
            Self::WrongToken => (
                StatusCode::UNAUTHORIZED,
                "the token is not the one in `admin.token_file`",
            ),
            Self::NotLocal => (
                StatusCode::FORBIDDEN,
                "this is shown only to connections from the same machine or pod, or with a client \
                 certificate: use `kubectl port-forward` or `claimgate why` there, or set \
                 `admin.token_file`",
            ),
            Self::Forwarded(header) => {
                forwarded = format!(
                    "a proxy has forwarded this request (it has the header `{header}`), so the client may \
                     be on another machine: connect without the proxy, with `kubectl port-forward` or \
                     `claimgate why` there, or set `admin.token_file`"
                );
                (StatusCode::FORBIDDEN, forwarded.as_str())
            }
        };
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let headers = response.headers_mut();
            for scheme in ["Bearer realm=\"claimgate\"", "Basic realm=\"claimgate\""] {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        response
    }
}

/// Headers of every response. Nothing is loaded from elsewhere, framed, stored or guessed at.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
         require-trusted-types-for 'script'",
    ),
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Refuses requests that may not read what they ask for, and protects every response.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let mut request = request;
    let peer = peer.behind(request.headers());
    request.extensions_mut().insert(peer);
    let mut response = match access.admit(peer, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests;
