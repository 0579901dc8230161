//! What the operator sees: logs here, metrics in [`metrics`].

use std::io;

use tracing_subscriber::EnvFilter;

pub mod metrics;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging to standard error. `filter` is `tracing-subscriber`'s: a level (`info`), or
/// levels by module (`warn,claimgate=debug`).
///
/// # Errors
///
/// When `filter` is not one.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("`{filter}` is not a log level or filter: {error}"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(
            std::env::var_os("NO_COLOR").is_none() && io::IsTerminal::is_terminal(&io::stderr()),
        );
    // Another subscriber may be there already, in tests; then that one is used.
    let _ = match format {
        LogFormat::Text => subscriber.with_target(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    hide_panic_messages();
    Ok(())
}

/// A panic message may quote what was being judged, so only its place is logged.
fn hide_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked; this is a bug");
    }));
}
