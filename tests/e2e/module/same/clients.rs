//! Clients that send generated requests over HTTP/1.1 and HTTP/2, and keep their connections.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::requests::{Request, Version};
use super::upstream::{header, read_body};

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `None` if the connection or the stream ends without an answer.
    pub status: Option<u16>,
    /// The lines, those of one name in order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// A client over HTTP/1.1.
pub struct Http1 {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Http1 {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// Sends the bytes of a request. `None` if the connection ends without an answer.
    pub async fn send(&mut self, request: &[u8], is_head: bool) -> Option<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(connect(self.address).await),
        };
        stream.write_all(request).await.ok()?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await.ok()? == 0 {
                return None;
            }
        }
        let head = text(&head);
        let mut body = Vec::new();
        if !is_head {
            read_body(&head, &mut body, &mut stream).await.ok()?;
        }
        if header(&head, "connection") != Some("close") {
            self.stream = Some(stream);
        }
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let lines = lines.filter_map(|line| line.split_once(": "));
        Some(Response {
            status: Some(status),
            headers: lines
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body: text(&body),
        })
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// One connection for each version of HTTP.
pub struct Client {
    address: SocketAddr,
    first: Http1,
    second: Option<SendRequest<Bytes>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            first: Http1::new(address),
            second: None,
        }
    }

    pub async fn send(&mut self, request: &Request) -> Response {
        let is_head = request.method == "HEAD";
        let answered = match request.version {
            Version::Http1 => self.first.send(&request.as_http1(), is_head).await,
            Version::Http2 => self.send_second(request).await,
        };
        let mut response = answered.unwrap_or(Response {
            status: None,
            headers: Vec::new(),
            body: String::new(),
        });
        response
            .headers
            .sort_by(|(one, _), (other, _)| one.cmp(other));
        response
    }

    async fn send_second(&mut self, request: &Request) -> Option<Response> {
        let sender = match self.second.take() {
            Some(sender) => sender,
            None => {
                let (sender, connection) = h2::client::handshake(connect(self.address).await)
                    .await
                    .ok()?;
                tokio::spawn(connection);
                sender
            }
        };
        let mut sender = sender.ready().await.ok()?;
        let Request { body, trailers, .. } = request;
        let has_end = body.is_none() && trailers.is_empty();
        let (response, mut stream) = sender.send_request(head(request), has_end).ok()?;
        // An answer may come first. Then Envoy needs no more.
        if let Some(body) = body {
            let _ = stream.send_data(body.clone().into(), trailers.is_empty());
        }
        if !trailers.is_empty() {
            let _ = stream.send_trailers(fields(trailers));
        }
        let (head, mut body) = response.await.ok()?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.ok()?;
            let _ = body.flow_control().release_capacity(data.len());
            bytes.extend(data);
        }
        let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
        self.second = Some(sender);
        let lines = head.headers.iter().chain(&trailers);
        Some(Response {
            status: Some(head.status.as_u16()),
            headers: lines
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            body: text(&bytes),
        })
    }
}

/// Whether a request can be sent over HTTP/2. The client refuses to send some that are wrong, and for others Envoy
/// closes the connection, which takes a second.
pub fn fits_http2(request: &Request) -> bool {
    let own = [
        "connection",
        "upgrade",
        "transfer-encoding",
        "te",
        "keep-alive",
        "proxy-connection",
    ];
    let is_fine = |(name, value): &(String, Vec<u8>)| {
        name.bytes().all(|byte| !byte.is_ascii_uppercase())
            && !own.contains(&name.as_str())
            && HeaderName::from_bytes(name.as_bytes()).is_ok()
            && HeaderValue::from_bytes(value).is_ok()
    };
    request.lines.iter().chain(&request.trailers).all(is_fine)
        && request.path.starts_with(b"/")
        && !request.host.contains('@')
        && request
            .method
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic())
        && uri(request).is_some()
}

fn uri(request: &Request) -> Option<Uri> {
    let parts = Uri::builder()
        .scheme("http")
        .authority(request.host.as_str());
    parts.path_and_query(request.path.as_slice()).build().ok()
}

fn head(request: &Request) -> http::Request<()> {
    let mut head = http::Request::new(());
    *head.method_mut() = Method::from_bytes(request.method.as_bytes()).unwrap();
    *head.uri_mut() = uri(request).unwrap();
    *head.version_mut() = http::Version::HTTP_2;
    *head.headers_mut() = fields(&request.lines);
    head
}

fn fields(lines: &[(String, Vec<u8>)]) -> HeaderMap {
    let pairs = lines.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(value).unwrap())
    });
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        fields.append(name, value);
    }
    fields
}

/// Each byte as a character.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
