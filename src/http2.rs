//! HTTP/2 connections on which many small requests come at once.
//!
//! hyper serves them. What costs most about a small answer is the system call that sends it, so two
//! things are done here that hyper does not do by itself: the requests that a connection has received
//! are run in place, in batches, before anything is written ([`batch`]), and small frames are written
//! together ([`no_vectored_writes`]). Of many requests that came together, other cores get their share.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::sleep;

mod batch;
mod batch_size;
pub mod body;
pub mod budget;
pub mod connections;
mod frames;
mod no_vectored_writes;
mod ping_timer;
mod refused;
pub mod routes;

use batch::{BatchExecutor, Exchange, Queue};
use batch_size::BatchSize;
use body::Body;
use budget::{Budget, Share};
use connections::{Connections, Lease};
use no_vectored_writes::{Flags, NoVectoredWrites};
use ping_timer::PingTimer;
use refused::Refused;

use crate::telemetry::metrics::{BudgetMetrics, ConnectionMetrics, Http2Metrics};

/// How many requests one connection may have under way: as many as Envoy lets one cluster have by
/// itself (`circuit_breakers`, `max_requests`), as those beyond would be refused.
const MAX_STREAMS: u32 = 1024;

/// How many requests may be refused while a connection lives, which may be for weeks. Somebody who
/// does not read could make us keep as many refusals.
const MAX_REFUSALS: usize = 16 * 1024;

/// How much one connection may send before it is read, in bytes.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// How much one request may send before it is read, in bytes: few checks are longer.
const REQUEST_WINDOW_BYTES: u32 = 64 * 1024;

/// The largest headers of a request, in bytes. `h2` refuses what is longer, which is an error to
/// Envoy; and some come from whoever asked Envoy (`tracestate`), which lets 60 KiB pass by itself.
const MAX_HEADER_BYTES: u32 = 96 * 1024;

/// What an unfinished header block counts for, in bytes: each header takes about 100 bytes more
/// than are sent, and may be as short as one byte.
const HEADER_BLOCK_BYTES: usize = 4 * MAX_HEADER_BYTES as usize;

/// What an answer counts for that the client does not take, in bytes.
const ANSWER_BYTES: usize = 2 * 1024;

/// The memory that all unfinished requests may take, in bytes: 64 of the largest checks, or 4,096
/// small ones.
const UNFINISHED_BYTES: usize = 16 * 1024 * 1024;

/// How long a client may take for the first bytes of HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How long a client may send nothing before it gets a ping.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// How long the answer to a ping may take. Then the client has gone without a word.
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// How far the age at which a connection ends lies from the configured one, at most, as a fraction of
/// it. Connections that began together should not end together.
const AGE_JITTER: f64 = 0.1;

/// The answer to a request, or the code of the reset that it gets in its place.
pub type HandlerResult = Result<Response<Body>, h2::Error>;

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Most should not have to wait.
    fn handle(self, request: Request<Incoming>) -> impl Future<Output = HandlerResult> + Send;
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The memory of unfinished requests.
    pub budget: Budget,
    connections: Arc<Connections>,
    max_connection_age: Option<Duration>,
    refused: Refused,
}

