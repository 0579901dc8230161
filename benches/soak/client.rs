//! Clients that send requests through Envoy, each over a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::configuration::Configuration;
use crate::oracle::Got;
use crate::report::Tally;
use crate::traffic::{Request, Traffic};

/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all clients share.
pub struct Shared {
    pub envoy: SocketAddr,
    pub traffic: Traffic,
    pub configuration: Arc<Configuration>,
    pub tally: Arc<Tally>,
    pub done: AtomicBool,
}

/// Sends one request after another, one each `interval` or as fast as they are answered, until done.
pub async fn run(shared: Arc<Shared>, interval: Duration) {
    let mut connection = None;
    let mut due = Instant::now() + interval.mul_f64(fastrand::f64());
    while !shared.done.load(Ordering::Relaxed) {
        sleep_until(due).await;
        // A client that is late does not catch up.
        due = (due + interval).max(Instant::now());
        let request = shared.traffic.request();
        let moment = shared.configuration.now();
        let sent = Instant::now();
        let answered = timeout(PATIENCE, send(&mut connection, shared.envoy, &request)).await;
        match answered {
            Ok(Ok((head, status, body))) => {
                let text = |name| {
                    let value: Option<&HeaderValue> = head.get(name);
                    value
                        .and_then(|value| value.to_str().ok())
                        .map(str::to_owned)
                };
                let got = Got {
                    status,
                    id: text("x-request-id"),
                    color: text("x-configuration"),
                    body,
                    sent,
                    answered: Instant::now(),
                };
                let color = shared.configuration.in_force(moment);
                shared.tally.record(&request, &got, color);
            }
            Ok(Err(error)) => shared.tally.lost(&request, &error.to_string()),
            Err(_) => {
                connection = None;
                shared.tally.lost(&request, "no answer within 10 s");
            }
        }
    }
}

type Connection = Option<SendRequest<Empty<Bytes>>>;

async fn send(
    connection: &mut Connection,
    envoy: SocketAddr,
    request: &Request,
) -> Result<(HeaderMap, u16, Vec<u8>), Box<dyn std::error::Error + Send + Sync>> {
    let mut sender = match connection.take() {
        Some(sender) if sender.is_ready() => sender,
        _ => {
            let stream = TcpStream::connect(envoy).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender.ready().await?;
            sender
        }
    };
    let mut message = http::Request::get(request.path).header("host", "api.example.com");
    for (name, value) in &request.lines {
        message = message.header(*name, value);
    }
    let response = sender.send_request(message.body(Empty::new())?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    // Ready again unless Envoy closes the connection.
    if sender.ready().await.is_ok() {
        *connection = Some(sender);
    }
    Ok((head.headers, head.status.as_u16(), body))
}
