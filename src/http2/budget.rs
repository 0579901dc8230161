//! The memory budget for all unfinished requests of the process.
//!
//! A complete request that can be answered at once takes no share and no lock. A request that has
//! to wait (for its own bytes, for keys, for a client that does not read) takes a share. If the
//! budget is exceeded, the oldest share is evicted: ordinary requests arrive within milliseconds,
//! so the oldest are those held open on purpose.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::task::AtomicWaker;

use crate::telemetry::every_minute::EveryMinute;
use crate::telemetry::metrics::BudgetMetrics;

/// The memory of a waiting request besides its message, in bytes: its stream, task and answer.
pub const REQUEST_BYTES: usize = 4 * 1024;

/// A number of bytes, and the shares that hold them.
#[derive(Debug)]
pub struct Budget {
    max_bytes: usize,
    state: Mutex<State>,
    metrics: BudgetMetrics,
    log: EveryMinute,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    next: u64,
    /// Oldest first.
    holders: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    bytes: usize,
    eviction: Arc<Eviction>,
}

/// Tells a holder that its share was evicted.
#[derive(Debug, Default)]
struct Eviction {
    is_over: AtomicBool,
    waker: AtomicWaker,
}

/// The share was evicted: the holder must drop what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted;

impl Budget {
    /// A budget of this many bytes.
    pub fn new(max_bytes: usize, metrics: BudgetMetrics) -> Self {
        Self {
            max_bytes,
            state: Mutex::default(),
            metrics,
            log: EveryMinute::default(),
        }
    }

    /// A share that holds nothing yet.
    pub fn share(&self) -> Share<'_> {
        Share {
            budget: self,
            held: None,
        }
    }

    /// The bytes that are currently held.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Evicts the oldest shares until the others fit.
    fn fit(&self, state: &mut State) {
        while state.used > self.max_bytes {
            let Some((_, oldest)) = state.holders.pop_first() else {
                return;
            };
            state.used -= oldest.bytes;
            oldest.eviction.is_over.store(true, Ordering::Release);
            oldest.eviction.waker.wake();
            self.metrics.evicted.inc();
            if let Some(times) = self.log.due() {
                tracing::warn!(
                    times,
                    max_bytes = self.max_bytes,
                    "unfinished requests exceed their memory budget; dropping the oldest"
                );
            }
        }
    }

    fn observe(&self, state: &State) {
        let used = i64::try_from(state.used).unwrap_or(i64::MAX);
        self.metrics.used.set(used);
    }
}

/// The bytes that one request holds. Returned when dropped.
#[derive(Debug)]
pub struct Share<'b> {
    budget: &'b Budget,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    id: u64,
    eviction: Arc<Eviction>,
}

impl Share<'_> {
    /// Changes the share to this many bytes.
    ///
    /// # Errors
    ///
    /// Fails if the share was evicted.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Evicted> {
        let mut state = self.budget.lock();
        let id = match &self.held {
            Some(held) => held.id,
            None => {
                let id = state.next;
                state.next += 1;
                let eviction = Arc::new(Eviction::default());
                let holder = Holder {
                    bytes: 0,
                    eviction: Arc::clone(&eviction),
                };
                state.holders.insert(id, holder);
                self.held = Some(Held { id, eviction });
                id
            }
        };
        let holder = state.holders.get_mut(&id).ok_or(Evicted)?;
        let before = std::mem::replace(&mut holder.bytes, bytes);
        state.used = state.used - before + bytes;
        self.budget.fit(&mut state);
        self.budget.observe(&state);
        match state.holders.contains_key(&id) {
            true => Ok(()),
            false => Err(Evicted),
        }
    }

    /// Returns all bytes.
    pub fn release(&mut self) {
        if let Some(held) = self.held.take() {
            let mut state = self.budget.lock();
            if let Some(holder) = state.holders.remove(&held.id) {
                state.used -= holder.bytes;
            }
            self.budget.observe(&state);
        }
    }

    /// Ready if the share was evicted. Otherwise, eviction wakes the task.
    pub fn poll_evicted(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(Held { eviction, .. }) = &self.held else {
            return Poll::Pending;
        };
        eviction.waker.register(context.waker());
        match eviction.is_over.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Awaits a future. Unless it is ready at once, holds [`REQUEST_BYTES`] plus `bytes` meanwhile.
    ///
    /// # Errors
    ///
    /// Fails if the share was evicted meanwhile.
    pub async fn wait<F: Future>(
        &mut self,
        bytes: usize,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Evicted> {
        if let Some(output) = future.as_mut().now_or_never() {
            return Ok(output);
        }
        self.hold(REQUEST_BYTES + bytes)?;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            self.poll_evicted(context).map(|()| Err(Evicted))
        })
        .await
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use super::*;

    fn budget(max_bytes: usize) -> Budget {
        Budget::new(max_bytes, BudgetMetrics::default())
    }

    #[tokio::test]
    async fn what_is_ready_takes_nothing() {
        let budget = budget(0);
        let mut share = budget.share();
        assert_eq!(share.wait(1_000, pin!(ready(1))).await, Ok(1));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn whoever_has_waited_longest_makes_room() {
        let budget = budget(100);
        let (mut first, mut second, mut third) = (budget.share(), budget.share(), budget.share());
        assert_eq!(first.hold(60), Ok(()));
        assert_eq!(second.hold(40), Ok(()));
        assert_eq!(third.hold(1), Ok(()));
        poll_fn(|context| first.poll_evicted(context)).await;
        assert_eq!(first.hold(1), Err(Evicted));
        assert_eq!(budget.used(), 41);
        assert_eq!(second.hold(10), Ok(()));
        assert_eq!(budget.used(), 11);
        drop(second);
        third.release();
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.metrics.evicted.get(), 1);
    }

    #[tokio::test]
    async fn a_share_larger_than_the_budget_is_given_up() {
        let budget = budget(REQUEST_BYTES);
        let mut share = budget.share();
        assert_eq!(share.wait(1, pin!(pending::<()>())).await, Err(Evicted));
        assert_eq!(budget.used(), 0);
    }
}
