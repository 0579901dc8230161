//! Numbers the lines of one destination, and writes them, in files of a limited size.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Destination;
use super::compose::{self, BODY_START};
use super::file::{self, LogFile};
use super::record::{Cause, ConfigurationRecord, Line, LostRecord, StoppedRecord};
use crate::telemetry::metrics::DecisionLogMetrics;
use claimgate_config::DecisionTarget;
use claimgate_core::time::Clock;

/// The size in bytes at which collected lines are written. A write this large costs little more than
/// the copying.
const BATCH_BYTES: usize = 256 * 1024;

/// The time between looks whether another program has moved the file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Writes to one destination after another.
pub(super) struct Output {
    clock: Arc<dyn Clock>,
    metrics: DecisionLogMetrics,
    /// A random id of this writer.
    instance: String,
    destination: Option<Destination>,
    file: Option<LogFile>,
    /// Why the next file is opened.
    cause: Cause,
    /// The lines that are not written yet. Only the first one may be partly written.
    buffer: Vec<u8>,
    /// The number of bytes of `buffer` that are written.
    written: usize,
    /// The number of the next decision.
    next: u64,
    looked: Instant,
    /// When to try again to rename a file that could not be renamed.
    rotate_at: Instant,
}

impl Output {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: DecisionLogMetrics) -> Self {
        let now = Instant::now();
        Self {
            clock,
            metrics,
            instance: format!("{:016x}", fastrand::u64(..)),
            destination: None,
            file: None,
            cause: Cause::Started,
            buffer: Vec::new(),
            written: 0,
            next: 1,
            looked: now,
            rotate_at: now,
        }
    }

    /// Whether lines are written anywhere.
    pub(super) fn is_on(&self) -> bool {
        self.destination.is_some()
    }

    /// Whether the lines so far make a write worth while.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= BATCH_BYTES
    }

    /// Continues elsewhere, or nowhere. What cannot be written to the earlier destination goes to the
    /// new one.
    pub(super) fn redirect(&mut self, destination: Option<Destination>) {
        let earlier = self.destination.take();
        let is_same_place = match (&earlier, &destination) {
            (Some(earlier), Some(later)) => is_same_place(&earlier.target, &later.target),
            (Some(_), None) | (None, _) => false,
        };
        if earlier.is_some() && !is_same_place {
            // After an error, the lines stay in the buffer.
            if self.write_buffer().is_ok() && self.file.is_some() {
                self.push_stopped();
                let _ = self.write_buffer();
                self.give_up();
            }
            self.file = None;
        }
        self.destination = destination;
        if self.destination.is_none() {
            self.give_up();
        }
        match (&self.file, self.cause) {
            (Some(_), _) => self.push_head(Cause::Reloaded),
            (None, Cause::Started) => {}
            (None, _) => self.cause = Cause::Reloaded,
        }
    }

    /// Adds a decision, which [`compose`] has made.
    ///
    /// # Errors
    ///
    /// Fails if there is no room for it and the lines before it cannot be written. The line is not
    /// added then.
    pub(super) fn push_decision(&mut self, body: &[u8]) -> io::Result<()> {
        let body = body.strip_prefix(BODY_START).unwrap_or(body);
        let start = format!("{{\"kind\":\"decision\",\"n\":{},", self.next);
        self.make_room(start.len() + body.len() + 1)?;
        self.buffer.extend_from_slice(start.as_bytes());
        self.buffer.extend_from_slice(body);
        self.buffer.push(b'\n');
        self.next += 1;
        Ok(())
    }

    /// Says that this many decisions are lost.
    pub(super) fn push_lost(&mut self, count: u64) {
        let lost = LostRecord {
            n: self.next,
            time: self.time(),
            count,
        };
        self.next += count;
        self.push(&Line::Lost(lost));
    }

    /// Says that nothing is missing.
    pub(super) fn push_stopped(&mut self) {
        let stopped = StoppedRecord {
            n: self.next,
            time: self.time(),
        };
        self.push(&Line::Stopped(stopped));
    }

    /// Opens the file if it is not open, and writes all lines.
    ///
    /// # Errors
    ///
    /// Says why not all lines are written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.look();
        self.open()?;
        self.write_buffer()
    }

    /// Forgets the lines that could not be written, and counts the decisions among them.
    pub(super) fn give_up(&mut self) -> u64 {
        let rest = self.buffer.get(self.line_start()..).unwrap_or_default();
        let lost = decisions(rest);
        self.metrics.lost.stopped.inc_by(lost);
        self.buffer.clear();
        self.written = 0;
        lost
    }

    /// Makes sure that the file has room for a line of this many bytes.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        self.open()?;
        let Some(Destination {
            target: DecisionTarget::File(settings),
            ..
        }) = &self.destination
        else {
            return Ok(());
        };
        let waiting = self.buffer.len() - self.written;
        let size = self.file.as_ref().and_then(LogFile::bytes).unwrap_or(0);
        let is_full = size + (waiting + bytes) as u64 > settings.max_bytes as u64;
        let has_lines = size > 0 || waiting > 0;
        if settings.keep == 0 || !is_full || !has_lines || Instant::now() < self.rotate_at {
            return Ok(());
        }
        let (path, keep) = (settings.path.clone(), settings.keep);
        self.write_buffer()?;
        let is_regular = self.file.as_ref().and_then(LogFile::bytes).is_some();
        if !is_regular {
            return Ok(());
        }
        self.look_at(&path);
        if self.file.is_some() {
            self.rotate(&path, keep);
        }
        self.open()
    }

    /// Renames the file. If that fails, the file grows, because losing lines would be worse.
    fn rotate(&mut self, path: &Path, keep: u32) {
        match file::rotate(path, keep) {
            Ok(()) => {
                self.file = None;
                self.cause = Cause::Rotated;
            }
            Err(error) => {
                let file = path.display();
                tracing::warn!(%file, %error, "cannot rename the decision log; it grows");
                self.rotate_at = Instant::now() + Duration::from_mins(1);
            }
        }
    }

    /// Notices, once in a while, if another program has moved the file.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return;
        }
        let target = self.destination.as_ref().map(|to| to.target.clone());
        if let Some(DecisionTarget::File(settings)) = target {
            self.look_at(&settings.path);
        }
    }

    fn look_at(&mut self, path: &Path) {
        self.looked = Instant::now();
        let file = self.file.as_mut();
        if file.is_some_and(|file| file.has_moved(path)) {
            self.file = None;
            self.cause = Cause::Reopened;
        }
    }

    /// Opens the file. The line about the configuration goes before all lines that wait.
    fn open(&mut self) -> io::Result<()> {
        let Some(destination) = &self.destination else {
            return Ok(());
        };
        if self.file.is_some() {
            return Ok(());
        }
        let file = match &destination.target {
            DecisionTarget::Stdout => LogFile::stdout()?,
            DecisionTarget::File(settings) => LogFile::open(&settings.path)?,
        };
        let rest = self.buffer.split_off(self.line_start());
        self.buffer.clear();
        self.written = 0;
        if !file.begins_line {
            // Ends a line that a crash has cut.
            self.buffer.push(b'\n');
        }
        self.file = Some(file);
        let cause = std::mem::replace(&mut self.cause, Cause::Reopened);
        if matches!(cause, Cause::Started | Cause::Reloaded) {
            let file = match &destination.target {
                DecisionTarget::Stdout => "standard output".into(),
                DecisionTarget::File(settings) => settings.path.to_string_lossy(),
            };
            tracing::info!(%file, "writing the decision log");
        }
        self.push_head_for(cause, first_number(&rest).unwrap_or(self.next));
        self.buffer.extend_from_slice(&rest);
        Ok(())
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        while let Some(rest) = self.buffer.get(self.written..)
            && !rest.is_empty()
        {
            match file.write(rest) {
                Ok(written) => {
                    let ended = rest.get(..written).unwrap_or_default();
                    self.metrics.bytes.inc_by(written as u64);
                    self.metrics.lines.inc_by(newlines(ended));
                    self.written += written;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        self.written = 0;
        Ok(())
    }

    /// Where the first line begins that is not completely written.
    fn line_start(&self) -> usize {
        let written = self.buffer.get(..self.written).unwrap_or_default();
        let newline = written.iter().rposition(|byte| *byte == b'\n');
        newline.map_or(0, |at| at + 1)
    }

    fn push_head(&mut self, cause: Cause) {
        self.push_head_for(cause, self.next);
    }

    /// Adds the line about the configuration. The next decision after it has the number `n`.
    fn push_head_for(&mut self, cause: Cause, n: u64) {
        let Some(destination) = &self.destination else {
            return;
        };
        let head = ConfigurationRecord {
            n,
            time: self.time(),
            cause,
            instance: self.instance.clone(),
            ..destination.head.clone()
        };
        self.push(&Line::Configuration(head));
    }

    fn push(&mut self, line: &impl Serialize) {
        compose::append(&mut self.buffer, line);
        self.buffer.push(b'\n');
    }

    /// The time as in all lines. Empty if the clock fails.
    fn time(&self) -> String {
        let now = catch_unwind(AssertUnwindSafe(|| self.clock.now()));
        now.map(|now| now.with_millis().to_string())
            .unwrap_or_default()
    }
}

fn is_same_place(one: &DecisionTarget, other: &DecisionTarget) -> bool {
    match (one, other) {
        (DecisionTarget::Stdout, DecisionTarget::Stdout) => true,
        (DecisionTarget::File(one), DecisionTarget::File(other)) => one.path == other.path,
        (DecisionTarget::Stdout | DecisionTarget::File(_), _) => false,
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').skip(1).count() as u64
}

/// The number at the beginning of the first line.
fn first_number(lines: &[u8]) -> Option<u64> {
    let line = str::from_utf8(lines.split(|byte| *byte == b'\n').next()?).ok()?;
    let (_, rest) = line.split_once("\"n\":")?;
    let (number, _) = rest.split_once(',')?;
    number.parse().ok()
}

/// The number of decisions in complete lines.
fn decisions(lines: &[u8]) -> u64 {
    let lines = lines.split(|byte| *byte == b'\n');
    let decisions = lines.filter(|line| line.starts_with(b"{\"kind\":\"decision\""));
    decisions.count() as u64
}
