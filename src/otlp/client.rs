//! One request to a collector (OTLP 1.9.0, "Protocol Details").

use std::error::Error as _;
use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::error::SettingsError;
use super::export::{Export, ExportError};
use super::settings::{Destination, Headers};
use super::{headers, trust};
use crate::config::OtlpProtocol;
use crate::gate::causes;
use crate::gate::files::{self, Files};

/// The maximum size of an answer, in bytes. Answers only count what was rejected.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The maximum size of a file with headers, in bytes.
const MAX_HEADERS_BYTES: u64 = 64 * 1024;

/// Sends messages to one collector.
#[derive(Debug)]
pub(super) struct Client {
    to: Destination,
    files: Files,
    /// `None` after a failure: then the certificates are read again, and the next attempt connects anew.
    http: Option<Connections>,
}

type Connections = HttpClient<HttpsConnector<HttpConnector>, Body>;

impl Client {
    /// A client for this destination. Reads the files that it needs, but does not connect.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be used.
    pub(super) async fn new(to: Destination) -> Result<Self, SettingsError> {
        let files = Files::default();
        let http = connections(&to, &files).await?;
        let client = Self {
            to,
            files,
            http: Some(http),
        };
        client.headers().await?;
        Ok(client)
    }

    /// The collector, for people.
    pub(super) fn endpoint(&self) -> impl fmt::Display {
        &self.to.url
    }

    /// Sends a message once. Returns what the collector rejected of it, and why.
    pub(super) async fn export<E: Export>(
        &mut self,
        message: E,
    ) -> Result<Option<(i64, String)>, ExportError> {
        let limit = self.to.timeout;
        let sent = timeout(limit, self.send(message)).await;
        let sent = sent.unwrap_or_else(|_| Err(ExportError::late(limit)));
        let answer = sent.map_err(|error| {
            self.http = None;
            ExportError {
                why: format!("{}{}", error.why, self.advice()),
                ..error
            }
        })?;
        Ok(E::rejected(answer))
    }

    async fn send<E: Export>(&mut self, message: E) -> Result<E::Answer, ExportError> {
        let unusable = |error: SettingsError| ExportError::temporary(error.to_string());
        let headers = self.headers().await.map_err(unusable)?;
        let http = match &self.http {
            Some(http) => http.clone(),
            None => connections(&self.to, &self.files).await.map_err(unusable)?,
        };
        self.http = Some(http.clone());
        let uri: Uri = self.to.url.as_str().parse().map_err(|_| {
            ExportError::lasting(format!("`{}` is not a URL for HTTP", self.to.url))
        })?;
        match self.to.protocol {
            OtlpProtocol::Grpc => call(http, uri, headers, message).await,
            OtlpProtocol::HttpProtobuf => post(&http, uri, headers, &message).await,
        }
    }

    /// The headers to send along.
    async fn headers(&self) -> Result<HeaderMap, SettingsError> {
        let given = match &self.to.headers {
            Headers::Fixed(given) => given.clone(),
            Headers::File(file) => {
                let cannot = |why: &dyn fmt::Display| {
                    let why = format!("cannot use `{}`: {why}", file.display());
                    SettingsError::new("telemetry.otlp.headers_file", why)
                };
                let path = file.clone();
                let read = move || files::read(&path, MAX_HEADERS_BYTES);
                let text = self.files.run(read).await.map_err(|error| cannot(&error))?;
                let text = str::from_utf8(&text).map_err(|_| cannot(&"it is not UTF-8"))?;
                headers::lines(text).map_err(|why| cannot(&why))?
            }
        };
        let mut map = HeaderMap::new();
        for (name, value) in given {
            map.append(name, value);
        }
        Ok(map)
    }

    /// What may be wrong, if the port is usually that of the other protocol.
    fn advice(&self) -> &'static str {
        match (self.to.protocol, self.to.url.port()) {
            (OtlpProtocol::Grpc, Some(4318)) => {
                "; collectors usually expect the protocol `http/protobuf` on port 4318"
            }
            (OtlpProtocol::HttpProtobuf, Some(4317)) => {
                "; collectors usually expect the protocol `grpc` on port 4317"
            }
            _ => "",
        }
    }
}

async fn connections(to: &Destination, files: &Files) -> Result<Connections, SettingsError> {
    let tls = trust::of(to, files).await?;
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    let is_grpc = to.protocol == OtlpProtocol::Grpc;
    let connector = match is_grpc {
        true => connector.enable_http2().build(),
        false => connector.enable_http1().build(),
    };
    let connections = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http2_only(is_grpc)
        .build(connector);
    Ok(connections)
}

/// Sends a message over gRPC.
async fn call<E: Export>(
    http: Connections,
    uri: Uri,
    headers: HeaderMap,
    message: E,
) -> Result<E::Answer, ExportError> {
    let mut grpc = Grpc::with_origin(http, uri);
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let codec = ProstCodec::<E, E::Answer>::default();
    grpc.ready()
        .await
        .map_err(|error| ExportError::temporary(causes::all(&error)))?;
    let method = PathAndQuery::from_static(E::METHOD);
    let answer = grpc.unary(request, method, codec).await;
    Ok(answer.map_err(|status| refused(&status))?.into_inner())
}

fn refused(status: &Status) -> ExportError {
    // An error on the way, not one that the collector reports.
    if let Some(error) = status.source() {
        return ExportError::temporary(causes::all(error));
    }
    let is_temporary = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    );
    let (code, message) = (status.code(), status.message().escape_debug());
    ExportError {
        why: format!("gRPC status {}: {message}", i32::from(code)),
        is_temporary,
    }
}

/// Sends a message over HTTP/1.1.
async fn post<E: Export>(
    http: &Connections,
    uri: Uri,
    headers: HeaderMap,
    message: &E,
) -> Result<E::Answer, ExportError> {
    let body = Full::new(Bytes::from(message.encode_to_vec()));
    let mut request = Request::post(uri)
        .header(CONTENT_TYPE, "application/x-protobuf")
        .header(USER_AGENT, concat!("claimgate/", env!("CARGO_PKG_VERSION")))
        .body(Body::new(body))
        .map_err(|error| ExportError::lasting(error.to_string()))?;
    request.headers_mut().extend(headers);
    let answer = http.request(request).await;
    let answer = answer.map_err(|error| ExportError::temporary(causes::all(&error)))?;
    let status = answer.status();
    if !status.is_success() {
        let is_temporary = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        return Err(ExportError {
            why: format!("HTTP status {status}"),
            is_temporary,
        });
    }
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES)
        .collect()
        .await;
    // A message that was accepted must not be sent again.
    let body = body.map_err(|error| ExportError::lasting(error.to_string()))?;
    E::Answer::decode(body.to_bytes())
        .map_err(|error| ExportError::lasting(format!("the answer cannot be read: {error}")))
}
