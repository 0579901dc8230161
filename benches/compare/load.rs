//! Sends requests over HTTP/2: as fast as they are answered, or at a fixed rate. It runs as a
//! separate process on a separate core, and prints its result as one line of JSON.
//!
//! At a fixed rate, the time of a request counts from when it was due, not from when it was sent.
//! So a server that makes its clients wait cannot hide it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut as _, Bytes};
use h2::client::SendRequest;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::message;

/// What to send, where and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub server: Server,
    pub protocol: Protocol,
    /// The file that [`write`] wrote.
    pub file: PathBuf,
    pub pace: Pace,
    pub connections: usize,
    /// Concurrent streams per connection. Ignored at a fixed rate.
    pub streams: usize,
    pub refused: Refused,
}

/// Which requests must be refused. Any other outcome is an error.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Refused {
    None,
    /// The last of every `n`.
    OneOf(usize),
    /// Any number, because late requests are refused.
    Any,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Server {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The contents of the file, and how to send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// `CheckRequest`s, for a `Check` server.
    Check,
    /// Tokens, for a proxy.
    Http,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Pace {
    /// `count` requests, as fast as they are answered.
    Closed { count: usize },
    /// `rate` requests per second.
    Open { rate: f64, seconds: f64 },
}

/// The result of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub seconds: f64,
    pub count: usize,
    pub refused: usize,
    /// Of the allowed requests, in milliseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}

/// Writes messages to a file, each prefixed with its length.
pub fn write(file: &Path, messages: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let mut bytes = Vec::new();
    for message in messages {
        let message = message.as_ref();
        bytes.put_u32(u32::try_from(message.len()).unwrap());
        bytes.put_slice(message);
    }
    std::fs::write(file, bytes).unwrap();
}

fn read(file: &Path) -> Vec<Bytes> {
    let mut bytes = Bytes::from(std::fs::read(file).unwrap());
    let mut messages = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.get_u32() as usize;
        messages.push(bytes.split_to(length));
    }
    messages
}

/// Sends one message. Returns whether it was allowed.
async fn ask(mut client: SendRequest<Bytes>, protocol: Protocol, message: Bytes) -> bool {
    std::future::poll_fn(|context| client.poll_ready(context))
        .await
        .unwrap();
    let (request, body) = match protocol {
        Protocol::Check => (message::call(), Some(message::framed(&message))),
        Protocol::Http => (message::request(str::from_utf8(&message).unwrap()), None),
    };
    let (response, mut stream) = client.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        stream.send_data(body, true).unwrap();
    }
    let response = response.await.unwrap();
    let is_ok = response.status() == 200;
    let mut answer = response.into_body();
    let mut first = None;
    while let Some(data) = answer.data().await {
        let data = data.unwrap();
        answer.flow_control().release_capacity(data.len()).unwrap();
        first.get_or_insert(data);
    }
    match protocol {
        // In an allow, the first field is a status without a code.
        Protocol::Check => is_ok && first.is_some_and(|data| data[5..].starts_with(&[0x0a, 0])),
        Protocol::Http => is_ok,
    }
}

impl Server {
    pub async fn connect(&self) -> std::io::Result<SendRequest<Bytes>> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                handshake(stream).await
            }
            Self::Unix(path) => handshake(UnixStream::connect(path).await?).await,
        }
    }

    /// Waits until the server allows this message.
    pub async fn first(&self, protocol: Protocol, message: &[u8]) {
        let message = Bytes::copy_from_slice(message);
        loop {
            if let Ok(client) = self.connect().await
                && ask(client, protocol, message.clone()).await
            {
                return;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

async fn handshake<C>(connection: C) -> std::io::Result<SendRequest<Bytes>>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(1 << 24);
    let handshake = builder.handshake(connection).await;
    let (client, connection) = handshake.map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        // If the server ends, the measurement fails elsewhere.
        let _ = connection.await;
    });
    Ok(client)
}

impl Load {
    /// Runs the load.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    pub async fn run(&self) -> Outcome {
        let messages: Arc<Vec<Bytes>> = Arc::new(read(&self.file));
        let mut clients = Vec::new();
        for _ in 0..self.connections {
            clients.push(self.server.connect().await.unwrap());
        }
        let start = Instant::now();
        let found = match self.pace {
            Pace::Closed { count } => self.closed(count, &messages, &clients).await,
            Pace::Open { rate, seconds } => self.open(rate, seconds, &messages, &clients).await,
        };
        let seconds = start.elapsed().as_secs_f64();
        let count = found.len();
        let mut times: Vec<Duration> = found.into_iter().flatten().collect();
        times.sort_unstable();
        let refused = count - times.len();
        match self.refused {
            Refused::None => assert_eq!(refused, 0, "refused"),
            Refused::OneOf(each) => assert_eq!(refused, count / each, "refused"),
            Refused::Any => {}
        }
        let part = |part: f64| {
            let last = times.len().saturating_sub(1);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index into the times"
            )]
            let time = times.get((last as f64 * part) as usize);
            time.map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Outcome {
            seconds,
            count,
            refused,
            p50: part(0.5),
            p99: part(0.99),
        }
    }

    /// The times of allowed requests; refused requests yield nothing.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    async fn closed(
        &self,
        count: usize,
        messages: &Arc<Vec<Bytes>>,
        clients: &[SendRequest<Bytes>],
    ) -> Vec<Option<Duration>> {
        let asked = Arc::new(AtomicUsize::new(0));
        let protocol = self.protocol;
        let mut tasks = JoinSet::new();
        for client in clients {
            for _ in 0..self.streams {
                let (client, messages) = (client.clone(), Arc::clone(messages));
                let asked = Arc::clone(&asked);
                tasks.spawn(async move {
                    let mut times = Vec::new();
                    loop {
                        let number = asked.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return times;
                        }
                        let message = messages[number % messages.len()].clone();
                        let start = Instant::now();
                        let is_allowed = ask(client.clone(), protocol, message).await;
                        times.push(is_allowed.then(|| start.elapsed()));
                    }
                });
            }
        }
        tasks.join_all().await.concat()
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    async fn open(
        &self,
        rate: f64,
        seconds: f64,
        messages: &[Bytes],
        clients: &[SendRequest<Bytes>],
    ) -> Vec<Option<Duration>> {
        let (due, mut requests) = mpsc::unbounded_channel();
        // The runtime's timer is too coarse, so a thread paces the requests.
        let pacer = std::thread::spawn(move || {
            let start = Instant::now();
            for number in 0.. {
                let after = f64::from(number) / rate;
                if after > seconds {
                    return;
                }
                let at = start + Duration::from_secs_f64(after);
                if let Some(left) = at.checked_duration_since(Instant::now()) {
                    std::thread::sleep(left);
                }
                due.send(at).unwrap();
            }
        });
        let protocol = self.protocol;
        let mut tasks = JoinSet::new();
        let mut number = 0;
        while let Some(due) = requests.recv().await {
            // Spreads both kinds of alternating messages over all connections.
            let client = clients[number / 2 % clients.len()].clone();
            let message = messages[number % messages.len()].clone();
            number += 1;
            tasks.spawn(async move {
                let is_allowed = ask(client, protocol, message).await;
                is_allowed.then(|| due.elapsed())
            });
        }
        pacer.join().unwrap();
        tasks.join_all().await
    }
}
