//! The last line of defence: whatever goes wrong around the handler of `Check`, in decoding,
//! rendering or encoding, the answer is a denial. A gRPC error would be an error to Envoy, which
//! `failure_mode_allow` turns into an allow.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::response;
use crate::config::Denials;
use crate::decision::{Decision, Denial};
use crate::telemetry::metrics::Metrics;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Turns failures of `Check` into denials (500 `internal`).
#[derive(Clone, Debug)]
pub struct FailClosedLayer {
    /// What a refused caller reads.
    pub denials: Denials,
    /// Who counts.
    pub metrics: Arc<Metrics>,
}

impl<S> Layer<S> for FailClosedLayer {
    type Service = FailClosed<S>;

    fn layer(&self, inner: S) -> FailClosed<S> {
        FailClosed {
            inner,
            settings: self.clone(),
        }
    }
}

/// See [`FailClosedLayer`].
#[derive(Clone, Debug)]
pub struct FailClosed<S> {
    inner: S,
    settings: FailClosedLayer,
}

impl<S, B> Service<Request<B>> for FailClosed<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_check = request.uri().path() == CHECK;
        let settings = self.settings.clone();
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let response = match answer.await {
                Ok(response) => response?,
                Err(_) => Status::internal("internal error").into_http(),
            };
            Ok(if is_check && failed(&response) {
                tracing::error!(
                    status = ?response.headers().get(Status::GRPC_STATUS),
                    "a check could not be handled, and is denied"
                );
                settings.denied()
            } else {
                response
            })
        })
    }
}

/// An error is told in the headers, as there is no message to precede it.
fn failed(response: &Response<Body>) -> bool {
    !response.status().is_success()
        || response
            .headers()
            .get(Status::GRPC_STATUS)
            .is_some_and(|status| status != "0")
}

impl FailClosedLayer {
    /// A denial, counted. What was asked about is not known any more.
    fn denied(&self) -> Response<Body> {
        let denial = Denial::internal();
        let request = crate::request::Request::default();
        let message = response::deny(&denial, None, &self.denials, &request);
        self.metrics
            .checked(&Decision::Deny(denial), Duration::ZERO);
        answer(&message.encode_to_vec())
    }
}

/// A gRPC answer of one message and status OK.
fn answer(message: &[u8]) -> Response<Body> {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0); // not compressed
    framed.put_u32(u32::try_from(message.len()).unwrap_or(0));
    framed.put_slice(message);

    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )]);
    let body =
        Full::<Bytes>::new(framed.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}
