//! Metrics of reloads of the configuration.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Attempts to reload the configuration.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    succeeded: Counter,
    failed: Counter,
    last: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl ReloadMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let reloads = Family::<Labels, Counter>::default();
        registry.register(
            "config_reloads",
            "Attempts to reload the configuration",
            reloads.clone(),
        );
        let last = Gauge::default();
        last.set(1);
        registry.register(
            "config_last_reload_successful",
            "1 if the configuration file is in force, 0 if it is wrong and the previous one is",
            last.clone(),
        );
        let of = |result| reloads.get_or_create_owned(&Labels { result });
        Self {
            succeeded: of("success"),
            failed: of("failure"),
            last,
        }
    }

    /// The file is in force.
    pub fn succeeded(&self) {
        self.succeeded.inc();
        self.last.set(1);
    }

    /// The file is wrong; the previous configuration is in force.
    pub fn failed(&self) {
        self.failed.inc();
        self.last.set(0);
    }

    /// The file is back to the version in force.
    pub fn reverted(&self) {
        self.last.set(1);
    }
}
