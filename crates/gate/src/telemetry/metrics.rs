//! Metrics, in the Prometheus and OpenMetrics text format. Labels are closed sets. All series are
//! created at start, unless there are too many.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

mod bad_connections;
mod checks;
mod connections;
mod counters;
mod decision_log;
mod duration;
mod keys;
mod lines;
mod process;
mod reloads;
mod spans;
mod token_cache;

pub use bad_connections::{BadConnection, BadConnectionMetrics};
use checks::Checks;
pub use checks::{Outcomes, Totals};
use connections::Transport;
pub use connections::{BudgetMetrics, ConnectionMetrics};
pub use decision_log::{DecisionLogMetrics, LostDecisions};
use duration::{DurationCollector, Durations};
pub use keys::{KeyMetrics, UnknownKeyOutcome};
use lines::LineCollector;
use process::ProcessCollector;
pub use reloads::ReloadMetrics;
pub use spans::SpanMetrics;
pub use token_cache::TokenCacheMetrics;

use crate::telemetry::lines::Lines;
use claimgate_config::ConfigHash;
use claimgate_core::decision::Decision;
use claimgate_core::keyring::ProviderId;
use claimgate_core::policy::Policy;

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The series of the policy in force.
    policy: Arc<ArcSwapOption<PolicyMetrics>>,
    durations: Arc<Durations>,
    token_cache: TokenCacheMetrics,
    dropped_claims: Counter,
    in_flight: Gauge,
    lines: Arc<Lines>,
    reloads: ReloadMetrics,
    spans: SpanMetrics,
    decision_log: DecisionLogMetrics,
    transport: Transport,
}

/// The metrics whose labels depend on a policy.
#[derive(Debug)]
pub struct PolicyMetrics {
    hash: ConfigHash,
    checks: Checks,
    keys: Vec<(String, KeyMetrics)>,
}

impl PolicyMetrics {
    /// All series of a policy. Series of `earlier` with the same names continue.
    fn new(policy: &Policy, hash: ConfigHash, earlier: Option<&Self>) -> Self {
        let providers = policy.providers();
        let providers: Vec<&str> = providers.map(|(_, it)| it.name.as_str()).collect();
        let rules: Vec<&str> = policy.rules().names().collect();
        let known: HashMap<&str, &KeyMetrics> = earlier
            .into_iter()
            .flat_map(|earlier| &earlier.keys)
            .map(|(name, metrics)| (name.as_str(), metrics))
            .collect();
        let metrics_of = |name: &&str| {
            let metrics = known.get(name).copied().cloned().unwrap_or_default();
            ((*name).to_owned(), metrics)
        };
        Self {
            hash,
            checks: Checks::new(&providers, &rules, earlier.map(|earlier| &earlier.checks)),
            keys: providers.iter().map(metrics_of).collect(),
        }
    }

    /// Counts a decision.
    pub fn decided(&self, decision: &Decision) {
        self.checks.count(decision);
    }

    /// What was decided so far.
    pub fn totals(&self) -> Totals {
        self.checks.totals()
    }

    /// The metrics of a provider's keys.
    pub fn keys(&self, provider: ProviderId) -> Option<&KeyMetrics> {
        self.keys.get(provider.0).map(|(_, metrics)| metrics)
    }
}

/// Exports the series of the policy in force.
#[derive(Debug)]
struct PolicyCollector(Arc<ArcSwapOption<PolicyMetrics>>);

impl Collector for PolicyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match &*self.0.load() {
            Some(metrics) => {
                let info = Info::new([("hash", metrics.hash.to_string())]);
                let help = "The configuration in force";
                info.encode(encoder.encode_descriptor("config", help, None, MetricType::Info)?)?;
                metrics.checks.encode(&mut encoder)?;
                keys::encode(&metrics.keys, &mut encoder)
            }
            None => Ok(()),
        }
    }
}

/// A check in flight.
#[derive(Debug)]
pub struct InFlight<'m>(&'m Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics without a policy.
    pub fn new() -> Self {
        let mut all = Registry::default();
        all.register_collector(Box::new(ProcessCollector));
        let registry = all.sub_registry_with_prefix("claimgate");
        let policy = Arc::new(ArcSwapOption::empty());
        registry.register_collector(Box::new(PolicyCollector(Arc::clone(&policy))));
        let durations = Arc::new(Durations::default());
        registry.register_collector(Box::new(DurationCollector(Arc::clone(&durations))));
        let token_cache = TokenCacheMetrics::new(registry);
        let lines = Arc::new(Lines::new(Instant::now()));
        registry.register_collector(Box::new(LineCollector(Arc::clone(&lines))));
        let reloads = ReloadMetrics::new(registry);
        let spans = SpanMetrics::new(registry);
        let decision_log = DecisionLogMetrics::new(registry);
        let transport = Transport::new(registry);
        let dropped_claims = Counter::default();
        registry.register(
            "claim_headers_dropped",
            "Claims not sent to the upstream because they are too long for a header",
            dropped_claims.clone(),
        );
        let in_flight = Gauge::default();
        registry.register(
            "checks_in_flight",
            "Checks that have arrived and are not answered",
            in_flight.clone(),
        );
        registry.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: all,
            policy,
            durations,
            token_cache,
            dropped_claims,
            in_flight,
            lines,
            reloads,
            spans,
            decision_log,
            transport,
        }
    }

    /// The series of a policy. Those whose names the policy in force also has continue; all others
    /// are zero. [`Metrics::show`] exports them.
    pub fn for_policy(&self, policy: &Policy, hash: ConfigHash) -> Arc<PolicyMetrics> {
        let earlier = self.policy.load();
        Arc::new(PolicyMetrics::new(policy, hash, earlier.as_deref()))
    }

    /// Exports these series instead of those of the previous policy.
    pub fn show(&self, metrics: Arc<PolicyMetrics>) {
        self.policy.store(Some(metrics));
    }

    /// The metrics of reloads of the configuration.
    pub fn reloads(&self) -> &ReloadMetrics {
        &self.reloads
    }

    /// The metrics of lost spans.
    pub fn spans(&self) -> &SpanMetrics {
        &self.spans
    }

    /// The metrics of the decision log.
    pub fn decision_log(&self) -> &DecisionLogMetrics {
        &self.decision_log
    }

    /// The metrics of the token cache.
    pub fn token_cache(&self) -> &TokenCacheMetrics {
        &self.token_cache
    }

    /// Decides which of the log lines that requests cause may be written.
    pub fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// The metrics of connections that carry checks.
    pub fn check_connections(&self) -> &ConnectionMetrics {
        &self.transport.check
    }

    /// The metrics of connections to the admin listener.
    pub fn admin_connections(&self) -> &ConnectionMetrics {
        &self.transport.admin
    }

    /// The metrics of unfinished requests.
    pub fn budget(&self) -> &BudgetMetrics {
        &self.transport.budget
    }

    /// The metrics of connections that never carry a check.
    pub fn bad_connections(&self) -> &BadConnectionMetrics {
        &self.transport.bad
    }

    /// Counts a check as in flight until the returned value is dropped.
    pub fn in_flight(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(&self.in_flight)
    }

    /// Records how long a check took.
    pub fn answered(&self, took: Duration) {
        self.durations.observe(took);
    }

    /// Counts claims that are too long for a header.
    pub fn claims_dropped(&self, count: usize) {
        self.dropped_claims.inc_by(count as u64);
    }

    /// All metrics as `application/openmetrics-text; version=1.0.0`.
    ///
    /// # Errors
    ///
    /// Fails if a metric cannot be encoded. Ours always can.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
