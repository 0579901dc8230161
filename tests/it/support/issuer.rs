//! A scripted issuer: a real HTTP server that responds as told, and counts requests.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use claimgate::dev::signer::Signer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub const DISCOVERY: &str = "/.well-known/openid-configuration";
pub const JWKS: &str = "/jwks";

/// The response to one path.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, header lines, body.
    Http(u16, Vec<String>, String),
    /// These pieces, one after another, then the end of the connection.
    Raw(Vec<Part>),
    /// A different one for each request; after the last, the first again.
    Turns(Vec<Self>),
    /// No response. The connection stays open.
    Hang,
}

/// A part of an answer, byte for byte.
#[derive(Clone, Debug)]
pub enum Part {
    /// Sent at once.
    Bytes(Bytes),
    /// One piece per second. The seconds are those of the paused clock, so a client that times out
    /// does so at the same point, however busy the machine is.
    Drip(Vec<Bytes>),
    /// The same bytes many times, as fast as the client reads.
    Flood(Bytes, usize),
    /// Nothing, until the client disconnects.
    Silence,
}

impl Reply {
    pub fn json(body: &Value) -> Self {
        Self::Http(200, Vec::new(), body.to_string())
    }

    pub fn status(status: u16) -> Self {
        Self::Http(status, Vec::new(), String::new())
    }

    pub fn header(self, line: &str) -> Self {
        match self {
            Self::Http(status, mut lines, body) => {
                lines.push(line.to_owned());
                Self::Http(status, lines, body)
            }
            Self::Raw(_) | Self::Turns(_) | Self::Hang => self,
        }
    }

    /// The pieces for request number `turn`.
    fn parts(self, turn: usize) -> Vec<Part> {
        match self {
            Self::Http(status, lines, body) => {
                let length = body.len();
                let mut head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n"
                );
                for line in lines {
                    head.push_str(&line);
                    head.push_str("\r\n");
                }
                vec![Part::Bytes(format!("{head}\r\n{body}").into())]
            }
            Self::Raw(parts) => parts,
            Self::Turns(replies) => {
                let turns = replies.len();
                replies[turn % turns].clone().parts(turn / turns)
            }
            Self::Hang => vec![Part::Silence],
        }
    }
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, Reply>,
    asked: HashMap<String, usize>,
    /// The head of the last request for each path.
    heads: HashMap<String, String>,
    /// The number of connections so far, and of open ones.
    connections: usize,
    open: usize,
    /// The maximum number of bytes that the client read of one response.
    taken: usize,
}

