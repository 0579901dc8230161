//! What the operator sees: logs here, metrics in [`metrics`].

use std::io;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

pub mod metrics;

/// How many lines may wait to be written.
const MOST_WAITING_LINES: usize = 8 * 1024;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging to standard error, until the guard is dropped. `filter` is
/// `tracing-subscriber`'s: a level (`info`), or levels by module (`warn,claimgate=debug`).
///
/// Lines are written by a thread of their own: when nobody reads them, they are dropped, and no
/// check waits.
///
/// # Errors
///
/// When `filter` is not one.
pub fn init(format: LogFormat, filter: &str) -> Result<WorkerGuard, String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("`{filter}` is not a log level or filter: {error}"))?;
    let colours =
        std::env::var_os("NO_COLOR").is_none() && io::IsTerminal::is_terminal(&io::stderr());
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MOST_WAITING_LINES)
        .lossy(true)
        .finish(io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours);
    // Another subscriber may be there already, in tests; then that one is used.
    let _ = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    hide_panic_messages();
    Ok(guard)
}

/// A panic message may quote what was being judged, so only its place is logged.
fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked; this is a bug");
    }));
}
