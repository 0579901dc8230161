//! The bodies of answers.
//!
//! hyper asks a body for its next part only when the client takes the one before, so a body cannot
//! notice that the client takes nothing. It leaves a note of what is unsent ([`UNSENT`]) for the
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
    /// What is unsent of the answer to the request that runs now; nothing before it has an answer.
    pub(super) static UNSENT: Cell<Option<Unsent>>;
}

/// The largest DATA frame that `h2` copies behind other frames, in bytes. A larger one is a write of
/// its own.
const MAX_COPIED_BYTES: usize = 1_023;

/// An answer that the client does not take yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsent {
    /// The memory that it takes, in bytes.
    pub(super) bytes: usize,
    /// How long sending may take.
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
    /// What is left of one message, and then gRPC's status OK.
    Message(Bytes),
    /// The status was sent.
    Ended,
    Stream(tonic::body::Body),
}

impl Body {
    /// One gRPC message, its prefix included, and status OK. A client that has not taken it after
    /// `max_sending` gets a reset.
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

    /// What a service of tonic answers. While the client does not take it, it counts for `bytes` of
    /// memory, and after `max_sending` the client gets a reset.
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
        // An error means that hyper runs the body outside of a request, which it does not.
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
