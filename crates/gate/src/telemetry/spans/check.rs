//! The span of one check.
//!
//! INVARIANT: a span contains no byte of a token. The steps say where the token was found and which
//! configured values it fits; request and denial appear as in the log.

use tokio::time::Instant;

use super::{Attribute, Event, Span, SpanContext, SpanKind, Tracer, Value};
use crate::denials::DenialRecord;
use crate::telemetry::metrics::UnknownKeyOutcome;
use crate::{Gate, Judged};
use claimgate_core::decision::{Decision, Denial, Reason};
use claimgate_core::escaped::Escaped;
use claimgate_core::request::{Request, TraceParent};
use claimgate_core::trace::{Selection, Step, Trace};

/// The methods of HTTP (RFC 9110 §9, RFC 5789, RFC 10008). Others are exported as `_OTHER`.
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];

/// The protocol by which a check arrived.
#[derive(Debug)]
pub struct Protocol {
    /// The operation, which names the span.
    pub operation: &'static str,
    /// What the protocol adds to each span.
    pub attributes: &'static [(&'static str, &'static str)],
}

/// Receives what happens while a request is decided. `()` ignores it and costs nothing.
pub trait Progress: Trace {
    /// Called after the request has waited since `since` for newer keys.
    fn waited_for_keys(&mut self, _outcome: UnknownKeyOutcome, _since: Instant) {}
}

impl Progress for () {}

/// A check that is being recorded.
#[derive(Debug)]
pub struct CheckSpan {
    context: SpanContext,
    began: Instant,
    events: Vec<(Instant, &'static str, Vec<Attribute>)>,
}

impl CheckSpan {
    /// The trace that the check belongs to.
    pub fn trace_id(&self) -> u128 {
        self.context.trace_id
    }

    fn event(&mut self, name: &'static str, attributes: Vec<Attribute>) {
        self.events.push((Instant::now(), name, attributes));
    }
}

impl Trace for CheckSpan {
    fn passed(&mut self, step: Step<'_>) {
        let text = |text: &str| Value::from(Escaped::from(text).to_string());
        let (name, attributes) = match step {
            Step::Rule { name, selection } => {
                let selection = match selection {
                    Selection::Named => "named",
                    Selection::Matched => "matched",
                };
                let selection = ("claimgate.selection", selection.into());
                (
                    "rule_found",
                    vec![("claimgate.rule", text(name)), selection],
                )
            }
            Step::Credential { source } => {
                let place = source.to_string().into();
                ("token_found", vec![("claimgate.token_place", place)])
            }
            // The header is not verified yet, so its other members are not shown.
            Step::Form { alg, .. } => {
                let algorithm = alg.name().into();
                ("token_read", vec![("claimgate.algorithm", algorithm)])
            }
            Step::Issuer { provider, .. } => {
                let provider = text(provider);
                ("provider_found", vec![("claimgate.provider", provider)])
            }
            Step::Keys { count } => ("keys_known", vec![("claimgate.keys", count.into())]),
            Step::Signature { kid, alg } => {
                let mut attributes = vec![("claimgate.algorithm", alg.name().into())];
                attributes.extend(kid.map(|kid| ("claimgate.key_id", text(kid))));
                ("signature_verified", attributes)
            }
            Step::Times { .. } => ("times_valid", Vec::new()),
            Step::Audience { audience } => {
                let audience = text(audience);
                ("audience_accepted", vec![("claimgate.audience", audience)])
            }
            Step::Requirement => ("requirement_met", Vec::new()),
            Step::Condition { .. } => ("condition_met", Vec::new()),
        };
        self.event(name, attributes);
    }

    fn recalls(&mut self) {
        self.event("token_remembered", Vec::new());
    }
}

impl Progress for CheckSpan {
    fn waited_for_keys(&mut self, outcome: UnknownKeyOutcome, since: Instant) {
        let attributes = vec![
            ("claimgate.outcome", outcome.name().into()),
            ("claimgate.wait_duration", Value::Time(since.elapsed())),
        ];
        self.event("keys_awaited", attributes);
    }
}

impl Gate {
    /// Begins to record a check that arrived at `began`. `caller` is the span of the proxy, which
    /// takes precedence over the request's own `traceparent`. `None` if the check is not recorded.
    pub fn begin_span(
        &self,
        caller: Option<TraceParent>,
        request: Option<&Request<'_>>,
        began: Instant,
    ) -> Option<Box<CheckSpan>> {
        let tracer = self.tracer.as_ref()?;
        let caller = caller.or_else(|| request?.trace_parent());
        let context = tracer.begin(caller)?;
        Some(Box::new(CheckSpan {
            context,
            began,
            events: Vec::new(),
        }))
    }

