//! Spans as messages.

use super::super::proto::collector::trace::v1::ExportTraceServiceRequest;
use super::super::proto::common::v1::KeyValue;
use super::super::proto::common::v1::any_value::Value as AnyValue;
use super::super::proto::resource::v1::Resource;
use super::super::proto::trace::v1::span::{Event as EventMessage, SpanKind as KindMessage};
use super::super::proto::trace::v1::status::StatusCode;
use super::super::proto::trace::v1::{
    ResourceSpans, ScopeSpans, Span as SpanMessage, SpanFlags, Status,
};
use super::super::resource::{attribute, nanos, scope};
use crate::telemetry::spans::{Attribute, Event, Span, SpanContext, SpanKind, Value};

/// The flag of a sampled span (W3C Trace Context §3.2.2.5).
const SAMPLED: u32 = 1;

/// A batch of spans.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: spans.into_iter().map(message).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn message(span: Span) -> SpanMessage {
    let Span {
        context,
        name,
        kind,
        start,
        end,
        attributes,
        events,
        error,
    } = span;
    let SpanContext {
        trace_id,
        span_id,
        parent,
    } = context;
    let kind = match kind {
        SpanKind::Server => KindMessage::Server,
        SpanKind::Client => KindMessage::Client,
    };
    let parent_is_remote = match parent {
        Some(_) => SpanFlags::ContextIsRemoteMask as u32,
        None => 0,
    };
    SpanMessage {
        trace_id: trace_id.to_be_bytes().to_vec(),
        span_id: span_id.to_be_bytes().to_vec(),
        trace_state: String::new(),
        parent_span_id: parent.map_or_else(Vec::new, |id| id.to_be_bytes().to_vec()),
        flags: SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32 | parent_is_remote,
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanos(start),
        end_time_unix_nano: nanos(end),
        attributes: attributes.into_iter().map(fact).collect(),
        dropped_attributes_count: 0,
        events: events.into_iter().map(event).collect(),
        dropped_events_count: 0,
        links: Vec::new(),
        dropped_links_count: 0,
        status: error.map(|message| Status {
            message,
            code: StatusCode::Error.into(),
        }),
    }
}

fn event(event: Event) -> EventMessage {
    let Event {
        time,
        name,
        attributes,
    } = event;
    EventMessage {
        time_unix_nano: nanos(time),
        name: name.to_owned(),
        attributes: attributes.into_iter().map(fact).collect(),
        dropped_attributes_count: 0,
    }
}

fn fact((name, value): Attribute) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyValue::StringValue(text.into_owned()),
        Value::Integer(number) => AnyValue::IntValue(number),
        Value::Time(duration) => AnyValue::DoubleValue(duration.as_secs_f64()),
    };
    attribute(name, value)
}
