//! An HTTP/2 client that sends what well-behaved clients do not: methods in lower case, bytes that
//! are not UTF-8 in the path, trailers. It writes its own frames (RFC 9113 §4, §6).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// One request, whose fields are sent unchanged.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a [u8],
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent without a `content-length`.
    pub body: Option<&'a [u8]>,
    pub trailers: &'a [(&'a str, &'a str)],
}

/// The body of the answer. Headers are not read, because decompressing them needs a table per
/// connection.
pub async fn send(address: SocketAddr, request: Request<'_>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = preface();
    frames(address, 1, request, &mut bytes);
    stream.write_all(&bytes).await.unwrap();
    let mut body = Vec::new();
    loop {
        let (kind, flags, payload) = receive(&mut stream).await;
        match kind {
            DATA => body.extend(payload),
            RST_STREAM | GOAWAY => panic!("refused by HTTP/2: frame {kind}, {payload:?}"),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return body;
        }
    }
}

/// A connection with many requests, whose answers are only counted.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    next: u32,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&preface()).await.unwrap();
        Self {
            address,
            stream,
            next: 1,
        }
    }

    /// The new stream.
    pub async fn send(&mut self, request: Request<'_>) -> u32 {
        let id = self.next;
        self.next += 2;
        let mut bytes = Vec::new();
        frames(self.address, id, request, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
        id
    }

    /// Gives up a stream.
    pub async fn reset(&mut self, id: u32) {
        const CANCEL: u32 = 8;
        let mut bytes = Vec::new();
        frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes(), &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Waits until the server has read everything that was sent. Returns how many answers began meanwhile.
    pub async fn is_handled(&mut self) -> usize {
        let mut bytes = Vec::new();
        frame(PING, 0, 0, b"handled?", &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
        let mut answers = 0;
        loop {
            match receive(&mut self.stream).await {
                (PING, ACK, _) => return answers,
                (HEADERS, ..) => answers += 1,
                (GOAWAY, _, payload) => panic!("the connection is refused: {payload:?}"),
                _ => {}
            }
        }
    }
}

/// The kind, the flags and the payload of a frame.
async fn receive(stream: &mut TcpStream) -> (u8, u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    (head[3], head[4], payload)
}

/// What a client sends first.
fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(SETTINGS, 0, 0, &[], &mut bytes);
    bytes
}

fn frames(address: SocketAddr, id: u32, request: Request<'_>, bytes: &mut Vec<u8>) {
    let Request {
        method,
        path,
        headers,
        body,
        trailers,
    } = request;
    let authority = address.to_string();
    let mut block = Vec::new();
    for (name, value) in [
        (":method", method.as_bytes()),
        (":scheme", b"http"),
        (":authority", authority.as_bytes()),
        (":path", path),
    ] {
        field(name, value, &mut block);
    }
    for (name, value) in headers {
        field(name, value.as_bytes(), &mut block);
    }
    let end = |is_last: bool| if is_last { END_STREAM } else { 0 };
    let is_last = body.is_none() && trailers.is_empty();
    frame(HEADERS, END_HEADERS | end(is_last), id, &block, bytes);
    if let Some(body) = body {
        frame(DATA, end(trailers.is_empty()), id, body, bytes);
    }
    if !trailers.is_empty() {
        let mut block = Vec::new();
        for (name, value) in trailers {
            field(name, value.as_bytes(), &mut block);
        }
        frame(HEADERS, END_HEADERS | END_STREAM, id, &block, bytes);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], bytes: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// A literal field without indexing, with uncompressed texts (RFC 7541 §6.2.2).
fn field(name: &str, value: &[u8], block: &mut Vec<u8>) {
    block.push(0);
    for text in [name.as_bytes(), value] {
        match u8::try_from(text.len()) {
            Ok(length @ 0..0x7f) => block.push(length),
            // An integer that exceeds the prefix of seven bits (RFC 7541 §5.1).
            _ => {
                block.push(0x7f);
                let mut rest = text.len() - 0x7f;
                while rest >= 0x80 {
                    block.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
                    rest /= 0x80;
                }
                block.push(u8::try_from(rest).unwrap());
            }
        }
        block.extend_from_slice(text);
    }
}
