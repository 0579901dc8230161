//! A scripted issuer: a real HTTP server that answers as it is told, and counts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use claimgate::dev::signer::Signer;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub const DISCOVERY: &str = "/.well-known/openid-configuration";
pub const JWKS: &str = "/jwks";

/// What the issuer answers to one path.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, header lines, body.
    Http(u16, Vec<String>, String),
    /// Nothing, ever: the connection stays open.
    Hang,
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
            Self::Hang => self,
        }
    }
}

#[derive(Default)]
struct Script {
    replies: HashMap<String, Reply>,
    asked: HashMap<String, usize>,
    /// The head of the last request for each path.
    heads: HashMap<String, String>,
}

pub struct Issuer {
    address: SocketAddr,
    scheme: &'static str,
    script: Arc<Mutex<Script>>,
    asked: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Issuer {
    /// An issuer with metadata and these keys.
    pub async fn start(keys: &[&Signer]) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), keys).await
    }

    /// The same, at an address: where an earlier one was.
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
        let (count, asked) = watch::channel(0);
        let served = Arc::clone(&script);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (served, count, tls) = (Arc::clone(&served), count.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, served, count).await,
                        // A client that does not trust us goes away.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, served, count).await;
                            }
                        }
                    }
                });
            }
        });
        let issuer = Self {
            address,
            scheme,
            script,
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

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.script
            .lock()
            .unwrap()
            .asked
            .get(path)
            .copied()
            .unwrap_or(0)
    }

    /// What the last request for a path looked like.
    pub fn head(&self, path: &str) -> String {
        let script = self.script.lock().unwrap();
        script.heads.get(path).cloned().unwrap_or_default()
    }

    /// Waits until a path was asked for so often.
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

/// One request a connection: that is all the tests need.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<Script>>,
    count: watch::Sender<usize>,
) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let reply = {
        let mut script = script.lock().unwrap();
        *script.asked.entry(path.clone()).or_default() += 1;
        script.heads.insert(path.clone(), request);
        script
            .replies
            .get(&path)
            .cloned()
            .unwrap_or(Reply::status(404))
    };
    count.send_modify(|count| *count += 1);
    match reply {
        Reply::Http(status, lines, body) => {
            let mut head = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n",
                body.len()
            );
            for line in lines {
                head.push_str(&line);
                head.push_str("\r\n");
            }
            // A client that has gone away is no matter.
            let _ = stream
                .write_all(format!("{head}\r\n{body}").as_bytes())
                .await;
            let _ = stream.shutdown().await;
        }
        Reply::Hang => std::future::pending().await,
    }
}
