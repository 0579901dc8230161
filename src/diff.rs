//! Compares two configurations: what changed in words, and for each change a request that is judged
//! otherwise.
//!
//! Requests are found by a search over both configurations: its candidates come from their patterns,
//! requirements and conditions. Each candidate is judged twice by the same `decide` as in the service,
//! so an example is never a guess. That the search finds nothing proves nothing, unless both
//! configurations say the same.

use aws_lc_rs::error::Unspecified;
use serde_json::Value;

mod groups;
mod judge;
mod knobs;
mod literals;
pub mod log;
mod members;
mod networks;
mod positions;
mod report;
mod request;
mod samples;
mod search;
mod shapes;
mod structure;
mod tokens;
mod words;

pub use judge::{Outcome, Verdict};
pub use report::{Differences, Effect, Entry, Example, Subject};
pub use request::{Bearer, Shape, TokenSpec};

use crate::answer::denials::Denials;
use crate::config::Config;
use crate::keyring::KeySetError;
use crate::policy::Policy;
use crate::time::UnixTime;

/// One of the two configurations.
#[derive(Clone, Debug)]
pub struct Side<'c> {
    /// Its policy.
    pub policy: &'c Policy,
    /// What a refused caller receives.
    pub denials: &'c Denials,
    /// The configuration as [`Config::comparable`] gives it: with defaults, and with marks in place of
    /// secrets.
    pub settings: Value,
    is_old: bool,
}

impl<'c> Side<'c> {
    /// The configuration before the change.
    pub fn old(policy: &'c Policy, denials: &'c Denials, settings: Value) -> Self {
        Self {
            policy,
            denials,
            settings,
            is_old: true,
        }
    }

    /// The configuration after it.
    pub fn new(policy: &'c Policy, denials: &'c Denials, settings: Value) -> Self {
        Self {
            is_old: false,
            ..Self::old(policy, denials, settings)
        }
    }
}

/// How much work the search may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum number of requests without a token.
    pub shapes: usize,
    /// The maximum number of further requests, with and without tokens.
    pub trials: usize,
    /// The maximum number of tokens that are signed.
    pub tokens: usize,
}

impl Default for Limits {
    /// Some seconds of work.
    fn default() -> Self {
        Self {
            shapes: 200_000,
            trials: 400_000,
            tokens: 20_000,
        }
    }
}

/// Why two configurations cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system provides no randomness, so no key can be made and no token signed.
    #[error("cannot sign: the system provides no randomness")]
    Sign(#[from] Unspecified),
    /// A key that was just made cannot be read back.
    #[error("cannot use a created key: {0}")]
    Key(#[from] KeySetError),
    /// A token needs a key that was not made.
    #[error("no key was made for a token; this is a bug")]
    NoKey,
}

/// Compares two configurations at a time.
///
/// # Errors
///
/// See [`Error`].
pub fn configs(
    old: &Config,
    new: &Config,
    now: UnixTime,
    limits: Limits,
) -> Result<Differences, Error> {
    let before = Side::old(&old.policy, &old.denials, old.comparable());
    let after = Side::new(&new.policy, &new.denials, new.comparable());
    compare(&before, &after, now, limits)
}

/// Compares two configurations, as [`configs`] does.
///
/// # Errors
///
/// See [`Error`].
pub fn compare(
    old: &Side<'_>,
    new: &Side<'_>,
    now: UnixTime,
    limits: Limits,
) -> Result<Differences, Error> {
    search::compare(old, new, now, limits)
}
