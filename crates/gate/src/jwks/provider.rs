//! The state that the refresher of a provider shares with requests.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::board::Board;
use super::history::History;
use super::look_ups::{KidHash, LookUps};
use super::{Exemption, LookUp, Status};
use crate::telemetry::metrics::{KeyMetrics, UnknownKeyOutcome};
use claimgate_config::{KeySettings, KeySource};
use claimgate_core::decision::{KeyDoubt, RETRY_AFTER};
use claimgate_core::keyring::{KeySet, Keys, ProviderId};

/// The maximum number of requests that wait for the keys of one provider. Invented key ids must not
/// use up Envoy's limit on requests (`circuit_breakers`, 1,024 by default).
const MAX_WAITING: usize = 128;

/// The state that the refresher of a provider shares with requests.
#[derive(Debug)]
pub(super) struct ProviderState {
    pub(super) settings: KeySettings,
    pub(super) metrics: KeyMetrics,
    published: Mutex<Published>,
    pub(super) attempts: watch::Sender<Attempts>,
    pub(super) wake: Notify,
    waiting: Semaphore,
    kids: RandomState,
    pub(super) status: ArcSwap<Status>,
    /// When this source of keys was first used.
    started: Instant,
    /// When the next regular fetch is due.
    next_fetch: ArcSwapOption<Instant>,
    pub(super) history: History,
}

/// A provider's keys, and the boards that show them.
#[derive(Debug)]
struct Published {
    keys: Keys,
    boards: Vec<(Weak<Board>, ProviderId)>,
}

/// The fetches of one provider's keys, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Whether requests have asked for the next fetch.
    asked: bool,
    /// The last fetch that has begun.
    begun: u64,
    /// The last fetch that has ended.
    ended: u64,
    /// The last fetch that has returned keys.
    good: u64,
    /// The end of the pause that the provider asks for (`retry-after`).
    not_before: Option<Instant>,
    look_ups: LookUps,
}

/// What happens to a token that asks for newer keys.
enum Seek {
    /// The provider does not have its key.
    Absent,
    /// It waits for this fetch, which it did not trigger.
    Join(u64),
    /// It triggers this fetch.
    Ask(u64),
    /// The allowance is used up. It may ask again after this time.
    TooSoon(Duration),
    /// The provider asks for a pause. It may ask again after this time.
    NotNow(Duration),
}

impl Attempts {
    fn knows_absent(&self, kid: KidHash, now: Instant) -> bool {
        self.look_ups.knows_absent(kid, self.good, now)
    }

    /// A token asks for newer keys. `kid` is set if the key set does not have it.
    fn seek(&mut self, kid: Option<KidHash>, now: Instant, cooldown: Duration) -> Seek {
        let next = self.begun + 1;
        if let Some(kid) = kid {
            if self.knows_absent(kid, now) {
                return Seek::Absent;
            }
            match self.look_ups.answered_by(kid) {
                Some(fetch) if fetch > self.ended => return Seek::Join(fetch),
                _ => {}
            }
        }
        // This fetch may have begun before the key was published. Then the request asks again.
        if self.begun > self.ended {
            return Seek::Join(self.begun);
        }
        let seek = match self.not_before.map(|time| time.duration_since(now)) {
            _ if self.asked => Seek::Join(next),
            Some(left) if !left.is_zero() => Seek::NotNow(left),
            _ => match self.look_ups.take(now, cooldown) {
                Ok(()) => Seek::Ask(next),
                Err(left) => Seek::TooSoon(left),
            },
        };
        match (kid, &seek) {
            (Some(kid), Seek::Join(_) | Seek::Ask(_)) => {
                self.look_ups.seek(kid, next, self.good, now, cooldown);
            }
            // An earlier fetch has already looked for this key.
            (Some(kid), _) if self.look_ups.has_sought(kid, self.good) => return Seek::Absent,
            _ => {}
        }
        self.asked |= matches!(seek, Seek::Ask(_));
        seek
    }

    /// Whether requests wait for a fetch that has not begun.
    pub(super) fn is_asked(&self) -> bool {
        self.asked
    }

    /// Begins a fetch. Returns whether requests have asked for it.
    pub(super) fn begin(&mut self) -> bool {
        self.begun += 1;
        std::mem::take(&mut self.asked)
    }

    /// Ends the current fetch. `good` means that it has returned keys.
    pub(super) fn end(&mut self, good: bool, not_before: Option<Instant>) {
        self.ended = self.begun;
        self.not_before = not_before;
        if good {
            self.good = self.begun;
        }
    }
}

impl ProviderState {
    /// `before` is the previous state of this provider, if its keys come from the same source.
    pub(super) fn new(settings: KeySettings, metrics: KeyMetrics, before: Option<&Self>) -> Self {
        Self {
            settings,
            metrics,
            published: Mutex::new(Published {
                keys: Keys::Unavailable,
                boards: Vec::new(),
            }),
            attempts: watch::Sender::default(),
            wake: Notify::new(),
            waiting: Semaphore::new(MAX_WAITING),
            kids: RandomState::new(),
            status: ArcSwap::default(),
            started: before.map_or_else(Instant::now, |before| before.started),
            next_fetch: ArcSwapOption::empty(),
            history: History::default(),
        }
    }

    /// Why missing keys do not delay readiness.
    pub(super) fn exemption(&self) -> Option<Exemption> {
        if !self.settings.required {
            return Some(Exemption::NotRequired);
        }
        let grace = self.settings.fetch.startup_grace?;
        let has_ended = !self.status.load().had_keys() && self.started.elapsed() >= grace;
        has_ended.then_some(Exemption::GraceEnded)
    }

