//! Serves the `Check` listeners.

use std::pin::pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::ext_authz::server;
use crate::ext_authz::service::Service;
use crate::http2::{self, Admitted, Handler, HandlerResult, Shared, routes};
use crate::lifecycle::Phase;
use crate::listener::tls::Tls;
use crate::listener::{Connection, Listener};

/// All services of the `Check` listeners.
pub(super) struct Api {
    pub(super) check: Service,
    pub(super) tls: Option<Arc<Tls>>,
    /// Health and reflection.
    pub(super) others: Routes,
    pub(super) shared: Arc<Shared>,
}

impl Handler for Arc<Api> {
    async fn handle(self, request: Request<Incoming>) -> HandlerResult {
        let Api {
            check,
            tls: _,
            others,
            shared,
        } = &*self;
        match request.uri().path() {
            server::CHECK => server::answer(request, check, &shared.budget).await,
            _ => routes::answer(request, others.clone(), shared).await,
        }
    }
}

/// Accepts connections until the service stops. Then waits until all of them have ended.
pub(super) async fn serve(listener: Listener, api: Arc<Api>, mut phase: watch::Receiver<Phase>) {
    let mut connections = JoinSet::new();
    loop {
        let connection = tokio::select! {
            // An error means that the sender was dropped, which also ends the service.
            _ = phase.wait_for(|phase| *phase == Phase::Stopping) => break,
            Some(_) = connections.join_next() => continue,
            connection = listener.accept() => connection,
        };
        let admitted = api.shared.admit(connection.client()).await;
        let mut phase = phase.clone();
        let stop = async move {
            let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
        };
        match connection {
            Connection::Tcp(stream) => {
                connections.spawn(serve_tcp(stream, admitted, Arc::clone(&api), stop))
            }
            Connection::Unix(stream) => {
                connections.spawn(http2::serve(stream, admitted, Arc::clone(&api), stop))
            }
        };
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one TCP connection, over TLS if it is configured.
async fn serve_tcp(
    stream: TcpStream,
    admitted: Admitted,
    api: Arc<Api>,
    stop: impl Future<Output = ()>,
) {
    let Some(tls) = &api.tls else {
        return http2::serve(stream, admitted, api, stop).await;
    };
    let mut stop = pin!(stop);
    let handshake = admitted.handshake(tls.accept(stream), stop.as_mut());
    if let Some(stream) = handshake.await {
        http2::serve(stream, admitted, Arc::clone(&api), stop).await;
    }
}
