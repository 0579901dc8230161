//! A histogram of the duration of checks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The upper bounds in microseconds. A check takes tens of them, unless it waits for keys.
const BOUNDS: [u64; 14] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
];

/// A histogram that never takes a lock.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// The last bucket counts everything above the bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Durations {
    /// Adds one duration.
    pub(super) fn observe(&self, took: Duration) {
        let micros = took.as_nanos().div_ceil(1_000);
        let index = BOUNDS.partition_point(|bound| u128::from(*bound) < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// Exports [`Durations`] to Prometheus.
#[derive(Debug)]
pub(super) struct DurationCollector(pub(super) Arc<Durations>);

impl Collector for DurationCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metric = encoder.encode_descriptor(
            "check_duration_seconds",
            "Time from the arrival of a check to its answer",
            None,
            MetricType::Histogram,
        )?;
        self.0.encode(metric)
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "shown as decimal seconds")]
        let seconds = |micros: u64| micros as f64 / 1e6;
        let bounds = BOUNDS
            .iter()
            .map(|bound| seconds(*bound))
            .chain([f64::INFINITY]);
        let counts = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
