//! Connections with few, large writes, whose frames are observed as they pass.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::Shared;
use super::frames::{Frame, Frames};

/// How long a client may read nothing. hyper notices a client that answers no pings, but then waits
/// until it has read the GOAWAY, which a dead client never does.
const MAX_BLOCKED: Duration = Duration::from_secs(30);

/// A connection without vectored writes. `h2` then copies small frames into one buffer, instead of
/// writing all but the smallest with separate calls.
///
/// While the client does not read, nothing more is read from it: each request has an answer that
/// would have to be kept. After [`MAX_BLOCKED`], writing fails.
#[derive(Debug)]
pub(super) struct NoVectoredWrites<C> {
    connection: C,
    shared: Arc<Shared>,
    client: Option<SocketAddr>,
    received: Frames,
    sent: Frames,
    flags: Arc<Flags>,
    /// Whether a read was postponed, so that the task must be woken for it.
    is_read_put_off: bool,
    /// When [`MAX_BLOCKED`] ends, while writes are blocked.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The state of a connection.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// The client has sent the HTTP/2 preface.
    has_begun: AtomicBool,
    /// The client does not read what is written.
    is_blocked: AtomicBool,
    /// A header block has begun but not ended.
    is_block_open: AtomicBool,
}

impl Flags {
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    pub(super) fn is_block_open(&self) -> bool {
        self.is_block_open.load(Ordering::Relaxed)
    }
}

impl<C> NoVectoredWrites<C> {
    pub(super) fn new(connection: C, shared: Arc<Shared>, client: Option<SocketAddr>) -> Self {
        Self {
            connection,
            shared,
            client,
            received: Frames::received(),
            sent: Frames::sent(),
            flags: Arc::default(),
            is_read_put_off: false,
            deadline: None,
        }
    }

    pub(super) fn flags(&self) -> Arc<Flags> {
        Arc::clone(&self.flags)
    }

    /// Records the outcome of a write. Fails if the client has read nothing for too long.
    fn attempted<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let is_blocked = result.is_pending();
        self.flags.is_blocked.store(is_blocked, Ordering::Relaxed);
        if is_blocked {
            let deadline = self
                .deadline
                .get_or_insert_with(|| Box::pin(sleep(MAX_BLOCKED)));
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.deadline = None;
        if std::mem::take(&mut self.is_read_put_off) {
            context.waker().wake_by_ref();
        }
        result
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for NoVectoredWrites<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.flags.is_blocked() {
            this.is_read_put_off = true;
            return Poll::Pending;
        }
        let before = into.filled().len();
        let result = Pin::new(&mut this.connection).poll_read(context, into);
        let new = into.filled().get(before..).unwrap_or_default();
        this.received.pass(new, |frame| {
            if let Frame::HeaderBlock { is_last } = frame {
                this.flags.is_block_open.store(!is_last, Ordering::Relaxed);
            }
        });
        if let Some(kind) = this.received.take_other_protocol() {
            this.shared.bad.other_protocol(this.client, kind);
        }
        let has_begun = this.received.has_begun();
        this.flags.has_begun.store(has_begun, Ordering::Relaxed);
        result
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for NoVectoredWrites<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.connection).poll_write(context, bytes);
        let written = ready!(this.attempted(result, context))?;
        let sent = bytes.get(..written).unwrap_or_default();
        this.sent.pass(sent, |frame| {
            if let Frame::Reset(code) = frame {
                this.shared.bad.reset(this.client, code);
            }
        });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Under TLS, a write only fills a buffer, and flushing it meets the client that does not
        // read.
        let result = Pin::new(&mut self.connection).poll_flush(context);
        self.attempted(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::telemetry::metrics::{BadConnectionMetrics, BudgetMetrics, ConnectionMetrics};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_not_waited_for() {
        let (_ours, theirs) = duplex(8);
        let shared = Shared::new(
            1,
            None,
            ConnectionMetrics::default(),
            BudgetMetrics::default(),
            BadConnectionMetrics::default(),
        );
        let mut connection = NoVectoredWrites::new(theirs, shared, None);
        let begin = Instant::now();
        let error = connection.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed(), MAX_BLOCKED);
    }
}