pub struct Issuer {
    address: SocketAddr,
    scheme: &'static str,
    script: Arc<Mutex<Script>>,
    tls: Arc<Mutex<Option<TlsAcceptor>>>,
    asked: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Issuer {
    /// An issuer with metadata and these keys.
    pub async fn start(keys: &[&Signer]) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), keys).await
    }

    /// The same, at this address, where an earlier issuer was.
    pub async fn start_at(address: SocketAddr, keys: &[&Signer]) -> Self {
        Self::serve_at(address, keys, None).await
    }

    /// The same, over TLS.
    pub async fn start_tls(keys: &[&Signer], tls: ServerConfig) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::serve_at(any, keys, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn serve_at(address: SocketAddr, keys: &[&Signer], tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let tls = Arc::new(Mutex::new(tls));
        let (count, asked) = watch::channel(0);
        let server = tokio::spawn(accept(
            listener,
            Arc::clone(&tls),
            Arc::clone(&script),
            count,
        ));
        let issuer = Self {
            address,
            scheme,
            script,
            tls,
            asked,
            server,
        };
        issuer.publish(keys);
        let metadata =
            json!({"issuer": issuer.url(), "jwks_uri": format!("{}{JWKS}", issuer.url())});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        issuer
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Presents another certificate from now on, or speaks without TLS.
    pub fn present(&self, tls: Option<ServerConfig>) {
        *self.tls.lock().unwrap() = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
    }

    pub fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.reply(JWKS, Reply::json(&json!({"keys": keys})));
    }

    pub fn reply(&self, path: &str, reply: Reply) {
        self.script
            .lock()
            .unwrap()
            .replies
            .insert(path.to_owned(), reply);
    }

    /// The number of requests for a path.
    pub fn asked(&self, path: &str) -> usize {
        self.script
            .lock()
            .unwrap()
            .asked
            .get(path)
            .copied()
            .unwrap_or(0)
    }

    /// The number of connections so far: one per request, and one per attempt that failed before
    /// its request.
    pub fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.script.lock().unwrap().open
    }

    /// The maximum number of bytes that the client read of one response, including bytes in socket
    /// buffers.
    pub fn taken(&self) -> usize {
        self.script.lock().unwrap().taken
    }

    /// The head of the last request for a path.
    pub fn head(&self, path: &str) -> String {
        let script = self.script.lock().unwrap();
        script.heads.get(path).cloned().unwrap_or_default()
    }

    /// Waits until a path was requested this many times.
    pub async fn asked_at_least(&self, path: &str, times: usize) {
        let mut asked = self.asked.clone();
        while self.asked(path) < times {
            asked.changed().await.unwrap();
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Arc<Mutex<Option<TlsAcceptor>>>,
    script: Arc<Mutex<Script>>,
    count: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.lock().unwrap().clone();
        let (open, count) = (Open::new(&script), count.clone());
        connections.spawn(async move {
            // A client that disconnects or does not trust us does not matter.
            let _ = connection(stream, tls, &open.0, count).await;
        });
    }
}

/// Counts a connection while it exists.
struct Open(Arc<Mutex<Script>>);

impl Open {
    fn new(script: &Arc<Mutex<Script>>) -> Self {
        let mut counted = script.lock().unwrap();
        counted.connections += 1;
        counted.open += 1;
        Self(Arc::clone(script))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().unwrap().open -= 1;
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    script: &Mutex<Script>,
    count: watch::Sender<usize>,
) -> io::Result<()> {
    match tls {
        None => serve(stream, script, count).await,
        Some(tls) => serve(tls.accept(stream).await?, script, count).await,
    }
}

/// Serves one request per connection, which is enough for the tests.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Mutex<Script>,
    count: watch::Sender<usize>,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
        // The first byte of TLS, sent to a server that does not speak it.
        if request[0] == 0x16 {
            stream.write_all(b"HTTP/1.1 400 X\r\n\r\n").await?;
            return stream.shutdown().await;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let parts = {
        let mut script = script.lock().unwrap();
        let asked = script.asked.entry(path.clone()).or_default();
        let turn = *asked;
        *asked += 1;
        script.heads.insert(path.clone(), request);
        let reply = script.replies.get(&path).cloned();
        reply.unwrap_or(Reply::status(404)).parts(turn)
    };
    count.send_modify(|count| *count += 1);
    let mut sending = Sending {
        stream,
        script,
        taken: 0,
    };
    for part in parts {
        sending.part(part).await?;
    }
    sending.stream.shutdown().await
}

/// Counts the bytes that are read of one response.
struct Sending<'s, S> {
    stream: S,
    script: &'s Mutex<Script>,
    taken: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sending<'_, S> {
    async fn part(&mut self, part: Part) -> io::Result<()> {
        match part {
            Part::Bytes(bytes) => self.bytes(&bytes).await,
            Part::Drip(pieces) => {
                for piece in pieces {
                    self.bytes(&piece).await?;
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
            Part::Flood(bytes, times) => {
                for _ in 0..times {
                    self.bytes(&bytes).await?;
                }
                Ok(())
            }
            Part::Silence => self.stream.read(&mut [0]).await.map(drop),
        }
    }

    async fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.stream.write(bytes).await?;
            bytes = &bytes[written..];
            self.taken += written;
            let mut script = self.script.lock().unwrap();
            script.taken = script.taken.max(self.taken);
        }
        self.stream.flush().await
    }
}
