//! Metrics of connections and unfinished requests.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of the connections of one kind of listener.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    /// `check` or `admin`.
    pub listener: &'static str,
    /// Open connections.
    pub open: Gauge,
    /// Connections closed because the limit was reached.
    pub evicted: Counter,
}

/// Metrics of unfinished requests.
#[derive(Clone, Debug, Default)]
pub struct BudgetMetrics {
    /// Their memory, in bytes.
    pub used: Gauge,
    /// Requests dropped because all together used too much memory.
    pub evicted: Counter,
}

/// Requests and connections that HTTP/2 or TLS refused before a check could be judged.
#[derive(Clone, Debug, Default)]
pub struct Http2Metrics {
    /// Requests: malformed, or too many at once.
    pub requests: Counter,
    /// Connections that broke the protocol.
    pub connections: Counter,
    /// Connections that do not speak HTTP/2.
    pub not_http2: Counter,
    /// TLS handshakes that failed.
    pub tls_handshakes: Counter,
}

/// All of these metrics, registered.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) check: ConnectionMetrics,
    pub(super) admin: ConnectionMetrics,
    pub(super) budget: BudgetMetrics,
    pub(super) http2: Http2Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    what: &'static str,
}

impl Transport {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let open = Family::<ListenerLabels, Gauge>::default();
        let closed = Family::<ListenerLabels, Counter>::default();
        let refused = Family::<RefusedLabels, Counter>::default();
        let budget = BudgetMetrics::default();
        registry.register("connections", "Open connections", open.clone());
        registry.register(
            "connections_evicted",
            "Connections closed because the limit was reached",
            closed.clone(),
        );
        registry.register(
            "http2_refused",
            "Requests and connections that HTTP/2 or TLS refused before a check could be judged",
            refused.clone(),
        );
        registry.register(
            "unfinished_bytes",
            "Memory of unfinished requests",
            budget.used.clone(),
        );
        registry.register(
            "unfinished_evicted",
            "Unfinished requests dropped because all together used too much memory",
            budget.evicted.clone(),
        );
        let of = |listener| {
            let labels = ListenerLabels { listener };
            ConnectionMetrics {
                listener,
                open: open.get_or_create_owned(&labels),
                evicted: closed.get_or_create_owned(&labels),
            }
        };
        let refused = |what| refused.get_or_create_owned(&RefusedLabels { what });
        Self {
            check: of("check"),
            admin: of("admin"),
            budget,
            http2: Http2Metrics {
                requests: refused("request"),
                connections: refused("connection"),
                not_http2: refused("not_http2"),
                tls_handshakes: refused("tls_handshake"),
            },
        }
    }
}
