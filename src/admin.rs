//! The operator's HTTP listener: liveness, readiness, metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};

use crate::gate::denials::DenialRecord;
use crate::gate::{Gate, Generation};
use crate::http2::connections::Connections;
use crate::lifecycle::Phase;
use crate::listener::{Connection, Listener};
use crate::reload::Rejected;
use crate::telemetry::exposition::Format;

/// What the listener reports on.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) gate: Gate,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) rejected: Rejected,
}

/// The maximum number of connections: enough for probes, Prometheus and a person who looks.
pub(crate) const MAX_CONNECTIONS: usize = 16;

/// The time limit for the head of a request to arrive, and for a connection to be idle.
const MAX_READING: Duration = Duration::from_secs(10);

/// The maximum size of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Serves until the future is dropped.
pub(crate) async fn serve(listener: Listener, admin: Admin) {
    let counted = admin.gate.metrics.admin_connections().clone();
    let connections = Arc::new(Connections::new(MAX_CONNECTIONS, counted));
    let routes = routes(admin);
    let mut serving = JoinSet::new();
    loop {
        let connection = tokio::select! {
            Some(_) = serving.join_next() => continue,
            connection = listener.accept() => connection,
        };
        let peer = Peer::of(&connection);
        let (lease, routes) = (
            connections.admit().await,
            routes.clone().layer(Extension(peer)),
        );
        serving.spawn(async move {
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(MAX_READING)
                .max_buf_size(MAX_HEAD_BYTES);
            let service = TowerToHyperService::new(routes);
            // Errors are the client's: it has gone, or does not speak HTTP.
            match connection {
                Connection::Tcp(stream) => tokio::select! {
                    _ = server.serve_connection(TokioIo::new(stream), service) => {}
                    () = lease.evicted() => {}
                },
                Connection::Unix(stream) => tokio::select! {
                    _ = server.serve_connection(TokioIo::new(stream), service) => {}
                    () = lease.evicted() => {}
                },
            }
        });
    }
}

fn routes(admin: Admin) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/denials", get(denials))
        .route("/denials/{id}", get(denial))
        .with_state(admin)
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// A process on this machine, or in this pod: `kubectl port-forward` and `kubectl exec` too.
    Local,
    Remote,
}

impl Peer {
    fn of(connection: &Connection) -> Self {
        match connection {
            Connection::Tcp(stream) => Self::at(stream.peer_addr().ok()),
            Connection::Unix(_) => Self::Local,
        }
    }

    fn at(address: Option<SocketAddr>) -> Self {
        match address.is_some_and(|address| address.ip().to_canonical().is_loopback()) {
            true => Self::Local,
            false => Self::Remote,
        }
    }
}

/// Refuses what only an operator may see: denials name subjects, hosts and paths.
fn only_local(peer: Peer) -> Result<(), NotLocal> {
    match peer {
        Peer::Local => Ok(()),
        Peer::Remote => Err(NotLocal),
    }
}

/// The response to a connection from another machine.
struct NotLocal;

impl IntoResponse for NotLocal {
    fn into_response(self) -> Response {
        let error = "denials are shown only to connections from the same machine or pod: use \
                     `kubectl port-forward` or `claimgate why` there";
        (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response()
    }
}

async fn index() -> &'static str {
    concat!(
        "claimgate ",
        env!("CARGO_PKG_VERSION"),
        "\n\n",
        "/livez    is the process alive\n",
        "/readyz   can it judge tokens of every provider (?verbose: the state of each)\n",
        "/metrics  Prometheus metrics\n",
        "/denials  the last denials (JSON); /denials/ID: one, by its request id or trace id\n",
    )
}

async fn livez() -> &'static str {
    "alive\n"
}

/// Responds with 200, or with 503 and a line for everything that is missing. `?verbose` adds the state
/// of the configuration and of each provider.
async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let mut lines = Vec::new();
    if *admin.phase.borrow() != Phase::Serving {
        lines.push("not ready: shutting down".to_owned());
    }
    let generation = admin.gate.generation();
    let Generation { policy, jwks, .. } = &*generation;
    for id in jwks.awaited() {
        let provider = policy.provider(id);
        let name = provider.map_or("?", |provider| &provider.name);
        let why = jwks
            .status(id)
            .and_then(|status| status.error.clone())
            .map_or_else(
                || "still being fetched".to_owned(),
                |error| error.to_string(),
            );
        lines.push(format!("not ready: no keys of provider `{name}`: {why}"));
    }
    let status = match lines.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    if lines.is_empty() {
        lines.push("ready".to_owned());
    }
    if is_verbose(query.as_deref()) {
        lines.extend(details(&admin, &generation));
    }
    (status, lines.join("\n") + "\n").into_response()
}

