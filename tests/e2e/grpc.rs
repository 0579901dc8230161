//! A gRPC service behind Envoy: its clients read `grpc-status` and a message.

use claimgate::dev::envoy::EXAMPLE;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::mesh::{Mesh, Place, in_both_places};

in_both_places! {
    a_grpc_client_gets_a_grpc_status,
}

const RULES: &str = "
rules:
  - { name: check, match: { path: { exact: /grpc.health.v1.Health/Check } }, scopes: orders:read }
  - { name: others, scopes: orders:write }
";

async fn a_grpc_client_gets_a_grpc_status(place: Place) {
    let mesh = Mesh::in_front_of_claimgate(place, EXAMPLE, RULES).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", mesh.envoy.address())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = HealthClient::new(channel.clone());
    let denied = client.check(HealthCheckRequest::default()).await;
    assert_eq!(
        told(&denied.unwrap_err()),
        (
            Code::Unauthenticated,
            "Missing or invalid Authorization header"
        )
    );

    let token = mesh.provider.token("urn:orders-api").await;
    let allowed = client.check(with(&token)).await.unwrap().into_inner();
    assert_eq!(allowed.status(), ServingStatus::Serving);

    let denied = client.watch(with(&token)).await;
    assert_eq!(
        told(&denied.unwrap_err()),
        (Code::PermissionDenied, "The token's scope is insufficient")
    );

    // Without claimgate's status, Envoy would turn 400 into INTERNAL.
    let denied = unary(channel, "/grpc.health.v1.Health/Check;v=1", &token).await;
    assert_eq!(
        told(&denied.unwrap_err()),
        (Code::InvalidArgument, "Ambiguous or missing request path")
    );
}

fn told(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

fn with(token: &str) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn unary(channel: Channel, path: &str, token: &str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client.unary(with(token), path.parse().unwrap(), codec);
    answer.await.map(drop)
}
