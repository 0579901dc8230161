//! Notices checks that arrive here and not at `server.listen`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::ext_authz::SERVICE_NAME;
use crate::http2::bad_connections::BadConnections;

/// The address of the other end of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) Option<SocketAddr>);

/// Reports a call of the gRPC service over HTTP/1: Envoy sends one if its cluster has no
/// `http2_protocol_options` either.
pub(super) async fn notice(
    State(bad): State<Arc<BadConnections>>,
    Extension(Client(client)): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if path.starts_with(SERVICE_NAME) {
        bad.admin_port(client, "it asks for a check");
    }
    next.run(request).await
}
