//! The filter of one stream: judges the request, changes it or answers it, and changes the response.
//!
//! INVARIANT: a request continues only after a [`PassReply`](crate::reply::PassReply) was applied. Every
//! error and every panic ends the stream with a denial.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::guard::locked;
use crate::reply::{DirectReply, Reply, ResponseChanges};
use crate::request::{Copied, Description};
use crate::stream::{Line, Source, Stream, Wake};
use claimgate_core::decision::Fault;
use claimgate_core::request::Request;
use claimgate_gate::{Circumstances, Gate, Judged, Pending};

/// What decides for a filter.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Makes the decisions.
    pub gate: Gate,
    /// Where requests wait for keys.
    pub runtime: Handle,
}

/// What happens after the headers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The request goes on.
    Continue,
    /// The stream was answered.
    Answered,
    /// The request waits. The host calls [`Filter::on_woken`].
    Wait,
}

/// The filter of one stream.
#[derive(Debug)]
pub struct Filter<W> {
    /// `None` if there is no usable configuration: then everything is denied.
    judge: Option<Arc<Judge>>,
    state: RefCell<State<W>>,
}

#[derive(Debug)]
enum State<W> {
    /// Nothing is decided.
    New,
    /// The request waits for keys.
    Waiting(Waiting<W>),
    /// The request passed.
    Passed(ResponseChanges),
    /// The stream was answered.
    Answered,
}

/// A request that waits.
#[derive(Debug)]
struct Waiting<W> {
    task: AbortHandle,
    shared: Arc<Mutex<Shared<W>>>,
}

/// What the stream and the task that decides for it share.
#[derive(Debug)]
struct Shared<W> {
    /// `None` once the stream is gone.
    waker: Option<W>,
    reply: Option<Reply>,
}

/// Nobody waits for the decision any more, and the host may not be called.
impl<W> Drop for Waiting<W> {
    fn drop(&mut self) {
        self.task.abort();
        locked(&self.shared).waker = None;
    }
}

impl<W: Wake> Filter<W> {
    /// The filter of a new stream.
    pub fn new(judge: Option<Arc<Judge>>) -> Self {
        Self {
            judge,
            state: RefCell::new(State::New),
        }
    }

    /// Judges a request by its headers. `context` is what its route says.
    pub fn on_request_headers<S: Stream<Waker = W>>(
        &self,
        mut stream: S,
        context: &Context,
    ) -> Next {
        let arrived = Instant::now();
        let judge = self.judge.as_ref();
        match judge.map(|judge| self.judge(judge, &mut stream, context, arrived)) {
            Some(Judgement::Reply(reply)) => self.finish(&reply, stream).0,
            Some(Judgement::Later) => Next::Wait,
            None => self.finish(&Reply::Direct(DirectReply::failed()), stream).0,
        }
    }

    /// Goes on with a request that waited.
    pub fn on_woken<S: Stream<Waker = W>>(&self, stream: S) {
        let reply = match &*self.state.borrow() {
            State::Waiting(waiting) => locked(&waiting.shared).reply.take(),
            State::New | State::Passed(_) | State::Answered => None,
        };
        let Some(reply) = reply else {
            return;
        };
        if let (Next::Continue, Some(stream)) = self.finish(&reply, stream) {
            stream.resume();
        }
    }

    /// Whether the body of the request may go on: the host may show it although the headers must not go
    /// on.
    pub fn has_passed(&self) -> bool {
        matches!(&*self.state.borrow(), State::Passed(_))
    }

    /// Changes the headers of the response.
    pub fn on_response_headers(&self, mut stream: impl Stream) {
        let changes = match &mut *self.state.borrow_mut() {
            State::Passed(changes) => std::mem::take(changes),
            State::New | State::Waiting(_) | State::Answered => return,
        };
        changes.apply(&mut stream);
    }

    fn judge<S: Stream<Waker = W>>(
        &self,
        judge: &Arc<Judge>,
        stream: &mut S,
        context: &Context,
        arrived: Instant,
    ) -> Judgement {
        let gate = &judge.gate;
        let (copied, pending) = {
            let _in_flight = gate.metrics.in_flight();
            let Some(lines) = stream.request_headers() else {
                return Judgement::Reply(broken(gate, arrived));
            };
            let source = stream.source();
            match judge_now(gate, &lines, &source, context, arrived) {
                Now::Reply(reply) => return Judgement::Reply(reply),
                Now::Pending(pending) => (Copied::new(&lines, &source), pending),
            }
        };
        let is_slow = pending.is_slow();
        let mut deciding: Deciding = {
            let (judge, context) = (Arc::clone(judge), Arc::clone(context));
            Box::pin(judge_later(judge, copied, context, pending, arrived))
        };
        // Often the limits of look-ups already tell the answer. Time is the runtime's.
        let _context = judge.runtime.enter();
        if !is_slow && let Some(reply) = deciding.as_mut().now_or_never() {
            return Judgement::Reply(reply);
        }
        let waiting = Waiting::start(&judge.runtime, deciding, stream.waker());
        self.state.replace(State::Waiting(waiting));
        Judgement::Later
    }

