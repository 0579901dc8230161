//! HTTP/2 connections on which many small requests come at once.
//!
//! What costs most about a small answer is the call to the system that sends it. So whatever a
//! connection has received is answered in bundles, in place if nothing has to be waited for, and a
//! bundle's answers leave together. Of many requests that came together, other cores get their
//! share.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

pub mod budget;
mod bundle;
pub mod connections;
mod frames;
mod keepalive;
mod no_vectored_writes;
mod refused;
pub mod routes;

use budget::{Budget, Share};
use bundle::Bundle;
use connections::{Connections, Lease};
use keepalive::Keepalive;
use no_vectored_writes::{Flags, NoVectoredWrites};
use refused::Refused;

use crate::telemetry::metrics::{BudgetMetrics, ConnectionMetrics, Http2Metrics};

/// The largest DATA frame that `h2` copies behind other frames.
pub const MAX_COPIED_BYTES: usize = 1_023;

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

/// A request, and where its answer goes.
pub type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Most should not have to wait.
    fn handle(&self, exchange: Exchange) -> impl Future<Output = ()> + Send + 'static;
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The memory of unfinished requests.
    pub budget: Budget,
    connections: Arc<Connections>,
    refused: Refused,
}

impl Shared {
    /// For at most `max_connections` at once.
    pub fn new(
        max_connections: usize,
        connections: ConnectionMetrics,
        budget: BudgetMetrics,
        refused: Http2Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(UNFINISHED_BYTES, budget),
            connections: Arc::new(Connections::new(max_connections, connections)),
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

/// Serves one connection until it ends: soon after `stop` completes, when what is under way has been
/// answered; or at once when it has to make room for another.
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
    let mut unfinished = Unfinished {
        share: shared.budget.share(),
        flags: connection.flags(),
        answers: 0,
    };
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        // A proxy that gave up on all of its requests at once is no attacker.
        .max_pending_accept_reset_streams(MAX_STREAMS as usize)
        .max_local_error_reset_streams(Some(MAX_REFUSALS))
        .initial_window_size(REQUEST_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES);
    let mut stop = pin!(stop);
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE, builder.handshake(connection)) => handshake,
        () = lease.evicted() => return,
        () = &mut stop => return,
    };
    let mut connection = match handshake {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return shared.refused.handshake(&error),
        Err(_) => return,
    };
    let mut keepalive = Keepalive::new(connection.ping_pong());
    let mut stopping = false;
    let mut arrived = Vec::new();
    let bundle = Bundle::default();
    loop {
        tokio::select! {
            // A connection on which there is always more must hear of the other two.
            biased;
            () = &mut stop, if !stopping => {
                connection.graceful_shutdown();
                stopping = true;
            }
            () = lease.evicted() => {
                connection.abrupt_shutdown(Reason::NO_ERROR);
                let _ = poll_fn(|context| Poll::Ready(connection.poll_closed(context))).await;
                return;
            }
            () = keepalive.lost() => return,
            more = arrivals(&mut connection, &mut arrived, &mut unfinished) => {
                match more {
                    Ok(()) => {}
                    Err(Some(error)) => return shared.refused.connection(&error),
                    Err(None) => return,
                }
                lease.used();
                unfinished.answers += arrived.len();
                if answer(&mut arrived, &bundle, &handler) {
                    // What was left to tasks is only seen by others when this one yields. What was
                    // answered here leaves first.
                    let _ = poll_fn(|context| {
                        Poll::Ready(receive(&mut connection, &mut arrived, context))
                    })
                    .await;
                    yield_now().await;
                }
            }
        }
    }
}

/// Sends what is ready to be sent, and waits for requests: all that have been received. An error
/// means that the connection has ended, and may say why.
async fn arrivals<C>(
    connection: &mut Connection<C, Bytes>,
    into: &mut Vec<Exchange>,
    unfinished: &mut Unfinished<'_>,
) -> Result<(), Option<h2::Error>>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| {
        receive(connection, into, context)?;
        if unfinished.poll_evicted(context).is_ready() {
            return Poll::Ready(Err(None));
        }
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

/// Sends and receives what can be without waiting. An error means that the connection has ended.
fn receive<C>(
    connection: &mut Connection<C, Bytes>,
    into: &mut Vec<Exchange>,
    context: &mut Context<'_>,
) -> Result<(), Option<h2::Error>>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match connection.poll_accept(context) {
            Poll::Ready(Some(Ok(exchange))) => into.push(exchange),
            Poll::Ready(Some(Err(error))) => return Err(Some(error)),
            Poll::Ready(None) => return Err(None),
            Poll::Pending => return Ok(()),
        }
    }
}

/// Answers one bundle here, and leaves the others to whichever core has time; of those that take long
/// all, as more may come meanwhile. Whether something was left to tasks.
fn answer(arrived: &mut Vec<Exchange>, bundle: &Bundle, handler: &impl Handler) -> bool {
    let size = bundle.size();
    // The task that is spawned last is the next one here, and no other core can take it.
    let here = if size == 1 { 0 } else { size };
    let mut is_left = false;
    while arrived.len() > here {
        let part = arrived.split_off((arrived.len() - 1) / size * size);
        let (bundle, handler) = (bundle.clone(), handler.clone());
        tokio::spawn(async move { together(part.into_iter(), &bundle, &handler) });
        is_left = true;
    }
    together(arrived.drain(..), bundle, handler) | is_left
}

/// Answers these, one after the other. Whether something was left to tasks.
fn together(
    exchanges: impl ExactSizeIterator<Item = Exchange>,
    bundle: &Bundle,
    handler: &impl Handler,
) -> bool {
    let (count, begin) = (exchanges.len(), Instant::now());
    let mut is_left = false;
    for exchange in exchanges {
        is_left |= start(handler.handle(exchange));
    }
    bundle.learn(count, begin.elapsed());
    is_left
}

/// Does what can be done now, and leaves the rest, if there is one, to a task. A panic is the end of
/// one request, and not of others.
fn start(answering: impl Future<Output = ()> + Send + 'static) -> bool {
    let mut answering = Box::pin(AssertUnwindSafe(answering).catch_unwind());
    // Whoever would be woken by it is not there yet: the task asks again.
    let mut nobody = Context::from_waker(Waker::noop());
    let is_left = answering.as_mut().poll(&mut nobody).is_pending();
    if is_left {
        tokio::spawn(answering);
    }
    is_left
}
