//! Keeps every provider's keys fresh.
//!
//! One task per provider fetches; readers take a snapshot and never wait. The last good keys stay
//! until newer ones arrive or they are too old to trust. Providers do not affect each other.
//!
//! A provider outlives its configuration if the next one has the same settings for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

mod board;
mod changes;
mod clock;
mod content;
mod discovery;
mod disk;
mod error;
mod fetch;
mod history;
mod look_ups;
mod provider;
mod refresher;
mod report;
mod schedule;
mod source;
mod status;

use board::Board;
pub use clock::ClockDifference;
pub use discovery::OtherIssuer;
pub use error::KeysError;
pub use fetch::{FetchError, trust};
use provider::ProviderState;
use refresher::Refresher;
pub use report::KeysReport;
use source::Source;
pub use status::{Exemption, Status};

use crate::telemetry::metrics::{KeyMetrics, PolicyMetrics, UnknownKeyOutcome};
use crate::telemetry::spans::Tracer;
use claimgate_config::{Fetch, KeySettings, Proxy};
use claimgate_core::decision::KeyDoubt;
use claimgate_core::escaped::Escaped;
use claimgate_core::keyring::{KeySet, Keyring, Keys, ProviderId};
use claimgate_core::time::{Clock, UnixTime};

/// The keys of all providers of one configuration. Dropping it ends the refresh tasks of providers
/// that no other configuration has.
#[derive(Debug)]
pub struct Jwks {
    board: Arc<Board>,
    /// In the order of the policy's providers.
    providers: Vec<Arc<Provider>>,
}

/// A provider, and the tasks that keep its keys fresh until the provider is dropped.
#[derive(Debug)]
struct Provider {
    state: Arc<ProviderState>,
    _tasks: JoinSet<()>,
}

/// What has fetched keys before.
#[derive(Clone, Copy, Debug)]
pub enum Earlier<'e> {
    /// The keys of the configuration that the new one replaces.
    Replaced(&'e Jwks),
    /// The keys of configurations that stay.
    Beside(&'e [&'e Jwks]),
}

/// What is known about the keys of a provider that starts.
enum Known<'k> {
    Nothing,
    /// It has run so far, and continues.
    Same(&'k Arc<Provider>),
    /// Its keys.
    Keys(&'k ProviderState),
}

impl<'e> Earlier<'e> {
    fn known(self, settings: &KeySettings) -> Known<'e> {
        let provider = match self {
            Self::Replaced(jwks) => jwks.providers.iter().find(|provider| {
                let known = &provider.state.settings;
                known.name == settings.name
            }),
            Self::Beside(all) => {
                let mut known = all.iter().flat_map(|jwks| &jwks.providers);
                known.find(|provider| is_same_way(&provider.state.settings, settings))
            }
        };
        match (self, provider) {
            (Self::Replaced(_), Some(known)) if known.state.settings == *settings => {
                Known::Same(known)
            }
            (Self::Beside(_), Some(known)) => Known::Keys(&known.state),
            (Self::Replaced(_), Some(known)) if known.state.settings.source == settings.source => {
                Known::Keys(&known.state)
            }
            _ => Known::Nothing,
        }
    }
}

/// Whether both get keys from the same place, over the same way. Another configuration may belong to somebody
/// else, who trusts other certificates, or sends its requests elsewhere.
fn is_same_way(one: &KeySettings, other: &KeySettings) -> bool {
    one.source == other.source && way(&one.fetch) == way(&other.fetch)
}

/// What decides whom a fetch trusts, and where it goes.
fn way(fetch: &Fetch) -> (Option<&PathBuf>, Option<&Proxy>, Option<&String>) {
    let Fetch {
        ca_file,
        proxy,
        envoy_cluster,
        timeout: _,
        startup_grace: _,
        bearer_token_file: _,
        allow_http: _,
        max_bytes: _,
    } = fetch;
    (ca_file.as_ref(), proxy.as_ref(), envoy_cluster.as_ref())
}

/// The result of asking for newer keys.
#[derive(Clone, Copy, Debug)]
pub struct LookUp {
    /// How it ended.
    pub outcome: UnknownKeyOutcome,
    /// The time until a caller without a verdict may try again.
    pub retry_after: Duration,
}

impl Jwks {
    /// Starts to fetch the keys of all providers. Keys from files, from the configuration and from
    /// an earlier run are present when this returns.
    ///
    /// A provider that [`Earlier::Replaced`] has with the same settings continues unchanged. One with
    /// the same source of keys starts with the keys known so far. `changed` is notified of every change
    /// of keys.
    pub async fn start(
        providers: Vec<KeySettings>,
        clock: &Arc<dyn Clock>,
        metrics: &PolicyMetrics,
        tracer: Option<&Tracer>,
        changed: watch::Sender<()>,
        earlier: Earlier<'_>,
    ) -> Self {
        let board = Arc::new(Board::new(providers.len(), changed));
        let providers = providers.into_iter().enumerate().map(|(index, settings)| {
            let metrics = metrics.keys(ProviderId(index)).cloned().unwrap_or_default();
            let known = earlier.known(&settings);
            Provider::start(settings, known, Arc::clone(clock), metrics, tracer.cloned())
        });
        // In parallel, so that a disk that hangs delays the start by only one timeout.
        let providers = join_all(providers).await;
        for (index, provider) in providers.iter().enumerate() {
            provider.state.publish_to(&board, ProviderId(index));
        }
        Self { board, providers }
    }

