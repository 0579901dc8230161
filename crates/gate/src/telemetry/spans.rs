//! Spans of checks and of fetches, independent of the protocol that exports them.
//!
//! A [`Tracer`] decides which spans are recorded, and puts finished ones into a bounded queue. If the
//! queue is full, a span is dropped and counted: nothing waits for the exporter.

use std::borrow::Cow;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

mod check;
mod fetch;
mod sampler;

pub use check::{CheckSpan, Progress, Protocol};
pub(crate) use fetch::FetchSpan;
pub use sampler::Sampler;
pub(crate) use sampler::is_in_share;

use claimgate_core::request::TraceParent;
use claimgate_core::time::UnixTime;

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its place in its trace.
    pub context: SpanContext,
    /// The operation.
    pub name: &'static str,
    /// Which side of the operation this process is.
    pub kind: SpanKind,
    /// When the operation began.
    pub start: UnixTime,
    /// When it ended.
    pub end: UnixTime,
    /// Facts about the operation.
    pub attributes: Vec<Attribute>,
    /// What happened meanwhile, in order.
    pub events: Vec<Event>,
    /// Why this process could not do its part. `None` if it could, whatever the result.
    pub error: Option<String>,
}

/// The place of a span in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// The caller's span. `None` if the trace begins here.
    pub parent: Option<u64>,
}

/// Which side of an operation a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it happened.
    pub time: UnixTime,
    /// What happened.
    pub name: &'static str,
    /// Facts about it.
    pub attributes: Vec<Attribute>,
}

/// A fact with its name.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Integer(i64),
    /// A duration; exported in seconds.
    Time(Duration),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Decides which spans are recorded, and passes finished ones on.
#[derive(Clone, Debug)]
pub struct Tracer {
    sampler: Sampler,
    queue: mpsc::Sender<Span>,
    /// Spans that did not fit into the queue.
    dropped: Counter,
}

impl Tracer {
    /// A tracer, and the queue of its finished spans, which holds at most `max_queued` (at least 1).
    pub fn new(sampler: Sampler, max_queued: usize) -> (Self, mpsc::Receiver<Span>) {
        let (queue, finished) = mpsc::channel(max_queued.max(1));
        let tracer = Self {
            sampler,
            queue,
            dropped: Counter::default(),
        };
        (tracer, finished)
    }

    /// Counts dropped spans here.
    pub(crate) fn counting(self, dropped: Counter) -> Self {
        Self { dropped, ..self }
    }

    /// The context of a new span. `None` if it is not to be recorded.
    pub(crate) fn begin(&self, caller: Option<TraceParent>) -> Option<SpanContext> {
        let trace_id = match caller {
            Some(caller) => caller.trace_id,
            None => fastrand::u128(1..),
        };
        self.sampler.records(trace_id, caller).then(|| SpanContext {
            trace_id,
            span_id: fastrand::u64(1..),
            parent: caller.map(|caller| caller.span_id),
        })
    }

    /// Passes a finished span on, or drops and counts it. Never waits.
    pub(crate) fn finish(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}
