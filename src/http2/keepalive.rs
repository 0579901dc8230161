//! Finds out when whoever is at the other end has gone without a word.

use std::future::poll_fn;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// So often is looked whether the other end has answered, and it is asked again if it has.
const PERIOD: Duration = Duration::from_secs(15);

/// So often in a row it may not have answered. More than once, as an answer may be there and not be
/// read yet: after the whole process was stopped for a while.
const MAX_MISSED: u32 = 1;

/// Pings of one connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    pings: Option<PingPong>,
    ticks: Interval,
    /// How often an answer was missed, while one is awaited.
    missed: Option<u32>,
}

impl Keepalive {
    pub(super) fn new(pings: Option<PingPong>) -> Self {
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            pings,
            ticks,
            missed: None,
        }
    }

    /// Completes when a ping was not answered in time. May be dropped, and called again.
    pub(super) async fn lost(&mut self) {
        let Some(pings) = &mut self.pings else {
            return std::future::pending().await;
        };
        loop {
            let is_asked = self.missed.is_some();
            tokio::select! {
                // Whoever has answered is there, however late it is noticed.
                biased;
                // An error means that the connection ends, which it says itself.
                pong = poll_fn(|context| pings.poll_pong(context)), if is_asked => match pong {
                    Ok(_) => self.missed = None,
                    Err(_) => return std::future::pending().await,
                },
                _ = self.ticks.tick() => match self.missed {
                    Some(MAX_MISSED) => return,
                    Some(missed) => self.missed = Some(missed + 1),
                    None => self.missed = pings.send_ping(Ping::opaque()).is_ok().then_some(0),
                }
            }
        }
    }
}
