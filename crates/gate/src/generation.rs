//! Everything that belongs to one configuration, replaced as a whole.

use std::sync::Arc;

use tokio::sync::watch;

use crate::decision_log::{DecisionLog, Recorder};
use crate::jwks::{Earlier, Jwks};
use crate::subjects::Subjects;
use crate::telemetry::metrics::{Metrics, PolicyMetrics};
use crate::telemetry::spans::Tracer;
use crate::token_cache::TokenCache;
use claimgate_config::{Config, ConfigHash, Problem};
use claimgate_core::answer::denials::Denials;
use claimgate_core::policy::Policy;
use claimgate_core::time::Clock;

/// What decides requests. A request keeps its generation from its arrival to its answer.
#[derive(Debug)]
pub struct Generation {
    /// The configuration that this generation was made of.
    pub hash: ConfigHash,
    /// The configuration as an operator reads it: JSON with defaults and without secrets.
    pub effective: Box<str>,
    /// The same as [`Config::comparable`]. `None` if it equals `effective`, because there are no secrets.
    pub comparable: Option<Box<str>>,
    /// Settings that work as written but are probably not what the operator wants.
    pub warnings: Vec<Problem>,
    /// The rules and the providers.
    pub policy: Arc<Policy>,
    /// The form of denials.
    pub denials: Denials,
    /// The keys of the providers.
    pub jwks: Jwks,
    /// The tokens that were verified under this policy.
    pub token_cache: TokenCache,
    /// The series of this policy.
    pub metrics: Arc<PolicyMetrics>,
    /// How callers are named in the log.
    pub(crate) subjects: Subjects,
    /// Writes the decision log. `None` if the configuration has none.
    pub(crate) recorder: Option<Recorder>,
}

impl Generation {
    /// Builds the generation of `config`, with what `earlier` knows of its providers' keys.
    pub(super) async fn start(
        config: Config,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        decision_log: &DecisionLog,
        tracer: Option<&Tracer>,
        changed: watch::Sender<()>,
        earlier: Earlier<'_>,
    ) -> Self {
        let recorder = Recorder::start(&config, decision_log).await;
        let (effective, comparable) = config.views();
        let effective = effective.to_string().into();
        let comparable = comparable.map(|comparable| comparable.to_string().into());
        let Config {
            server: _,
            admin: _,
            log,
            decision_log: _,
            telemetry: _,
            policy,
            keys,
            token_cache,
            denials,
            warnings,
            hash,
            written: _,
        } = config;
        let series = metrics.for_policy(&policy, hash.clone());
        Self {
            hash,
            effective,
            comparable,
            warnings,
            jwks: Jwks::start(keys, clock, &series, tracer, changed, earlier).await,
            token_cache: TokenCache::new(&token_cache, metrics.token_cache().clone()),
            policy,
            denials,
            metrics: series,
            subjects: Subjects::load(&log.subject).await,
            recorder,
        }
    }

    /// Updates the gauges that change with time.
    pub fn observe(&self) {
        self.jwks.observe();
        self.token_cache.observe();
    }
}
