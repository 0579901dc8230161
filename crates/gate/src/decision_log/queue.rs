//! The lines that wait to be written. Putting a line in takes no lock and waits for nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use super::Destination;
use crate::telemetry::metrics::DecisionLogMetrics;

/// The maximum memory of all waiting lines in bytes: at a disk that hangs, some 10,000 decisions.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The memory in bytes that is reserved for a line. Most are shorter.
pub(super) const LINE_BYTES: usize = 768;

/// The maximum number of waiting lines. No line takes less memory, so the other limit comes first.
const MAX_LINES: usize = MAX_BYTES / LINE_BYTES;

/// The size of waiting lines at which the writer is woken before its time.
const WAKE_BYTES: usize = 1024 * 1024;

/// The new destination. `None` means that nothing is written any more.
pub(super) struct Redirection(pub(super) Option<Destination>);

/// The waiting lines.
pub(super) struct Queue {
    lines: SyncSender<Vec<u8>>,
    bytes: AtomicUsize,
    /// The lines that did not fit, since the writer asked last.
    lost: AtomicU64,
    /// Whether the writer cannot write at the moment.
    is_blocked: AtomicBool,
    is_woken: AtomicBool,
    is_stopping: AtomicBool,
    is_redirected: AtomicBool,
    redirection: Mutex<Option<Redirection>>,
    writer: OnceLock<Thread>,
    pub(super) metrics: DecisionLogMetrics,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// An empty queue, and the end that the writer reads.
    pub(super) fn new(metrics: DecisionLogMetrics) -> (Self, Receiver<Vec<u8>>) {
        let (lines, waiting) = sync_channel(MAX_LINES);
        let queue = Self {
            lines,
            bytes: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            is_woken: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_redirected: AtomicBool::new(false),
            redirection: Mutex::default(),
            writer: OnceLock::new(),
            metrics,
        };
        (queue, waiting)
    }

    /// Puts a line in, or drops and counts it.
    pub(super) fn put(&self, line: Vec<u8>) {
        let bytes = line.capacity();
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > MAX_BYTES || self.lines.try_send(line).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
            let lost = &self.metrics.lost;
            match self.is_blocked.load(Ordering::Relaxed) {
                true => lost.unwritable.inc(),
                false => lost.slow.inc(),
            };
        } else if waiting > WAKE_BYTES && !self.is_woken.swap(true, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Sends lines elsewhere from now on.
    pub(super) fn redirect(&self, destination: Option<Destination>) {
        *self.orders() = Some(Redirection(destination));
        // A line that is put in after this is written to the new destination.
        self.is_redirected.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the writer end when it has written what waits.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    fn orders(&self) -> MutexGuard<'_, Option<Redirection>> {
        self.redirection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer asks.
impl Queue {
    /// Wakes this thread from now on.
    pub(super) fn wakes(&self, writer: Thread) {
        // Only one thread is started.
        let _ = self.writer.set(writer);
    }

    /// Whether to end. From now on, many lines wake the writer again.
    pub(super) fn begin_round(&self) -> bool {
        self.is_woken.store(false, Ordering::Relaxed);
        self.is_stopping.load(Ordering::Acquire)
    }

    /// The new destination, if there is one.
    pub(super) fn redirection(&self) -> Option<Redirection> {
        match self.is_redirected.swap(false, Ordering::Acquire) {
            true => self.orders().take(),
            false => None,
        }
    }

    /// Makes room for further lines.
    pub(super) fn took(&self, line: &Vec<u8>) {
        self.bytes.fetch_sub(line.capacity(), Ordering::Relaxed);
    }

    /// The number of lines that were dropped since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Notes whether lines can be written.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::Relaxed);
        self.metrics.blocked.set(i64::from(is_blocked));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    /// Short lines may hold much memory: that counts.
    #[test]
    fn memory_is_limited() {
        let metrics = DecisionLogMetrics::new(&mut Registry::default());
        let (queue, waiting) = Queue::new(metrics);
        for _ in 0..100 {
            let mut line = Vec::with_capacity(MAX_BYTES / 4);
            line.push(b'a');
            queue.put(line);
        }
        assert_eq!((waiting.try_iter().count(), queue.take_lost()), (4, 96));
    }
}
