//! `claimgate diff`: compares two configurations.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Failure, Output, complain, say};
use crate::config::{Config, ConfigError};
use crate::diff::log::{Predictions, Replay};
use crate::diff::{self, Differences, Effect, Limits, Side};
use crate::time::{Clock as _, SystemClock};

/// Compares two configurations: what changed, and which requests are judged otherwise.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate diff claimgate.yaml new.yaml\n  \
    claimgate diff claimgate.yaml new.yaml --fail-on widened\n  \
    git show main:claimgate.yaml > old.yaml && claimgate diff old.yaml claimgate.yaml --output json\n  \
    claimgate diff claimgate.yaml new.yaml --log decisions.jsonl.1 --log decisions.jsonl\n\n\
    Each example is a request that both configurations have judged, with a token made for the\n\
    comparison. Nothing is fetched. The search is bounded: if it finds nothing, that is no proof that\n\
    the configurations are equal, unless the output says so. A change is `unproven` if the search cannot\n\
    say what it does: it found no request for it, or could not try every value.\n\n\
    Exit codes: 0 compared, 1 the difference is one of --fail-on, 2 a file is wrong")]
pub(super) struct Arguments {
    /// The configuration before the change
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The configuration after the change
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// A decision log that OLD has written: say what NEW would decide about its requests. Repeat for
    /// more files, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,

    /// Exit with 1 if the configurations differ in this way
    #[arg(long, value_enum, value_name = "DIFFERENCE")]
    fail_on: Option<FailOn>,

    /// Let --fail-on ignore changes whose effect no example shows
    #[arg(long, requires = "fail_on")]
    accept_unproven: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A request passes that was denied before, or a change is unproven
    Widened,
    /// A request is denied that passed before, or a change is unproven
    Narrowed,
    /// Anything but the same decisions
    Any,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        old,
        new,
        log,
        fail_on,
        accept_unproven,
        output,
    } = arguments;
    let mut wrong = Vec::new();
    let mut configs = Vec::new();
    for file in [old, new] {
        match Config::load(file) {
            Ok(config) => configs.push(config),
            Err(error @ (ConfigError::Wrong { .. } | ConfigError::Unreadable { .. })) => {
                wrong.push(error.to_string());
            }
        }
    }
    let [old, new] = configs.as_slice() else {
        complain(&wrong.join("\n"));
        return Ok(ExitCode::from(2));
    };
    let differences = diff::configs(old, new, SystemClock.now(), Limits::default())?;
    let predictions = match log.is_empty() {
        true => None,
        false => Some(replay(old, new, log)?),
    };
    say(&match (output, &predictions) {
        (Output::Text, None) => differences.text(),
        (Output::Text, Some(predictions)) => {
            format!("{}\n\n{}", predictions.text(), differences.text())
        }
        (Output::Json, _) => {
            let mut report = differences.json();
            if let (Some(members), Some(predictions)) = (report.as_object_mut(), &predictions) {
                members.insert("log".to_owned(), predictions.json());
            }
            format!("{report:#}")
        }
    })?;
    let is_met = fail_on.is_some_and(|fail_on| {
        let is_unproven = differences.is_unproven() && !accept_unproven;
        is_unproven || fail_on.is_met(&differences, predictions.as_ref())
    });
    Ok(ExitCode::from(u8::from(is_met)))
}

impl FailOn {
    /// Whether the search or the log shows such a difference.
    fn is_met(self, differences: &Differences, predictions: Option<&Predictions>) -> bool {
        let logged = predictions.map(|predictions| predictions.otherwise);
        let logged = logged.unwrap_or_default();
        match self {
            Self::Widened => differences.has(Effect::Widened) || logged.widened > 0,
            Self::Narrowed => differences.has(Effect::Narrowed) || logged.narrowed > 0,
            Self::Any => !differences.is_equal,
        }
    }
}

/// The longest line in bytes. A decision takes at most some 64 KiB.
const MAX_LINE_BYTES: u64 = 1024 * 1024;

/// Judges the requests of these logs anew.
fn replay(old: &Config, new: &Config, files: &[PathBuf]) -> Result<Predictions, Failure> {
    let before = Side::old(&old.policy, &old.denials, old.comparable());
    let after = Side::new(&new.policy, &new.denials, new.comparable());
    let mut replay = Replay::new(&before, &after, old.hash.to_string(), SystemClock.now())?;
    for file in files {
        let unreadable = |error: io::Error| format!("cannot read `{}`: {error}", file.display());
        let reader: Box<dyn Read> = match file == Path::new("-") {
            true => Box::new(io::stdin().lock()),
            false => Box::new(File::open(file).map_err(unreadable)?),
        };
        let mut reader = BufReader::with_capacity(256 * 1024, reader);
        replay.begin_file();
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut reader).take(MAX_LINE_BYTES);
            if limited.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            // Of a longer line, each part counts as a line that cannot be read.
            replay.line(&line)?;
        }
    }
    Ok(replay.finish())
}
