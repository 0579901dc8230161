//! Metrics of connections and unfinished requests.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::bad_connections::BadConnectionMetrics;

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

/// All of these metrics, registered.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) check: ConnectionMetrics,
    pub(super) admin: ConnectionMetrics,
    pub(super) budget: BudgetMetrics,
    pub(super) bad: BadConnectionMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabels {
    listener: &'static str,
}

impl Transport {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let open = Family::<ListenerLabels, Gauge>::default();
        let closed = Family::<ListenerLabels, Counter>::default();
        let budget = BudgetMetrics::default();
        registry.register("connections", "Open connections", open.clone());
        registry.register(
            "connections_evicted",
            "Connections closed because the limit was reached",
            closed.clone(),
        );
        let bad = BadConnectionMetrics::new(registry);
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
        Self {
            check: of("check"),
            admin: of("admin"),
            budget,
            bad,
        }
    }
}
