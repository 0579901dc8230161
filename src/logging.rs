//! Writes log lines to standard error.

use std::fmt;
use std::io;
use std::sync::Arc;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

mod logfmt;

use crate::config::LogLevel;
use logfmt::Logfmt;

/// The maximum number of lines that wait to be written.
const MAX_WAITING_LINES: usize = 8 * 1024;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// Logging, until dropped. Dropping it writes the waiting lines.
#[derive(Debug)]
pub struct Logging {
    _guard: WorkerGuard,
    /// Counts the dropped lines.
    pub lost: ErrorCounter,
    /// Which lines are written.
    pub filter: Filter,
}

/// Decides which lines are written, and may change while the process runs.
#[derive(Clone)]
pub struct Filter(Option<Arc<dyn Fn(EnvFilter) + Send + Sync>>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_fixed = self.0.is_none();
        f.debug_struct("Filter")
            .field("is_fixed", &is_fixed)
            .finish()
    }
}

impl Filter {
    /// Applies the level of the configuration, unless a flag or a variable takes precedence.
    pub fn configure(&self, level: LogLevel) {
        if let Filter(Some(replace)) = self
            && let Ok(filter) = read_filter(level.name())
        {
            replace(filter);
        }
    }
}

/// Starts logging to standard error, until the returned value is dropped. `filter` has the syntax
/// of `tracing-subscriber`: a level (`info`), or levels by module (`warn,claimgate=debug`). Without
/// one, the level is `info` until [`Filter::configure`] changes it.
///
/// A separate thread writes the lines. If standard error blocks, lines are dropped and counted;
/// checks never wait for logging.
///
/// # Errors
///
/// Fails if `filter` is not valid.
pub fn init(format: LogFormat, filter: Option<&str>) -> Result<Logging, String> {
    let is_fixed = filter.is_some();
    let filter = read_filter(filter.unwrap_or(LogLevel::default().name()))?;
    let colours =
        std::env::var_os("NO_COLOR").is_none() && io::IsTerminal::is_terminal(&io::stderr());
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING_LINES)
        .lossy(true)
        .finish(io::stderr());
    let lost = writer.error_counter();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours);
    // In tests, another subscriber may already be installed. Then that one is used.
    let replace = match format {
        LogFormat::Text => {
            let subscriber = subscriber.with_target(false).fmt_fields(Logfmt);
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            let _ = subscriber.try_init();
            replacing(move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true);
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            let _ = subscriber.try_init();
            replacing(move |filter| handle.reload(filter))
        }
    };
    hide_panic_messages();
    Ok(Logging {
        _guard: guard,
        lost,
        filter: Filter((!is_fixed).then_some(replace)),
    })
}

/// Replaces the filter of the subscriber. Errors mean that the subscriber is not in use.
fn replacing<E>(
    reload: impl Fn(EnvFilter) -> Result<(), E> + Send + Sync + 'static,
) -> Arc<dyn Fn(EnvFilter) + Send + Sync> {
    Arc::new(move |filter| drop(reload(filter)))
}

/// A bare level applies to claimgate only. Libraries log at most warnings.
/// claimgate's own line about a certificate says what to do.
const QUIET: &str = "rustls_platform_verifier=off";

fn read_filter(filter: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let wrong = |why: &str| format!("`{filter}` is not a log level or filter: {why}");
    let level = filter.trim().to_ascii_lowercase();
    let directives = match LEVELS.iter().position(|known| *known == level) {
        Some(position) if position > 2 => format!("warn,{QUIET},claimgate={level}"),
        Some(0) => level,
        Some(_) => format!("{level},{QUIET}"),
        // `EnvFilter` would take a misspelt level for a module name, and log nothing.
        None if !filter.contains('=') => {
            return Err(wrong(
                "a level is one of off, error, warn, info, debug and trace",
            ));
        }
        None => filter.to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|error| wrong(&error.to_string()))
}

/// A panic message may quote a request, so only its location is logged.
fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked; this is a bug");
    }));
}
