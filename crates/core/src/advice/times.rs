//! What is wrong with the times in a token, or with a clock.

use std::time::Duration;

use serde_json::Value;

use super::UnverifiedParts;
use crate::time::UnixTime;
use crate::token::claims::NumericDate;

/// How long after its expiry a token is explained by a client that renews it slightly too late.
const A_LITTLE: Duration = Duration::from_mins(10);

/// The hint for an expired token. A good token looks expired too if our clock is fast.
pub(super) fn expired(exp: UnixTime, now: UnixTime, token: &UnverifiedParts<'_>) -> String {
    let overdue = now.saturating_since(exp);
    let issued = token.claims.get("iat").and_then(Value::as_u64);
    let lifetime = issued.map(|iat| exp.saturating_since(UnixTime::from_secs(iat)));
    if overdue <= A_LITTLE.min(lifetime.unwrap_or(A_LITTLE)) {
        return "the client uses its token slightly too long, or the clocks differ".to_owned();
    }
    match lifetime.filter(|lifetime| !lifetime.is_zero()) {
        Some(lifetime) => format!(
            "an old token: get a new one. It lived for {} and expired {} ago: if the provider has just \
             issued it, this machine's clock is fast by over {}",
            words(lifetime),
            words(overdue),
            words(overdue)
        ),
        None => {
            "an old token: get a new one; if it is new, this machine's clock is fast".to_owned()
        }
    }
}

/// The hint for a token from the future. A good token looks like that too if our clock is slow.
pub(super) fn not_yet_valid(start: UnixTime, now: UnixTime) -> String {
    let early = start.saturating_since(now);
    match early.as_secs() {
        0..=3600 => "the provider's clock and this machine's differ; see `clock_skew`".to_owned(),
        _ => format!(
            "it is meant for later use, or this machine's clock is slow by {}",
            words(early)
        ),
    }
}

/// If a date in the token is out of range: the first one that would make sense in another unit.
/// `why` is the token's error.
pub(super) fn impossible(why: &str, token: &UnverifiedParts<'_>) -> Option<String> {
    if !why.contains("beyond the year") {
        return None;
    }
    let dates = [NumericDate::Exp, NumericDate::Nbf, NumericDate::Iat];
    let found = dates.into_iter().find_map(|date| {
        let seconds = token.claims.get(date.to_string())?.as_f64()?;
        let unit = match seconds {
            ..=1e11 => return None,
            ..=1e14 => "milliseconds",
            ..=1e17 => "microseconds",
            ..=1e19 => "nanoseconds",
            _ => return None,
        };
        Some(format!("`{date}` is in {unit}; it must be in seconds"))
    });
    Some(found.unwrap_or_else(|| {
        "that is not a date in any unit: have the provider write seconds since 1970".to_owned()
    }))
}

/// The duration in the largest unit of which it has at least two.
fn words(time: Duration) -> String {
    match time.as_secs() {
        secs @ ..120 => format!("{secs} s"),
        secs @ ..7200 => format!("{} min", secs / 60),
        secs @ ..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}
