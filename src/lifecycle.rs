//! The life of the process: its phases, the signals that end it, and what systemd is told.

pub(crate) mod memory;
pub(crate) mod signals;
pub mod systemd;

/// A phase. The service only ever moves to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Answers requests.
    Serving,
    /// Still answers, but asks clients to go elsewhere.
    Draining,
    /// Closes its connections.
    Stopping,
}
