//! The bad connections of the last minutes, for an operator who looks now.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a bad connection is shown.
const SHOWN: Duration = Duration::from_mins(10);

/// The minimum time between two descriptions, because outsiders can cause such events as often as
/// they like.
const PERIOD: Duration = Duration::from_secs(1);

/// The last bad connection of each kind.
#[derive(Debug, Default)]
pub struct RecentBadConnections(Mutex<BTreeMap<&'static str, Event>>);

/// The last event of a kind.
#[derive(Debug)]
struct Event {
    last: Instant,
    /// When it was described.
    described: Instant,
    /// The number of events, each at most ten minutes after the one before.
    times: u64,
    client: Option<SocketAddr>,
    cause: String,
    advice: String,
}

/// Bad connections of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentBadConnection {
    /// The kind, as in the metric, or `admin_tls_handshake`.
    pub kind: &'static str,
    /// How many there were.
    pub times: u64,
    /// The time since the last one.
    pub ago: Duration,
    /// The client of the last one.
    pub client: Option<SocketAddr>,
    /// What happened.
    pub cause: String,
    /// What to change.
    pub advice: String,
}

impl RecentBadConnections {
    /// Notes a bad connection.
    pub fn note(&self, kind: &'static str, client: Option<SocketAddr>, cause: &str, advice: &str) {
        let now = Instant::now();
        let mut events = self.events();
        let before = events.get_mut(kind);
        let before = before.filter(|event| now.duration_since(event.last) < SHOWN);
        let times = match before {
            Some(event) => {
                event.times += 1;
                event.last = now;
                if now.duration_since(event.described) < PERIOD {
                    return;
                }
                event.times
            }
            None => 1,
        };
        let event = Event {
            last: now,
            described: now,
            times,
            client,
            cause: cause.to_owned(),
            advice: advice.to_owned(),
        };
        events.insert(kind, event);
    }

    /// The bad connections of the last ten minutes.
    pub fn all(&self) -> Vec<RecentBadConnection> {
        let now = Instant::now();
        let events = self.events();
        let recent = events.iter().filter_map(|(kind, event)| {
            let ago = now.duration_since(event.last);
            (ago < SHOWN).then(|| RecentBadConnection {
                kind,
                times: event.times,
                ago,
                client: event.client,
                cause: event.cause.clone(),
                advice: event.advice.clone(),
            })
        });
        recent.collect()
    }

    fn events(&self) -> MutexGuard<'_, BTreeMap<&'static str, Event>> {
        // A panic while the lock is held leaves no half-done change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_of_each_kind_is_shown_for_some_minutes() {
        let recent = RecentBadConnections::default();
        assert_eq!(recent.all(), []);
        let client = |port| Some(SocketAddr::from(([10, 0, 0, 7], port)));
        recent.note("http1", client(1), "one", "a");
        recent.note("http1", client(2), "two", "a");
        recent.note("tls", None, "three", "b");
        let shown = |kind, times, ago, client, cause: &str, advice: &str| RecentBadConnection {
            kind,
            times,
            ago: Duration::from_secs(ago),
            client,
            cause: cause.to_owned(),
            advice: advice.to_owned(),
        };
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(
            recent.all(),
            [
                shown("http1", 2, 60, client(1), "one", "a"),
                shown("tls", 1, 60, None, "three", "b")
            ]
        );
        recent.note("http1", client(3), "four", "a");
        tokio::time::advance(Duration::from_secs(599)).await;
        assert_eq!(
            recent.all(),
            [shown("http1", 3, 599, client(3), "four", "a")]
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(recent.all(), []);
        recent.note("http1", client(4), "five", "a");
        assert_eq!(recent.all(), [shown("http1", 1, 0, client(4), "five", "a")]);
    }
}