impl Shared {
    /// For at most `max_connections` at once. With a `max_connection_age`, each is closed when it is
    /// about that old, and its client connects again, perhaps to another instance.
    pub fn new(
        max_connections: usize,
        max_connection_age: Option<Duration>,
        connections: ConnectionMetrics,
        budget: BudgetMetrics,
        refused: Http2Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(UNFINISHED_BYTES, budget),
            connections: Arc::new(Connections::new(max_connections, connections)),
            max_connection_age,
            refused: Refused::new(refused),
        })
    }

    /// Counts a connection that was accepted.
    pub async fn admit(self: &Arc<Self>) -> Admitted {
        Admitted {
            shared: Arc::clone(self),
            lease: self.connections.admit().await,
        }
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Admitted {
    shared: Arc<Shared>,
    lease: Lease,
}

/// Serves one connection until it ends: soon after `stop` completes or the connection is too old,
/// when what is under way has been answered; or at once when it has to make room for another.
pub async fn serve<C>(
    connection: C,
    admitted: Admitted,
    handler: impl Handler,
    stop: impl Future<Output = ()>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let Admitted { shared, lease } = admitted;
    let connection = NoVectoredWrites::new(connection, Arc::clone(&shared));
    let flags = connection.flags();
    let mut unfinished = Unfinished {
        share: shared.budget.share(),
        flags: Arc::clone(&flags),
        answers: 0,
    };
    let service = service_fn(move |request| {
        let handler = handler.clone();
        // Nothing is done before the batch runs.
        async move {
            batch::look_for_reset().await;
            handler.handle(request).await
        }
    });
    let (executor, mut queue) = batch::queue();
    let connection = builder(executor).serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection);
    let mut closing = pin!(async {
        tokio::select! {
            () = stop => {}
            () = aged(shared.max_connection_age) => {}
        }
    });
    let mut handshake = pin!(sleep(HANDSHAKE));
    let (mut has_begun, mut is_closing) = (false, false);
    let mut arrived = Vec::new();
    let batch_size = BatchSize::default();
    let ended = loop {
        tokio::select! {
            // A connection on which there is always more must hear of the others.
            biased;
            () = &mut closing, if !is_closing => {
                if !flags.has_begun() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                is_closing = true;
            }
            () = lease.evicted() => {
                connection.as_mut().graceful_shutdown();
                // The GOAWAY is sent if the client takes it now.
                let _ = poll_once(connection.as_mut()).await;
                return;
            }
            () = &mut handshake, if !has_begun => {
                if !flags.has_begun() {
                    return;
                }
                has_begun = true;
            }
            more = arrivals(connection.as_mut(), &mut queue, &mut arrived, &mut unfinished) => {
                if let Err(ended) = more {
                    break ended;
                }
                lease.used();
                unfinished.answers += arrived.len();
                if batch::run(&mut arrived, &batch_size, &shared) {
                    // Other cores see the tasks only when this one yields. The answers that are ready
                    // leave first.
                    if let Poll::Ready(ended) = poll_once(connection.as_mut()).await {
                        break ended.err();
                    }
                    yield_now().await;
                }
            }
        }
    };
    if let Some(error) = ended {
        shared.refused.connection(&error, flags.has_begun());
    }
}

fn builder(executor: BatchExecutor) -> Builder<BatchExecutor> {
    let mut builder = Builder::new(executor);
    builder
        .timer(PingTimer::default())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        // A proxy that gave up on all of its requests at once is no attacker.
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(MAX_REFUSALS)
        .initial_stream_window_size(REQUEST_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .auto_date_header(false);
    builder
}

/// Completes when a connection that begins now is as old as it may be.
async fn aged(max: Option<Duration>) {
    let Some(max) = max else {
        return pending().await;
    };
    let jitter = AGE_JITTER * (2.0 * fastrand::f64() - 1.0);
    sleep(max.mul_f64(1.0 + jitter)).await;
}

/// Sends and receives what can be without waiting. Ready when the connection has ended.
async fn poll_once<F: Future>(mut connection: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await
}

/// Sends what is ready to be sent, and waits for requests: all that have been received. An error
/// means that the connection has ended, and may say why.
async fn arrivals(
    mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    queue: &mut Queue,
    into: &mut Vec<Exchange>,
    unfinished: &mut Unfinished<'_>,
) -> Result<(), Option<hyper::Error>> {
    poll_fn(|context| {
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(Err(ended.err()));
        }
        if unfinished.poll_evicted(context).is_ready() {
            return Poll::Ready(Err(None));
        }
        queue.drain(into);
        match into.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    })
    .await
}

/// What one connection holds of the budget besides its requests.
struct Unfinished<'b> {
    share: Share<'b>,
    flags: Arc<Flags>,
    /// How many requests have come since the client last took all answers.
    answers: usize,
}

impl Unfinished<'_> {
    /// Takes its share, or gives it back. Ready when the connection has to end for others.
    fn poll_evicted(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = 0;
        if self.flags.is_block_open() {
            bytes += HEADER_BLOCK_BYTES;
        }
        match self.flags.is_blocked() {
            true => bytes += self.answers * ANSWER_BYTES,
            false => self.answers = 0,
        }
        if bytes == 0 {
            self.share.release();
            return Poll::Pending;
        }
        match self.share.hold(bytes) {
            Ok(()) => self.share.poll_evicted(context),
            Err(_) => Poll::Ready(()),
        }
    }
}
