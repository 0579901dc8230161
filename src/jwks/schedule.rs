//! When to fetch keys. Pure: the randomness is an argument, from 0 to 1.

use std::time::{Duration, SystemTime};

use crate::config::Refresh;

/// The first pause after a failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// No outage lasts much longer because nobody looked whether it is over.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// How long until the next regular fetch: what the provider's `Cache-Control` says, within the
/// operator's bounds, a little early so that many instances do not come at once.
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

/// How long until the next try after `failures` failures in a row: doubling, never longer than
/// regular fetches are apart at their closest, halved at random.
pub(super) fn after_failure(refresh: &Refresh, failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_RETRY
        .saturating_mul(1 << doublings)
        .min(refresh.min.clamp(FIRST_RETRY, LONGEST_RETRY))
        .mul_f64(0.5 + 0.5 * random)
}

/// What a response says about how long it may be kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Caching<'r> {
    /// Empty if there is none.
    pub(super) cache_control: &'r str,
    /// Seconds that it has spent in caches on the way.
    pub(super) age: Option<u64>,
    /// When it was sent, by the sender's clock.
    pub(super) date: Option<SystemTime>,
    /// Until when it is fresh, by the sender's clock.
    pub(super) expires: Option<SystemTime>,
}

/// How much longer a response stays fresh (RFC 9111 §4.2); `None` if it does not say.
/// `Cache-Control` beats `Expires`, which is compared with the sender's own clock.
pub(super) fn freshness(caching: &Caching<'_>) -> Option<Duration> {
    let by_expires = || {
        let lifetime = caching.expires?.duration_since(caching.date?);
        Some(lifetime.unwrap_or_default())
    };
    let lifetime = by_cache_control(caching.cache_control).or_else(by_expires)?;
    Some(lifetime.saturating_sub(Duration::from_secs(caching.age.unwrap_or_default())))
}

/// RFC 9111 §5.2.2.
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
        let pauses = [1, 2, 3, 4, 5, 6, 7, 1000].map(|n| after_failure(&refresh(), n, 1.0));
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30].map(secs));
        assert_eq!(after_failure(&refresh(), 3, 0.0), secs(2));
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