    /// Waits for the end of the startup grace, and reports it if there were no keys until then.
    pub(super) async fn end_grace(self: Arc<Self>) {
        let Some(grace) = self.settings.fetch.startup_grace else {
            return;
        };
        sleep_until(self.started + grace).await;
        if self.exemption() != Some(Exemption::GraceEnded) {
            return;
        }
        self.metrics.grace_ended.inc();
        tracing::warn!(
            provider = self.settings.name,
            grace_seconds = grace.as_secs(),
            "the startup grace has ended without keys; the provider no longer delays readiness, and \
             its tokens get 503"
        );
        // Whether the service is ready depends on this too.
        self.publish(self.keys());
    }

    /// Plans the next regular fetch.
    pub(super) fn plan(&self, next: Instant) {
        self.next_fetch.store(Some(Arc::new(next)));
    }

    /// The time until the next regular fetch. Zero while it is overdue or running.
    pub(super) fn until_next_fetch(&self) -> Option<Duration> {
        let next = self.next_fetch.load_full()?;
        Some(next.duration_since(Instant::now()))
    }

    /// The keys in use.
    pub(super) fn keys(&self) -> Keys {
        self.published().keys.clone()
    }

    /// Replaces the keys on every board.
    pub(super) fn publish(&self, keys: Keys) {
        let mut published = self.published();
        published.boards.retain(|(board, id)| {
            let board = board.upgrade();
            board.inspect(|board| board.put(*id, &keys)).is_some()
        });
        published.keys = keys;
    }

    /// Shows the keys on this board too, now and after each change.
    pub(super) fn publish_to(&self, board: &Arc<Board>, id: ProviderId) {
        let mut published = self.published();
        board.put(id, &published.keys);
        published.boards.push((Arc::downgrade(board), id));
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        // A panic while the lock is held leaves no half-done change.
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the provider's current keys.
    pub(super) fn settle(&self, keys: &KeySet) {
        self.history.see(keys);
        let kids: Vec<_> = keys.kids().map(|kid| self.kids.hash_one(kid)).collect();
        let refresh = &self.settings.refresh;
        let (settling, cooldown) = (refresh.max, refresh.unknown_key_cooldown);
        self.attempts.send_modify(|attempts| {
            let look_ups = &mut attempts.look_ups;
            look_ups.settle(&kids, Instant::now(), settling, cooldown);
        });
    }

    /// Waits for newer keys that may resolve the doubt. `None` if no newer keys can be expected.
    /// Single flight: one fetch at a time, as many in a row as [`LookUps`] allows, and at most
    /// [`MAX_WAITING`] waiting requests.
    pub(super) async fn look_up(&self, doubt: KeyDoubt<'_>, deadline: Instant) -> Option<LookUp> {
        if !self.may_have_newer(doubt) {
            return None;
        }
        let kid = match doubt {
            KeyDoubt::UnknownKid(kid) => Some(self.kids.hash_one(kid)),
            KeyDoubt::Replaced => None,
        };
        let now = Instant::now();
        let mut attempts = self.attempts.subscribe();
        if kid.is_some_and(|kid| attempts.borrow().knows_absent(kid, now)) {
            return Some(UnknownKeyOutcome::Absent.into());
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Some(UnknownKeyOutcome::TurnedAway.into());
        };
        let without = |outcome, retry_after| LookUp {
            outcome,
            retry_after,
        };
        let (fetch, brought) = match self.seek(kid, now) {
            Seek::Absent => return Some(UnknownKeyOutcome::Absent.into()),
            Seek::TooSoon(left) => return Some(without(UnknownKeyOutcome::CoolingDown, left)),
            Seek::NotNow(left) => return Some(without(UnknownKeyOutcome::Failed, left)),
            Seek::Join(fetch) => (fetch, UnknownKeyOutcome::Joined),
            Seek::Ask(fetch) => (fetch, UnknownKeyOutcome::Refreshed),
        };
        let ended = attempts.wait_for(|attempts| attempts.ended >= fetch);
        let outcome = match timeout_at(deadline, ended).await {
            Ok(Ok(attempts)) if attempts.good >= fetch => brought,
            Ok(_) => UnknownKeyOutcome::Failed,
            Err(_) => UnknownKeyOutcome::TimedOut,
        };
        Some(outcome.into())
    }

    /// Whether newer keys can be expected. Keys in the configuration never change. Keys younger
    /// than the cool-down are not fetched again because of a bad signature.
    fn may_have_newer(&self, doubt: KeyDoubt<'_>) -> bool {
        let cooldown = self.settings.refresh.unknown_key_cooldown;
        match (&self.settings.source, doubt) {
            (KeySource::Inline(_), _) => false,
            (_, KeyDoubt::UnknownKid(_)) => true,
            (_, KeyDoubt::Replaced) => {
                let fetched = self.status.load().fetched;
                fetched.is_some_and(|fetched| fetched.elapsed() >= cooldown)
            }
        }
    }

    /// Checks and asks in one step, so that only one of many requests asks.
    fn seek(&self, kid: Option<KidHash>, now: Instant) -> Seek {
        let cooldown = self.settings.refresh.unknown_key_cooldown;
        let mut seek = Seek::Absent;
        self.attempts.send_if_modified(|attempts| {
            seek = attempts.seek(kid, now, cooldown);
            // No task waits for a fetch to begin.
            false
        });
        if matches!(seek, Seek::Ask(_)) {
            self.wake.notify_one();
        }
        seek
    }
}

impl From<UnknownKeyOutcome> for LookUp {
    fn from(outcome: UnknownKeyOutcome) -> Self {
        Self {
            outcome,
            retry_after: RETRY_AFTER,
        }
    }
}
