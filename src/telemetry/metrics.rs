//! Metrics, in the Prometheus and OpenMetrics text format. Labels are closed sets, and every
//! series exists from the start.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

mod checks;
mod connections;
mod counters;
mod duration;
mod lines;
mod token_cache;

use checks::Checks;
use connections::Transport;
pub use connections::{BudgetMetrics, ConnectionMetrics, Http2Metrics};
use duration::{DurationCollector, Durations};
use lines::LineCollector;
pub use token_cache::TokenCacheMetrics;

use crate::decision::Decision;
use crate::keyring::ProviderId;
use crate::policy::Policy;
use crate::telemetry::lines::Lines;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    checks: Checks,
    durations: Arc<Durations>,
    keys: Vec<KeyMetrics>,
    token_cache: TokenCacheMetrics,
    dropped_claims: Counter,
    lines: Arc<Lines>,
    transport: Transport,
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

/// What a token led to that newer keys might verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownKeyOutcome {
    /// The keys were fetched anew.
    Refreshed,
    /// A fetch was under way already, and was waited for.
    Joined,
    /// Nothing was fetched: the provider does not have the key, as was found out before.
    Absent,
    /// Too many fetches were asked for of late; there is no verdict.
    CoolingDown,
    /// They could not be fetched.
    Failed,
    /// They did not arrive in time.
    TimedOut,
    /// Too many waited for them already.
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
}

impl EncodeLabelValue for UnknownKeyOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Refreshed => "refreshed",
            Self::Joined => "joined",
            Self::Absent => "absent",
            Self::CoolingDown => "cooling_down",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::TurnedAway => "turned_away",
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
    /// Metrics for the providers and rules of this policy, every series at zero.
    pub fn new(policy: &Policy) -> Self {
        let providers: Vec<&str> = policy
            .providers()
            .map(|(_, provider)| provider.name.as_str())
            .collect();
        let rules: Vec<&str> = policy.rules().names().collect();
        let mut registry = Registry::with_prefix("claimgate");
        let checks = Checks::new(&mut registry, &providers, &rules);
        let durations = Arc::new(Durations::default());
        registry.register_collector(Box::new(DurationCollector(Arc::clone(&durations))));
        let keys = keys(&mut registry, &providers);
        let token_cache = TokenCacheMetrics::new(&mut registry);
        let lines = Arc::new(Lines::new(Instant::now()));
        registry.register_collector(Box::new(LineCollector(Arc::clone(&lines))));
        let transport = Transport::new(&mut registry);
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
            token_cache,
            dropped_claims,
            lines,
            transport,
        }
    }

    /// What is counted of the memory of verified tokens.
    pub fn token_cache(&self) -> &TokenCacheMetrics {
        &self.token_cache
    }

    /// Which of the lines that requests cause may be written.
    pub fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// What is counted of connections on which checks come.
    pub fn check_connections(&self) -> &ConnectionMetrics {
        &self.transport.check
    }

    /// What is counted of connections of the operator's listener.
    pub fn admin_connections(&self) -> &ConnectionMetrics {
        &self.transport.admin
    }

    /// What is counted of unfinished requests.
    pub fn budget(&self) -> &BudgetMetrics {
        &self.transport.budget
    }

    /// What is counted of what HTTP/2 refuses.
    pub fn http2(&self) -> &Http2Metrics {
        &self.transport.http2
    }

    /// One check was answered.
    pub fn checked(&self, decision: &Decision, took: Duration) {
        self.checks.count(decision);
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
        "Tokens that newer keys might verify: of an unknown key, or refused by keys that are not new",
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
