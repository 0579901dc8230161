//! claimgate inside Envoy beside Envoy's own filter for tokens, and beside its own service. Both sides pass
//! the same on.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::envoy::jwt_authn::{Cache, any_of, of_istio};
use crate::envoy::{Authorizer, Mesh, RATE, Tokens, Way};
use crate::load::{self, Pace};
use crate::process::{CLIENT, ask};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;
use crate::tokens::{Provider, with_claims, written};

/// The module with this configuration.
pub fn filter(config: &Path) -> Value {
    json!({
        "name": "claimgate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": {"name": "claimgate_envoy"},
            "filter_name": "claimgate",
            "filter_config": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": format!("file:{}", config.display()),
            },
        },
    })
}

/// What both sides pass on: claims as headers, and with `Metadata` all claims as metadata, too.
#[derive(Clone, Copy)]
enum PassedOn {
    Headers,
    Metadata,
}

pub fn rows(scene: &Scene) -> Vec<Row> {
    let mut rows = vec![
        never_seen(scene, PassedOn::Headers, 2.5),
        never_seen(scene, PassedOn::Metadata, 2.1),
        against_service(scene, Way::ModuleAlone, Way::ClaimgateAlone, 2.3),
        against_service(scene, Way::Module, Way::Claimgate, 1.8),
        latency(scene),
    ];
    rows.extend([(1, 0.85), (50, 10.0)].map(|(issuers, bar)| remembered(scene, issuers, bar)));
    rows
}

/// Tokens of 10 issuers beside `jwt_authn` without its cache.
fn never_seen(scene: &Scene, passed_on: PassedOn, bar: f64) -> Row {
    let (config, reference, what) = match passed_on {
        PassedOn::Headers => (
            without_metadata(scene),
            any_of(&scene.providers, &scene.directory, Cache::Off),
            "claims as headers",
        ),
        PassedOn::Metadata => (
            scene.config.clone(),
            of_istio(&scene.providers, Cache::Off),
            "claims as headers and metadata",
        ),
    };
    let filters = [filter(&config), reference];
    Row {
        what: format!("Tokens never seen, 10 issuers, {what}: requests/s against `jwt_authn`"),
        sample: Sample::of(|| {
            let [module, reference] = filters.each_ref().map(|filter| {
                let filter = Authorizer::Filter(filter.clone());
                let mesh = Mesh::with(filter, &scene.directory, &scene.token);
                mesh.rate(scene, Tokens::NeverSeen)
            });
            module / reference
        }),
        unit: "×",
        bar: Some(Bar::AtLeast(bar)),
    }
}

/// The configuration of the scene, without metadata.
fn without_metadata(scene: &Scene) -> PathBuf {
    let config = std::fs::read_to_string(&scene.config).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["upstream"]["dynamic_metadata"] = false.into();
    written(&scene.directory, "without-metadata", &config)
}

fn against_service(scene: &Scene, module: Way, service: Way, bar: f64) -> Row {
    let what = match module {
        Way::ModuleAlone => "no claims passed on",
        _ => "claims as headers and metadata",
    };
    Row {
        what: format!("Remembered token, {what}: requests/s against claimgate as a service"),
        sample: Sample::of(|| {
            let rate = |way| Mesh::start(way, scene).rate(scene, Tokens::One);
            rate(module) / rate(service)
        }),
        unit: "×",
        bar: Some(Bar::AtLeast(bar)),
    }
}

/// A remembered token beside `jwt_authn` with its cache, as Istio configures it.
fn remembered(scene: &Scene, issuers: usize, bar: f64) -> Row {
    /// About a second of requests to the module.
    const REQUESTS: usize = 20_000;

    let (meshes, token) = meshes(scene, issuers);
    let rate = |mesh: &Mesh| {
        let pace = Pace::Closed { count: REQUESTS };
        ask(CLIENT, &mesh.load_of(&token, pace)).rate()
    };
    // Warms both up.
    let _ = meshes.each_ref().map(rate);
    Row {
        what: format!(
            "Remembered token, {issuers} issuer{}: requests/s against `jwt_authn` \
             with its cache",
            if issuers == 1 { "" } else { "s" }
        ),
        sample: Sample::of(|| {
            let [module, reference] = meshes.each_ref().map(rate);
            module / reference
        }),
        unit: "×",
        bar: Some(Bar::AtLeast(bar)),
    }
}

fn latency(scene: &Scene) -> Row {
    let pace = Pace::Open {
        rate: RATE,
        seconds: 1.5,
    };
    let (meshes, token) = meshes(scene, 1);
    let p99 = |mesh: &Mesh| ask(CLIENT, &mesh.load_of(&token, pace)).p99;
    Row {
        what: format!(
            "Remembered token, {RATE} requests/s: 99th percentile against `jwt_authn` \
             with its cache"
        ),
        sample: Sample::of(|| Sample::of_least(|| meshes.each_ref().map(p99))),
        unit: "×",
        bar: Some(Bar::AtMost(1.3)),
    }
}

/// The module and `jwt_authn` with its cache, both passing on claims as headers and metadata, and the file
/// with a token of the last issuer.
fn meshes(scene: &Scene, issuers: usize) -> ([Mesh; 2], PathBuf) {
    let directory = &scene.directory;
    let shared = scene.providers.iter().cycle().zip(0..issuers);
    let providers: Vec<Provider> = shared
        .map(|(provider, number)| provider.sharing_key(number))
        .collect();
    let configured: Vec<Value> = providers
        .iter()
        .map(|provider| provider.configured(&json!({"inline": provider.key_set()})))
        .collect();
    let config = with_claims(directory, &format!("module-{issuers}"), &configured);
    let token = providers[issuers - 1].token(0);
    let file = directory.join(format!("module-token-{issuers}"));
    load::write(&file, [&token]);
    let filters = [filter(&config), of_istio(&providers, Cache::On)];
    let meshes = filters.map(|filter| Mesh::with(Authorizer::Filter(filter), directory, &token));
    (meshes, file)
}
