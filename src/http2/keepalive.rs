//! Finds out when whoever is at the other end has gone without a word.

use std::future::poll_fn;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// So often the other end is asked whether it is there, and so long it has to answer.
const PERIOD: Duration = Duration::from_secs(30);

/// Pings of one connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    pings: Option<PingPong>,
    ticks: Interval,
    awaited: bool,
}

impl Keepalive {
    pub(super) fn new(pings: Option<PingPong>) -> Self {
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            pings,
            ticks,
            awaited: false,
        }
    }

    /// Completes when a ping was not answered in time. May be dropped, and called again.
    pub(super) async fn lost(&mut self) {
        let Some(pings) = &mut self.pings else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                // Whoever has answered is there, however late it is noticed.
                biased;
                // An error means that the connection ends, which it says itself.
                pong = poll_fn(|context| pings.poll_pong(context)), if self.awaited => match pong {
                    Ok(_) => self.awaited = false,
                    Err(_) => return std::future::pending().await,
                },
                _ = self.ticks.tick() => {
                    if self.awaited {
                        return;
                    }
                    self.awaited = pings.send_ping(Ping::opaque()).is_ok();
                }
            }
        }
    }
}
