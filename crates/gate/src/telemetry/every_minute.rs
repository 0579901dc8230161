//! Limits log lines about events that outsiders can cause as often as they like.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The minimum time between two lines.
const PERIOD: Duration = Duration::from_mins(1);

/// Lets one log line per minute pass, and counts the events that it stands for.
#[derive(Debug, Default)]
pub struct EveryMinute(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    times: u64,
}

impl EveryMinute {
    /// Counts one event. If a line is due, returns the number of events since the last line.
    pub fn due(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.times += 1;
        if state.last.is_some_and(|last| last.elapsed() < PERIOD) {
            return None;
        }
        state.last = Some(Instant::now());
        Some(std::mem::take(&mut state.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_stands_for_many_events() {
        let lines = EveryMinute::default();
        assert_eq!(lines.due(), Some(1));
        assert_eq!((lines.due(), lines.due()), (None, None));
        tokio::time::advance(PERIOD).await;
        assert_eq!(lines.due(), Some(3));
        assert_eq!(lines.due(), None);
    }
}
