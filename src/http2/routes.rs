//! The services of tonic, for requests that come over a connection of ours: small messages, and a
//! time for each.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

use super::budget::{Evicted, Share};
use super::{Exchange, REQUEST_WINDOW_BYTES, Shared};

/// The largest message, in bytes: names of services and symbols.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// How long a message may take to arrive.
const MAX_READING: Duration = Duration::from_secs(10);

/// How long a conversation of several messages may take.
const MAX_STREAMING: Duration = Duration::from_mins(1);

/// The services whose calls have several messages.
const STREAMING: &str = "/grpc.reflection.";

/// What these services read of a request's headers; the others are not kept.
const HEADERS: [&str; 4] = [
    "content-type",
    "te",
    "grpc-encoding",
    "grpc-accept-encoding",
];

/// Answers a request by one of these services.
pub async fn answer((request, mut respond): Exchange, mut routes: Routes, shared: &Shared) {
    let mut share = shared.budget.share();
    let (mut head, body) = request.into_parts();
    let headers = HEADERS.iter().filter_map(|name| {
        let value = head.headers.get(*name)?.clone();
        Some((http::HeaderName::from_static(name), value))
    });
    head.headers = headers.collect::<HeaderMap>();
    // An error means that the client has gone, does not want the answer any more, or has to make
    // room for others.
    let _ = match head.uri.path().starts_with(STREAMING) {
        true => {
            let request = Request::from_parts(head, Received(body));
            let conversation = converse(&mut routes, request, &mut respond);
            let conversation = pin!(timeout(MAX_STREAMING, conversation));
            share
                .wait(REQUEST_WINDOW_BYTES as usize, conversation)
                .await
                .map(drop)
        }
        false => {
            let message = timeout(MAX_READING, collect(body, &mut share)).await;
            let message = message.unwrap_or_else(|_| Err(Status::deadline_exceeded("too slow")));
            let answering = async {
                match message {
                    Ok(message) => {
                        let request = Request::from_parts(head, Full::new(message));
                        converse(&mut routes, request, &mut respond).await
                    }
                    Err(status) => send(status.into_http(), &mut respond).await,
                }
            };
            share.wait(0, pin!(answering)).await.map(drop)
        }
    };
}

/// The one message of a request, with what gRPC puts before it.
async fn collect(mut body: RecvStream, share: &mut Share<'_>) -> Result<Bytes, Status> {
    let mut message = BytesMut::new();
    loop {
        let data = share.wait(message.len(), pin!(body.data())).await;
        let data = data.map_err(|Evicted| Status::resource_exhausted("too many requests"))?;
        let Some(data) = data else {
            return Ok(message.freeze());
        };
        let data = data.map_err(|error| Status::cancelled(error.to_string()))?;
        let _ = body.flow_control().release_capacity(data.len());
        message.extend_from_slice(&data);
        // gRPC puts five bytes before it.
        if message.len() > 5 + MAX_MESSAGE_BYTES {
            return Err(Status::resource_exhausted("the message is too large"));
        }
    }
}

/// Answers a request by one of these services.
async fn converse<B>(
    routes: &mut Routes,
    request: Request<B>,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), h2::Error>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Ok(response) = call(routes, request).await;
    send(response, respond).await
}

async fn call<B>(
    routes: &mut Routes,
    request: Request<B>,
) -> Result<Response<Body>, std::convert::Infallible>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    poll_fn(|context| <Routes as tower::Service<Request<B>>>::poll_ready(routes, context)).await?;
    routes.call(request).await
}

async fn send(
    response: Response<Body>,
    respond: &mut SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut stream = respond.send_response(Response::from_parts(head, ()), body.is_end_stream())?;
    loop {
        let frame = tokio::select! {
            reset = poll_fn(|context| stream.poll_reset(context)) => return reset.map(drop),
            frame = body.frame() => frame,
        };
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => send_data(data, &mut stream).await?,
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return stream.send_trailers(trailers);
                }
            },
            Some(Err(_)) => {
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
                return Ok(());
            }
            None => return stream.send_data(Bytes::new(), true),
        }
    }
}

/// Sends data as fast as the client takes it.
async fn send_data(mut data: Bytes, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(capacity) => {
                let length = capacity?.min(data.len());
                stream.send_data(data.split_to(length), false)?;
            }
            None => return Err(h2::Reason::CANCEL.into()),
        }
    }
    Ok(())
}

/// The body of a request.
struct Received(RecvStream);

impl HttpBody for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.0.poll_data(context)) {
            let data = data?;
            self.0.flow_control().release_capacity(data.len())?;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(self.0.poll_trailers(context))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
