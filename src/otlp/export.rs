//! Messages for a collector, and why it did not take one.

use std::time::Duration;

use prost::Message;

use super::proto::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use super::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};

/// A message for a collector.
pub(super) trait Export: Message + Default + Clone + 'static {
    /// The answer to it.
    type Answer: Message + Default + 'static;

    /// The gRPC method.
    const METHOD: &'static str;

    /// How many items the collector rejected, and why.
    fn rejected(answer: Self::Answer) -> Option<(i64, String)>;
}

impl Export for ExportTraceServiceRequest {
    type Answer = ExportTraceServiceResponse;

    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

    fn rejected(answer: Self::Answer) -> Option<(i64, String)> {
        let partial = answer.partial_success?;
        Some((partial.rejected_spans, partial.error_message))
    }
}

impl Export for ExportMetricsServiceRequest {
    type Answer = ExportMetricsServiceResponse;

    const METHOD: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

    fn rejected(answer: Self::Answer) -> Option<(i64, String)> {
        let partial = answer.partial_success?;
        Some((partial.rejected_data_points, partial.error_message))
    }
}

/// Why the collector did not take a message.
#[derive(Debug)]
pub(super) struct ExportError {
    pub(super) why: String,
    /// Whether another attempt may succeed.
    pub(super) is_temporary: bool,
}

impl ExportError {
    pub(super) fn temporary(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_temporary: true,
        }
    }

    /// The collector did not answer in time.
    pub(super) fn late(limit: Duration) -> Self {
        Self::temporary(format!("no answer within {limit:?}"))
    }

    pub(super) fn lasting(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            is_temporary: false,
        }
    }
}
