//! Connections whose writes are few and large, and which are looked at as they are read and
//! written.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Shared;
use super::frames::{Frame, Frames};

/// A connection that does not offer to write several buffers at once. `h2` then copies small frames
/// behind each other, where it would write out each larger one by a call of its own.
///
/// While the client does not take what is written, nothing more is read: each request that is read
/// has an answer, which would have to be kept.
#[derive(Debug)]
pub(super) struct NoVectoredWrites<C> {
    connection: C,
    shared: Arc<Shared>,
    received: Frames,
    sent: Frames,
    flags: Arc<Flags>,
    /// Whether reading was put off, and the task must be woken to read.
    is_read_put_off: bool,
}

/// What the connection is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// The client does not take what is written.
    is_blocked: AtomicBool,
    /// A header block has begun, and not ended.
    is_block_open: AtomicBool,
}

impl Flags {
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed)
    }

    pub(super) fn is_block_open(&self) -> bool {
        self.is_block_open.load(Ordering::Relaxed)
    }
}

impl<C> NoVectoredWrites<C> {
    pub(super) fn new(connection: C, shared: Arc<Shared>) -> Self {
        Self {
            connection,
            shared,
            received: Frames::received(),
            sent: Frames::sent(),
            flags: Arc::default(),
            is_read_put_off: false,
        }
    }

    pub(super) fn flags(&self) -> Arc<Flags> {
        Arc::clone(&self.flags)
    }

    /// What became of an attempt to write.
    fn attempted<T>(&mut self, result: &Poll<T>, context: &Context<'_>) {
        let is_blocked = result.is_pending();
        self.flags.is_blocked.store(is_blocked, Ordering::Relaxed);
        if !is_blocked && std::mem::take(&mut self.is_read_put_off) {
            context.waker().wake_by_ref();
        }
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
        this.attempted(&result, context);
        if let Poll::Ready(Ok(written)) = result {
            let written = bytes.get(..written).unwrap_or_default();
            this.sent.pass(written, |frame| {
                if let Frame::Reset(code) = frame {
                    this.shared.refused.reset(code);
                }
            });
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}
