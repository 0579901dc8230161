//! Decides when to fetch keys. Pure: the randomness is an argument from 0 to 1.

use std::time::{Duration, SystemTime};

use claimgate_config::Refresh;

/// The first pause after a failure. It doubles with each further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The maximum pause after failures, so that a recovery is noticed within a minute.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// The time until the next regular fetch: what the provider's `Cache-Control` says, within the
/// operator's bounds. Up to a fifth is taken off at random, so that many instances do not fetch at
/// once.
pub(super) fn after_success(
    refresh: &Refresh,
    freshness: Option<Duration>,
    random: f64,
) -> Duration {
    freshness
        .unwrap_or(refresh.max)
        .min(refresh.max)
        .mul_f64(0.8 + 0.2 * random)
        .max(refresh.min)
}

/// The time until the next try after `failures` failures in a row. It doubles with each failure up
/// to `refresh.min` (at most a minute), and up to half is taken off at random. If the provider asks
/// for a longer pause, it gets that, up to `refresh.max`, plus a little at random so that many
/// instances do not fetch at once.
pub(super) fn after_failure(
    refresh: &Refresh,
    failures: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = FIRST_RETRY
        .saturating_mul(1 << doublings)
        .min(refresh.min.clamp(FIRST_RETRY, LONGEST_RETRY))
        .mul_f64(0.5 + 0.5 * random);
    let asked_for = retry_after.map_or(Duration::ZERO, |wait| {
        let wait = wait.min(refresh.max);
        wait.mul_f64(1.0 + 0.1 * random).min(refresh.max)
    });
    pause.max(asked_for)
}

/// The pause in a `retry-after` header (RFC 9110 §10.2.3): seconds, or a time by the sender's
/// clock, which `date` gives. `None` if the value is not usable.
pub(super) fn retry_after(value: &str, date: Option<SystemTime>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let wait = httpdate::parse_http_date(value).ok()?.duration_since(date?);
    Some(wait.unwrap_or_default())
}

/// The headers of a response that say how long it may be cached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caching<'r> {
    /// `Cache-Control`; empty if absent.
    pub(super) cache_control: &'r str,
    /// `Age`: the seconds that the response has spent in caches.
    pub(super) age: Option<u64>,
    /// `Date`: when the response was sent, by the sender's clock.
    pub(super) date: Option<SystemTime>,
    /// `Expires`: until when the response is fresh, by the sender's clock.
    pub(super) expires: Option<SystemTime>,
}

/// The remaining freshness of a response (RFC 9111 §4.2). `None` if it does not say.
/// `Cache-Control` takes precedence over `Expires`, which is compared with the sender's own clock.
pub(super) fn freshness(caching: &Caching<'_>) -> Option<Duration> {
    let by_expires = || {
        let lifetime = caching.expires?.duration_since(caching.date?);
        Some(lifetime.unwrap_or_default())
    };
    let lifetime = by_cache_control(caching.cache_control).or_else(by_expires)?;
    Some(lifetime.saturating_sub(Duration::from_secs(caching.age.unwrap_or_default())))
}

/// The freshness in a `Cache-Control` header (RFC 9111 §5.2.2).
fn by_cache_control(cache_control: &str) -> Option<Duration> {
    let mut freshness = None;
    for directive in cache_control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse().ok();
                freshness = freshness.or(seconds.map(Duration::from_secs));
            }
            _ => {}
        }
    }
    freshness
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn refresh() -> Refresh {
        Refresh {
            min: secs(30),
            max: secs(900),
            max_stale: secs(86_400),
            unknown_key_cooldown: secs(30),
            unknown_key_wait: Duration::from_millis(100),
            cache_dir: None,
        }
    }

    #[test]
    fn regular_fetches_stay_within_bounds() {
        for (freshness, random, expected) in [
            (None, 1.0, secs(900)),
            (None, 0.0, secs(720)),
            (Some(secs(300)), 1.0, secs(300)),
            (Some(secs(300)), 0.0, secs(240)),
            (Some(secs(0)), 0.5, secs(30)),
            (Some(secs(31_536_000)), 1.0, secs(900)),
            (Some(Duration::MAX), 1.0, secs(900)),
        ] {
            assert_eq!(
                after_success(&refresh(), freshness, random),
                expected,
                "{freshness:?}"
            );
        }
    }

    #[test]
    fn failures_back_off_to_a_cap() {
        let pauses = [1, 2, 3, 4, 5, 6, 7, 1000].map(|n| after_failure(&refresh(), n, None, 1.0));
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30].map(secs));
        assert_eq!(after_failure(&refresh(), 3, None, 0.0), secs(2));
    }

    #[test]
    fn a_provider_that_asks_for_a_pause_gets_it() {
        for (asked_for, random, expected) in [
            (secs(120), 0.0, secs(120)),
            (secs(120), 1.0, secs(132)),
            (secs(890), 1.0, secs(900)),
            (secs(86_400), 0.0, secs(900)),
            (Duration::MAX, 1.0, secs(900)),
            // Shorter than the back-off.
            (secs(1), 1.0, secs(16)),
            (Duration::ZERO, 0.0, secs(8)),
        ] {
            let pause = after_failure(&refresh(), 5, Some(asked_for), random);
            assert_eq!(pause, expected, "{asked_for:?}");
        }
    }

    #[test]
    fn how_long_a_provider_wants_to_be_left_alone() {
        let now = SystemTime::UNIX_EPOCH + secs(1_767_225_600);
        for (value, date, expected) in [
            ("120", None, Some(secs(120))),
            (" 120 ", None, Some(secs(120))),
            ("0", None, Some(Duration::ZERO)),
            ("99999999999999999999", None, Some(secs(u64::MAX))),
            ("Thu, 01 Jan 2026 00:02:00 GMT", Some(now), Some(secs(120))),
            (
                "Wed, 31 Dec 2025 23:59:00 GMT",
                Some(now),
                Some(Duration::ZERO),
            ),
            ("Thu, 01 Jan 2026 00:02:00 GMT", None, None),
            ("", Some(now), None),
            ("-1", Some(now), None),
            ("1.5", Some(now), None),
            ("soon", Some(now), None),
        ] {
            assert_eq!(retry_after(value, date), expected, "{value}");
        }
    }

    #[test]
    fn what_responses_say() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + secs(seconds));
        for (cache_control, age, date, expires, expected) in [
            ("max-age=600", Some(100), None, None, Some(secs(500))),
            ("max-age=600", Some(700), None, None, Some(secs(0))),
            ("max-age=600", None, at(1000), at(1001), Some(secs(600))),
            ("", None, at(1000), at(1300), Some(secs(300))),
            ("", Some(60), at(1000), at(1300), Some(secs(240))),
            ("", None, at(1000), at(900), Some(secs(0))),
            ("", None, None, at(1300), None),
            ("", Some(60), None, None, None),
        ] {
            let caching = Caching {
                cache_control,
                age,
                date,
                expires,
            };
            assert_eq!(freshness(&caching), expected, "{caching:?}");
        }
    }

    #[test]
    fn cache_control() {
        for (header, expected) in [
            ("max-age=600", Some(secs(600))),
            ("public, Max-Age=\"600\", must-revalidate", Some(secs(600))),
            ("no-store, max-age=600", Some(secs(0))),
            ("no-cache", Some(secs(0))),
            ("public", None),
            ("max-age=soon", None),
            ("max-age=99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(by_cache_control(header), expected, "{header}");
        }
    }
}
