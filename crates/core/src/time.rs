//! The time of day as data. Only [`SystemClock`] reads the wall clock; other code gets the time as
//! an argument.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A moment, as the time since 1970-01-01T00:00:00Z without leap seconds (`NumericDate`, RFC 7519
/// §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(Duration);

impl UnixTime {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self::from_secs(0);

    /// The last second of the year 9999, and the largest time that a claim may hold.
    pub const END_OF_YEAR_9999: Self = Self::from_secs(253_402_300_799);

    /// The moment that is `secs` seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The moment that is `since_epoch` after the epoch.
    pub const fn from_duration(since_epoch: Duration) -> Self {
        Self(since_epoch)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// RFC 3339 in UTC, with milliseconds: `2026-01-31T10:00:00.123Z`. Later times show as the end of
    /// the year 9999.
    pub fn with_millis(self) -> impl fmt::Display {
        let Self(since_epoch) = self.min(Self::END_OF_YEAR_9999);
        humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_epoch)
    }

    /// The moment that is `later` after this one. On overflow, the largest moment.
    #[must_use]
    pub const fn saturating_add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// The moment that is `earlier` before this one, or the epoch if that would be before it.
    #[must_use]
    pub const fn saturating_sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }

    /// The time since `earlier`. Zero if `earlier` is after this moment.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC, to the second: `2026-01-31T10:00:00Z`. Later times show as the end of the
    /// year 9999, where RFC 3339 ends.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(since_epoch) = (*self).min(Self::END_OF_YEAR_9999);
        let time = SystemTime::UNIX_EPOCH + since_epoch;
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}

/// A source of the time of day.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> UnixTime;
}

/// The wall clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// If the clock is set before 1970, returns the largest moment, at which every token has
    /// expired.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the wall clock"
    )]
    fn now(&self) -> UnixTime {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(UnixTime(Duration::MAX), UnixTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(UnixTime::from_secs(secs).to_string(), text);
        }
        let time = UnixTime::from_duration(Duration::from_micros(1_500_999));
        assert_eq!(time.with_millis().to_string(), "1970-01-01T00:00:01.500Z");
    }
}
