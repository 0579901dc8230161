//! Limits the log lines that requests cause. Otherwise a flood of denials would be a flood of
//! lines, which would cost the operator more than the client.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tracing_appender::non_blocking::ErrorCounter;

use claimgate_core::decision::Reason;

/// The length of a window in which the lines of one kind are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// The maximum number of lines of one kind in one window: enough for every denial of a healthy
/// service.
const MAX_LINES: u64 = 100;

/// A kind of line that requests cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A request is denied for this reason.
    Denied(Reason),
    /// A claim is too long to be sent as a header.
    ClaimTooLong,
}

impl Line {
    const COUNT: usize = Reason::ALL.len() + 1;

    const fn index(self) -> usize {
        match self {
            Self::Denied(reason) => reason as usize,
            Self::ClaimTooLong => Reason::ALL.len(),
        }
    }

    /// The name in the closing line.
    const fn name(self) -> &'static str {
        match self {
            Self::Denied(reason) => reason.code(),
            Self::ClaimTooLong => "claim_too_long",
        }
    }
}

/// Counts the lines that requests cause, and decides which may be written: the first [`MAX_LINES`]
/// of each kind in each [`WINDOW`]. At the end of the window, one line reports how many were left
/// out. Takes no lock.
#[derive(Debug)]
pub struct Lines {
    started: Instant,
    kinds: [Kind; Line::COUNT],
    left_out: AtomicU64,
    /// Counts the lines that were dropped because the log was not read in time.
    blocked: OnceLock<ErrorCounter>,
}

#[derive(Debug)]
struct Kind {
    /// The number of the window in the upper half, and the number of lines in it in the lower half.
    window: AtomicU64,
    /// Lines left out since the last closing line.
    left_out: AtomicU64,
}

impl Lines {
    /// Counts windows from `now` on.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            kinds: [const { Kind::new() }; Line::COUNT],
            left_out: AtomicU64::new(0),
            blocked: OnceLock::new(),
        }
    }

    /// Whether this line may be written. If not, it is counted, and a closing line follows.
    pub fn may_write(self: &Arc<Self>, line: Line, now: Instant) -> bool {
        let Some(kind) = self.kinds.get(line.index()) else {
            return true;
        };
        let window = self.window(now);
        let number = kind.next(window);
        if number <= MAX_LINES {
            return true;
        }
        kind.left_out.fetch_add(1, Ordering::Relaxed);
        self.left_out.fetch_add(1, Ordering::Relaxed);
        if number == MAX_LINES + 1 {
            let ends = self.started + WINDOW * u32::try_from(window + 1).unwrap_or(u32::MAX);
            self.close_at(line, ends);
        }
        false
    }

    /// Whether this line would be within its limit, if its level were enabled. Counts no line as left
    /// out.
    pub fn is_within_limit(&self, line: Line, now: Instant) -> bool {
        let kind = self.kinds.get(line.index());
        kind.is_none_or(|kind| kind.next(self.window(now)) <= MAX_LINES)
    }

    fn window(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_secs() / WINDOW.as_secs()
    }

    /// The number of lines left out because their kind exceeded its limit.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// The number of lines dropped because the log was not read in time.
    pub fn blocked(&self) -> u64 {
        let lost = self.blocked.get().map_or(0, ErrorCounter::dropped_lines);
        lost as u64
    }

    /// From now on, includes the lines that this writer drops.
    pub fn watch(&self, writer: ErrorCounter) {
        // A second writer would be ignored, but the process has only one.
        let _ = self.blocked.set(writer);
    }

    /// Schedules the closing line. At most one task per kind and window.
    fn close_at(self: &Arc<Self>, line: Line, ends: Instant) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let lines = Arc::downgrade(self);
        runtime.spawn(async move {
            sleep_until(ends).await;
            if let Some(lines) = lines.upgrade() {
                lines.close(line);
            }
        });
    }

    fn close(&self, line: Line) {
        let kind = self.kinds.get(line.index());
        match kind.map_or(0, |kind| kind.left_out.swap(0, Ordering::Relaxed)) {
            0 => {}
            more => tracing::info!(reason = line.name(), more, "… and {more} more"),
        }
    }
}

impl Kind {
    const fn new() -> Self {
        Self {
            window: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// The number of the next line in this window, from 1. Never waits. If several threads begin a
    /// window together, one of them resets the count; a thread that counts meanwhile counts in
    /// either window.
    fn next(&self, window: u64) -> u64 {
        const COUNT_BITS: u32 = 32;
        let found = self.window.load(Ordering::Relaxed);
        let fresh = window << COUNT_BITS;
        if found >> COUNT_BITS < window {
            let (relaxed, counted) = (Ordering::Relaxed, fresh + 1);
            let begun = self
                .window
                .compare_exchange(found, counted, relaxed, relaxed);
            if begun.is_ok() {
                return 1;
            }
        }
        let before = self.window.fetch_add(1, Ordering::Relaxed);
        (before & u64::from(u32::MAX)) + 1
    }
}

/// Reports the remaining counts when the process ends or the configuration is replaced.
impl Drop for Lines {
    fn drop(&mut self) {
        for reason in Reason::ALL {
            self.close(Line::Denied(reason));
        }
        self.close(Line::ClaimTooLong);
    }
}
