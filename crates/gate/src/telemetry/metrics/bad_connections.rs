//! Metrics of connections and streams that never become checks.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::telemetry::recent::RecentBadConnections;

/// What is wrong with a connection, or with one of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadConnection {
    /// It begins with the request line of HTTP/1 (RFC 9112 §3).
    Http1,
    /// It begins with a TLS handshake, but the listener is plain text.
    Tls,
    /// It begins with anything else that is not HTTP/2.
    NotHttp2,
    /// It violates HTTP/2, which ends it.
    ProtocolError,
    /// One of its streams is reset before a handler sees it.
    Reset,
    /// Its TLS handshake fails.
    TlsHandshake,
    /// It brings a check to the admin listener.
    AdminPort,
}

impl BadConnection {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Http1,
        Self::Tls,
        Self::NotHttp2,
        Self::ProtocolError,
        Self::Reset,
        Self::TlsHandshake,
        Self::AdminPort,
    ];

    /// The kind as label and in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Tls => "tls",
            Self::NotHttp2 => "not_http2",
            Self::ProtocolError => "protocol_error",
            Self::Reset => "reset",
            Self::TlsHandshake => "tls_handshake",
            Self::AdminPort => "admin_port",
        }
    }
}

/// Counts bad connections by kind, and remembers the last ones.
#[derive(Clone, Debug, Default)]
pub struct BadConnectionMetrics {
    counters: [Counter; BadConnection::ALL.len()],
    recent: Arc<RecentBadConnections>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
}

impl BadConnectionMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let counters = Family::<Labels, Counter>::default();
        registry.register(
            "bad_connections",
            "Connections and streams that ended before a check could be judged",
            counters.clone(),
        );
        let of = |kind: BadConnection| {
            let kind = kind.name();
            counters.get_or_create_owned(&Labels { kind })
        };
        Self {
            counters: BadConnection::ALL.map(of),
            recent: Arc::default(),
        }
    }

    /// The last bad connections.
    pub fn recent(&self) -> &RecentBadConnections {
        &self.recent
    }

    /// The number of bad connections of this kind.
    pub fn of(&self, kind: BadConnection) -> &Counter {
        let [
            http1,
            tls,
            not_http2,
            protocol_error,
            reset,
            tls_handshake,
            admin_port,
        ] = &self.counters;
        match kind {
            BadConnection::Http1 => http1,
            BadConnection::Tls => tls,
            BadConnection::NotHttp2 => not_http2,
            BadConnection::ProtocolError => protocol_error,
            BadConnection::Reset => reset,
            BadConnection::TlsHandshake => tls_handshake,
            BadConnection::AdminPort => admin_port,
        }
    }
}
