//! Whole requests through a real Envoy with one worker: with claimgate, and with alternatives.

mod configuration;
pub mod jwt_authn;

use std::path::Path;

use serde_json::Value;

use crate::load::{self, Load, Pace, Protocol, Refused};
use crate::module;
use crate::process::{CLIENT, SERVER, Server, Work, ask, envoy, free_address, pinned};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;
use configuration::configuration;
use jwt_authn::Cache;

/// What Envoy uses to authorize a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Nothing,
    JwtAuthn,
    JwtAuthnWithCache,
    Constant,
    /// Constant allow with the answer that claimgate gives.
    ConstantWithClaims,
    Claimgate,
    ClaimgateOnUnix,
    /// claimgate without passing on claims.
    ClaimgateAlone,
    /// claimgate inside Envoy.
    Module,
    /// The same without passing on claims.
    ModuleAlone,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no authorization",
            Self::JwtAuthn => "`jwt_authn`",
            Self::JwtAuthnWithCache => "`jwt_authn` with its token cache",
            Self::Constant => "constant allow",
            Self::ConstantWithClaims => "constant allow with the claims of claimgate's answer",
            Self::Claimgate => "claimgate",
            Self::ClaimgateOnUnix => "claimgate on a Unix socket",
            Self::ClaimgateAlone => "claimgate, without claims as headers and metadata",
            Self::Module => "claimgate inside Envoy",
            Self::ModuleAlone => "claimgate inside Envoy, without claims as headers and metadata",
        }
    }
}

/// Who authorizes requests: nobody, a filter of Envoy, or a service that Envoy asks.
pub enum Authorizer {
    Nothing,
    Filter(Value),
    Service(Server),
}

/// An Envoy with what authorizes its requests.
pub struct Mesh {
    envoy: Server,
    _authorizer: Authorizer,
}

/// Which tokens the requests carry: the same one each time, or each time a new one.
#[derive(Clone, Copy)]
pub enum Tokens {
    One,
    NeverSeen,
}

impl Mesh {
    pub fn start(way: Way, scene: &Scene) -> Self {
        let config = &scene.config;
        let jwt_authn = |cache| {
            let filter = jwt_authn::any_of(&scene.providers, &scene.directory, cache);
            Authorizer::Filter(filter)
        };
        let service =
            |server: Server| Authorizer::Service(server.wait(Protocol::Check, &scene.first));
        let authorizer = match way {
            Way::Nothing => Authorizer::Nothing,
            Way::JwtAuthn => jwt_authn(Cache::Off),
            Way::JwtAuthnWithCache => jwt_authn(Cache::On),
            Way::Module => Authorizer::Filter(module::filter(config)),
            Way::ModuleAlone => Authorizer::Filter(module::filter(&scene.config_alone)),
            Way::Constant => service(Server::constant(CLIENT, Work::Nothing)),
            Way::ConstantWithClaims => {
                service(Server::constant(CLIENT, Work::Answer(&scene.answer)))
            }
            Way::Claimgate => service(Server::claimgate(CLIENT, config)),
            Way::ClaimgateAlone => service(Server::claimgate(CLIENT, &scene.config_alone)),
            Way::ClaimgateOnUnix => {
                let socket = scene.directory.join("claimgate.sock");
                service(Server::claimgate_on_unix(CLIENT, config, socket))
            }
        };
        Self::with(authorizer, &scene.directory, &scene.token)
    }

    /// An Envoy with one worker. It is ready when it allows this token.
    pub fn with(authorizer: Authorizer, directory: &Path, token: &str) -> Self {
        let address = free_address();
        let configuration = configuration(address.port(), &authorizer);
        let file = directory.join("envoy.json");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = pinned(SERVER, &envoy());
        command
            .args(["--disable-hot-restart", "--concurrency", "1"])
            .args(["--log-level", "error", "--config-path"])
            .arg(&file);
        let envoy = Server::start(command, load::Server::Tcp(address));
        Self {
            envoy: envoy.wait(Protocol::Http, token.as_bytes()),
            _authorizer: authorizer,
        }
    }

    pub fn load(&self, scene: &Scene, tokens: Tokens, pace: Pace) -> Load {
        let file = match tokens {
            Tokens::One => &scene.one_token,
            Tokens::NeverSeen => &scene.tokens,
        };
        self.load_of(file, pace)
    }

    /// The tokens in this file must all be allowed.
    pub fn load_of(&self, file: &Path, pace: Pace) -> Load {
        Load {
            server: self.envoy.server.clone(),
            protocol: Protocol::Http,
            file: file.to_owned(),
            pace,
            connections: 2,
            streams: 16,
            refused: Refused::None,
        }
    }

    /// Requests per second, sent as fast as they are answered.
    pub fn rate(&self, scene: &Scene, tokens: Tokens) -> f64 {
        let count = scene.count;
        let load = self.load(scene, tokens, Pace::Closed { count });
        ask(CLIENT, &load).rate()
    }
}

/// Requests per second at which the bar limits the 99th percentile.
pub const RATE: f64 = 3_000.0;

/// The rows with bars: claimgate beside a constant allow whose answer causes the same work in
/// Envoy.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let pairs = [
        ("no claims passed on", Way::ClaimgateAlone, Way::Constant),
        (
            "claims as headers and metadata",
            Way::Claimgate,
            Way::ConstantWithClaims,
        ),
    ];
    let rows = |(what, claimgate, reference)| {
        let meshes = move || {
            [claimgate, reference].map(|way| {
                let mesh = Mesh::start(way, scene);
                mesh.rate(scene, Tokens::One);
                mesh
            })
        };
        beside(what, scene, meshes)
    };
    pairs.into_iter().flat_map(rows).collect()
}

/// claimgate beside its reference, both warm: throughput and latency.
fn beside(what: &str, scene: &Scene, meshes: impl Fn() -> [Mesh; 2]) -> [Row; 2] {
    let throughput = Sample::of(|| {
        let [claimgate, reference] = meshes();
        claimgate.rate(scene, Tokens::One) / reference.rate(scene, Tokens::One)
    });
    let pace = Pace::Open {
        rate: RATE,
        seconds: 1.5,
    };
    let p99 = |mesh: &Mesh| ask(CLIENT, &mesh.load(scene, Tokens::One, pace)).p99;
    let latency = Sample::of(|| {
        let meshes = meshes();
        Sample::of_least(|| meshes.each_ref().map(p99))
    });
    [
        Row {
            what: format!(
                "Through Envoy, remembered token, {what}: requests/s against constant allow with \
                 the same answer behind an equal Envoy"
            ),
            sample: throughput,
            unit: "×",
            bar: Some(Bar::AtLeast(0.97)),
        },
        Row {
            what: format!(
                "Through Envoy, remembered token, {what}, {RATE} requests/s: 99th percentile \
                 against constant allow with the same answer behind an equal Envoy"
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
        (Way::ConstantWithClaims, Tokens::One),
        (Way::Claimgate, Tokens::One),
        (Way::ClaimgateOnUnix, Tokens::One),
        (Way::ClaimgateAlone, Tokens::One),
        (Way::Module, Tokens::One),
        (Way::ModuleAlone, Tokens::One),
        (Way::JwtAuthn, Tokens::NeverSeen),
        (Way::Claimgate, Tokens::NeverSeen),
        (Way::Module, Tokens::NeverSeen),
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
