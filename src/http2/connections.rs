//! Limits the number of connections of one kind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::telemetry::every_minute::EveryMinute;
use crate::telemetry::metrics::ConnectionMetrics;

/// The connections of all listeners of one kind, at most `max`.
///
/// A further connection evicts the one that has been idle longest. Its client connects again, and
/// no client can lock others out by holding connections open.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    started: Instant,
    /// One permit per connection, including those that are being closed.
    permits: Arc<Semaphore>,
    open: Mutex<Open>,
    /// The number of open connections.
    count: watch::Sender<usize>,
    metrics: ConnectionMetrics,
    log: EveryMinute,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// Nanoseconds after `Connections::started`.
    last_used: AtomicU64,
    evicted: Notify,
}

impl Connections {
    /// Allows at most `max` connections, and at least one.
    pub fn new(max: usize, metrics: ConnectionMetrics) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            max,
            started: Instant::now(),
            permits: Arc::new(Semaphore::new(max)),
            open: Mutex::default(),
            count: watch::Sender::default(),
            metrics,
            log: EveryMinute::default(),
        }
    }

    /// Registers an accepted connection. If there are too many, evicts another and waits until it
    /// is closed, so that accepting is never faster than closing.
    pub async fn admit(self: &Arc<Self>) -> Lease {
        let mut lease = self.enter();
        // Fails only if the semaphore is closed, which never happens.
        lease.permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        lease
    }

    /// Completes when no connection has been open for this long.
    pub async fn unused_for(&self, time: Duration) {
        let mut count = self.count.subscribe();
        loop {
            // Fails only if `self` is dropped.
            let _ = count.wait_for(|count| *count == 0).await;
            if timeout(time, count.changed()).await.is_err() {
                return;
            }
        }
    }

    fn enter(self: &Arc<Self>) -> Lease {
        let entry = Arc::new(Entry {
            last_used: self.now().into(),
            evicted: Notify::new(),
        });
        let mut open = self.lock();
        while open.by_id.len() >= self.max {
            let used = |entry: &Arc<Entry>| entry.last_used.load(Ordering::Relaxed);
            let idlest = open
                .by_id
                .iter()
                .min_by_key(|(id, entry)| (used(entry), **id));
            let Some(entry) = idlest
                .map(|(id, _)| *id)
                .and_then(|id| open.by_id.remove(&id))
            else {
                break;
            };
            entry.evicted.notify_one();
            self.metrics.evicted.inc();
            if let Some(times) = self.log.due() {
                tracing::warn!(
                    times,
                    max = self.max,
                    listener = self.metrics.listener,
                    "connection limit reached; closing the connection that has been idle longest"
                );
            }
        }
        let id = open.next;
        open.next += 1;
        open.by_id.insert(id, Arc::clone(&entry));
        self.observe(&open);
        Lease {
            connections: Arc::clone(self),
            id,
            entry,
            permit: None,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // No code panics while it holds the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, open: &Open) {
        let count = open.by_id.len();
        let shown = i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.open.set(shown);
        self.count.send_replace(count);
    }
}

/// A registered connection. Dropping it makes room for another.
#[derive(Debug)]
pub struct Lease {
    connections: Arc<Connections>,
    id: u64,
    entry: Arc<Entry>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Records that a request has arrived.
    pub fn used(&self) {
        let now = self.connections.now();
        self.entry.last_used.store(now, Ordering::Relaxed);
    }

    /// Completes when the connection must make room for another.
    pub async fn evicted(&self) {
        self.entry.evicted.notified().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.by_id.remove(&self.id);
        self.connections.observe(&open);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_idlest_makes_room() {
        let connections = Arc::new(Connections::new(2, ConnectionMetrics::default()));
        let (first, second) = (connections.admit().await, connections.admit().await);
        tokio::time::advance(Duration::from_secs(1)).await;
        first.used();
        let mut third = Box::pin(connections.admit());
        assert!(
            third.as_mut().now_or_never().is_none(),
            "no connection has closed yet"
        );
        assert!(second.evicted().now_or_never().is_some());
        assert!(first.evicted().now_or_never().is_none());
        drop(second);
        let third = third.await;
        assert_eq!(connections.metrics.open.get(), 2);
        drop((first, third));
        assert_eq!(connections.metrics.open.get(), 0);
        assert_eq!(connections.metrics.evicted.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_visit_is_a_use() {
        let second = Duration::from_secs(1);
        let connections = Arc::new(Connections::new(2, ConnectionMetrics::default()));
        let begin = Instant::now();
        connections.unused_for(second).await;
        assert_eq!(begin.elapsed(), second, "never used");

        let lease = connections.admit().await;
        let begin = Instant::now();
        let visits = async {
            tokio::time::sleep(10 * second).await;
            drop(lease);
            tokio::time::sleep(second / 2).await;
            drop(connections.admit().await);
        };
        tokio::join!(connections.unused_for(second), visits);
        assert_eq!(begin.elapsed(), 10 * second + second / 2 + second);
    }
}
