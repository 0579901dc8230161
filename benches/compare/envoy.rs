//! Whole requests through a real Envoy with one worker: by way of claimgate, and by other ways.

use std::path::Path;

use serde_json::{Value, json};

use crate::load::{self, Load, Pace, Protocol};
use crate::process::{CLIENT, SERVER, Server, Work, ask, envoy, free_address, pinned};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;

/// What Envoy asks about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Nothing,
    JwtAuthn,
    JwtAuthnWithCache,
    Constant,
    Claimgate,
    ClaimgateOnUnix,
    /// Without claims for anybody.
    ClaimgateAlone,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no authorization",
            Self::JwtAuthn => "`jwt_authn`",
            Self::JwtAuthnWithCache => "`jwt_authn` with its token cache",
            Self::Constant => "constant allow",
            Self::Claimgate => "claimgate",
            Self::ClaimgateOnUnix => "claimgate on a Unix socket",
            Self::ClaimgateAlone => "claimgate, without claims as headers and metadata",
        }
    }
}

/// An Envoy that asks whoever it asks.
pub struct Mesh {
    envoy: Server,
    _asked: Option<Server>,
}

/// The one token that is used again and again, and tokens that never are.
#[derive(Clone, Copy)]
pub enum Tokens {
    One,
    NeverSeen,
}

impl Mesh {
    pub fn start(way: Way, scene: &Scene) -> Self {
        let config = &scene.config;
        let socket = scene.directory.join("claimgate.sock");
        let asked = match way {
            Way::Nothing | Way::JwtAuthn | Way::JwtAuthnWithCache => None,
            Way::Constant => Some(Server::constant(CLIENT, Work::Nothing)),
            Way::Claimgate => Some(Server::claimgate(CLIENT, config)),
            Way::ClaimgateAlone => Some(Server::claimgate(CLIENT, &scene.config_alone)),
            Way::ClaimgateOnUnix => Some(Server::claimgate_on_unix(CLIENT, config, socket)),
        };
        let asked = asked.map(|server| server.wait(Protocol::Check, &scene.first));
        let address = free_address();
        let configuration = configuration(
            address.port(),
            &filters(way, asked.as_ref().map(|server| &server.server), scene),
            asked.as_ref().map(|server| &server.server),
        );
        let file = scene.directory.join("envoy.json");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = pinned(SERVER, &envoy());
        command
            .args(["--disable-hot-restart", "--concurrency", "1"])
            .args(["--log-level", "error", "--config-path"])
            .arg(&file);
        let envoy = Server::start(command, load::Server::Tcp(address));
        Self {
            envoy: envoy.wait(Protocol::Http, scene.token.as_bytes()),
            _asked: asked,
        }
    }

    pub fn load(&self, scene: &Scene, tokens: Tokens, pace: Pace) -> Load {
        Load {
            server: self.envoy.server.clone(),
            protocol: Protocol::Http,
            file: match tokens {
                Tokens::One => scene.one_token.clone(),
                Tokens::NeverSeen => scene.tokens.clone(),
            },
            pace,
            connections: 2,
            streams: 16,
            all_allowed: true,
        }
    }

    /// Requests in each second, as fast as they are answered.
    fn rate(&self, scene: &Scene, tokens: Tokens) -> f64 {
        let count = scene.count;
        let load = self.load(scene, tokens, Pace::Closed { count });
        ask(CLIENT, &load).rate()
    }
}

/// Requests in each second of which the bar is about the 99th percentile.
const RATE: f64 = 3_000.0;

/// The rows with bars, of a claimgate that says as little to Envoy as its reference does.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let reference = || Mesh::start(Way::Constant, scene);
    let claimgate = || Mesh::start(Way::ClaimgateAlone, scene);
    let warm = |mesh: &Mesh| {
        mesh.rate(scene, Tokens::One);
    };
    let throughput = Sample::of(|| {
        let (reference, claimgate) = (reference(), claimgate());
        warm(&reference);
        warm(&claimgate);
        claimgate.rate(scene, Tokens::One) / reference.rate(scene, Tokens::One)
    });
    let pace = Pace::Open {
        rate: RATE,
        seconds: 1.5,
    };
    let p99 = |mesh: &Mesh| ask(CLIENT, &mesh.load(scene, Tokens::One, pace)).p99;
    let latency = Sample::of(|| {
        let (reference, claimgate) = (reference(), claimgate());
        warm(&reference);
        warm(&claimgate);
        Sample::of_least(|| [p99(&claimgate), p99(&reference)])
    });
    vec![
        Row {
            what: "Through Envoy, remembered token, no claims passed on: requests/s against \
                   constant allow behind the same Envoy"
                .to_owned(),
            sample: throughput,
            unit: "×",
            bar: Some(Bar::AtLeast(0.97)),
        },
        Row {
            what: format!(
                "Through Envoy, remembered token, no claims passed on, {RATE} requests/s: 99th \
                 percentile against constant allow behind the same Envoy"
            ),
            sample: latency,
            unit: "×",
            bar: Some(Bar::AtMost(1.10)),
        },
    ]
}

/// Each way beside constant allow.
pub fn ways(scene: &Scene) -> Vec<Row> {
    let all = [
        (Way::Nothing, Tokens::One),
        (Way::JwtAuthn, Tokens::One),
        (Way::JwtAuthnWithCache, Tokens::One),
        (Way::Claimgate, Tokens::One),
        (Way::ClaimgateOnUnix, Tokens::One),
        (Way::ClaimgateAlone, Tokens::One),
        (Way::JwtAuthn, Tokens::NeverSeen),
        (Way::Claimgate, Tokens::NeverSeen),
    ];
    let row = |(way, tokens): (Way, Tokens)| Row {
        what: match tokens {
            Tokens::One => format!("{}, the same token", way.name()),
            Tokens::NeverSeen => format!("{}, tokens never seen", way.name()),
        },
        sample: Sample::of(|| {
            let reference = Mesh::start(Way::Constant, scene).rate(scene, tokens);
            Mesh::start(way, scene).rate(scene, tokens) / reference
        }),
        unit: "×",
        bar: None,
    };
    all.into_iter().map(row).collect()
}

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

/// As much of what claimgate is asked for as this filter does: both claims as headers.
fn jwt_authn(scene: &Scene, cache: &Value) -> Value {
    let providers: serde_json::Map<String, Value> = scene
        .providers
        .iter()
        .map(|provider| {
            let settings = json!({
                "issuer": provider.issuer(),
                "audiences": ["orders-api"],
                "local_jwks": {"filename": provider.key_file(&scene.directory)},
                "claim_to_headers": [{"header_name": "x-auth-subject", "claim_name": "sub"}],
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

fn configuration(port: u16, filters: &[Value], asked: Option<&load::Server>) -> Value {
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