    /// Whether any check is recorded.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    /// Ends the span of a check.
    pub fn end_span(
        &self,
        span: CheckSpan,
        protocol: &Protocol,
        judged: &Judged,
        request: Option<&Request<'_>>,
    ) {
        let Some(tracer) = &self.tracer else { return };
        let CheckSpan {
            context,
            began,
            events,
        } = span;
        let end = self.clock.now();
        let since_began = began.elapsed();
        let start = end.saturating_sub(since_began);
        let at = |time: Instant| start.saturating_add(time.saturating_duration_since(began));
        let events = events.into_iter().map(|(time, name, attributes)| Event {
            time: at(time),
            name,
            attributes,
        });
        let mut attributes: Vec<Attribute> = Vec::with_capacity(16);
        let fixed = protocol.attributes.iter();
        attributes.extend(fixed.map(|(name, value)| (*name, Value::from(*value))));
        if let Some(request) = request {
            about_request(request, &mut attributes);
        }
        about_decision(judged, request, &mut attributes);
        tracer.finish(Span {
            context,
            name: protocol.operation,
            kind: SpanKind::Server,
            start,
            end,
            attributes,
            events: events.collect(),
            error: failure(judged.decision()).map(|reason| reason.code().to_owned()),
        });
    }
}

/// The reason of a denial that is this service's own failure. Other denials are its work.
fn failure(decision: &Decision) -> Option<Reason> {
    let Decision::Deny(denial) = decision else {
        return None;
    };
    let reason = denial.reason();
    matches!(reason, Reason::Internal | Reason::KeysUnavailable).then_some(reason)
}

/// The request, as the log shows it.
fn about_request(request: &Request<'_>, attributes: &mut Vec<Attribute>) {
    let DenialRecord {
        host, path, source, ..
    } = DenialRecord::of(request);
    let known = METHODS.iter().find(|known| **known == request.method);
    let method = known.copied().unwrap_or("_OTHER");
    attributes.push(("http.request.method", method.into()));
    let texts = [("url.path", path), ("client.address", source)];
    for (name, text) in texts {
        attributes.extend(text.map(|text| (name, text.into())));
    }
    if let Some(host) = host {
        let port = host.rsplit_once(':').and_then(|(name, port)| {
            // The colons inside brackets belong to an IPv6 address.
            let port = port.parse::<u16>().ok()?;
            Some((name.to_owned(), port))
        });
        match port {
            Some((name, port)) => attributes.extend([
                ("server.address", name.into()),
                ("server.port", Value::Integer(port.into())),
            ]),
            None => attributes.push(("server.address", host.into())),
        }
    }
}

fn about_decision(judged: &Judged, request: Option<&Request<'_>>, attributes: &mut Vec<Attribute>) {
    let generation = judged.generation();
    let policy = &generation.policy;
    let decision = judged.decision();
    let (outcome, bearer) = match decision {
        Decision::Allow(permit) => ("allow", permit.bearer()),
        Decision::Deny(denial) => ("deny", denial.bearer.as_ref()),
        Decision::Respond(_) => ("metadata", None),
    };
    attributes.push(("claimgate.decision", outcome.into()));
    let reason = decision.denial().map(Denial::reason).map(Reason::code);
    let reason_name = match decision {
        Decision::Deny(_) => "claimgate.reason",
        Decision::Allow(_) | Decision::Respond(_) => "claimgate.would_deny",
    };
    attributes.extend(reason.map(|reason| (reason_name, reason.into())));
    attributes.extend(failure(decision).map(|reason| ("error.type", reason.code().into())));
    let rule = decision.rule().and_then(|id| policy.rule(id));
    let provider = decision.provider().and_then(|id| policy.provider(id));
    let id = judged.id().or_else(|| request?.id());
    let subject = bearer.and_then(|bearer| bearer.token().claims().subject());
    let texts = [
        ("claimgate.rule", rule.map(|rule| rule.name.clone())),
        (
            "claimgate.provider",
            provider.map(|provider| provider.name.clone()),
        ),
        ("claimgate.request_id", id.map(str::to_owned)),
        (
            "claimgate.subject",
            subject.and_then(|subject| generation.subjects.shown(subject)),
        ),
    ];
    for (name, text) in texts {
        attributes.extend(text.map(|text| (name, text.into())));
    }
}