    /// The keys known now.
    pub fn snapshot(&self) -> Guard<Arc<Keyring>> {
        self.board.snapshot()
    }

    /// Waits until every provider has keys.
    pub async fn all_known(&self) {
        let mut changed = self.board.changed();
        while self.unavailable().next().is_some() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// The providers without keys.
    pub fn unavailable(&self) -> impl Iterator<Item = ProviderId> {
        let keyring = self.snapshot();
        (0..self.providers.len())
            .map(ProviderId)
            .filter(move |id| matches!(keyring.keys(*id), Keys::Unavailable))
    }

    /// The providers that delay readiness: those that never had keys, unless they are
    /// [exempt](Self::exemption). A provider that has lost its keys does not count, because the tokens
    /// of other providers can still be judged. If no provider has keys, it counts too.
    pub fn awaited(&self) -> Vec<ProviderId> {
        let mut unavailable: Vec<_> = self.unavailable().collect();
        let any_keys = unavailable.len() < self.providers.len();
        unavailable.retain(|id| {
            let had_keys = self.status(*id).is_some_and(|status| status.had_keys());
            self.exemption(*id).is_none() && !(any_keys && had_keys)
        });
        unavailable
    }

    /// Why missing keys of a provider do not delay readiness, whatever the other providers have.
    pub fn exemption(&self, provider: ProviderId) -> Option<Exemption> {
        self.state(provider)?.exemption()
    }

    /// The state of the keys of a provider.
    pub fn status(&self, provider: ProviderId) -> Option<Arc<Status>> {
        Some(self.state(provider)?.status.load_full())
    }

    /// The maximum time that a request waits for keys of this provider.
    pub fn unknown_key_wait(&self, provider: ProviderId) -> Duration {
        self.state(provider).map_or(Duration::ZERO, |provider| {
            provider.settings.refresh.unknown_key_wait
        })
    }

    /// The age of the keys of a provider.
    pub fn age(&self, provider: ProviderId) -> Option<Duration> {
        let fetched = self.status(provider)?.fetched?;
        Some(fetched.elapsed())
    }

    /// When the provider last replaced the key with this id and kept the id, if this process has seen
    /// that.
    pub fn replaced(&self, provider: ProviderId, kid: &Escaped) -> Option<UnixTime> {
        self.state(provider)?.history.replaced(kid)
    }

    /// Fetches newer keys of `provider`, within limits, and waits for them until `deadline`. `None`
    /// if no newer keys can be expected.
    pub async fn look_up(
        &self,
        provider: ProviderId,
        doubt: KeyDoubt<'_>,
        deadline: Instant,
    ) -> Option<LookUp> {
        let state = self.state(provider)?;
        let look_up = state.look_up(doubt, deadline).await?;
        state.metrics.unknown_key(look_up.outcome);
        Some(look_up)
    }

    fn state(&self, provider: ProviderId) -> Option<&ProviderState> {
        Some(&self.providers.get(provider.0)?.state)
    }

    /// Updates the gauges that change with time.
    pub fn observe(&self) {
        let keyring = self.snapshot();
        for (index, provider) in self.providers.iter().enumerate() {
            let (state, id) = (&provider.state, ProviderId(index));
            let metrics = &state.metrics;
            let status = state.status.load();
            let count = match keyring.keys(id) {
                Keys::Known(keys) => keys.len(),
                Keys::Unavailable => 0,
            };
            metrics.keys.set(i64::try_from(count).unwrap_or(i64::MAX));
            let age = status.last_fetched.map(|fetched| fetched.elapsed());
            metrics.age.set(seconds(age));
            metrics.stale.set(i64::from(
                status.had_keys() && (status.error.is_some() || status.from_disk),
            ));
            let difference = status.clock.map(ClockDifference::seconds);
            metrics.clock_difference.set(difference.unwrap_or(f64::NAN));
            metrics.next_refresh.set(seconds(state.until_next_fetch()));
        }
    }
}

/// A duration as a gauge shows it.
fn seconds(duration: Option<Duration>) -> f64 {
    duration.map_or(f64::NAN, |duration| duration.as_secs_f64())
}

impl Provider {
    /// Starts a provider with these settings.
    async fn start(
        settings: KeySettings,
        known: Known<'_>,
        clock: Arc<dyn Clock>,
        metrics: KeyMetrics,
        tracer: Option<Tracer>,
    ) -> Arc<Self> {
        let known = match known {
            Known::Same(provider) => return Arc::clone(provider),
            Known::Keys(state) => Some(state),
            Known::Nothing => None,
        };
        let state = Arc::new(ProviderState::new(settings, metrics, known));
        let mut refresher = Refresher::new(Arc::clone(&state), clock, tracer);
        refresher.prepare(known).await;
        let mut tasks = JoinSet::from_iter([refresher.run()]);
        tasks.spawn(Arc::clone(&state).end_grace());
        Arc::new(Self {
            state,
            _tasks: tasks,
        })
    }
}

/// Fetches the keys of one provider once, for commands that run and end.
///
/// # Errors
///
/// Says why the keys are not available.
pub async fn fetch_once(settings: &KeySettings) -> Result<Arc<KeySet>, KeysError> {
    let loaded = Source::new(settings).load().await?;
    Ok(loaded.keys)
}

/// Reads what fetching needs (certificate authorities, the proxy), without using the network.
///
/// # Errors
///
/// Says what cannot be used.
pub async fn check_settings(settings: &KeySettings) -> Result<(), KeysError> {
    Source::new(settings).prepare().await
}
