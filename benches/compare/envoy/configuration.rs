//! Envoy's configuration. Envoy asks a server about each request, and answers the request itself.

use std::path::Path;

use serde_json::{Value, json};

use super::Way;
use crate::load;
use crate::scene::Scene;

fn filters(way: Way, asked: Option<&load::Server>, scene: &Scene) -> Vec<Value> {
    let mut filters = Vec::new();
    match (way, asked) {
        (Way::JwtAuthn, _) => filters.push(jwt_authn(scene, &json!(null))),
        (Way::JwtAuthnWithCache, _) => {
            filters.push(jwt_authn(scene, &json!({"jwt_cache_size": 10_000})));
        }
        (_, Some(_)) => filters.push(json!({
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "asked"}, "timeout": "1s"},
            },
        })),
        (_, None) => {}
    }
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        },
    }));
    filters
}

/// The filter's share of what claimgate does: both claims as headers.
fn jwt_authn(scene: &Scene, cache: &Value) -> Value {
    let providers: serde_json::Map<String, Value> = scene
        .providers
        .iter()
        .map(|provider| {
            let settings = json!({
                "issuer": provider.issuer(),
                "audiences": ["orders-api"],
                "local_jwks": {"filename": provider.key_file(&scene.directory)},
                "claim_to_headers": [
                    {"header_name": "x-auth-subject", "claim_name": "sub"},
                    {"header_name": "x-auth-roles", "claim_name": "realm_access.roles"},
                ],
                "jwt_cache_config": cache,
            });
            (provider.name.clone(), settings)
        })
        .collect();
    let any: Vec<Value> = providers
        .keys()
        .map(|name| json!({"provider_name": name}))
        .collect();
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type":
                "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [
                {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": any}}},
            ],
        },
    })
}

/// An Envoy on this port with the filters of `way`, and the server that it asks.
pub(super) fn configuration(
    port: u16,
    way: Way,
    scene: &Scene,
    asked: Option<&load::Server>,
) -> Value {
    let filters = filters(way, asked, scene);
    let clusters: Vec<Value> = asked.into_iter().map(cluster).collect();
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
