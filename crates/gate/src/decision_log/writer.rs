//! The thread that writes the decision log.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::output::Output;
use super::queue::{Queue, Redirection};
use crate::telemetry::every_minute::EveryMinute;
use claimgate_core::time::Clock;

/// The time between two writes. A killed process loses the decisions of about this time.
const WRITE_INTERVAL: Duration = Duration::from_millis(100);

/// The time between two attempts at a file that cannot be written.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The time between two attempts at a pipe that is full.
const PIPE_INTERVAL: Duration = Duration::from_millis(10);

/// How long the reader of a full pipe may take for the last lines.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);

/// Starts the thread. The receiver completes when it has ended.
///
/// # Errors
///
/// Fails if the system starts no thread.
pub(super) fn start(
    queue: &Arc<Queue>,
    lines: Receiver<Vec<u8>>,
    clock: &Arc<dyn Clock>,
) -> io::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel::<()>();
    let writer = Writer {
        output: Output::new(Arc::clone(clock), queue.metrics.clone()),
        queue: Arc::clone(queue),
        lines,
        waiting: None,
        problems: EveryMinute::default(),
        is_blocked: false,
        retry_at: Instant::now(),
    };
    let thread = thread::Builder::new().name("decision-log".to_owned());
    let started = thread.spawn(move || {
        writer.run();
        drop(end);
    })?;
    queue.wakes(started.thread().clone());
    Ok(ended)
}

struct Writer {
    queue: Arc<Queue>,
    lines: Receiver<Vec<u8>>,
    output: Output,
    /// A line for which there was no room.
    waiting: Option<Vec<u8>>,
    problems: EveryMinute,
    is_blocked: bool,
    retry_at: Instant,
}

impl Writer {
    fn run(mut self) {
        let mut deadline = None;
        let last_moment = || Instant::now() + PATIENCE_AT_END;
        loop {
            let is_stopping = self.queue.begin_round();
            let (mut is_written, mut is_slow) = (false, false);
            if is_stopping || Instant::now() >= self.retry_at {
                let outcome = self.write_all();
                is_written = outcome.is_ok();
                is_slow = matches!(&outcome, Err(why) if why.kind() == io::ErrorKind::WouldBlock);
                self.note(outcome);
            }
            if is_stopping
                && !(is_slow && Instant::now() < *deadline.get_or_insert_with(last_moment))
            {
                return self.finish(is_written);
            }
            let pause = self.retry_at.saturating_duration_since(Instant::now());
            thread::park_timeout(match pause.is_zero() {
                true => WRITE_INTERVAL,
                false => pause,
            });
        }
    }

    /// Writes all lines, and the number of those that are lost.
    fn write_all(&mut self) -> io::Result<()> {
        self.follow_redirection();
        loop {
            let is_done = self.collect()?;
            if is_done {
                let lost = self.queue.take_lost();
                if lost > 0 && self.output.is_on() {
                    self.output.push_lost(lost);
                }
            }
            if self.output.is_on() {
                self.output.flush()?;
            }
            if is_done {
                return Ok(());
            }
        }
    }

    /// Collects lines until they make a batch. True if no more lines wait.
    fn collect(&mut self) -> io::Result<bool> {
        while !self.output.is_full() {
            let Some(line) = self.waiting.take().or_else(|| self.lines.try_recv().ok()) else {
                return Ok(true);
            };
            // The line may belong to a configuration that came into force meanwhile.
            self.follow_redirection();
            if !self.output.is_on() {
                self.queue.took(&line);
                self.queue.metrics.lost.stopped.inc();
                continue;
            }
            if let Err(error) = self.output.push_decision(&line) {
                self.waiting = Some(line);
                return Err(error);
            }
            self.queue.took(&line);
        }
        Ok(false)
    }

    fn follow_redirection(&mut self) {
        let Some(Redirection(destination)) = self.queue.redirection() else {
            return;
        };
        if destination.is_none() && self.output.is_on() {
            // These belong to the earlier configuration.
            while let Ok(line) = self.lines.try_recv() {
                self.queue.took(&line);
                if self.output.push_decision(&line).is_err() {
                    self.queue.metrics.lost.stopped.inc();
                }
            }
        }
        self.output.redirect(destination);
    }

    /// Decides when to try again, and tells the operator.
    fn note(&mut self, outcome: io::Result<()>) {
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                self.retry_at = now;
                if std::mem::take(&mut self.is_blocked) {
                    tracing::info!("the decision log can be written again");
                }
            }
            // The reader of a pipe is slow.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.retry_at = now + PIPE_INTERVAL;
            }
            Err(error) => {
                self.retry_at = now + RETRY_INTERVAL;
                self.is_blocked = true;
                if let Some(times) = self.problems.due() {
                    tracing::warn!(
                        %error,
                        times,
                        "cannot write the decision log; decisions wait, and are lost if they are too many"
                    );
                }
            }
        }
        self.queue.set_blocked(self.is_blocked);
    }

    /// Writes the last line, or counts what cannot be written.
    fn finish(mut self, is_written: bool) {
        if is_written && self.output.is_on() {
            self.output.push_stopped();
        }
        if !is_written || self.output.flush().is_err() {
            let unread = self.waiting.iter().count() + self.lines.try_iter().count();
            self.queue.metrics.lost.stopped.inc_by(unread as u64);
            let lost = self.output.give_up() + unread as u64 + self.queue.take_lost();
            if lost > 0 {
                // The last that anybody hears of them: the metrics end with the process.
                tracing::warn!(
                    lost,
                    "the decision log could not be written; these decisions are lost"
                );
            }
        }
    }
}
