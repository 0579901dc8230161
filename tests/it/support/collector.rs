//! A collector: takes spans and metrics by OTLP, over gRPC and over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use claimgate::otlp::proto::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use claimgate::otlp::proto::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use claimgate::otlp::proto::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use claimgate::otlp::proto::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use claimgate::otlp::proto::common::v1::KeyValue;
use claimgate::otlp::proto::common::v1::any_value::Value;
use claimgate::otlp::proto::metrics::v1::Metric;
use claimgate::otlp::proto::trace::v1::Span;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tonic::{Code, Request, Response, Status};

/// What arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub traces: Vec<ExportTraceServiceRequest>,
    pub metrics: Vec<ExportMetricsServiceRequest>,
    /// The headers of each request.
    pub headers: Vec<HeaderMap>,
    /// The messages as bytes.
    pub bytes: Vec<u8>,
}

/// How the collector answers spans.
#[derive(Clone, Debug)]
pub enum Behaviour {
    Takes,
    /// Answers with each of these errors once, then takes.
    Fails(Vec<Status>),
    Rejects(i64),
}

#[derive(Clone)]
struct Store(Arc<Inner>);

struct Inner {
    received: Mutex<Received>,
    arrived: Notify,
    behaviour: Mutex<Behaviour>,
}

pub struct Collector {
    pub address: SocketAddr,
    store: Store,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Collector {
    pub async fn start() -> Self {
        Self::behaving(Behaviour::Takes).await
    }

    pub async fn behaving(behaviour: Behaviour) -> Self {
        Self::serve(behaviour, None).await
    }

    /// Accepts connections over TLS only.
    pub async fn behind(mut tls: ServerConfig) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::serve(Behaviour::Takes, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn serve(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let store = Store(Arc::new(Inner {
            received: Mutex::new(Received {
                traces: Vec::new(),
                metrics: Vec::new(),
                headers: Vec::new(),
                bytes: Vec::new(),
            }),
            arrived: Notify::new(),
            behaviour: Mutex::new(behaviour),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let http = Router::new()
            .route("/v1/traces", post(post_traces))
            .route("/v1/metrics", post(post_metrics))
            .with_state(store.clone());
        let grpc = tonic::service::Routes::new(TraceServiceServer::new(store.clone()))
            .add_service(MetricsServiceServer::new(store.clone()))
            .into_axum_router();
        let routes = http.merge(grpc.reset_fallback());
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(connection(stream, tls.clone(), routes.clone()));
            }
        });
        Self {
            address,
            store,
            serving,
        }
    }

    /// A section `telemetry` that exports to this collector, with more fields.
    pub fn section(&self, more: &str) -> String {
        let address = self.address;
        format!("telemetry: {{ otlp: {{ endpoint: \"http://{address}\", {more} }} }}\n")
    }

    pub fn received(&self) -> Received {
        self.store.0.received.lock().unwrap().clone()
    }

    /// Waits until `is_there` holds for what has arrived.
    pub async fn wait_for(&self, is_there: impl Fn(&Received) -> bool) -> Received {
        loop {
            let arrived = self.store.0.arrived.notified();
            let received = self.received();
            if is_there(&received) {
                return received;
            }
            arrived.await;
        }
    }
}

impl Received {
    pub fn spans(&self) -> Vec<&Span> {
        let resources = self.traces.iter().flat_map(|sent| &sent.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).collect()
    }

    /// The spans of checks.
    pub fn checks(&self) -> Vec<&Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == "envoy.service.auth.v3.Authorization/Check");
        spans
    }

    /// The metrics of the last export.
    pub fn last_metrics(&self) -> Vec<&Metric> {
        let resources = self.metrics.last().into_iter();
        let resources = resources.flat_map(|sent| &sent.resource_metrics);
        let scopes = resources.flat_map(|resource| &resource.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics).collect()
    }
}

/// Attributes as text, by name.
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref() {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let pairs = attributes.iter();
    pairs
        .map(|attribute| (attribute.key.as_str(), text(attribute)))
        .collect()
}

impl Store {
    fn keep(&self, headers: HeaderMap, bytes: &[u8], change: impl FnOnce(&mut Received)) {
        let mut received = self.0.received.lock().unwrap();
        received.headers.push(headers);
        received.bytes.extend_from_slice(bytes);
        change(&mut received);
        drop(received);
        self.0.arrived.notify_waiters();
    }

    fn take_traces(
        &self,
        headers: HeaderMap,
        message: ExportTraceServiceRequest,
    ) -> Result<ExportTraceServiceResponse, Status> {
        let mut behaviour = self.0.behaviour.lock().unwrap();
        let partial_success = match &mut *behaviour {
            Behaviour::Takes => None,
            Behaviour::Fails(errors) if errors.is_empty() => None,
            Behaviour::Fails(errors) => return Err(errors.remove(0)),
            Behaviour::Rejects(rejected_spans) => Some(ExportTracePartialSuccess {
                rejected_spans: *rejected_spans,
                error_message: "quota exceeded".to_owned(),
            }),
        };
        drop(behaviour);
        let bytes = message.encode_to_vec();
        self.keep(headers, &bytes, |received| received.traces.push(message));
        Ok(ExportTraceServiceResponse { partial_success })
    }

    fn take_metrics(&self, headers: HeaderMap, message: ExportMetricsServiceRequest) {
        let bytes = message.encode_to_vec();
        self.keep(headers, &bytes, |received| received.metrics.push(message));
    }
}

#[tonic::async_trait]
impl TraceService for Store {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.take_traces(headers, request.into_inner())
            .map(Response::new)
    }
}

#[tonic::async_trait]
impl MetricsService for Store {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        self.take_metrics(headers, request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Serves one connection, over HTTP/1.1 or HTTP/2. Errors are the client's.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, routes: Router) {
    let service = TowerToHyperService::new(routes);
    let server = Builder::new(TokioExecutor::new());
    let _ = match tls {
        None => server.serve_connection(TokioIo::new(stream), service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
            Err(_) => return,
        },
    };
}

async fn post_traces(
    State(store): State<Store>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>, StatusCode> {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    match store.take_traces(headers, message) {
        Ok(answer) => Ok(answer.encode_to_vec()),
        Err(error) if error.code() == Code::Unavailable => Err(StatusCode::SERVICE_UNAVAILABLE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

async fn post_metrics(State(store): State<Store>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let message = ExportMetricsServiceRequest::decode(body).unwrap();
    store.take_metrics(headers, message);
    Vec::new()
}
