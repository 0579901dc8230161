//! Serves `Check` over HTTP/2: the bytes of one message in, the bytes of one out.
//!
//! INVARIANT: whatever goes wrong, the answer is a denial with RPC status OK. A gRPC error would be
//! an error to Envoy, which `failure_mode_allow` turns into an allow.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tower::{Layer, Service as TowerService};

use super::request;
use super::service::Service;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The largest check that is read, in bytes: headers, and nothing that claimgate has a use for.
const MOST_CHECK_BYTES: usize = 256 * 1024;

/// What stands before each message (gRPC over HTTP/2, `Length-Prefixed-Message`): whether it is
/// compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// Answers `Check`, and leaves all else to the service below.
#[derive(Clone, Debug)]
pub struct CheckLayer(pub Arc<Service>);

impl<S> Layer<S> for CheckLayer {
    type Service = Check<S>;

    fn layer(&self, others: S) -> Check<S> {
        Check {
            service: Arc::clone(&self.0),
            others,
        }
    }
}

/// See [`CheckLayer`].
#[derive(Clone, Debug)]
pub struct Check<S> {
    service: Arc<Service>,
    others: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B> TowerService<Request<B>> for Check<S>
where
    S: TowerService<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.uri().path() != CHECK {
            return Box::pin(self.others.call(request));
        }
        let service = Arc::clone(&self.service);
        Box::pin(async move {
            let patience = request::timeout(request.headers()).unwrap_or(Duration::MAX);
            let message = read(request.into_body()).await;
            let answer = service.answer(message.as_deref(), patience).await;
            Ok(respond(answer))
        })
    }
}

/// The one message of a request; `None` if it is not whole, compressed, too long or not alone.
async fn read(mut body: impl HttpBody<Data = Bytes> + Unpin) -> Option<Bytes> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        match &first {
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
        let length = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if length > PREFIX_BYTES + MOST_CHECK_BYTES {
            return None;
        }
    }
    let first = first?;
    // Most come in one piece, which is used as it is.
    let mut message = match rest.is_empty() {
        true => first,
        false => [&first, &rest[..]].concat().into(),
    };
    if message.len() < PREFIX_BYTES {
        return None;
    }
    let prefix = message.split_to(PREFIX_BYTES);
    let (compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*compressed == 0 && u32::try_from(message.len()) == Ok(length)).then_some(message)
}

/// A gRPC answer of one message, its prefix included, and status OK.
fn respond(message: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Message(Some(message), true)));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// A message, and whether the trailers are still to come.
struct Message(Option<Bytes>, bool);

impl HttpBody for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(message) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::take(&mut self.1) {
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none() && !self.1
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |message| message.len() as u64))
    }
}
