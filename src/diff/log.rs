//! Judges the requests of a decision log anew: what would the new configuration decide?
//!
//! A prediction is never a guess. If a record does not hold what the new configuration asks for, the
//! outcome cannot be told, and the report counts why.

use std::borrow::Cow;

mod claims;
mod comparison;
mod facts;
mod lines;
mod needs;
mod predictor;
mod ranges;
mod rebuilt;
mod report;
mod sequence;
mod terms;

pub use report::{Count, Predictions};

use super::judge::Outcome;
use super::{Error, Side};
use crate::escaped::Escaped;
use crate::gate::decision_log::record::{
    ConfigurationRecord, DecisionRecord, Line, Verdict as Logged,
};
use crate::time::UnixTime;
use facts::{Facts, Listed, names};
use lines::Read;
use predictor::{Predictor, Stop};
use report::Tally;
use sequence::{Place, Sequences};

/// What the new configuration decides about a logged request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// This.
    Told(Told),
    /// The record does not hold what the answer depends on.
    CannotTell(Cow<'static, str>),
}

/// A decision in the words of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happens.
    pub outcome: Outcome,
    /// The reason code of a denial, enforced or not.
    pub reason: Option<String>,
    /// The rule that decides, if one was found.
    pub rule: Option<String>,
}
/// Reads decision logs line by line. The memory does not grow with the log.
#[derive(Debug)]
pub struct Replay<'s> {
    predictor: Predictor<'s>,
    /// The hash of the old configuration.
    hash: String,
    /// What the records of the old configuration hold, as far as lines have said it.
    listed: Option<Listed>,
    sequences: Sequences,
    tally: Tally,
}

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

type Known<T> = Result<T, Cow<'static, str>>;

impl<'s> Replay<'s> {
    /// Predicts what `new` decides about requests that `old` has decided. `hash` is that of `old`.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn new(
        old: &'s Side<'s>,
        new: &'s Side<'s>,
        hash: String,
        now: UnixTime,
    ) -> Result<Self, Error> {
        Ok(Self {
            predictor: Predictor::new(old, new, now)?,
            hash,
            listed: None,
            sequences: Sequences::default(),
            tally: Tally::default(),
        })
    }

    /// Begins a file: its first line says what the others mean.
    pub fn begin_file(&mut self) {
        self.sequences.begin_file();
    }

    /// Reads a line of the current file.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A line that is none of the log's is counted.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        match lines::read(line) {
            Read::Unreadable => self.sequences.unreadable(),
            Read::NoInstance => self.sequences.unknown_configuration(),
            Read::NewerKind => self.sequences.unknown_kind(),
            Read::NewerDecision { n } => match self.sequences.decision(n) {
                Place::New => self.tally.cannot_tell(NEWER),
                Place::Unknown => self.tally.cannot_tell(HEADLESS),
                Place::ReadBefore => {}
            },
            Read::Line(line) => self.known_line(*line)?,
        }
        Ok(())
    }

    fn known_line(&mut self, line: Line<'_>) -> Result<(), Error> {
        match line {
            Line::Configuration(record) => {
                self.sequences.configuration(&record);
                self.tally.configuration(&record);
                self.remember(record);
            }
            Line::Lost(record) => self.sequences.lost(record.n, record.count),
            Line::Stopped(record) => self.sequences.stopped(record.n),
            Line::Decision(record) => match self.sequences.decision(record.n) {
                Place::New => {
                    let prediction = self.predict(&record)?;
                    self.tally.add(&record, &prediction);
                }
                Place::Unknown => self.tally.cannot_tell(HEADLESS),
                Place::ReadBefore => {}
            },
        }
        Ok(())
    }

    /// The report on everything that was read.
    pub fn finish(self) -> Predictions {
        self.tally.finish(self.sequences.finish())
    }

    fn remember(&mut self, record: ConfigurationRecord) {
        if record.configuration != self.hash {
            return;
        }
        let paths = record.claims.iter();
        self.listed = Some(Listed {
            claims: paths.filter_map(|path| names(path)).collect(),
            headers: record.headers,
        });
    }

    /// What the new configuration decides about the request of a record.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn predict(&mut self, record: &DecisionRecord<'_>) -> Result<Prediction, Error> {
        if record.configuration != self.hash {
            let why = format!(
                "it was decided by the configuration {}, not by OLD ({})",
                Escaped::from(&*record.configuration),
                self.hash
            );
            return Ok(Prediction::CannotTell(why.into()));
        }
        let Some(listed) = &self.listed else {
            return Ok(Prediction::CannotTell(UNLISTED.into()));
        };
        let facts = Facts { record, listed };
        match self.predictor.outcome(&facts) {
            Ok(told) => Ok(Prediction::Told(told)),
            Err(Stop::CannotTell(why)) => Ok(Prediction::CannotTell(why)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

/// Why a decision before a file's first `configuration` line is not judged: it may be one that another
/// file has too.
const HEADLESS: &str =
    "the file's `configuration` line is missing: give the file from its beginning";

/// Why a decision is not judged if the `configuration` line of OLD was not read before it.
const UNLISTED: &str =
    "no `configuration` line before it is about OLD: give the earlier file, and give it first";

/// Why a decision with an unknown value is not judged.
const NEWER: &str = "a newer version of claimgate wrote it: compare with that version";

/// The decision that a record tells.
fn logged(record: &DecisionRecord<'_>) -> Told {
    let reason = record.reason.as_deref().or(record.would_be.as_deref());
    Told {
        outcome: match record.decision {
            Logged::Allow => Outcome::Allow,
            Logged::Deny => Outcome::Deny,
            Logged::Respond => Outcome::Respond,
        },
        reason: reason.map(str::to_owned),
        rule: record.rule.as_deref().map(str::to_owned),
    }
}