    /// Does to the stream what follows from the decision. Returns the stream unless it was answered.
    fn finish<S: Stream<Waker = W>>(&self, reply: &Reply, mut stream: S) -> (Next, Option<S>) {
        let failed = DirectReply::failed();
        let direct = match reply {
            Reply::Pass(pass) => match pass.apply(&mut stream) {
                Some(changes) => {
                    self.state.replace(State::Passed(changes));
                    return (Next::Continue, Some(stream));
                }
                None => &failed,
            },
            Reply::Direct(direct) => direct,
        };
        // Before the stream is answered, because the host may drop this filter meanwhile.
        self.state.replace(State::Answered);
        direct.send(stream);
        (Next::Answered, None)
    }
}

/// What the route says about its requests (Envoy's `context_extensions`).
pub type Context = Arc<[(String, String)]>;

enum Judgement {
    Reply(Reply),
    /// The task that decides wakes the stream.
    Later,
}

/// Decides a request that waits.
type Deciding = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl<W: Wake> Waiting<W> {
    /// Decides in the background, and then wakes the stream.
    fn start(runtime: &Handle, deciding: Deciding, waker: W) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            waker: Some(waker),
            reply: None,
        }));
        let decided = Arc::clone(&shared);
        let deciding = AssertUnwindSafe(deciding).catch_unwind();
        let task = runtime.spawn(async move {
            let reply = deciding.await;
            // No stream waits for ever.
            let reply = reply.unwrap_or_else(|_| Reply::Direct(DirectReply::failed()));
            let mut decided = locked(&decided);
            decided.reply = Some(reply);
            if let Some(waker) = &decided.waker {
                waker.wake();
            }
        });
        Self {
            task: task.abort_handle(),
            shared,
        }
    }
}

/// What is known of a request without waiting.
enum Now {
    Reply(Reply),
    Pending(Pending),
}

/// Decides a request if that takes no waiting.
fn judge_now(
    gate: &Gate,
    lines: &[Line<'_>],
    source: &Source<'_>,
    context: &Context,
    arrived: Instant,
) -> Now {
    let now = catch_unwind(AssertUnwindSafe(|| {
        let described = match Description::read(lines, source) {
            Ok(described) => described,
            Err(fault) => return Now::Reply(unread(gate, fault, arrived)),
        };
        let request = described.request(context);
        let judged = catch_unwind(AssertUnwindSafe(|| gate.decide_now(&request)));
        let judged = match judged {
            Ok(Ok(judged)) => judged,
            Ok(Err(pending)) => return Now::Pending(pending),
            Err(_) => gate.deny(Fault::Internal, &request),
        };
        Now::Reply(conclude(gate, &judged, &request, arrived))
    }));
    now.unwrap_or_else(|_| Now::Reply(broken(gate, arrived)))
}

/// Decides a request that may have to wait.
async fn judge_later(
    judge: Arc<Judge>,
    copied: Copied,
    context: Context,
    pending: Pending,
    arrived: Instant,
) -> Reply {
    let gate = &judge.gate;
    let _in_flight = gate.metrics.in_flight();
    let deciding = AssertUnwindSafe(async {
        let lines = copied.lines();
        let described = match Description::read(&lines, &copied.source()) {
            Ok(described) => described,
            Err(fault) => return unread(gate, fault, arrived),
        };
        let request = described.request(&context);
        let judged = AssertUnwindSafe(gate.decide_later(pending, &request, MAX_WAIT))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| gate.deny(Fault::Internal, &request));
        conclude(gate, &judged, &request, arrived)
    });
    let reply = deciding.catch_unwind().await;
    reply.unwrap_or_else(|_| broken(gate, arrived))
}

/// What follows from a decision, which is counted and logged.
fn conclude(gate: &Gate, judged: &Judged, request: &Request<'_>, arrived: Instant) -> Reply {
    let reply = Reply::of(gate, judged, request);
    count(gate, judged, Some(request), arrived);
    reply
}

/// The denial of a request that cannot be read.
fn unread(gate: &Gate, fault: Fault, arrived: Instant) -> Reply {
    let request = Request::default();
    let judged = gate.deny(fault, &request);
    let reply = Reply::of(gate, &judged, &request);
    count(gate, &judged, None, arrived);
    reply
}

/// The denial after a panic.
fn broken(gate: &Gate, arrived: Instant) -> Reply {
    let denied = catch_unwind(AssertUnwindSafe(|| {
        tracing::error!("a request could not be handled and was denied; this is a bug");
        unread(gate, Fault::Internal, arrived)
    }));
    denied.unwrap_or_else(|_| Reply::Direct(DirectReply::failed()))
}

fn count(gate: &Gate, judged: &Judged, request: Option<&Request<'_>>, arrived: Instant) {
    // A panic here must not change the answer.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        gate.conclude(
            judged,
            Circumstances {
                request,
                took: arrived.elapsed(),
                max_wait: MAX_WAIT,
                trace_id: None,
            },
        );
    }));
}

/// Nothing waits for the answer but the client, so only the configuration limits the wait for keys.
const MAX_WAIT: Duration = Duration::MAX;
