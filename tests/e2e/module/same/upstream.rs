//! An API that remembers each request as it came, over HTTP/1.1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The header that identifies a request of the test.
pub const ID: &str = "x-test-id";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-checked-by: upstream\r\n\
                        x-checked-by: twice\r\ncontent-length: 2\r\n\r\n";

/// What requests were, by their identifier: each byte is a character.
type Requests = Arc<Mutex<HashMap<String, String>>>;

/// A running API. It stops when dropped.
pub struct Upstream {
    pub address: SocketAddr,
    requests: Requests,
    server: JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let requests = Requests::default();
        let seen = Arc::clone(&requests);
        Self {
            address: listener.local_addr().unwrap(),
            requests,
            server: tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(BufReader::new(stream), Arc::clone(&seen)));
                }
            }),
        }
    }

    /// What arrived of a request.
    pub fn take(&self, id: &str) -> Option<String> {
        self.requests.lock().unwrap().remove(id)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: BufReader<TcpStream>, seen: Requests) {
    while let Ok(Some(request)) = read(&mut stream).await {
        let text: String = request.iter().map(|byte| char::from(*byte)).collect();
        let is_head = text.starts_with("HEAD ");
        if let Some(id) = header(&text, ID) {
            seen.lock().unwrap().insert(id.to_owned(), text);
        }
        let answer = if is_head {
            ANSWER.to_vec()
        } else {
            [ANSWER, b"ok"].concat()
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// The value of a header in a head or a request.
pub fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let lines = text
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let mut pairs = lines.filter_map(|line| line.split_once(": "));
    pairs
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// The next message of HTTP/1.1, with its body. `None` at the end of the connection.
pub async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head).await? == 0 {
            return Ok(None);
        }
    }
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    read_body(&text, &mut head, stream).await?;
    Ok(Some(head))
}

/// Reads the body that a head announces (RFC 9112 §6).
pub async fn read_body(
    head: &str,
    message: &mut Vec<u8>,
    stream: &mut BufReader<TcpStream>,
) -> std::io::Result<()> {
    if header(head, "transfer-encoding") == Some("chunked") {
        // RFC 9112 §7.1. The last chunk is empty.
        while !message.ends_with(b"\r\n0\r\n\r\n") {
            message.push(stream.read_u8().await?);
        }
    } else if let Some(length) = header(head, "content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await?;
        message.extend(body);
    }
    Ok(())
}
