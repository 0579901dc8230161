//! The timer for hyper's pings.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

/// A timer that fires one poll late.
///
/// hyper checks its timers before it reads. If the whole process was stopped for a while, the
/// answer to a ping may have arrived unread. The extra poll reads the connection once more before
/// the ping counts as unanswered.
#[derive(Clone, Debug, Default)]
pub(super) struct PingTimer(TokioTimer);

impl Timer for PingTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(LateSleep::new(self.0.sleep(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(LateSleep::new(self.0.sleep_until(deadline)))
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

struct LateSleep {
    sleep: Pin<Box<dyn Sleep>>,
    is_over: bool,
}

impl LateSleep {
    fn new(sleep: Pin<Box<dyn Sleep>>) -> Self {
        Self {
            sleep,
            is_over: false,
        }
    }
}

impl Future for LateSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_over {
            return Poll::Ready(());
        }
        ready!(self.sleep.as_mut().poll(context));
        self.is_over = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Sleep for LateSleep {}
