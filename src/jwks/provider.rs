//! Where those who need a provider's keys and the task that fetches them meet.

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::Status;
use crate::config::KeySettings;
use crate::telemetry::metrics::UnknownKeyOutcome;

/// How many requests wait at once for the keys of one provider. Its invented key ids should not
/// use up what Envoy may have under way (`circuit_breakers`, 1,024 requests by itself).
const MOST_WAITING: usize = 128;

/// What is shared between a provider's refresher and those who read or ask.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) settings: KeySettings,
    pub(super) attempts: watch::Sender<Attempts>,
    pub(super) wake: Notify,
    waiting: Semaphore,
    pub(super) status: ArcSwap<Status>,
}

/// The fetches of one provider's keys.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    /// One has been asked for, or is under way.
    pub(super) pending: bool,
    /// How many have ended.
    pub(super) ended: u64,
    /// Whether the last one failed.
    pub(super) failed: bool,
    /// When an unknown key id last asked for one.
    pub(super) asked: Option<Instant>,
}

impl Provider {
    pub(super) fn new(settings: KeySettings) -> Self {
        Self {
            settings,
            attempts: watch::Sender::default(),
            wake: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
            status: ArcSwap::default(),
        }
    }

    /// However many ask, one fetch is under way, one is asked for a cool-down, and only so many wait.
    pub(super) async fn refresh_unknown(&self, deadline: Instant) -> UnknownKeyOutcome {
        let Ok(_place) = self.waiting.try_acquire() else {
            return UnknownKeyOutcome::TurnedAway;
        };
        let mut attempts = self.attempts.subscribe();
        let mut before = Attempts::default();
        let now = Instant::now();
        let cooldown = self.settings.refresh.unknown_key_cooldown;
        let asked = self.attempts.send_if_modified(|attempts| {
            before = *attempts;
            let cool = attempts
                .asked
                .is_none_or(|asked| now.duration_since(asked) >= cooldown);
            if attempts.pending || !cool {
                return false;
            }
            attempts.pending = true;
            attempts.asked = Some(now);
            true
        });
        if asked {
            self.wake.notify_one();
        } else if !before.pending {
            return match before.failed {
                true => UnknownKeyOutcome::Failed,
                false => UnknownKeyOutcome::CoolingDown,
            };
        }
        let ended = attempts.wait_for(|attempts| attempts.ended > before.ended);
        match timeout_at(deadline, ended).await {
            Ok(Ok(attempts)) if !attempts.failed => match asked {
                true => UnknownKeyOutcome::Refreshed,
                false => UnknownKeyOutcome::Joined,
            },
            Ok(_) => UnknownKeyOutcome::Failed,
            Err(_) => UnknownKeyOutcome::TimedOut,
        }
    }
}
