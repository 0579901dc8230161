//! The decision log: one line of JSON for each decision, for audits and for `claimgate diff`.
//!
//! The thread that decides builds a line ([`Recorder`]) and puts it into a bounded [`Queue`]. A thread
//! of its own writes ([`writer`]). If it cannot keep up, lines are dropped and counted: no check
//! waits.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

mod compose;
mod file;
mod output;
mod parts;
mod queue;
pub mod record;
mod sample;
mod token_state;
mod writer;

pub(crate) use compose::Recorder;
use queue::Queue;
use record::ConfigurationRecord;

use crate::telemetry::metrics::DecisionLogMetrics;
use claimgate_config::DecisionTarget;
use claimgate_core::time::Clock;

pub use file::check as check_file;

/// Where lines go, and how each file begins.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    target: DecisionTarget,
    /// The line at the beginning. Number, time, cause and instance are filled in.
    head: ConfigurationRecord,
}

/// The decision log of a process, which outlives configurations.
pub(crate) struct DecisionLog {
    clock: Arc<dyn Clock>,
    metrics: DecisionLogMetrics,
    writer: Mutex<Option<Writer>>,
}

/// The thread that writes.
struct Writer {
    queue: Arc<Queue>,
    /// Completes when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl std::fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionLog").finish_non_exhaustive()
    }
}

impl DecisionLog {
    pub(crate) fn new(clock: &Arc<dyn Clock>, metrics: DecisionLogMetrics) -> Self {
        Self {
            clock: Arc::clone(clock),
            metrics,
            writer: Mutex::default(),
        }
    }

    /// The queue of the writer. The first call starts its thread, so a process without a log has none.
    ///
    /// # Errors
    ///
    /// Fails if the system starts no thread.
    fn queue(&self) -> io::Result<Arc<Queue>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &*writer {
            return Ok(Arc::clone(&writer.queue));
        }
        let (queue, lines) = Queue::new(self.metrics.clone());
        let queue = Arc::new(queue);
        let ended = writer::start(&queue, lines, &self.clock)?;
        *writer = Some(Writer {
            queue: Arc::clone(&queue),
            ended,
        });
        Ok(queue)
    }

    /// Puts the destination of a new configuration in force. Its decisions may follow.
    pub(crate) fn put_in_force(&self, recorder: Option<&Recorder>) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = &*writer {
            let destination = recorder.map(Recorder::destination);
            writer.queue.redirect(destination.cloned());
        }
    }

    fn take_writer(&self) -> Option<Writer> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.take()
    }

    /// Writes what waits, and the line that says that nothing is missing. Waits at most `max_wait`.
    pub(crate) async fn stop(&self, max_wait: Duration) {
        let Some(Writer { queue, ended }) = self.take_writer() else {
            return;
        };
        queue.stop();
        if timeout(max_wait, ended).await.is_err() {
            tracing::warn!("the decision log takes too long; its last lines are lost");
        }
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer {
            writer.queue.stop();
        }
    }
}
