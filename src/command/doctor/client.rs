//! Sends each probe on a connection of its own, and receives the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use super::answer::Answer;
use super::probe::{Connection, Request};
use crate::command::tls::{Protocol, Tls};
use crate::command::{Failure, innermost, with_advice};

/// The maximum number of bytes of a body that are read.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The gateway, as its clients reach it.
pub(super) struct Gateway {
    host: String,
    port: u16,
    /// For `Host` and `:authority`.
    authority: String,
    tls: Option<Arc<Tls>>,
    /// Where a gateway with TLS may also listen without.
    plain_port: u16,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    #[error("cannot connect: {0}")]
    Unreachable(String),
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the gateway does not offer this protocol")]
    NotOffered,
    #[error("the gateway has no TLS")]
    NoTls,
}

impl Gateway {
    /// # Errors
    ///
    /// Fails if the URL is not an `http` or `https` URL with a host.
    pub(super) fn new(
        url: &Url,
        tls: Option<Tls>,
        plain_port: u16,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err("--through: the URL has no host".into()),
        };
        let port = url.port_or_known_default().unwrap_or(80);
        let shown = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown.to_owned(),
        };
        Ok(Self {
            host,
            port,
            authority,
            tls: tls.map(Arc::new),
            plain_port,
            timeout,
        })
    }

    /// # Errors
    ///
    /// Fails if no response begins within the time-out.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, SendError> {
        timeout(self.timeout, self.exchange(request))
            .await
            .unwrap_or(Err(SendError::Late(self.timeout)))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, SendError> {
        let unreachable = |error: &dyn std::fmt::Display| SendError::Unreachable(error.to_string());
        let (port, tls) = match (request.connection, &self.tls) {
            (Connection::Plain, None) => return Err(SendError::NoTls),
            (Connection::Plain, Some(_)) => (self.plain_port, &None),
            (Connection::New | Connection::Used, tls) => (self.port, tls),
        };
        let stream = TcpStream::connect((self.host.as_str(), port))
            .await
            .map_err(|error| unreachable(&error))?;
        match tls {
            None => self.speak(stream, request).await,
            Some(tls) => {
                let stream = tls
                    .connect(&self.host, stream, request.protocol)
                    .await
                    .map_err(|error| unreachable(&with_advice(&error)))?;
                let stream = stream.ok_or(SendError::NotOffered)?;
                self.speak(stream, request).await
            }
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: &Request,
    ) -> Result<Answer, SendError> {
        let built = self
            .build(request)
            .map_err(|error| SendError::Broken(error.to_string()))?;
        let io = TokioIo::new(stream);
        let broken = |error: hyper::Error| SendError::Broken(innermost(&error));
        // The request reports the errors of the connection too.
        let response = match request.protocol {
            Protocol::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
                tokio::spawn(connection);
                if request.connection == Connection::Used {
                    let first = sender.send_request(built.clone()).await.map_err(broken)?;
                    text(first.into_body()).await;
                    sender.ready().await.map_err(broken)?;
                }
                sender.send_request(built).await.map_err(broken)?
            }
            Protocol::Http2 => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(broken)?;
                tokio::spawn(connection);
                sender.send_request(built).await.map_err(broken)?
            }
        };
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: lines(&head.headers),
            body: text(body).await,
        })
    }

    fn build(&self, request: &Request) -> Result<http::Request<Empty<Bytes>>, http::Error> {
        let uri = match request.protocol {
            Protocol::Http1 => request.path.parse::<Uri>()?,
            Protocol::Http2 => Uri::builder()
                .scheme(match self.tls {
                    Some(_) => "https",
                    None => "http",
                })
                .authority(self.authority.as_str())
                .path_and_query(request.path.as_str())
                .build()?,
        };
        let mut built = http::Request::builder()
            .method(Method::from_bytes(request.method.as_bytes())?)
            .uri(uri);
        if request.protocol == Protocol::Http1 {
            built = built.header(HOST, &self.authority);
        } else {
            built = built.version(Version::HTTP_2);
        }
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            built = built.header(name, HeaderValue::from_str(value)?);
        }
        built.body(Empty::new())
    }
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let lines = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    });
    lines.collect()
}

/// The beginning of a body. An error ends the body like its end does.
async fn text(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_BODY_BYTES {
        let Some(Ok(frame)) = body.frame().await else {
            break;
        };
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    bytes.truncate(MAX_BODY_BYTES);
    String::from_utf8_lossy(&bytes).into_owned()
}
