//! What is wrong with the times in a token, or with a clock.

use std::time::Duration;

use serde_json::Value;

use super::UnverifiedParts;
use crate::time::UnixTime;
use crate::token::claims::NumericDate;

/// How long after its end a token may be used by a client that is a little too slow.
const A_LITTLE: Duration = Duration::from_mins(10);

/// A token that has ended; of a good one, a clock that is fast makes the same.
pub(super) fn expired(exp: UnixTime, now: UnixTime, token: &UnverifiedParts<'_>) -> String {
    let overdue = now.saturating_since(exp);
    let issued = token.claims.get("iat").and_then(Value::as_u64);
    let lifetime = issued.map(|iat| exp.saturating_since(UnixTime::from_secs(iat)));
    if overdue <= A_LITTLE.min(lifetime.unwrap_or(A_LITTLE)) {
        return "the client goes on using its token a little too long, or clocks differ".to_owned();
    }
    match lifetime.filter(|lifetime| !lifetime.is_zero()) {
        Some(lifetime) => format!(
            "an old token: get a new one. It lived for {} and ended {} ago: if the provider has just \
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

/// A token of the future; of a good one, a clock that is slow makes the same.
pub(super) fn not_yet_valid(start: UnixTime, now: UnixTime) -> String {
    let early = start.saturating_since(now);
    match early.as_secs() {
        0..=3600 => "the provider's clock and this one differ; see `clock_skew`".to_owned(),
        _ => format!(
            "it is meant for later, or this machine's clock is slow by {}",
            words(early)
        ),
    }
}

/// The first date of a token that is no time of ours, and in which unit it would be one. `why` is
/// what is wrong with the token.
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
        "that is no date in any unit: let the provider write the seconds since 1970".to_owned()
    }))
}

/// In the largest unit of which there are two.
fn words(time: Duration) -> String {
    match time.as_secs() {
        secs @ ..120 => format!("{secs} s"),
        secs @ ..7200 => format!("{} min", secs / 60),
        secs @ ..172_800 => format!("{} h", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
}
