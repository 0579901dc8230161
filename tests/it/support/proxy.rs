//! An HTTP proxy that forwards requests and records them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

/// The response to a `CONNECT`.
#[derive(Clone, Copy)]
pub enum Answer {
    /// Connects every tunnel to this address, whatever the name.
    Tunnel(SocketAddr),
    /// Refuses with this head.
    Head(&'static str),
}

impl Proxy {
    pub async fn start(answer: Answer) -> Self {
        Self::serve(answer, None).await
    }

    /// The same, with TLS to the proxy.
    pub async fn start_tls(answer: Answer, tls: ServerConfig) -> Self {
        Self::serve(answer, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn serve(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, seen) = (tls.clone(), Arc::clone(&seen));
                connections.spawn(async move {
                    match tls {
                        None => connection(stream, answer, &seen).await,
                        Some(tls) => connection(tls.accept(stream).await?, answer, &seen).await,
                    }
                });
            }
        });
        Self {
            address,
            heads,
            server,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of each request, in order of arrival.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn connection(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Answer,
    heads: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let is_connect = head.starts_with("CONNECT ");
    heads.lock().unwrap().push(head);
    match answer {
        Answer::Tunnel(to) if is_connect => {
            let mut other = TcpStream::connect(to).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            copy_bidirectional(&mut stream, &mut other).await?;
        }
        Answer::Tunnel(_) => {
            stream
                .write_all(b"HTTP/1.1 501 X\r\ncontent-length: 0\r\n\r\n")
                .await?;
        }
        Answer::Head(head) => stream.write_all(head.as_bytes()).await?,
    }
    stream.shutdown().await
}
