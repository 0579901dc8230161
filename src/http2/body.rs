//! The bodies of answers.
//!
//! hyper polls a body for its next part only after the client has read the previous one, so a body
//! cannot notice that the client stopped reading. It records what is unsent in [`UNSENT`], for the
//! task that runs the request.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tonic::Status;

tokio::task_local! {
    /// The unsent answer to the current request. `None` before there is an answer.
    pub(super) static UNSENT: Cell<Option<Unsent>>;
}

/// The largest DATA frame that `h2` copies behind other frames, in bytes. Larger frames take a
/// separate write.
const MAX_COPIED_BYTES: usize = 1_023;

/// An answer that the client has not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsent {
    /// Its memory, in bytes.
    pub(super) bytes: usize,
    /// The time limit for sending.
    pub(super) max_sending: Option<Duration>,
}

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    content: Content,
    unsent: Unsent,
}

#[derive(Debug)]
enum Content {
    /// The rest of one message, followed by gRPC's status OK.
    Message(Bytes),
    /// The status has been sent.
    Ended,
    Stream(tonic::body::Body),
}

impl Body {
    /// One gRPC message, including its prefix, and status OK. If the client has not read it after
    /// `max_sending`, the request is reset.
    pub fn message(message: Bytes, max_sending: Duration) -> Self {
        let unsent = Unsent {
            bytes: message.len(),
            max_sending: Some(max_sending),
        };
        Self {
            content: Content::Message(message),
            unsent,
        }
    }

    /// The answer of a tonic service. While the client does not read it, it counts as `bytes` of
    /// memory. After `max_sending`, the request is reset.
    pub fn stream(body: tonic::body::Body, bytes: usize, max_sending: Option<Duration>) -> Self {
        Self {
            content: Content::Stream(body),
            unsent: Unsent { bytes, max_sending },
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        // Fails only outside a request, where hyper never polls a body.
        let _ = UNSENT.try_with(|unsent| unsent.set(Some(this.unsent)));
        match &mut this.content {
            Content::Message(rest) if rest.is_empty() => {
                this.content = Content::Ended;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Content::Message(rest) => {
                let part = rest.split_to(rest.len().min(MAX_COPIED_BYTES));
                Poll::Ready(Some(Ok(Frame::data(part))))
            }
            Content::Ended => Poll::Ready(None),
            Content::Stream(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Message(_) => false,
            Content::Ended => true,
            Content::Stream(body) => body.is_end_stream(),
        }
    }
}
