//! What the operator sees: metrics, and which log lines are written.

pub mod every_minute;
pub mod exposition;
pub mod lines;
pub mod metrics;
