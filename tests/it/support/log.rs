//! Collects what is logged on this thread.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// A subscriber that is never any thread's own. While there is only one subscriber, `tracing` asks the
/// one of the current thread whether a line will ever be wanted, and remembers the answer for all
/// threads: another test that came first could turn the line off for good.
static BYSTANDER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// Collects log lines until it is dropped.
pub struct Log {
    buffer: Buffer,
    _guard: DefaultGuard,
}

impl Log {
    /// Collects claimgate's own lines from this level on.
    pub fn start(level: &str) -> Self {
        LazyLock::force(&BYSTANDER);
        let buffer = Buffer::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter(EnvFilter::new(format!("claimgate={level}")))
            .with_writer(buffer.clone())
            .finish();
        Self {
            buffer,
            _guard: set_default(subscriber),
        }
    }

    /// The lines since the last call.
    pub fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut *self.buffer.0.lock().unwrap());
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
    /// All texts that were logged since the last call of `take`.
    pub fn text(&self) -> String {
        let bytes = self.buffer.0.lock().unwrap().clone();
        let texts = String::from_utf8(bytes).unwrap();
        let texts = texts.lines().flat_map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let members = line.as_object().unwrap().values();
            let texts: Vec<_> = members
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            texts
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// The lines with this text among those that were not taken.
    pub fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.buffer.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(with));
        lines.map(ToOwned::to_owned).collect()
    }
}
