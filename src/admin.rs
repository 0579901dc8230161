//! The operator's HTTP listener: health, metrics, and what an operator asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

mod config;
mod denials;
mod diff;
mod explain;
mod guard;
mod health;
mod metrics;
mod page;
mod peer;
mod providers;
mod stats;
mod token;
mod view;
mod wrong_port;

pub(crate) use guard::Access;
pub(crate) use token::AccessToken;
pub use token::TokenError;

use crate::gate::Gate;
use crate::http2::bad_connections::BadConnections;
use crate::http2::connections::Connections;
use crate::http2::handshake::HandshakeError;
use crate::lifecycle::Phase;
use crate::listener::tls::{Tls, TlsConnection};
use crate::listener::{Connection, Listener};
use crate::reload::FileState;
use peer::Peer;
use wrong_port::Client;

/// What the listener reports on.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) gate: Gate,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) file: FileState,
}

/// The maximum number of connections: enough for probes, Prometheus and a person who looks.
pub(crate) const MAX_CONNECTIONS: usize = 16;

/// The time limit for the head of a request to arrive, and for a connection to be idle.
const MAX_READING: Duration = Duration::from_secs(10);

/// The maximum size of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Where the listener listens, and who may connect and read.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) access: Arc<Access>,
}

/// Serves until the future is dropped.
pub(crate) async fn serve(site: Site, admin: Admin) {
    let Site {
        listeners,
        tls,
        access,
    } = site;
    let bad = Arc::new(BadConnections::new(
        admin.gate.metrics.bad_connections().clone(),
    ));
    let counted = admin.gate.metrics.admin_connections().clone();
    let door = Arc::new(Door {
        connections: Arc::new(Connections::new(MAX_CONNECTIONS, counted)),
        routes: routes(admin, Arc::clone(&access), Arc::clone(&bad)),
        tls: tls.clone(),
        bad: Arc::clone(&bad),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(access.watch());
    if let Some(tls) = tls {
        tasks.spawn(tls.watch());
    }
    for listener in listeners {
        tasks.spawn(accept(listener, Arc::clone(&door)));
    }
    while tasks.join_next().await.is_some() {}
}

/// What all connections share.
struct Door {
    connections: Arc<Connections>,
    routes: Router,
    tls: Option<Arc<Tls>>,
    bad: Arc<BadConnections>,
}

async fn accept(listener: Listener, door: Arc<Door>) {
    let mut serving = JoinSet::new();
    loop {
        let connection = tokio::select! {
            Some(_) = serving.join_next() => continue,
            connection = listener.accept() => connection,
        };
        let lease = door.connections.admit().await;
        let door = Arc::clone(&door);
        serving.spawn(async move {
            tokio::select! {
                () = door.serve(connection) => {}
                () = lease.evicted() => {}
            }
        });
    }
}

impl Door {
    async fn serve(&self, connection: Connection) {
        match connection {
            Connection::Unix(stream) => self.answer(stream, Peer::Unix, None).await,
            Connection::Tcp(stream) => {
                let address = stream.peer_addr().ok();
                let Some(tls) = &self.tls else {
                    return self.answer(stream, Peer::at(address, false), address).await;
                };
                if let Some(stream) = self.handshake(tls, stream, address).await {
                    let peer = Peer::at(address, tls.identifies_clients());
                    self.answer(stream, peer, address).await;
                }
            }
        }
    }

    async fn handshake(
        &self,
        tls: &Tls,
        stream: TcpStream,
        client: Option<SocketAddr>,
    ) -> Option<TlsConnection> {
        match timeout(MAX_READING, tls.accept(stream)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(HandshakeError::Refused { cause, advice })) => {
                self.bad.admin_tls_handshake(client, &cause, advice);
                None
            }
            Ok(Err(HandshakeError::Left)) | Err(_) => None,
        }
    }

    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Peer,
        client: Option<SocketAddr>,
    ) {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(MAX_READING)
            .max_buf_size(MAX_HEAD_BYTES);
        let client_address = Extension(Client(client));
        let routes = self.routes.clone();
        let routes = routes.layer(Extension(peer)).layer(client_address);
        let service = TowerToHyperService::new(routes);
        let served = server.serve_connection(TokioIo::new(stream), service).await;
        // Other errors are of no interest: the client has gone, or does not speak HTTP.
        if served.is_err_and(|error| error.is_parse_version_h2()) {
            self.bad
                .admin_port(client, "it begins with HTTP/2, as gRPC does");
        }
    }
}

/// What the routes need.
#[derive(Clone)]
struct Needs {
    admin: Admin,
    access: Arc<Access>,
}

impl FromRef<Needs> for Admin {
    fn from_ref(needs: &Needs) -> Self {
        needs.admin.clone()
    }
}

impl FromRef<Needs> for Arc<Access> {
    fn from_ref(needs: &Needs) -> Self {
        Arc::clone(&needs.access)
    }
}

fn routes(admin: Admin, access: Arc<Access>, bad: Arc<BadConnections>) -> Router {
    Router::new()
        .route("/", get(page::get))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/page.svg", get(page::icon))
        .route("/stats", get(stats::stats))
        .route("/explain", post(explain::post))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/config", get(config::config))
        .route("/diff", get(diff::diff))
        .route("/providers", get(providers::providers))
        .route("/denials", get(denials::newest))
        .route("/denials/{id}", get(denials::by_id))
        .layer(from_fn_with_state(Arc::clone(&access), guard::guard))
        .layer(from_fn_with_state(bad, wrong_port::notice))
        .with_state(Needs { admin, access })
}
