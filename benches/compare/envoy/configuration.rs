//! Envoy's configuration. Envoy asks a server about each request, and answers the request itself.

use std::path::Path;

use serde_json::{Value, json};

use super::Authorizer;
use crate::load;

/// Asks a server about each request.
fn ext_authz() -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "asked"}, "timeout": "1s"},
        },
    })
}

fn router() -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    })
}

/// An Envoy on this port that authorizes requests in this way.
pub(super) fn configuration(port: u16, authorizer: &Authorizer) -> Value {
    let (filter, cluster) = match authorizer {
        Authorizer::Nothing => (None, None),
        Authorizer::Filter(filter) => (Some(filter.clone()), None),
        Authorizer::Service(service) => (Some(ext_authz()), Some(cluster(&service.server))),
    };
    let filters: Vec<Value> = filter.into_iter().chain([router()]).collect();
    let clusters: Vec<Value> = cluster.into_iter().collect();
    json!({"static_resources": {
        "listeners": [{
            "name": "requests",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                              http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "requests",
                    "codec_type": "HTTP2",
                    "http_filters": filters,
                    "route_config": {"virtual_hosts": [{
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{
                            "match": {"prefix": "/"},
                            "direct_response": {"status": 200},
                        }],
                    }]},
                },
            }]}],
        }],
        "clusters": clusters,
    }})
}

fn cluster(server: &load::Server) -> Value {
    let address = match server {
        load::Server::Tcp(address) => json!({"socket_address": {
            "address": address.ip().to_string(),
            "port_value": address.port(),
        }}),
        load::Server::Unix(path) => json!({"pipe": {"path": as_text(path)}}),
    };
    json!({
        "name": "asked",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "asked",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.\
                          HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
    })
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}
