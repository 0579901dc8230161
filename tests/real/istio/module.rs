//! istiod puts claimgate into Envoy by the `EnvoyFilter` of docs/guides/envoy-module.md.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{FORGED, Mesh, Proxy, policies};
use crate::gateway::Backends;
use crate::guide;
use crate::process::module;
use crate::setup::{eventually, http};

const GUIDE: &str = "docs/guides/envoy-module.md";
const FILE: &str = "/usr/lib/envoy/libclaimgate_envoy.so";

#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn the_module_decides_in_a_sidecar() {
    let filter = |backends: &Backends| vec![filter(Proxy::Sidecar, &configured(backends))];
    let mesh = Mesh::with(Proxy::Sidecar, filter).await;
    mesh.backends.are_behind(mesh.address).await;
    mesh.backends.are_protected_by(mesh.address, &FORGED).await;
    assert_eq!(mesh.backends.count("claimgate_checks_total{").await, 0);
}

/// The answers are those of the service. A change with a problem changes nothing.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn the_module_decides_at_a_gateway() {
    let asks = Mesh::start(Proxy::Gateway, policies()).await;
    let by_service = asks.backends.answers(asks.address).await;
    drop(asks);

    let at_gateway = |backends: &Backends| vec![filter(Proxy::Gateway, &configured(backends))];
    let mesh = Mesh::with(Proxy::Gateway, at_gateway).await;
    mesh.backends.are_behind(mesh.address).await;
    mesh.backends.are_protected_by(mesh.address, &FORGED).await;
    let by_module = mesh.backends.answers(mesh.address).await;
    assert_eq!(by_module, by_service);
    assert_eq!(mesh.backends.count("claimgate_checks_total{").await, 0);

    mesh.apply(&[filter(Proxy::Gateway, "provider: []")]);
    mesh.refuses_after(0).await;
    mesh.backends.are_protected_by(mesh.address, &FORGED).await;
}

/// Even a gateway that was open before. Envoy accepts the listener, so the filter is there, but has no
/// configuration.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn problems_close_the_gateway() {
    let wrong = || filter(Proxy::Gateway, "provider: []");
    let missing = || {
        let text = wrong().to_string();
        let path = module();
        serde_json::from_str(&text.replace(path.to_str().unwrap(), "/nonexistent.so")).unwrap()
    };
    let mesh = Mesh::with(Proxy::Gateway, |_| Vec::new()).await;
    let statuses = async || {
        let requests = ["GET /orders", "GET /healthz"];
        let [orders, health] = requests.map(|request| http(mesh.address, request, &[]));
        [orders.await.status, health.await.status]
    };
    eventually("the gateway listens", async || {
        TcpStream::connect(mesh.address).await.is_ok()
    })
    .await;
    assert_eq!(statuses().await, [200; 2], "nothing is checked yet");
    let mut refused = 0;
    for objects in [wrong(), missing()] {
        mesh.apply(&[objects]);
        refused = mesh.refuses_after(refused).await;
        eventually("everything is denied", async || {
            statuses().await == [500; 2]
        })
        .await;
    }
}

/// A route of the `VirtualService` names a rule that only routes choose.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn routes_name_rules() {
    let with_route = |backends: &Backends| {
        let mut configuration = crate::read(backends.configuration().to_str().unwrap()).remove(0);
        configuration["rules"] =
            json!([{ "name": "health", "only_by_name": true, "access": "public" }]);
        let mut filter = filter(Proxy::Gateway, &configuration.to_string());
        let patches = filter["spec"]["configPatches"].as_array_mut().unwrap();
        patches.push(here(&guide(GUIDE, "envoy-filter-route.yaml").remove(0)));
        vec![filter]
    };
    let mesh = Mesh::with(Proxy::Gateway, with_route).await;
    mesh.backends.are_behind(mesh.address).await;
    for (request, status) in [
        ("GET /healthz", 200),
        ("GET /healthz/x", 401),
        ("GET /orders", 401),
    ] {
        let answer = http(mesh.address, request, &[]).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
}

impl Mesh {
    /// Waits until Envoy has refused more configurations of the filter than this, and counts them.
    async fn refuses_after(&self, known: u64) -> u64 {
        let mut refused = known;
        eventually("Envoy refuses the configuration", async || {
            let name = "extension_config_discovery.http_filter.claimgate.config_fail";
            refused = self.envoy.find_counter(name).await.unwrap_or(0);
            refused > known
        })
        .await;
        refused
    }
}

/// The rules of the guide for the service.
fn configured(backends: &Backends) -> String {
    std::fs::read_to_string(backends.configuration()).unwrap()
}

/// The `EnvoyFilter` of the guide, with this configuration of claimgate.
fn filter(proxy: Proxy, configuration: &str) -> Value {
    let mut filter = here(&guide(GUIDE, "envoy-filter.yaml").remove(0));
    let patches = filter["spec"]["configPatches"].as_array_mut().unwrap();
    for patch in &mut *patches {
        let context = &mut patch["match"]["context"];
        assert_eq!(*context, "SIDECAR_INBOUND");
        if let Proxy::Gateway = proxy {
            *context = "GATEWAY".into();
        }
    }
    let value = patches[1].pointer_mut("/patch/value/typed_config/filter_config/value");
    *value.unwrap() = configuration.into();
    filter
}

/// With the module on this machine.
fn here(object: &Value) -> Value {
    let text = object.to_string();
    assert!(text.contains(FILE), "{text}");
    serde_json::from_str(&text.replace(FILE, module().to_str().unwrap())).unwrap()
}
