//! Counts and logs connections and streams that never become checks, and shows the last ones. Envoy treats each as an outage
//! of claimgate: an error, or an allow under `failure_mode_allow`.

use std::error::Error as _;
use std::net::SocketAddr;

use h2::Reason;

use crate::telemetry::every_minute::EveryMinute;
use crate::telemetry::metrics::{BadConnection, BadConnectionMetrics};

/// Counts bad connections, and logs one of each kind per minute.
#[derive(Debug, Default)]
pub(crate) struct BadConnections {
    metrics: BadConnectionMetrics,
    http1: EveryMinute,
    tls: EveryMinute,
    not_http2: EveryMinute,
    protocol_error: EveryMinute,
    reset: EveryMinute,
    tls_handshake: EveryMinute,
    admin_port: EveryMinute,
    admin_tls_handshake: EveryMinute,
}

impl BadConnections {
    pub(crate) fn new(metrics: BadConnectionMetrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// A client begins with another protocol than HTTP/2.
    pub(super) fn other_protocol(&self, client: Option<SocketAddr>, kind: BadConnection) {
        let cause = match kind {
            BadConnection::Http1 => "it begins with an HTTP/1 request",
            BadConnection::Tls => "it begins with a TLS handshake, but this listener is plain text",
            _ => "it does not begin with HTTP/2",
        };
        self.note(client, kind, cause, advice(kind));
    }

    /// The server resets a stream with this error code.
    pub(super) fn reset(&self, client: Option<SocketAddr>, code: u32) {
        let reason = Reason::from(code);
        // Other codes are for requests that reached a handler.
        let is_unseen = [
            Reason::PROTOCOL_ERROR,
            Reason::FLOW_CONTROL_ERROR,
            Reason::FRAME_SIZE_ERROR,
            Reason::REFUSED_STREAM,
        ]
        .contains(&reason);
        if is_unseen {
            let kind = BadConnection::Reset;
            self.note(client, kind, reason.description(), advice(kind));
        }
    }

    /// A connection that began with HTTP/2 ends with this error.
    pub(super) fn ended(&self, client: Option<SocketAddr>, error: &hyper::Error) {
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        // Other errors mean that the client has disconnected.
        if let Some(error) = cause.filter(|cause: &&h2::Error| cause.is_library()) {
            let kind = BadConnection::ProtocolError;
            self.note(client, kind, &error.to_string(), advice(kind));
        }
    }

    /// A TLS handshake fails.
    pub(super) fn tls_handshake(&self, client: Option<SocketAddr>, cause: &str, advice: &str) {
        self.note(client, BadConnection::TlsHandshake, cause, advice);
    }

    /// A client brings a check to the admin listener.
    pub(crate) fn admin_port(&self, client: Option<SocketAddr>, cause: &str) {
        let kind = BadConnection::AdminPort;
        self.note(client, kind, cause, advice(kind));
    }

    /// A TLS handshake with the admin listener fails. It is not counted, because no check is lost.
    pub(crate) fn admin_tls_handshake(
        &self,
        client: Option<SocketAddr>,
        cause: &str,
        advice: &str,
    ) {
        let recent = self.metrics.recent();
        recent.note("admin_tls_handshake", client, cause, advice);
        if let Some(times) = self.admin_tls_handshake.due() {
            let client = client.map(tracing::field::display);
            tracing::warn!(client, cause, advice, times, "admin TLS handshake failed");
        }
    }

    fn note(&self, client: Option<SocketAddr>, kind: BadConnection, cause: &str, advice: &str) {
        self.metrics.of(kind).inc();
        self.metrics
            .recent()
            .note(kind.name(), client, cause, advice);
        let lines = match kind {
            BadConnection::Http1 => &self.http1,
            BadConnection::Tls => &self.tls,
            BadConnection::NotHttp2 => &self.not_http2,
            BadConnection::ProtocolError => &self.protocol_error,
            BadConnection::Reset => &self.reset,
            BadConnection::TlsHandshake => &self.tls_handshake,
            BadConnection::AdminPort => &self.admin_port,
        };
        if let Some(times) = lines.due() {
            let client = client.map(tracing::field::display);
            let kind = kind.name();
            tracing::warn!(kind, times, client, cause, advice, "bad connection");
        }
    }
}

/// What to change.
fn advice(kind: BadConnection) -> &'static str {
    match kind {
        BadConnection::Http1 => {
            "checks are gRPC, which needs HTTP/2: in Envoy, set `http2_protocol_options` \
             (`explicit_http_config`) in the cluster and `grpc_service` instead of `http_service` in \
             the filter. Health checks over HTTP/1 belong to `admin.listen`"
        }
        BadConnection::Tls => {
            "in Envoy, remove `transport_socket` from the cluster, or set `server.tls` in claimgate. \
             In a mesh, exclude the port from mutual TLS, or give claimgate a sidecar"
        }
        BadConnection::NotHttp2 => {
            "the client must speak gRPC: in Envoy, set `http2_protocol_options` \
             (`explicit_http_config`) in the cluster, and remove `upstream_proxy_protocol`"
        }
        BadConnection::ProtocolError => {
            "find out what the client is: Envoy does not violate HTTP/2. A proxy in between may have \
             changed the stream"
        }
        BadConnection::Reset => {
            "the usual cause is an invalid `:authority`: Envoy sends the cluster's name, which must \
             not contain `|`, `/`, `%` or two colons. Set `authority: claimgate` in `envoy_grpc` and \
             in `grpc_health_check`. If `cause` says that the stream was refused, more than 1,024 \
             checks came at once"
        }
        BadConnection::TlsHandshake => "see docs/operations.md#tls",
        BadConnection::AdminPort => {
            "this is `admin.listen`, which answers no checks: in Envoy, set the address of \
             `server.listen` (port 9001 by default) in the cluster"
        }
    }
}
