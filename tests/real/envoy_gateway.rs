//! Envoy Gateway, without a cluster, programs a real Envoy with deploy/kubernetes/overlays/envoy-gateway.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::gateway::{Backends, claim_headers};
use crate::manifests::render;
use crate::process::{Process, free_port, server};
use crate::setup::{envoy_binary, eventually, http};
use crate::{file, read, stream};

/// The version of the Envoy that the tests install.
const ENVOY: &str = "1.40.0";

#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn envoy_gateway_asks_claimgate() {
    let mut gateway = Gateway::start(None).await;
    gateway.backends.are_behind(gateway.address).await;
    gateway
        .backends
        .are_protected_by(gateway.address, &[])
        .await;
    let underscore = http(
        gateway.address,
        "GET /healthz",
        &["x_auth_subject: root".to_owned()],
    )
    .await;
    assert_eq!(
        underscore.status, 400,
        "Envoy Gateway refuses such names: {underscore:?}"
    );
    gateway.backends.are_closed_by(gateway.address, 503).await;
    gateway.stop().await;
}

/// A team's policy for its route replaces that of the Gateway, unless it says `mergeType`.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn a_teams_policy_keeps_the_gateways() {
    let team = read("deploy/kubernetes/overlays/envoy-gateway/team-policy.yaml").remove(0);
    let gateway = Gateway::start(Some(team.clone())).await;
    gateway.backends.are_behind(gateway.address).await;
    gateway
        .backends
        .are_protected_by(gateway.address, &[])
        .await;
    let origin = "origin: https://shop.example.com".to_owned();
    let preflight = [origin, "access-control-request-method: POST".to_owned()];
    let answer = http(gateway.address, "OPTIONS /orders", &preflight).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        answer.header("access-control-allow-origin").is_some(),
        "{answer:?}"
    );
    gateway.stop().await;
}

/// What the files warn of.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn a_teams_policy_without_merge_type_opens_its_route() {
    let mut team = read("deploy/kubernetes/overlays/envoy-gateway/team-policy.yaml").remove(0);
    team["spec"]
        .as_object_mut()
        .unwrap()
        .remove("mergeType")
        .unwrap();
    let gateway = Gateway::start(Some(team)).await;
    eventually("the route passes claim headers", async || {
        let forged = ["x-auth-subject: root".to_owned()];
        let answer = http(gateway.address, "GET /orders", &forged).await;
        answer.status == 200 && claim_headers(&answer)["x-auth-subject"] == "root"
    })
    .await;
    gateway.stop().await;
}

/// Envoy Gateway and its Envoy. It always listens on port 18000 itself, so only one runs at a time.
struct Gateway {
    backends: Backends,
    address: SocketAddr,
    process: Process,
    _directory: TempDir,
}

impl Gateway {
    /// The overlay's policy on a Gateway with one route, and perhaps a team's policy for the route.
    async fn start(team: Option<Value>) -> Self {
        let backends = Backends::start("docs/guides/envoy-gateway.md").await;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let port = free_port();
        let mut objects = wiring(port, &backends);
        objects.push(policy());
        objects.extend(team);
        std::fs::create_dir(at("resources")).unwrap();
        std::fs::write(at("resources/objects.yaml"), stream(&objects)).unwrap();

        // Without this, it would download one.
        let binary = at("data").join(format!("envoy-versions/{ENVOY}/bin"));
        std::fs::create_dir_all(&binary).unwrap();
        std::os::unix::fs::symlink(envoy_binary(), binary.join("envoy")).unwrap();
        let homes = json!({
            "configHome": at("config"),
            "dataHome": at("data"),
            "stateHome": at("state"),
            "runtimeDir": at("run"),
        });
        let configuration = json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1",
            "kind": "EnvoyGateway",
            "gateway": { "controllerName": "gateway.envoyproxy.io/gatewayclass-controller" },
            "provider": { "type": "Custom", "custom": {
                "resource": { "type": "File", "file": { "paths": [at("resources")] } },
                "infrastructure": { "type": "Host", "host": homes },
            } },
            "extensionApis": { "enableBackend": true },
        });
        std::fs::write(at("gateway.yaml"), configuration.to_string()).unwrap();
        let certificates = server("envoy-gateway")
            .args(["certgen", "--local", "--config-home"])
            .arg(at("config"))
            .output()
            .await
            .unwrap();
        assert!(certificates.status.success(), "{certificates:?}");
        let mut command = server("envoy-gateway");
        command
            .arg("server")
            .arg("--config-path")
            .arg(at("gateway.yaml"));
        let mut process = Process::start(&mut command, at("envoy-gateway.log"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        process
            .becomes("the gateway listens", async || {
                TcpStream::connect(address).await.is_ok()
            })
            .await;
        Self {
            backends,
            address,
            process,
            _directory: directory,
        }
    }

    /// Ends Envoy Gateway, which ends its Envoy.
    async fn stop(mut self) {
        self.process.signal("-TERM").await;
        self.process.ends("Envoy Gateway ends").await;
    }
}

/// The policy of the overlay. Without a cluster there are no Services, so its backend is an address.
fn policy() -> Value {
    let overlay = render(&file("deploy/kubernetes/overlays/envoy-gateway"));
    let mut policies = overlay
        .into_iter()
        .filter(|it| it["kind"] == "SecurityPolicy");
    let mut policy = policies.next().unwrap();
    assert!(policies.next().is_none());
    let backend = policy
        .pointer_mut("/spec/extAuth/grpc/backendRefs/0")
        .unwrap();
    assert_eq!(
        *backend,
        json!({ "name": "claimgate", "namespace": "claimgate", "port": 9001 })
    );
    *backend = json!({ "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "claimgate" });
    policy
}

/// Stands for the cluster: the Gateway `public`, the route `orders`, and where claimgate and the API are.
fn wiring(port: u16, backends: &Backends) -> Vec<Value> {
    let gateway_api = "gateway.networking.k8s.io/v1";
    let own = "gateway.envoyproxy.io/v1alpha1";
    let of = |version: &str, kind: &str, name: &str, spec: Value| {
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": { "name": name, "namespace": "gateway" },
            "spec": spec,
        })
    };
    let backend = |name: &str, at: SocketAddr, protocols: &[&str]| {
        let endpoint = json!({ "ip": { "address": at.ip().to_string(), "port": at.port() } });
        of(
            own,
            "Backend",
            name,
            json!({ "endpoints": [endpoint], "appProtocols": protocols }),
        )
    };
    let parameters = json!({ "group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": "host", "namespace": "gateway" });
    let class = json!({
        "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
        "parametersRef": parameters,
    });
    let route = json!({
        "parentRefs": [{ "name": "public" }],
        "rules": [{ "backendRefs": [
            { "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "orders-api" },
        ] }],
    });
    let host = json!({ "provider": { "type": "Host", "host": { "envoyVersion": ENVOY } } });
    let listener = json!({ "name": "http", "protocol": "HTTP", "port": port });
    vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "gateway" } }),
        json!({ "apiVersion": gateway_api, "kind": "GatewayClass", "metadata": { "name": "host" }, "spec": class }),
        of(own, "EnvoyProxy", "host", host),
        of(
            gateway_api,
            "Gateway",
            "public",
            json!({ "gatewayClassName": "host", "listeners": [listener] }),
        ),
        of(gateway_api, "HTTPRoute", "orders", route),
        backend("claimgate", backends.check, &["gateway.envoyproxy.io/h2c"]),
        backend("orders-api", backends.upstream.address(), &[]),
    ]
}
