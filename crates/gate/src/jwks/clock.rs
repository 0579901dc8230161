//! How far this machine's clock is from a provider's, by the `Date` of its responses.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use claimgate_core::time::UnixTime;

/// The time by a provider's clock when a response arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProviderTime {
    pub(super) sent: UnixTime,
    pub(super) received: Instant,
}

impl ProviderTime {
    /// The time by the provider's clock.
    fn now(self) -> UnixTime {
        self.sent.saturating_add(self.received.elapsed())
    }
}

/// How far this machine's clock is from a provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockDifference {
    /// This machine's clock is fast, or the provider's is slow.
    Ahead(Duration),
    /// This machine's clock is slow, or the provider's is fast.
    Behind(Duration),
}

impl ClockDifference {
    /// A difference of more than this is reported. `Date` has whole seconds, a response is under way for
    /// some, and tokens are accepted within `clock_skew`, a minute by default.
    const TOLERATED: Duration = Duration::from_secs(30);

    pub(super) fn between(ours: UnixTime, theirs: ProviderTime) -> Self {
        let theirs = theirs.now();
        match ours >= theirs {
            true => Self::Ahead(ours.saturating_since(theirs)),
            false => Self::Behind(theirs.saturating_since(ours)),
        }
    }

    /// Whether it may be the reason for denials.
    pub fn is_large(self) -> bool {
        let (Self::Ahead(by) | Self::Behind(by)) = self;
        by > Self::TOLERATED
    }

    /// In seconds; positive if this machine's clock is ahead.
    pub fn seconds(self) -> f64 {
        match self {
            Self::Ahead(by) => by.as_secs_f64(),
            Self::Behind(by) => -by.as_secs_f64(),
        }
    }
}

impl fmt::Display for ClockDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, way) = match self {
            Self::Ahead(by) => (by, "ahead of"),
            Self::Behind(by) => (by, "behind"),
        };
        let by = by.as_secs();
        write!(
            f,
            "this machine's clock is about {by} s {way} the provider's (by the `Date` of its last \
             response): synchronize both (NTP)"
        )
    }
}
