//! The reference: a tonic service that decodes the whole `CheckRequest` and lets every request
//! pass.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::auth::{CheckResponse, OkHttpResponse};
use claimgate::ext_authz::proto::google::rpc::Status as RpcStatus;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::message::CheckRequest;
use crate::rsa::Verification;

/// The `Check` service.
#[derive(Clone)]
pub struct Constant {
    /// Extra work for each check.
    work: Option<Arc<Verification>>,
    answer: Arc<CheckResponse>,
}

impl Default for Constant {
    fn default() -> Self {
        Self {
            work: None,
            answer: Arc::new(CheckResponse {
                status: Some(RpcStatus::default()),
                http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
                dynamic_metadata: None,
            }),
        }
    }
}

impl NamedService for Constant {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl UnaryService<CheckRequest> for Constant {
    type Response = CheckResponse;
    type Future = BoxFuture<Response<CheckResponse>, Status>;

    fn call(&mut self, request: Request<CheckRequest>) -> Self::Future {
        let check = request.into_inner();
        let Self { work, answer } = self.clone();
        Box::pin(async move {
            std::hint::black_box(&check);
            if let Some(verification) = work {
                verification.run();
            }
            Ok(Response::new(CheckResponse::clone(&answer)))
        })
    }
}

impl Service<http::Request<Body>> for Constant {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
            Ok(Grpc::new(codec).unary(service, request).await)
        })
    }
}

impl Constant {
    /// A service that verifies a signature for each check.
    pub fn verifying() -> Self {
        Self {
            work: Some(Arc::new(Verification::new())),
            ..Self::default()
        }
    }

    /// A service that answers with the `CheckResponse` in this file.
    pub fn answering(file: &Path) -> Self {
        let answer = std::fs::read(file).unwrap();
        Self {
            answer: Arc::new(CheckResponse::decode(answer.as_slice()).unwrap()),
            ..Self::default()
        }
    }

    /// Serves until the process is killed.
    pub async fn serve(self, address: SocketAddr) {
        let listener = TcpListener::bind(address).await.unwrap();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .max_concurrent_streams(512)
            .add_service(self)
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    }
}
