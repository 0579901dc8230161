//! The `Check` path, on one screen.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::HeaderMap;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Response, Status};

use super::proto::auth::authorization_server::Authorization;
use super::proto::auth::{CheckRequest, CheckResponse};
use super::response::encoded::PREFIX_BYTES;
use super::response::{self, encoded};
use super::{request, wire};
use crate::decision::Fault;
use crate::gate::{Circumstances, Gate, Judged};
use crate::request::{Request, TraceParent};
use crate::telemetry::spans::Protocol;

/// `Check` in spans (OpenTelemetry, "Semantic conventions for gRPC").
const PROTOCOL: Protocol = Protocol {
    operation: "envoy.service.auth.v3.Authorization/Check",
    attributes: &[
        ("rpc.system", "grpc"),
        ("rpc.service", super::SERVICE_NAME),
        ("rpc.method", "Check"),
    ],
};

/// Answers `Check` with the decisions of a [`Gate`].
#[derive(Clone, Debug)]
pub struct Service {
    /// Makes the decisions.
    pub gate: Gate,
}

/// For callers in the same process, mainly tests. The message is handled like one from the network.
#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        check: tonic::Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let metadata = check.metadata().as_ref();
        let time_left = request::timeout(metadata).unwrap_or(Duration::MAX);
        let caller = self.caller(metadata);
        let message = check.into_inner().encode_to_vec();
        let answer = self.answer_to(caller, Ok(&message), time_left).await;
        let message = answer.get(PREFIX_BYTES..).unwrap_or_default();
        CheckResponse::decode(message)
            .map(Response::new)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Service {
    /// The answer to the bytes of a `CheckRequest`: the bytes of a `CheckResponse` after gRPC's
    /// prefix. A fault instead of a check is answered by a denial.
    pub async fn answer(&self, check: Result<&[u8], &Fault>, time_left: Duration) -> Bytes {
        self.answer_to(None, check, time_left).await
    }

    /// The same for a caller that may have a span.
    pub(super) async fn answer_to(
        &self,
        caller: Option<TraceParent>,
        check: Result<&[u8], &Fault>,
        time_left: Duration,
    ) -> Bytes {
        let arrived = Instant::now();
        // The other half is for transport: Envoy treats a late answer as an error.
        let max_wait = time_left / 2;
        let mut span = None;
        let joined = &mut String::new();
        let answered = AssertUnwindSafe(async {
            let check = check.map_err(Clone::clone);
            let request =
                check.and_then(|check| wire::read(check, joined).map_err(Fault::CheckUnreadable));
            let request = match request {
                Ok(request) => request,
                Err(fault) => {
                    span = self.gate.begin_span(caller, None, arrived);
                    return self.unread(fault);
                }
            };
            span = self.gate.begin_span(caller, Some(&request), arrived);
            let deciding = async {
                match span.as_deref_mut() {
                    None => self.gate.decide(&request, max_wait).await,
                    Some(span) => self.gate.decide_showing(&request, max_wait, span).await,
                }
            };
            let judged = AssertUnwindSafe(deciding)
                .catch_unwind()
                .await
                .unwrap_or_else(|_| self.gate.deny(Fault::Internal, &request));
            (self.render(&judged, &request), judged, Some(request))
        });
        let (answer, judged, request) = match answered.catch_unwind().await {
            Ok(answered) => answered,
            Err(_) => {
                tracing::error!("a check could not be handled and was denied; this is a bug");
                self.unread(Fault::Internal)
            }
        };
        // A panic here must not change the answer.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let circumstances = Circumstances {
                request: request.as_ref(),
                took: arrived.elapsed(),
                max_wait,
                trace_id: span.as_ref().map(|span| span.trace_id()),
            };
            self.gate.conclude(&judged, circumstances);
            if let Some(span) = span {
                let request = request.as_ref();
                self.gate.end_span(*span, &PROTOCOL, &judged, request);
            }
        }));
        answer
    }

    /// The span of the proxy that asks, in the metadata of its call. `None` if nothing is traced.
    pub(super) fn caller(&self, metadata: &HeaderMap) -> Option<TraceParent> {
        self.gate.tracer()?;
        let parent = metadata.get("traceparent")?.to_str().ok()?;
        TraceParent::parse(parent)
    }

    /// The answer to a check that cannot be read.
    fn unread<'r>(&self, fault: Fault) -> (Bytes, Judged, Option<Request<'r>>) {
        let judged = self.gate.deny(fault, &Request::default());
        let (answer, _) = encoded::encode(judged.answer(&Request::default()), judged.metadata());
        (answer, judged, None)
    }

    fn render(&self, judged: &Judged, request: &Request<'_>) -> Bytes {
        let (answer, oversized) = encoded::encode(judged.answer(request), judged.metadata());
        self.gate.note_oversized(oversized, || {
            let rendered = response::render(judged.answer(request), None);
            rendered.oversized.iter().map(ToString::to_string).collect()
        });
        answer
    }
}
