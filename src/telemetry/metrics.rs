//! Metrics, in the Prometheus and OpenMetrics text format. Labels are closed sets, and every
//! series exists from the start.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::decision::{Decision, Reason};
use crate::keyring::ProviderId;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// By provider, the last one being "none"; then allow, and each reason to deny.
    checks: Vec<Vec<Counter>>,
    durations: Arc<Durations>,
    keys: Vec<KeyMetrics>,
    dropped_claims: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    decision: &'static str,
    reason: &'static str,
    rule: &'static str,
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    provider: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnknownKeyLabels {
    provider: String,
    outcome: UnknownKeyOutcome,
}

/// What a token with an unknown key id led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownKeyOutcome {
    /// The keys were fetched anew.
    Refreshed,
    /// A fetch was under way already, and was waited for.
    Joined,
    /// They had been fetched just before, so they were not fetched again.
    CoolingDown,
    /// They could not be fetched.
    Failed,
    /// They did not arrive in time.
    TimedOut,
}

impl UnknownKeyOutcome {
    const ALL: [Self; 5] = [
        Self::Refreshed,
        Self::Joined,
        Self::CoolingDown,
        Self::Failed,
        Self::TimedOut,
    ];
}

impl EncodeLabelValue for UnknownKeyOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Refreshed => "refreshed",
            Self::Joined => "joined",
            Self::CoolingDown => "cooling_down",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
        .encode(encoder)
    }
}

/// What is counted of one provider's keys.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    /// Fetches that brought a usable set.
    pub fetched: Counter,
    /// Fetches that did not.
    pub failed: Counter,
    /// Usable keys now.
    pub keys: Gauge,
    /// Seconds since they were fetched; not a number when they never were.
    pub age: Gauge<f64, AtomicU64>,
    /// 1 while the last fetch failed and older keys are used.
    pub stale: Gauge,
    unknown: [Counter; UnknownKeyOutcome::ALL.len()],
}

impl KeyMetrics {
    /// A request came with an unknown key id.
    pub fn unknown_key(&self, outcome: UnknownKeyOutcome) {
        let index = UnknownKeyOutcome::ALL
            .iter()
            .position(|other| *other == outcome);
        if let Some(counter) = index.and_then(|index| self.unknown.get(index)) {
            counter.inc();
        }
    }
}

impl Metrics {
    /// Metrics for these providers, every series at zero.
    pub fn new<'n>(providers: impl Iterator<Item = &'n str>) -> Self {
        let providers: Vec<&str> = providers.collect();
        let mut registry = Registry::with_prefix("claimgate");
        let checks = checks(&mut registry, &providers);
        let durations = Arc::new(Durations::default());
        registry.register_collector(Box::new(DurationCollector(Arc::clone(&durations))));
        let keys = keys(&mut registry, &providers);
        let dropped_claims = Counter::default();
        registry.register(
            "claim_headers_dropped",
            "Claims that were too long to be sent to the upstream as a header",
            dropped_claims.clone(),
        );
        registry.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry,
            checks,
            durations,
            keys,
            dropped_claims,
        }
    }

    /// One check was answered.
    pub fn checked(&self, decision: &Decision, took: Duration) {
        let (provider, outcome) = match decision {
            Decision::Allow(permit) => (Some(permit.provider), 0),
            Decision::Deny(denial) => (denial.provider, 1 + denial.reason() as usize),
        };
        let none = self.checks.len().saturating_sub(1);
        let row = self.checks.get(provider.map_or(none, |id| id.0));
        if let Some(counter) = row.and_then(|row| row.get(outcome)) {
            counter.inc();
        }
        self.durations.observe(took);
    }

    /// Claims were too long to be sent as headers.
    pub fn claims_dropped(&self, count: usize) {
        self.dropped_claims.inc_by(count as u64);
    }

    /// What is counted of a provider's keys.
    pub fn keys(&self, provider: ProviderId) -> Option<&KeyMetrics> {
        self.keys.get(provider.0)
    }

    /// All metrics as `application/openmetrics-text; version=1.0.0`.
    ///
    /// # Errors
    ///
    /// When a metric cannot be written, which none of ours does.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn checks(registry: &mut Registry, providers: &[&str]) -> Vec<Vec<Counter>> {
    let family = Family::<CheckLabels, Counter>::default();
    registry.register("checks", "Checks answered", family.clone());
    let series = |decision, reason, provider: &&str| {
        family.get_or_create_owned(&CheckLabels {
            decision,
            reason,
            rule: "default",
            provider: (*provider).to_owned(),
        })
    };
    providers
        .iter()
        .chain([&"none"])
        .map(|provider| {
            let denials = Reason::ALL
                .iter()
                .map(|reason| series("deny", reason.code(), provider));
            [series("allow", "none", provider)]
                .into_iter()
                .chain(denials)
                .collect()
        })
        .collect()
}

fn keys(registry: &mut Registry, providers: &[&str]) -> Vec<KeyMetrics> {
    let fetches = Family::<FetchLabels, Counter>::default();
    let keys = Family::<ProviderLabels, Gauge>::default();
    let ages = Family::<ProviderLabels, Gauge<f64, AtomicU64>>::default();
    let stale = Family::<ProviderLabels, Gauge>::default();
    let unknown = Family::<UnknownKeyLabels, Counter>::default();
    registry.register(
        "jwks_fetches",
        "Fetches of a provider's keys",
        fetches.clone(),
    );
    registry.register("jwks_keys", "Usable keys of a provider", keys.clone());
    registry.register(
        "jwks_age_seconds",
        "Time since a provider's keys were fetched; not a number if they never were",
        ages.clone(),
    );
    registry.register(
        "jwks_stale",
        "Whether the last fetch failed and older keys are used",
        stale.clone(),
    );
    registry.register(
        "unknown_key",
        "Tokens that named an unknown key",
        unknown.clone(),
    );
    providers
        .iter()
        .map(|name| {
            let provider = || (*name).to_owned();
            let labels = ProviderLabels {
                provider: provider(),
            };
            let fetch = |result| {
                fetches.get_or_create_owned(&FetchLabels {
                    provider: provider(),
                    result,
                })
            };
            KeyMetrics {
                fetched: fetch("success"),
                failed: fetch("failure"),
                keys: keys.get_or_create_owned(&labels),
                age: ages.get_or_create_owned(&labels),
                stale: stale.get_or_create_owned(&labels),
                unknown: UnknownKeyOutcome::ALL.map(|outcome| {
                    unknown.get_or_create_owned(&UnknownKeyLabels {
                        provider: provider(),
                        outcome,
                    })
                }),
            }
        })
        .collect()
}

/// Upper bounds in microseconds: a check takes tens of them, unless it waits for keys.
const BOUNDS: [u64; 14] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
];

/// A histogram that never takes a lock.
#[derive(Debug, Default)]
struct Durations {
    /// One more than bounds: the last one counts what is longer than all of them.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Durations {
    fn observe(&self, took: Duration) {
        let micros = took.as_nanos().div_ceil(1_000);
        let index = BOUNDS.partition_point(|bound| u128::from(*bound) < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct DurationCollector(Arc<Durations>);

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
