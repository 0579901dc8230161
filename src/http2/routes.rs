//! Runs tonic services over claimgate's connections, with small messages and time limits.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::Reason;
use http::{HeaderMap, HeaderName, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::Status;
use tonic::service::Routes;
use tower::Service as _;

use super::budget::{Evicted, Share};
use super::{Body, HandlerResult, REQUEST_WINDOW_BYTES, Shared};

/// The maximum size of a message, in bytes. It holds only names of services and symbols.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// The time limit for a message to arrive.
const MAX_READING: Duration = Duration::from_secs(10);

/// The time limit for a call with several messages.
const MAX_STREAMING: Duration = Duration::from_mins(1);

/// The path prefix of services whose calls have several messages.
const STREAMING: &str = "/grpc.reflection.";

/// The request headers that these services read. Others are dropped.
const HEADERS: [&str; 4] = [
    "content-type",
    "te",
    "grpc-encoding",
    "grpc-accept-encoding",
];

/// Answers a request to one of these services.
///
/// # Errors
///
/// Fails if the client disconnects or cancels the request, or if the request must make room for
/// others.
pub async fn answer(
    request: Request<Incoming>,
    mut routes: Routes,
    shared: &Shared,
) -> HandlerResult {
    let mut share = shared.budget.share();
    let (mut head, body) = request.into_parts();
    let headers = HEADERS.iter().filter_map(|name| {
        let value = head.headers.get(*name)?.clone();
        Some((HeaderName::from_static(name), value))
    });
    head.headers = headers.collect::<HeaderMap>();
    let cancel = |Evicted| Reason::CANCEL;
    if head.uri.path().starts_with(STREAMING) {
        let request = Request::from_parts(head, body);
        let answering = pin!(timeout(MAX_STREAMING, call(&mut routes, request)));
        let answer = share.wait(REQUEST_WINDOW_BYTES as usize, answering).await;
        let Ok(Ok(response)) = answer.map_err(cancel)? else {
            return Err(Reason::CANCEL.into());
        };
        let body = |body| Body::stream(body, REQUEST_WINDOW_BYTES as usize, Some(MAX_STREAMING));
        return Ok(response.map(body));
    }
    let message = timeout(MAX_READING, collect(body, &mut share)).await;
    let response = match message.unwrap_or_else(|_| Err(Status::deadline_exceeded("too slow"))) {
        Ok(message) => {
            let request = Request::from_parts(head, Full::new(message));
            let answering = pin!(call(&mut routes, request));
            let Ok(response) = share.wait(0, answering).await.map_err(cancel)?;
            response
        }
        Err(status) => status.into_http(),
    };
    // A client may watch health for as long as the connection lives.
    Ok(response.map(|body| Body::stream(body, 0, None)))
}

/// The single message of a request, with gRPC's prefix.
async fn collect(mut body: Incoming, share: &mut Share<'_>) -> Result<Bytes, Status> {
    let mut message = BytesMut::new();
    loop {
        let frame = share.wait(message.len(), pin!(body.frame())).await;
        let frame = frame.map_err(|Evicted| Status::resource_exhausted("too many requests"))?;
        let Some(frame) = frame else {
            return Ok(message.freeze());
        };
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        // Trailers are ignored.
        message.extend_from_slice(&frame.into_data().unwrap_or_default());
        // gRPC's prefix has five bytes.
        if message.len() > 5 + MAX_MESSAGE_BYTES {
            return Err(Status::resource_exhausted("the message is too large"));
        }
    }
}

async fn call<B>(
    routes: &mut Routes,
    request: Request<B>,
) -> Result<Response<tonic::body::Body>, Infallible>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    poll_fn(|context| <Routes as tower::Service<Request<B>>>::poll_ready(routes, context)).await?;
    routes.call(request).await
}
