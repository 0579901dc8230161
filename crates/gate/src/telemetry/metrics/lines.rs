//! Counts log lines that were not written.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::telemetry::lines::Lines;

/// Exports the counts of [`Lines`] to Prometheus.
#[derive(Debug)]
pub(super) struct LineCollector(pub(super) Arc<Lines>);

impl Collector for LineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "log_lines_dropped",
            "Log lines not written: too many of one kind, or stderr blocked",
            None,
            MetricType::Counter,
        )?;
        for (cause, count) in [("limit", self.0.left_out()), ("blocked", self.0.blocked())] {
            let labels = [("cause", cause)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
