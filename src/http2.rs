//! HTTP/2 connections on which many small requests come at once.
//!
//! What costs most about a small answer is the call to the system that sends it. So whatever a
//! connection has received is answered in bundles, in place if nothing has to be waited for, and a
//! bundle's answers leave together. Of many requests that came together, other cores get their
//! share.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

mod bundle;
mod gathered;
mod keepalive;
pub mod routes;

use bundle::Bundle;
use gathered::Gathered;
use keepalive::Keepalive;

/// The largest DATA frame that `h2` copies behind other frames.
pub const MOST_COPIED_BYTES: usize = 1_023;

/// How many requests one connection may have under way: as many as Envoy lets one cluster have by
/// itself (`circuit_breakers`, `max_requests`), as those beyond would be refused.
const MOST_STREAMS: u32 = 1024;

/// How many requests may be refused while a connection lives, which may be for weeks. Somebody who
/// does not read could make us keep as many refusals.
const MOST_REFUSALS: usize = 16 * 1024;

/// How much one connection may send before it is read, in bytes.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// The largest headers of a request, in bytes. `h2` refuses what is longer, which is an error to
/// Envoy; and some come from whoever asked Envoy (`tracestate`), which lets 60 KiB pass by itself.
const MOST_HEADER_BYTES: u32 = 256 * 1024;

/// How long a client may take for the first bytes of HTTP/2.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// A request, and where its answer goes.
pub type Exchange = (Request<RecvStream>, SendResponse<Bytes>);

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. Most should not have to wait.
    fn handle(&self, exchange: Exchange) -> impl Future<Output = ()> + Send + 'static;
}

/// Serves one connection until it ends: soon after `stop` completes, when what is under way has been
/// answered.
pub async fn serve<C>(connection: C, handler: impl Handler, stop: impl Future<Output = ()>)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MOST_STREAMS)
        // A proxy that gave up on all of its requests at once is no attacker.
        .max_pending_accept_reset_streams(MOST_STREAMS as usize)
        .max_local_error_reset_streams(Some(MOST_REFUSALS))
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(MOST_HEADER_BYTES);
    let mut stop = pin!(stop);
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE, builder.handshake(Gathered(connection))) => handshake,
        () = &mut stop => return,
    };
    let Ok(Ok(mut connection)) = handshake else {
        return;
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
            () = keepalive.lost() => return,
            more = arrivals(&mut connection, &mut arrived) => {
                if !more {
                    return;
                }
                if answer(&mut arrived, &bundle, &handler) {
                    // What was left to tasks is only seen by others when this one yields. What was
                    // answered here leaves first.
                    poll_fn(|context| Poll::Ready(receive(&mut connection, &mut arrived, context)))
                        .await;
                    yield_now().await;
                }
            }
        }
    }
}

/// Sends what is ready to be sent, and waits for requests: all that have been received. False when
/// the connection has ended.
async fn arrivals<C>(connection: &mut Connection<C, Bytes>, into: &mut Vec<Exchange>) -> bool
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|context| match receive(connection, into, context) {
        false => Poll::Ready(false),
        true if into.is_empty() => Poll::Pending,
        true => Poll::Ready(true),
    })
    .await
}

/// Sends and receives what can be without waiting. False when the connection has ended.
fn receive<C>(
    connection: &mut Connection<C, Bytes>,
    into: &mut Vec<Exchange>,
    context: &mut Context<'_>,
) -> bool
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match connection.poll_accept(context) {
            Poll::Ready(Some(Ok(exchange))) => into.push(exchange),
            Poll::Ready(Some(Err(_)) | None) => return false,
            Poll::Pending => return true,
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
