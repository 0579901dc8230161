//! The phases of the service.

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
