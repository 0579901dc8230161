//! What keeps deciding going: transports ask it, and it knows none of them.
//!
//! A [`Gate`] takes a snapshot of the keys, decides, gets what the decision needs, and decides again.
//! When the answer is on its way, it counts and logs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

mod log;

pub use log::Circumstances;

use crate::answer::denials::Denials;
use crate::config::Config;
use crate::decision::{Decision, KeysNeed, Need, NoLookUp, Outcome, decide};
use crate::jwks::Jwks;
use crate::policy::Policy;
use crate::request::Request;
use crate::telemetry::metrics::{Metrics, UnknownKeyOutcome};
use crate::time::Clock;
use crate::token_cache::TokenCache;

/// How often one request may ask for newer keys: twice, as a fetch that is under way may have begun
/// before the key was published.
const MAX_LOOK_UPS: usize = 2;

/// Decides requests by one configuration.
#[derive(Clone)]
pub struct Gate {
    /// The rules and the providers.
    pub policy: Arc<Policy>,
    /// The form of denials.
    pub denials: Arc<Denials>,
    /// The keys of the providers.
    pub jwks: Arc<Jwks>,
    /// The tokens that were verified before.
    pub token_cache: Arc<TokenCache>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The counters.
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
        let Config {
            server: _,
            admin: _,
            policy,
            keys,
            token_cache,
            denials,
            warnings: _,
        } = config;
        let metrics = Arc::new(Metrics::new(&policy));
        let token_cache = TokenCache::new(&token_cache, metrics.token_cache().clone());
        Self {
            policy,
            denials: Arc::new(denials),
            jwks: Arc::new(Jwks::start(keys, Arc::clone(&clock), Arc::clone(&metrics)).await),
            token_cache: Arc::new(token_cache),
            clock,
            metrics,
        }
    }

    /// Decides a request. Waits for newer keys if they may change the decision, at most
    /// `unknown_key_wait` and `max_wait`.
    pub async fn decide(&self, request: &Request<'_>, max_wait: Duration) -> Decision {
        match self.ask(request) {
            Outcome::Decided(decision) => decision,
            outcome @ Outcome::Needs(_) => self.get_and_decide(request, max_wait, outcome).await,
        }
    }

    fn ask(&self, request: &Request<'_>) -> Outcome {
        decide(
            &self.policy,
            &self.jwks.snapshot(),
            &*self.token_cache,
            request,
            self.clock.now(),
            &mut (),
        )
    }

    async fn get_and_decide(
        &self,
        request: &Request<'_>,
        max_wait: Duration,
        mut outcome: Outcome,
    ) -> Decision {
        let mut deadline = None;
        for _ in 0..MAX_LOOK_UPS {
            let need = match outcome {
                Outcome::Decided(decision) => return decision,
                Outcome::Needs(Need::Keys(need)) => need,
            };
            let wait = self.jwks.unknown_key_wait(need.provider()).min(max_wait);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            match self.get_keys(need, deadline).await {
                Got::AllThereIs(decision) => return decision,
                Got::Newer => return self.ask(request).by_what_is_known(),
                Got::PerhapsNewer => outcome = self.ask(request),
            }
        }
        outcome.by_what_is_known()
    }

    /// Asks the provider for newer keys, and waits for them until `deadline`.
    async fn get_keys(&self, need: KeysNeed, deadline: Instant) -> Got {
        let look_up = self
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
