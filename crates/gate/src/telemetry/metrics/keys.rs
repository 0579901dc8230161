//! Metrics of providers' keys.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The outcome for a token that newer keys might verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownKeyOutcome {
    /// The token triggered a fetch, which returned keys.
    Refreshed,
    /// The token waited for a fetch that it did not trigger.
    Joined,
    /// No fetch: the provider is already known not to have the key.
    Absent,
    /// No fetch: the limit of fetches was reached, so there is no verdict.
    CoolingDown,
    /// The fetch failed.
    Failed,
    /// The fetch took longer than `unknown_key_wait`.
    TimedOut,
    /// No fetch: the maximum number of requests already waited.
    TurnedAway,
}

impl UnknownKeyOutcome {
    const ALL: [Self; 7] = [
        Self::Refreshed,
        Self::Joined,
        Self::Absent,
        Self::CoolingDown,
        Self::Failed,
        Self::TimedOut,
        Self::TurnedAway,
    ];

    /// The name of the outcome.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refreshed => "refreshed",
            Self::Joined => "joined",
            Self::Absent => "absent",
            Self::CoolingDown => "cooling_down",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::TurnedAway => "turned_away",
        }
    }
}

/// Metrics of one provider's keys.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    /// Fetches that returned a usable set.
    pub fetched: Counter,
    /// Fetches that did not.
    pub failed: Counter,
    /// Usable keys.
    pub keys: Gauge,
    /// Seconds since the last keys were fetched, even if they have become too old; NaN if none ever
    /// were.
    pub age: Gauge<f64, AtomicU64>,
    /// 1 if there were keys and the last fetch has failed.
    pub stale: Gauge,
    /// Seconds until the next regular fetch; NaN before the first one is planned.
    pub next_refresh: Gauge<f64, AtomicU64>,
    /// Seconds that this machine's clock is ahead of the provider's; NaN if unknown.
    pub clock_difference: Gauge<f64, AtomicU64>,
    /// Times that the provider no longer delayed readiness although it never had keys.
    pub grace_ended: Counter,
    unknown: [Counter; UnknownKeyOutcome::ALL.len()],
}

impl Default for KeyMetrics {
    fn default() -> Self {
        let unknown = || {
            let gauge = Gauge::default();
            gauge.set(f64::NAN);
            gauge
        };
        Self {
            fetched: Counter::default(),
            failed: Counter::default(),
            keys: Gauge::default(),
            age: unknown(),
            stale: Gauge::default(),
            next_refresh: unknown(),
            clock_difference: unknown(),
            grace_ended: Counter::default(),
            unknown: Default::default(),
        }
    }
}

impl KeyMetrics {
    /// Counts a token that newer keys might verify.
    pub fn unknown_key(&self, outcome: UnknownKeyOutcome) {
        let index = UnknownKeyOutcome::ALL
            .iter()
            .position(|other| *other == outcome);
        if let Some(counter) = index.and_then(|index| self.unknown.get(index)) {
            counter.inc();
        }
    }
}

/// A gauge of each provider: its name, its help text, and its accessor.
type ProviderGauge = (
    &'static str,
    &'static str,
    fn(&KeyMetrics) -> &dyn EncodeMetric,
);

const GAUGES: [ProviderGauge; 5] = [
    ("jwks_keys", "Usable keys of a provider", |metrics| {
        &metrics.keys
    }),
    (
        "jwks_age_seconds",
        "Time since a provider's last keys were fetched; NaN if none ever were",
        |metrics| &metrics.age,
    ),
    (
        "jwks_stale",
        "Whether a provider had keys and the last fetch has failed",
        |metrics| &metrics.stale,
    ),
    (
        "jwks_next_refresh_seconds",
        "Time until the next regular fetch of a provider's keys",
        |metrics| &metrics.next_refresh,
    ),
    (
        "clock_difference_seconds",
        "How far this machine's clock is ahead of a provider's, by the Date of its last response",
        |metrics| &metrics.clock_difference,
    ),
];

/// Writes the metrics of all providers, labelled with their names.
pub(super) fn encode(
    providers: &[(String, KeyMetrics)],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let mut fetches = encoder.encode_descriptor(
        "jwks_fetches",
        "Fetches of a provider's keys",
        None,
        MetricType::Counter,
    )?;
    for (name, metrics) in providers {
        for (result, count) in [("success", &metrics.fetched), ("failure", &metrics.failed)] {
            let labels = [("provider", name.as_str()), ("result", result)];
            count.encode(fetches.encode_family(&labels)?)?;
        }
    }
    let mut graces = encoder.encode_descriptor(
        "jwks_startup_grace_ended",
        "Startup grace periods that ended before a provider had keys",
        None,
        MetricType::Counter,
    )?;
    for (name, metrics) in providers {
        let labels = [("provider", name.as_str())];
        metrics.grace_ended.encode(graces.encode_family(&labels)?)?;
    }
    for (name, help, of) in GAUGES {
        let mut gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (provider, metrics) in providers {
            let labels = [("provider", provider.as_str())];
            of(metrics).encode(gauge.encode_family(&labels)?)?;
        }
    }
    let mut unknown = encoder.encode_descriptor(
        "unknown_key",
        "Tokens that newer keys might verify: unknown kid, or signature rejected by older keys",
        None,
        MetricType::Counter,
    )?;
    for (name, metrics) in providers {
        for (outcome, count) in UnknownKeyOutcome::ALL.iter().zip(&metrics.unknown) {
            let labels = [("provider", name.as_str()), ("outcome", outcome.name())];
            count.encode(unknown.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
