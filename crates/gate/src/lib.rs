//! Runs decisions. Transports call it, and it depends on none of them.
//!
//! A [`Gate`] takes a snapshot of the keys, decides, gets what the decision needs, and decides
//! again. Once the answer is encoded, it counts and logs the decision. It decides by one
//! [`Generation`], which a reload replaces.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub mod causes;
pub mod clusters;
pub mod decision_log;
pub mod denials;
pub mod file_watch;
pub mod files;
mod generation;
pub mod hints;
mod judged;
pub mod jwks;
mod log;
pub mod reload;
pub mod subjects;
pub mod telemetry;
pub mod token_cache;

pub use generation::Generation;
pub use judged::Judged;
pub use log::Circumstances;

use crate::decision_log::DecisionLog;
use crate::denials::RecentDenials;
use crate::jwks::Earlier;
use crate::telemetry::metrics::{Metrics, UnknownKeyOutcome};
use crate::telemetry::spans::{Progress, Tracer};
use claimgate_config::Config;
use claimgate_core::decision::{
    Decision, Denial, Fault, KeysNeed, Need, NoLookUp, Outcome, decide, decide_quickly,
};
use claimgate_core::request::Request;
use claimgate_core::time::{Clock, UnixTime};

/// The maximum number of times that one request asks for newer keys. It is two because a running
/// fetch may have begun before the key was published.
const MAX_LOOK_UPS: usize = 2;

/// The maximum time that a reload waits for the keys of new providers. Until then, the previous
/// generation decides.
const MAX_WAIT_FOR_KEYS: Duration = Duration::from_secs(10);

/// Decides requests by the current configuration.
#[derive(Clone)]
pub struct Gate {
    current: Arc<ArcSwap<Generation>>,
    /// Notified of every change of keys and of every new generation.
    changed: watch::Sender<()>,
    clock: Arc<dyn Clock>,
    /// Records spans. `None` records nothing.
    tracer: Option<Tracer>,
    decision_log: Arc<DecisionLog>,
    /// The metrics, which outlive configurations.
    pub metrics: Arc<Metrics>,
    /// The last denials, for an operator.
    pub denials: Arc<RecentDenials>,
}

/// A request that could not be decided at once.
#[derive(Debug)]
pub struct Pending {
    generation: Arc<Generation>,
    /// `None` if a signature check that is slow comes first.
    outcome: Option<Box<Outcome>>,
}

impl Pending {
    /// Whether deciding begins with a signature check that is slow.
    pub fn is_slow(&self) -> bool {
        self.outcome.is_none()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// Starts a gate for `config`, and begins to fetch keys. Transports bring it requests.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self::start_traced(config, clock, None).await
    }

    /// The same, and records checks and fetches with `tracer`.
    pub async fn start_traced(
        config: Config,
        clock: Arc<dyn Clock>,
        tracer: Option<Tracer>,
    ) -> Self {
        Self::begin(config, clock, tracer, &[]).await
    }

    /// Starts a gate beside others, which stay. It begins with the keys that they know of its
    /// providers.
    pub async fn start_beside(others: &[&Self], config: Config, clock: Arc<dyn Clock>) -> Self {
        Self::begin(config, clock, None, others).await
    }

