//! Counts spans that were lost.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Spans that did not reach a collector.
#[derive(Clone, Debug)]
pub struct SpanMetrics {
    /// The collector took spans more slowly than they arose.
    pub queue_full: Counter,
    /// The collector could not be reached, or refused the spans.
    pub export_failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    cause: &'static str,
}

impl SpanMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let dropped = Family::<Labels, Counter>::default();
        registry.register(
            "spans_dropped",
            "Spans that did not reach the collector",
            dropped.clone(),
        );
        let of = |cause| dropped.get_or_create_owned(&Labels { cause });
        Self {
            queue_full: of("queue_full"),
            export_failed: of("export_failed"),
        }
    }

    /// All spans lost so far.
    pub fn total(&self) -> u64 {
        self.queue_full.get() + self.export_failed.get()
    }
}
