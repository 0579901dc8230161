//! Where the service is in its life.

/// Moves forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Answers.
    Serving,
    /// Answers still, but asks to be left alone.
    Draining,
    /// Ends its connections.
    Stopping,
}