    async fn begin(
        config: Config,
        clock: Arc<dyn Clock>,
        tracer: Option<Tracer>,
        others: &[&Self],
    ) -> Self {
        let others: Vec<_> = others.iter().map(|other| other.generation()).collect();
        let others: Vec<_> = others.iter().map(|other| &other.jwks).collect();
        let metrics = Arc::new(Metrics::new());
        let tracer = tracer.map(|tracer| tracer.counting(metrics.spans().queue_full.clone()));
        let decision_log = DecisionLog::new(&clock, metrics.decision_log().clone());
        let changed = watch::Sender::default();
        let first = Generation::start(
            config,
            &clock,
            &metrics,
            &decision_log,
            tracer.as_ref(),
            changed.clone(),
            Earlier::Beside(&others),
        )
        .await;
        metrics.show(Arc::clone(&first.metrics));
        decision_log.put_in_force(first.recorder.as_ref());
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
            changed,
            clock,
            tracer,
            decision_log: Arc::new(decision_log),
            metrics,
            denials: Arc::default(),
        }
    }

    /// Replaces the configuration. Requests in progress keep the generation that they began with.
    /// The keys of unchanged providers and all counters are kept. Verified tokens are forgotten.
    ///
    /// Waits at most 10 seconds for the keys of new providers. Reloads must not overlap.
    pub async fn reload(&self, config: Config) {
        let before = self.generation();
        let next = Generation::start(
            config,
            &self.clock,
            &self.metrics,
            &self.decision_log,
            self.tracer.as_ref(),
            self.changed.clone(),
            Earlier::Replaced(&before.jwks),
        )
        .await;
        // Missing keys may arrive later.
        let _ = timeout(MAX_WAIT_FOR_KEYS, next.jwks.all_known()).await;
        self.metrics.show(Arc::clone(&next.metrics));
        self.decision_log.put_in_force(next.recorder.as_ref());
        self.current.store(Arc::new(next));
        self.changed.send_replace(());
    }

    /// Ends the decision log after all decisions so far are written, but waits at most `max_wait`.
    /// Decisions after that are not written.
    pub async fn stop_decision_log(&self, max_wait: Duration) {
        self.decision_log.stop(max_wait).await;
    }

    /// The current time.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The generation in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    /// Notifies of every change of keys and of every new generation.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Decides a request at once.
    ///
    /// # Errors
    ///
    /// Returns what [`Self::decide_later`] goes on with if newer keys may change the decision, or if it
    /// takes a signature check that is slow.
    pub fn decide_now(&self, request: &Request<'_>) -> Result<Judged, Pending> {
        let generation = self.current.load();
        let outcome = decide_quickly(
            &generation.policy,
            &generation.jwks.snapshot(),
            &generation.token_cache,
            request,
            self.clock.now(),
        );
        match outcome {
            Some(Outcome::Decided(decision)) => Ok(Judged::new(generation, decision, request)),
            outcome => Err(Pending {
                generation: Guard::into_inner(generation),
                outcome: outcome.map(Box::new),
            }),
        }
    }

    /// Goes on with a request that could not be decided at once. Waits as [`Self::decide`] does.
    pub async fn decide_later(
        &self,
        pending: Pending,
        request: &Request<'_>,
        max_wait: Duration,
    ) -> Judged {
        let Pending {
            generation,
            outcome,
        } = pending;
        let outcome = match outcome {
            Some(outcome) => *outcome,
            None => self.ask(&generation, request, &mut ()),
        };
        let decision = self
            .get_and_decide(&generation, request, max_wait, outcome, &mut ())
            .await;
        Judged::new(Guard::from_inner(generation), decision, request)
    }

    /// Decides a request. Waits for newer keys if they may change the decision, but no longer than
    /// `unknown_key_wait` and `max_wait`.
    pub async fn decide(&self, request: &Request<'_>, max_wait: Duration) -> Judged {
        self.decide_showing(request, max_wait, &mut ()).await
    }

    /// The same, and tells `progress` what happens meanwhile.
    pub async fn decide_showing(
        &self,
        request: &Request<'_>,
        max_wait: Duration,
        progress: &mut impl Progress,
    ) -> Judged {
        let generation = self.current.load();
        let decision = match self.ask(&generation, request, progress) {
            Outcome::Decided(decision) => decision,
            outcome @ Outcome::Needs(_) => {
                self.get_and_decide(&generation, request, max_wait, outcome, progress)
                    .await
            }
        };
        Judged::new(generation, decision, request)
    }

    /// Denies a request that cannot be judged.
    pub fn deny(&self, fault: Fault, request: &Request<'_>) -> Judged {
        let denial = Denial::from(fault);
        Judged::new(self.current.load(), Decision::Deny(denial), request)
    }

    fn ask(
        &self,
        generation: &Generation,
        request: &Request<'_>,
        progress: &mut impl Progress,
    ) -> Outcome {
        decide(
            &generation.policy,
            &generation.jwks.snapshot(),
            &generation.token_cache,
            request,
            self.clock.now(),
            progress,
        )
    }

    async fn get_and_decide(
        &self,
        generation: &Generation,
        request: &Request<'_>,
        max_wait: Duration,
        mut outcome: Outcome,
        progress: &mut impl Progress,
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
            match get_keys(generation, need, deadline, progress).await {
                Got::AllThereIs(decision) => return decision,
                Got::Newer => {
                    return self.ask(generation, request, progress).by_what_is_known();
                }
                Got::PerhapsNewer => outcome = self.ask(generation, request, progress),
            }
        }
        outcome.by_what_is_known()
    }
}

/// Asks the provider for newer keys, and waits for them until `deadline`.
async fn get_keys(
    generation: &Generation,
    need: KeysNeed,
    deadline: Instant,
    progress: &mut impl Progress,
) -> Got {
    let asked = Instant::now();
    let look_up = generation
        .jwks
        .look_up(need.provider(), need.doubt(), deadline)
        .await;
    let Some(look_up) = look_up else {
        return Got::AllThereIs(need.by_known_keys());
    };
    progress.waited_for_keys(look_up.outcome, asked);
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

/// The result of asking for newer keys.
enum Got {
    /// No newer keys arrive, so this is the decision.
    AllThereIs(Decision),
    /// Keys from a fetch that began after the request arrived.
    Newer,
    /// Keys from a fetch that was already running when the request arrived.
    PerhapsNewer,
}
