//! The signals that end the process.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Listens for SIGTERM and SIGINT. The first asks the process to stop, and a second ends it at once.
///
/// Without handlers, the kernel drops both signals if the process is the first of its container
/// (PID 1). So this is the first thing that a long-running command does.
#[derive(Debug)]
pub(crate) struct StopSignals {
    requested: watch::Receiver<bool>,
}

impl StopSignals {
    /// Installs the handlers.
    ///
    /// # Errors
    ///
    /// Fails if a signal cannot be handled.
    pub(crate) fn install() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (stop, requested) = watch::channel(false);
        // A task of its own, so that the second signal ends the process whatever it is doing.
        tokio::spawn(async move {
            next(&mut terminate, &mut interrupt).await;
            stop.send_replace(true);
            let kind = next(&mut terminate, &mut interrupt).await;
            // The code that a shell reports for a process that this signal has ended.
            std::process::exit(128 + kind.as_raw_value());
        });
        Ok(Self { requested })
    }

    /// Completes when the process has been asked to stop.
    pub(crate) async fn requested(&self) {
        let mut requested = self.requested.clone();
        // An error means that the runtime is ending.
        let _ = requested.wait_for(|requested| *requested).await;
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}
