//! Turns events into log lines of the host.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use claimgate_core::escaped::{write_message, write_value};

/// Where lines are written.
pub trait Log: Send + Sync + 'static {
    /// Whether lines of this level are written.
    fn is_enabled(&self, level: Level) -> bool;

    /// Writes a line.
    fn write(&self, level: Level, line: &str);
}

/// Writes claimgate's events, and the warnings of libraries, to a [`Log`].
#[derive(Debug)]
pub struct Lines<L>(pub L);

impl<L: Log> Subscriber for Lines<L> {
    /// The host's level may change at any time.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_wanted(metadata) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_wanted(metadata) && self.0.is_enabled(*metadata.level())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { message, fields } = line;
        self.0
            .write(*event.metadata().level(), &format!("{message}{fields}"));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Libraries log at most warnings. claimgate's own line about a certificate says what to do.
fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let is_quiet = target.starts_with("rustls_platform_verifier");
    let may_warn = *metadata.level() <= Level::WARN && !is_quiet;
    !metadata.is_span() && (target.starts_with("claimgate") || may_warn)
}

/// A line: its message, and each field as ` name=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write_message(&mut self.message, value),
            name => {
                write!(self.fields, " {name}=").and_then(|()| write_value(&mut self.fields, value))
            }
        };
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<(Level, String)>>>);

    impl Log for Written {
        fn is_enabled(&self, level: Level) -> bool {
            level <= Level::INFO
        }

        fn write(&self, level: Level, line: &str) {
            self.0.lock().unwrap().push((level, line.to_owned()));
        }
    }

    #[test]
    fn events_are_lines() {
        let written = Written::default();
        let _bystander = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
        tracing::subscriber::with_default(Lines(written.clone()), || {
            let error = std::io::Error::other("no\nroute");
            tracing::info!(reason = "expired", rule = None::<&str>, %error, times = 7, "denied\nnow");
            tracing::debug!("allowed");
            assert!(tracing::enabled!(Level::INFO));
            assert!(!tracing::enabled!(Level::DEBUG));
            tracing::info!(target: "library", "connected");
            tracing::warn!(target: "library", "lost");
        });
        let expected = [
            (
                Level::INFO,
                r#"denied\nnow reason=expired error="no\nroute" times=7"#.to_owned(),
            ),
            (Level::WARN, "lost".to_owned()),
        ];
        assert_eq!(*written.0.lock().unwrap(), expected);
    }
}