fn is_verbose(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "verbose" | "verbose=" | "verbose=true"))
}

/// The state of the configuration and of each provider, one per line. A problem with the
/// configuration may take several lines.
fn details(admin: &Admin, generation: &Generation) -> Vec<String> {
    let Generation {
        hash, policy, jwks, ..
    } = generation;
    let mut lines = vec![format!("configuration {hash} is in force")];
    if let Some(problems) = &*admin.rejected.load() {
        let rejected = problems
            .lines()
            .map(|problem| format!("the configuration file is rejected: {problem}"));
        lines.extend(rejected);
    }
    for (id, provider) in policy.providers() {
        let name = &provider.name;
        let state = match jwks.age(id) {
            Some(age) => format!("keys fetched {} s ago", age.as_secs()),
            None => "no keys".to_owned(),
        };
        let error = jwks.status(id).and_then(|status| status.error.clone());
        let state = match jwks.exemption(id) {
            Some(exemption) => format!("{state}; {exemption}"),
            None => state,
        };
        lines.push(match error {
            Some(error) => format!("provider `{name}`: {state}; the last fetch failed: {error}"),
            None => format!("provider `{name}`: {state}"),
        });
    }
    lines
}

/// The last denials, newest first.
async fn denials(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, NotLocal> {
    only_local(peer)?;
    let denials: Vec<_> = admin.gate.denials.newest().collect();
    let denials: Vec<&DenialRecord> = denials.iter().map(Arc::as_ref).collect();
    Ok(Json(json!({ "denials": denials })).into_response())
}

/// One denial, by its request id or trace id.
async fn denial(
    State(admin): State<Admin>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
) -> Result<Response, NotLocal> {
    only_local(peer)?;
    Ok(match admin.gate.denials.find(&id) {
        Some(record) => Json(record).into_response(),
        None => {
            let error = "none of the last denials has this request id or trace id";
            (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response()
        }
    })
}

/// Renders one page at a time, on a blocking thread, because 10,000 series take milliseconds and
/// would delay checks.
async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    static ONE: Semaphore = Semaphore::const_new(1);
    let turn = ONE.acquire().await;
    admin.gate.generation().observe();
    let metrics = Arc::clone(&admin.gate.metrics);
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let encode = move || {
        let _turn = turn;
        metrics.encode().map(|text| format.render(&text))
    };
    let text = spawn_blocking(encode).await;
    match text.unwrap_or(Err(std::fmt::Error)) {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::Config;
    use crate::time::SystemClock;

    #[test]
    fn only_loopback_is_local() {
        for (address, expected) in [
            ("127.0.0.1:1", Peer::Local),
            ("127.8.0.1:1", Peer::Local),
            ("[::1]:1", Peer::Local),
            ("[::ffff:127.0.0.1]:1", Peer::Local),
            ("10.0.0.7:1", Peer::Remote),
            ("[::ffff:10.0.0.7]:1", Peer::Remote),
            ("[fe80::1]:1", Peer::Remote),
        ] {
            assert_eq!(Peer::at(address.parse().ok()), expected, "{address}");
        }
        assert_eq!(Peer::at(None), Peer::Remote);
    }

    #[tokio::test]
    async fn other_machines_see_no_denials() {
        let yaml = "providers: [{ issuer: 'https://idp.example.com', audiences: [a], \
                    jwks: { file: /nonexistent.json } }]";
        let config = Config::from_yaml(yaml).unwrap();
        let (_phase, phase) = watch::channel(Phase::Serving);
        let admin = Admin {
            gate: Gate::start(config, Arc::new(SystemClock)).await,
            phase,
            rejected: Rejected::default(),
        };
        for (peer, path, expected) in [
            (Peer::Local, "/denials", 200),
            (Peer::Local, "/denials/a", 404),
            (Peer::Remote, "/denials", 403),
            (Peer::Remote, "/denials/a", 403),
            (Peer::Remote, "/metrics", 200),
            (Peer::Remote, "/livez", 200),
        ] {
            let routes = routes(admin.clone()).layer(Extension(peer));
            let request = Request::get(path).body(Body::empty()).unwrap();
            let status = routes.oneshot(request).await.unwrap().status();
            assert_eq!(status.as_u16(), expected, "{peer:?} {path}");
        }
    }
}
