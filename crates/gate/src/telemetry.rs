//! What the operator sees: metrics, spans, and limits on log lines.

pub mod every_minute;
pub mod exposition;
pub mod lines;
pub mod metrics;
pub mod recent;
pub mod spans;
