//! The state of a provider's keys.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{ClockDifference, KeysError};

/// The state of a provider's keys, for people.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// When the keys in use were fetched.
    pub fetched: Option<Instant>,
    /// When the last keys were fetched, in use or not. `None` if the provider never had keys.
    pub last_fetched: Option<Instant>,
    /// Whether the keys come from disk and no fetch has confirmed them yet.
    pub from_disk: bool,
    /// Why the last fetch failed; `None` if it succeeded.
    pub error: Option<Arc<KeysError>>,
    /// Why the keys that an earlier run stored are not used, while no fetch has succeeded.
    pub stored: Option<Arc<str>>,
    /// The difference of the clocks at the last successful fetch. `None` if its response had no `Date`.
    pub clock: Option<ClockDifference>,
}

impl Status {
    /// Whether the provider ever had keys.
    pub fn had_keys(&self) -> bool {
        self.last_fetched.is_some()
    }

    /// The difference of the clocks, if it may be the reason for denials.
    pub fn large_clock_difference(&self) -> Option<ClockDifference> {
        self.clock.filter(|difference| difference.is_large())
    }

    /// Whether the last fetch has shown that the clocks agree.
    pub fn clocks_agree(&self) -> bool {
        self.clock.is_some_and(|difference| !difference.is_large())
    }

    /// The age of the last keys, if they are too old to be used (`refresh.max_stale`).
    pub fn discarded(&self) -> Option<Duration> {
        match (self.fetched, self.last_fetched) {
            (None, Some(last)) => Some(last.elapsed()),
            _ => None,
        }
    }

    /// Why there are no keys, and what to do about it.
    pub fn why_no_keys(&self) -> String {
        let mut why = match &self.error {
            Some(error) => error.to_string(),
            None => "still being fetched".to_owned(),
        };
        if let Some(age) = self.discarded() {
            let age = age.as_secs();
            why = format!(
                "{why}; the last keys are {age} s old and discarded: older than `refresh.max_stale`. With \
                 `refresh.cache_dir`, a larger one puts them back in use"
            );
        }
        if let Some(stored) = &self.stored {
            why = format!("{why}; the stored keys are not used: {stored}");
        }
        why
    }
}

/// Why a provider does not delay readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    /// `required` is `false`.
    NotRequired,
    /// `fetch.startup_grace` has passed, and it never had keys.
    GraceEnded,
}

impl fmt::Display for Exemption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRequired => "not required (`required: false`)",
            Self::GraceEnded => "no longer awaited (`fetch.startup_grace`)",
        })
    }
}
