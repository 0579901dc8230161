//! Asks a control plane for the configuration of a proxy that does not run here (Envoy's
//! `AggregatedDiscoveryService`).

use std::net::SocketAddr;

use http::uri::PathAndQuery;
use prost_types::{Any, Struct, Value as ProtoValue, value::Kind};
use serde_json::Value;
use tokio_stream::StreamExt as _;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

const STREAM: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// `envoy.service.discovery.v3.DiscoveryRequest`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct DiscoveryRequest {
    #[prost(message, optional, tag = "2")]
    node: Option<Node>,
    #[prost(string, tag = "4")]
    type_url: String,
}

/// `envoy.config.core.v3.Node`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Struct>,
}

/// `envoy.service.discovery.v3.DiscoveryResponse`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
struct DiscoveryResponse {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Any>,
}

/// The encoded listeners that the control plane has for a proxy.
pub async fn listeners(xds: SocketAddr, id: &str, metadata: &Value) -> Vec<Vec<u8>> {
    let endpoint = Endpoint::from_shared(format!("http://{xds}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let request = DiscoveryRequest {
        node: Some(Node {
            id: id.to_owned(),
            metadata: Some(struct_of(metadata)),
        }),
        type_url: LISTENER.to_owned(),
    };
    // The stream stays open, because the control plane ends with it.
    let requests = tokio_stream::once(request).chain(tokio_stream::pending());
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<DiscoveryRequest, DiscoveryResponse> = ProstCodec::default();
    let path = PathAndQuery::from_static(STREAM);
    let answers = grpc.streaming(Request::new(requests), path, codec).await;
    let answer = answers.unwrap().into_inner().message().await;
    let resources = answer.unwrap().expect("an answer").resources;
    resources.into_iter().map(|it| it.value).collect()
}

fn struct_of(value: &Value) -> Struct {
    let fields = value.as_object().unwrap().iter();
    Struct {
        fields: fields
            .map(|(name, value)| (name.clone(), proto_value(value)))
            .collect(),
    }
}

fn proto_value(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Object(_) => Kind::StructValue(struct_of(value)),
        other => panic!("not needed yet: {other}"),
    };
    ProtoValue { kind: Some(kind) }
}
