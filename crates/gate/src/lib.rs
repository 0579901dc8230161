//! What keeps deciding going: transports ask it, and it knows none of them.
//!
//! A [`Gate`] takes a snapshot of the keys, decides, gets what the decision needs, and decides again.
//! When the answer is on its way, it counts and logs. What it decides by is one [`Generation`], which
//! another one may replace at any time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

mod generation;
mod judged;
pub mod jwks;
mod log;
pub mod telemetry;
pub mod token_cache;

pub use generation::Generation;
pub use judged::Judged;
pub use log::Circumstances;

use crate::telemetry::metrics::{Metrics, UnknownKeyOutcome};
use claimgate_config::Config;
use claimgate_core::decision::{
    Decision, Denial, Fault, KeysNeed, Need, NoLookUp, Outcome, decide,
};
use claimgate_core::request::Request;
use claimgate_core::time::Clock;

/// How often one request may ask for newer keys: twice, as a fetch that is under way may have begun
/// before the key was published.
const MAX_LOOK_UPS: usize = 2;

/// How long a new generation may wait for keys that the one before did not have. Until then tokens of a
/// new provider are refused as before, and those of known providers are judged as before.
const MAX_WAIT_FOR_KEYS: Duration = Duration::from_secs(10);

/// Decides requests by the configuration in force.
#[derive(Clone)]
pub struct Gate {
    current: Arc<ArcSwap<Generation>>,
    /// Told of every change of keys, and of every new generation.
    changed: watch::Sender<()>,
    clock: Arc<dyn Clock>,
    /// What is counted, whatever the configuration.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that decides as `config` says, and starts to fetch keys. Where requests come from is
    /// left to transports.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let changed = watch::Sender::default();
        let first = Generation::start(config, &clock, &metrics, changed.clone(), None).await;
        metrics.show(Arc::clone(&first.metrics));
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
            changed,
            clock,
            metrics,
        }
    }

    /// Decides as `config` says from now on. Requests that are being decided keep the generation that
    /// they began with. Keys of providers that are as they were live on, as do all counters; verified
    /// tokens are forgotten.
    ///
    /// Waits for the keys of new providers, at most 10 seconds. One reload at a time.
    pub async fn reload(&self, config: Config) {
        let before = self.generation();
        let (clock, changed) = (&self.clock, self.changed.clone());
        let next = Generation::start(config, clock, &self.metrics, changed, Some(&before)).await;
        // Keys that are still missing then may come later.
        let _ = timeout(MAX_WAIT_FOR_KEYS, next.jwks.all_known()).await;
        self.metrics.show(Arc::clone(&next.metrics));
        self.current.store(Arc::new(next));
        self.changed.send_replace(());
    }

    /// What is in force now.
    pub fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Hears whenever the keys of some provider are replaced or given up, or the generation is replaced.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Decides a request. Waits for newer keys if they may change the decision, at most
    /// `unknown_key_wait` and `max_wait`.
    pub async fn decide(&self, request: &Request<'_>, max_wait: Duration) -> Judged {
        let generation = self.current.load();
        let decision = match self.ask(&generation, request) {
            Outcome::Decided(decision) => decision,
            outcome @ Outcome::Needs(_) => {
                self.get_and_decide(&generation, request, max_wait, outcome)
                    .await
            }
        };
        Judged::new(generation, decision)
    }

    /// Denies a request that cannot be decided.
    pub fn deny(&self, fault: Fault) -> Judged {
        let denial = Denial::from(fault);
        Judged::new(self.current.load(), Decision::Deny(denial))
    }

    fn ask(&self, generation: &Generation, request: &Request<'_>) -> Outcome {
        decide(
            &generation.policy,
            &generation.jwks.snapshot(),
            &generation.token_cache,
            request,
            self.clock.now(),
            &mut (),
        )
    }

    async fn get_and_decide(
        &self,
        generation: &Generation,
        request: &Request<'_>,
        max_wait: Duration,
        mut outcome: Outcome,
    ) -> Decision {
        let jwks = &generation.jwks;
        let mut deadline = None;
        for _ in 0..MAX_LOOK_UPS {
            let need = match outcome {
                Outcome::Decided(decision) => return decision,
                Outcome::Needs(Need::Keys(need)) => need,
            };
            let wait = jwks.unknown_key_wait(need.provider()).min(max_wait);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            match get_keys(generation, need, deadline).await {
                Got::AllThereIs(decision) => return decision,
                Got::Newer => return self.ask(generation, request).by_what_is_known(),
                Got::PerhapsNewer => outcome = self.ask(generation, request),
            }
        }
        outcome.by_what_is_known()
    }
}

/// Asks the provider for newer keys, and waits for them until `deadline`.
async fn get_keys(generation: &Generation, need: KeysNeed, deadline: Instant) -> Got {
    let look_up = generation
        .jwks
        .look_up(need.provider(), need.doubt(), deadline)
        .await;
    let Some(look_up) = look_up else {
        return Got::AllThereIs(need.by_known_keys());
    };
    let why = match look_up.outcome {
        UnknownKeyOutcome::Absent => return Got::AllThereIs(need.by_known_keys()),
        UnknownKeyOutcome::Refreshed => return Got::Newer,
        UnknownKeyOutcome::Joined => return Got::PerhapsNewer,
        UnknownKeyOutcome::CoolingDown => NoLookUp::UsedUp,
        UnknownKeyOutcome::Failed => NoLookUp::Failed,
        UnknownKeyOutcome::TimedOut => NoLookUp::TimedOut,
        UnknownKeyOutcome::TurnedAway => NoLookUp::TurnedAway,
    };
    Got::AllThereIs(need.without_look_up(why, look_up.retry_after))
}

/// What asking for newer keys came to.
enum Got {
    /// Nothing more will be known: this is the decision.
    AllThereIs(Decision),
    /// The keys of a fetch that began after the request came.
    Newer,
    /// The keys of a fetch that was under way when the request came.
    PerhapsNewer,
}
