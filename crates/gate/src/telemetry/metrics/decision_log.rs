//! Counts the lines of the decision log.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of the decision log.
#[derive(Clone, Debug)]
pub struct DecisionLogMetrics {
    /// Lines written, those that describe no decision included.
    pub lines: Counter,
    /// Bytes written.
    pub bytes: Counter,
    /// Decisions that were not written.
    pub lost: LostDecisions,
    /// 1 while nothing can be written.
    pub blocked: Gauge,
}

/// Decisions that were not written, by cause.
#[derive(Clone, Debug)]
pub struct LostDecisions {
    /// Too many lines waited for a disk or a reader that is too slow.
    pub slow: Counter,
    /// Too many lines waited for a file that could not be written.
    pub unwritable: Counter,
    /// The process or the log stopped before they could be written.
    pub stopped: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    cause: &'static str,
}

impl DecisionLogMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("decision_log");
        let (lines, bytes, blocked) = (Counter::default(), Counter::default(), Gauge::default());
        registry.register("lines", "Lines written to the decision log", lines.clone());
        registry.register(
            "written_bytes",
            "Bytes written to the decision log",
            bytes.clone(),
        );
        registry.register(
            "blocked",
            "1 while the decision log cannot be written, else 0",
            blocked.clone(),
        );
        let lost = Family::<Labels, Counter>::default();
        registry.register(
            "lost",
            "Decisions that are not in the decision log, although they should be",
            lost.clone(),
        );
        let of = |cause| lost.get_or_create_owned(&Labels { cause });
        Self {
            lines,
            bytes,
            lost: LostDecisions {
                slow: of("slow"),
                unwritable: of("unwritable"),
                stopped: of("stopped"),
            },
            blocked,
        }
    }
}
