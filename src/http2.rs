//! Serves HTTP/2 connections that carry many small requests at once.
//!
//! hyper implements the protocol. Most of the cost of a small answer is the system call that sends
//! it, so this module adds two things. It runs the requests that a connection has received in
//! place, in batches, before anything is written ([`batch`]). It also writes small frames together
//! ([`no_vectored_writes`]). If many requests arrive together, other cores take a share.

use std::future::{Future, pending, poll_fn};
use std::net::SocketAddr;
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
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::sleep;

pub(crate) mod bad_connections;
mod batch;
mod batch_size;
pub mod body;
pub mod budget;
pub mod connections;
mod frames;
pub mod handshake;
mod no_vectored_writes;
mod ping_timer;
pub mod routes;

use bad_connections::BadConnections;
use batch::{BatchExecutor, Exchange, Queue};
use batch_size::BatchSize;
use body::Body;
use budget::{Budget, Share};
use connections::{Connections, Lease};
use no_vectored_writes::{Flags, NoVectoredWrites};
use ping_timer::PingTimer;

use crate::telemetry::metrics::{BadConnectionMetrics, BudgetMetrics, ConnectionMetrics};

/// The maximum number of concurrent requests per connection: Envoy's default limit for one cluster
/// (`circuit_breakers`, `max_requests`). HTTP/2 refuses further requests.
const MAX_STREAMS: u32 = 1024;

/// The maximum number of refused requests over the life of a connection, which may be weeks.
/// Refusals stay in memory while the client does not read.
const MAX_REFUSALS: usize = 16 * 1024;

/// The flow-control window of a connection, in bytes.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// The flow-control window of a request, in bytes. Few checks are longer.
const REQUEST_WINDOW_BYTES: u32 = 64 * 1024;

/// The maximum size of a request's headers, in bytes. `h2` refuses longer ones, which Envoy treats
/// as an error. Some come from Envoy's client (`tracestate`), and Envoy accepts 60 KiB by default.
const MAX_HEADER_BYTES: u32 = 96 * 1024;

/// The memory that an unfinished header block counts as, in bytes. Each header takes about 100
/// bytes more than it has on the wire, where it may take one byte.
const HEADER_BLOCK_BYTES: usize = 4 * MAX_HEADER_BYTES as usize;

/// The memory that an answer counts as while the client does not read it, in bytes.
const ANSWER_BYTES: usize = 2 * 1024;

/// The memory for all unfinished requests together, in bytes: 64 of the largest checks, or 4,096
/// small ones.
const UNFINISHED_BYTES: usize = 16 * 1024 * 1024;

/// The time limit for a client to send the HTTP/2 preface.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How long a client may be silent before it gets a ping.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// The time limit for the answer to a ping. After it, the connection counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum deviation from the configured age limit, as a fraction of it. Connections that began
/// together should not end together.
const AGE_JITTER: f64 = 0.1;

/// The answer to a request, or the code of the reset that replaces it.
pub type HandlerResult = Result<Response<Body>, h2::Error>;

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request, usually without waiting.
    fn handle(self, request: Request<Incoming>) -> impl Future<Output = HandlerResult> + Send;
}

/// The state that all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The memory for unfinished requests.
    pub budget: Budget,
    connections: Arc<Connections>,
    max_connection_age: Option<Duration>,
    bad: BadConnections,
}

impl Shared {
    /// Allows at most `max_connections` at once. With a `max_connection_age`, each is closed at
    /// about that age. Its client then connects again, perhaps to another instance.
    pub fn new(
        max_connections: usize,
        max_connection_age: Option<Duration>,
        connections: ConnectionMetrics,
        budget: BudgetMetrics,
        bad: BadConnectionMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(UNFINISHED_BYTES, budget),
            connections: Arc::new(Connections::new(max_connections, connections)),
            max_connection_age,
            bad: BadConnections::new(bad),
        })
    }

    /// Completes when no connection has been open for this long.
    pub async fn unused_for(&self, time: Duration) {
        self.connections.unused_for(time).await;
    }

    /// Registers an accepted connection. `client` is its other end, if that has an address.
    pub async fn admit(self: &Arc<Self>, client: Option<SocketAddr>) -> Admitted {
        Admitted {
            shared: Arc::clone(self),
            client,
            lease: self.connections.admit().await,
        }
    }
}

/// A registered connection.
#[derive(Debug)]
pub struct Admitted {
    shared: Arc<Shared>,
    client: Option<SocketAddr>,
    lease: Lease,
}

/// Serves one connection until it ends. After `stop` completes, or at the maximum age, requests in
/// progress are still answered. If the connection must make room for another, it ends at once.
pub async fn serve<C>(
    connection: C,
    admitted: Admitted,
    handler: impl Handler,
    stop: impl Future<Output = ()>,
) where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let Admitted {
        shared,
        client,
        lease,
    } = admitted;
    let connection = NoVectoredWrites::new(connection, Arc::clone(&shared), client);
    let flags = connection.flags();
    let mut unfinished = Unfinished {
        share: shared.budget.share(),
        flags: Arc::clone(&flags),
        answers: 0,
    };
    let service = service_fn(move |request| {
        let handler = handler.clone();
        // The work starts only when the batch runs.
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
    let batch_size = BatchSize::new(Handle::current().metrics().num_workers());
    let ended = loop {
        tokio::select! {
            // In this order, a busy connection still notices the other events.
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
                // Sends the GOAWAY if the client reads it now.
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
                    // Other cores see the tasks only when this one yields. Ready answers are sent
                    // first.
                    if let Poll::Ready(ended) = poll_once(connection.as_mut()).await {
                        break ended.err();
                    }
                    yield_now().await;
                }
            }
        }
    };
    if let Some(error) = ended.filter(|_| flags.has_begun()) {
        shared.bad.ended(client, &error);
    }
}

fn builder(executor: BatchExecutor) -> Builder<BatchExecutor> {
    let mut builder = Builder::new(executor);
    builder
        .timer(PingTimer::default())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        // A proxy that cancels all its requests at once is not an attacker.
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(MAX_REFUSALS)
        .initial_stream_window_size(REQUEST_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .auto_date_header(false);
    builder
}

/// Completes when a connection that begins now reaches its maximum age.
async fn aged(max: Option<Duration>) {
    let Some(max) = max else {
        return pending().await;
    };
    let jitter = AGE_JITTER * (2.0 * fastrand::f64() - 1.0);
    sleep(max.mul_f64(1.0 + jitter)).await;
}

/// Sends and receives as much as possible without waiting. Ready if the connection has ended.
async fn poll_once<F: Future>(mut connection: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await
}

/// Sends what is ready, waits for requests, and moves all that have arrived into `into`. An error
/// means that the connection has ended, and contains the cause if it is known.
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

/// The budget share of one connection, besides those of its requests.
struct Unfinished<'b> {
    share: Share<'b>,
    flags: Arc<Flags>,
    /// The number of requests since the client last read all answers.
    answers: usize,
}

impl Unfinished<'_> {
    /// Takes or returns the share. Ready if the connection must end to make room for others.
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
