//! Runs the requests of one connection in batches.
//!
//! hyper passes each request to an executor. This one queues them. When the connection has been
//! read, the queued requests are polled in place, one after another. Most complete at once, and
//! their answers leave with one write. Only a request that has to wait becomes a task.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep};

use super::Shared;
use super::batch_size::BatchSize;
use super::body::{UNSENT, Unsent};
use super::budget::REQUEST_BYTES;

/// One request, from its headers to the last frame of its answer.
pub(super) type Exchange = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Puts requests into the queue of their connection.
#[derive(Clone, Debug)]
pub(super) struct BatchExecutor(Sender<Exchange>);

/// The requests of one connection that no batch has run yet.
#[derive(Debug)]
pub(super) struct Queue(Receiver<Exchange>);

/// A queue, and the executor that fills it.
pub(super) fn queue() -> (BatchExecutor, Queue) {
    let (sender, receiver) = channel();
    (BatchExecutor(sender), Queue(receiver))
}

impl Queue {
    /// Moves all queued requests into `into`.
    pub(super) fn drain(&mut self, into: &mut Vec<Exchange>) {
        into.extend(self.0.try_iter());
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for BatchExecutor {
    fn execute(&self, exchange: F) {
        // An error means that the connection has ended, so its requests are dropped.
        let _ = self.0.send(Box::pin(exchange));
    }
}

/// Runs one batch inline and spawns the rest for idle cores. If requests are slow, spawns all,
/// because more may arrive meanwhile. Returns whether any task was spawned.
pub(super) fn run(
    arrived: &mut Vec<Exchange>,
    batch_size: &BatchSize,
    shared: &Arc<Shared>,
) -> bool {
    let size = batch_size.current();
    // The last spawned task runs next on this core, and no other core can steal it.
    let here = if size == 1 { 0 } else { size };
    let mut has_spawned = false;
    while arrived.len() > here {
        let batch = arrived.split_off((arrived.len() - 1) / size * size);
        let (batch_size, shared) = (batch_size.clone(), Arc::clone(shared));
        tokio::spawn(async move { run_batch(batch.into_iter(), &batch_size, &shared) });
        has_spawned = true;
    }
    run_batch(arrived.drain(..), batch_size, shared) | has_spawned
}

/// Runs these requests one after another. Returns whether any task was spawned.
fn run_batch(
    batch: impl ExactSizeIterator<Item = Exchange>,
    batch_size: &BatchSize,
    shared: &Arc<Shared>,
) -> bool {
    let (count, begin) = (batch.len(), Instant::now());
    let mut has_spawned = false;
    for exchange in batch {
        has_spawned |= poll_or_spawn(exchange, shared);
    }
    batch_size.observe(count, begin.elapsed());
    has_spawned
}

/// Pauses a request until it is polled again. hyper checks for a reset only after a request was
/// pending, so a cancelled request ends here, before any work.
///
/// INVARIANT: the waker is not needed, because [`poll_or_spawn`] polls twice.
pub(super) async fn look_for_reset() {
    let mut is_over = false;
    poll_fn(|_| match std::mem::replace(&mut is_over, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// Polls a request, and spawns a task if it has to wait. A panic ends only this request. Returns
/// whether a task was spawned.
fn poll_or_spawn(mut exchange: Exchange, shared: &Arc<Shared>) -> bool {
    // No wake-up is lost: the task polls again when it starts.
    let mut context = Context::from_waker(Waker::noop());
    let pending = UNSENT.sync_scope(Cell::default(), || {
        let mut poll = || exchange.as_mut().poll(&mut context);
        let polled = catch_unwind(AssertUnwindSafe(|| match poll() {
            Poll::Pending => poll(),
            ready @ Poll::Ready(()) => ready,
        }));
        matches!(polled, Ok(Poll::Pending)).then(|| UNSENT.with(Cell::get))
    });
    let Some(unsent) = pending else {
        return false;
    };
    let rest = finish(exchange, Arc::clone(shared));
    tokio::spawn(UNSENT.scope(Cell::new(unsent), rest));
    true
}

/// Polls a request until it is complete. While its answer cannot be sent, it holds a share of the
/// budget. The request is reset if that share is evicted or sending takes too long.
async fn finish(mut exchange: Exchange, shared: Arc<Shared>) {
    let mut share = shared.budget.share();
    let mut deadline: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if exchange.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(Unsent { bytes, max_sending }) = UNSENT.with(Cell::get) else {
            // The request is still being read or decided, and holds its own share.
            return Poll::Pending;
        };
        if share.hold(REQUEST_BYTES + bytes).is_err() || share.poll_evicted(context).is_ready() {
            return Poll::Ready(());
        }
        match max_sending {
            Some(max) => deadline
                .get_or_insert_with(|| Box::pin(sleep(max)))
                .as_mut()
                .poll(context),
            None => Poll::Pending,
        }
    })
    .await;
}
