//! The services of tonic, for requests that come over a connection of ours.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;

use super::Exchange;

/// Answers a request by one of these services.
pub async fn answer((request, mut respond): Exchange, mut routes: Routes) {
    let request = request.map(Received);
    let Ok(response) = call(&mut routes, request).await;
    // An error means that the client has gone, or does not want the answer any more.
    let _ = send(response, &mut respond).await;
}

async fn call(
    routes: &mut Routes,
    request: Request<Received>,
) -> Result<Response<Body>, std::convert::Infallible> {
    poll_fn(|context| <Routes as tower::Service<Request<Received>>>::poll_ready(routes, context))
        .await?;
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
