//! Keeps panics inside: a request whose handling panics is denied, and later ones are handled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::reply::DirectReply;
use crate::stream::Stream;

/// Handles a request. If that panics or returns `None`, the stream is answered with 500.
///
/// INVARIANT: [`Stream::respond`] and [`Stream::resume`] are the last that a handler does, so a stream whose
/// handler panics is still there.
pub fn or_deny<T, S: Stream>(
    stream: impl FnOnce() -> Option<S>,
    handle: impl FnOnce() -> Option<T>,
) -> Option<T> {
    let handled = catch_unwind(AssertUnwindSafe(handle)).ok().flatten();
    if handled.is_none() {
        // After a second panic, the stream is not answered, and does not pass.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(stream) = stream() {
                DirectReply::failed().send(stream);
            }
        }));
    }
    handled
}

/// Locks what no panic leaves half done.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
