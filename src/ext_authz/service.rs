//! The `Check` path, on one screen.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
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
use crate::request::Request;

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
        let time_left = request::timeout(check.metadata().as_ref()).unwrap_or(Duration::MAX);
        let message = check.into_inner().encode_to_vec();
        let answer = self.answer(Ok(&message), time_left).await;
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
        let arrived = Instant::now();
        // The other half is for transport: Envoy treats a late answer as an error.
        let max_wait = time_left / 2;
        let answered = AssertUnwindSafe(async {
            let check = check.map_err(Clone::clone);
            let request = check.and_then(|check| wire::read(check).map_err(Fault::CheckUnreadable));
            let request = match request {
                Ok(request) => request,
                Err(fault) => return self.unread(fault),
            };
            let judged = AssertUnwindSafe(self.gate.decide(&request, max_wait))
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
            };
            self.gate.conclude(&judged, circumstances);
        }));
        answer
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
