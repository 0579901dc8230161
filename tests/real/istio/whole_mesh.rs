//! A policy for the whole mesh applies to claimgate's own sidecar, too, through which each check arrives.
//!
//! The sidecar has the address of claimgate's pod, so these tests run in a network namespace of their own, with
//! the address [`POD`].

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::{Istiod, Proxy, register_the_proxy, runs, wiring};
use crate::api_server::ApiServer;
use crate::gateway::Backends;
use crate::manifests::{pod_of, render};
use crate::process::{Envoy, free_port};
use crate::setup::{bearer, eventually, http};
use crate::{file, read, stream};

/// The address of claimgate's pod. It is one of those for documentation (RFC 5737).
const POD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The port of the overlay.
const PORT: u16 = 9001;

/// The requests that claimgate's sidecar has received.
const RECEIVED: &str = "http.inbound_192.0.2.1_9001;.downstream_rq_total";

/// The checks that claimgate has answered.
const CHECKS: &str = "claimgate_checks_total{";

#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn one_request_is_one_check() {
    let policy = read("deploy/kubernetes/overlays/istio/whole-mesh.yaml").remove(0);
    let mesh = Mesh::start(policy).await;
    mesh.backends.are_behind(mesh.gateway).await;
    let token = mesh.backends.token(&json!({ "sub": "alice" }));
    let before = mesh.counts().await;
    let mut requests = 0;
    for (request, lines, status) in [
        ("GET /orders", vec![], 401),
        ("GET /orders", vec![bearer(&token)], 200),
        ("GET /healthz", vec![], 200),
    ] {
        for _ in 0..10 {
            let answer = http(mesh.gateway, request, &lines).await;
            assert_eq!(answer.status, status, "{request}: {answer:?}");
            requests += 1;
        }
    }
    let expected = before.map(|it| it + requests);
    assert_eq!(mesh.counts().await, expected, "{before:?} before");

    // The policy leaves out checks, and nothing else at claimgate's port.
    let other = http(SocketAddr::from((POD, PORT)), "GET /orders", &[]).await;
    assert_eq!(other.status, 401, "{other:?}");
    assert!(other.body.contains("missing_token"), "{other:?}");
}

/// What the files warn of. claimgate answers none of those checks: its sidecar asks before it passes one on.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn without_the_exception_one_request_is_hundreds_of_checks() {
    let mut policy = read("deploy/kubernetes/overlays/istio/whole-mesh.yaml").remove(0);
    policy["spec"]["rules"] = json!([{}]);
    let mesh = Mesh::start(policy).await;
    let before = mesh.counts().await;
    let answer = http(mesh.gateway, "GET /healthz", &[]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let [received, answered] = mesh.counts().await;
    assert!(received - before[0] > 100, "{received}, {before:?} before");
    assert_eq!(answered, before[1]);
}

/// A gateway that asks claimgate through claimgate's own sidecar. istiod programs both.
struct Mesh {
    backends: Backends,
    gateway: SocketAddr,
    sidecar: Envoy,
    _gateway: Envoy,
    _istiod: Istiod,
    _api: ApiServer,
}

impl Mesh {
    async fn start(policy: Value) -> Self {
        let pod = TcpListener::bind((POD, 0)).await;
        pod.expect(
            "this runs in a network namespace with the pod's address: run `make test-meshes`",
        );
        let backends = Backends::start("docs/guides/istio.md").await;
        let api = ApiServer::start().await;
        register_the_proxy(&api).await;
        let labels = claimgate_runs(&api).await;
        let at = |name: &str| {
            let path = api.directory.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };

        let port = free_port();
        let mut objects = wiring(Proxy::Gateway, port, &backends);
        // claimgate is a Service of the cluster here.
        objects.retain(|it| it["kind"] != "ServiceEntry" || it["metadata"]["name"] != "claimgate");
        objects.extend(policies());
        objects.push(policy);
        objects.push(captured(&labels, backends.check));
        let directory = at("istio");
        std::fs::write(directory.join("objects.yaml"), stream(&objects)).unwrap();
        let mesh = read("deploy/istio/istioctl.yaml").remove(0)["spec"]["meshConfig"].take();
        let istiod = Istiod::start(&api, mesh, Some(&directory)).await;

        let node = |kind: &str, address: &str, name: &str, namespace: &str, labels: &Value| {
            json!({
                "id": format!("{kind}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
                "cluster": format!("{name}.{namespace}"),
                "metadata": { "NAMESPACE": namespace, "LABELS": labels, "INTERCEPTION_MODE": "NONE" },
            })
        };
        let own = node(
            "sidecar",
            &POD.to_string(),
            "claimgate",
            "claimgate",
            &labels,
        );
        let sidecar = Envoy::start(&own, istiod.xds, &at("sidecar")).await;
        let app = json!({ "app": "orders-api" });
        let router = node("router", "127.0.0.1", "orders-api", "orders", &app);
        let envoy = Envoy::start(&router, istiod.xds, &at("gateway")).await;
        let gateway = SocketAddr::from(([127, 0, 0, 1], port));
        for address in [gateway, SocketAddr::from((POD, PORT))] {
            eventually("Envoy listens", async || {
                TcpStream::connect(address).await.is_ok()
            })
            .await;
        }
        Self {
            backends,
            gateway,
            sidecar,
            _gateway: envoy,
            _istiod: istiod,
            _api: api,
        }
    }

    /// The requests that claimgate's sidecar has received, and the checks that claimgate has answered.
    async fn counts(&self) -> [u64; 2] {
        [
            self.sidecar.counter(RECEIVED).await,
            self.backends.count(CHECKS).await,
        ]
    }
}

/// Applies the overlay's Services, and a pod of its Deployment that runs. Returns the pod's labels.
async fn claimgate_runs(api: &ApiServer) -> Value {
    let overlay = render(&file("deploy/kubernetes/overlays/istio"));
    let services: Vec<_> = overlay
        .iter()
        .filter(|it| it["kind"] == "Service")
        .collect();
    api.apply("the Services", &stream(services.iter().copied()))
        .await;
    let deployment = overlay
        .iter()
        .find(|it| it["kind"] == "Deployment")
        .unwrap();
    let pod = pod_of(deployment);
    api.apply("claimgate's pod", &pod.to_string()).await;
    runs(api, "claimgate", "claimgate", &POD.to_string()).await;
    for service in services {
        let name = &service["metadata"]["name"];
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name, "namespace": "claimgate",
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "grpc", "port": PORT, "protocol": "TCP" }],
            "endpoints": [{
                "addresses": [POD.to_string()],
                "conditions": { "ready": true },
                "targetRef": { "kind": "Pod", "name": "claimgate", "namespace": "claimgate" },
            }],
        });
        api.apply("claimgate's endpoint", &slice.to_string()).await;
    }
    pod["metadata"]["labels"].clone()
}

/// What the overlay applies for the mesh, without its policy, and changed as its comments say for the whole mesh.
fn policies() -> Vec<Value> {
    let mut policies = super::policies();
    policies.retain(|it| it["kind"] != "AuthorizationPolicy");
    for object in &mut policies {
        match object["kind"].as_str().unwrap() {
            "EnvoyFilter" => {
                object["metadata"]["namespace"] = "istio-system".into();
                let spec = object["spec"].as_object_mut().unwrap();
                spec.remove("workloadSelector").unwrap();
            }
            // No agent serves certificates here.
            "PeerAuthentication" => object["spec"]["mtls"]["mode"] = "DISABLE".into(),
            _ => {}
        }
    }
    policies
}

/// Stands for the rules of iptables: what is sent to claimgate's pod arrives at its sidecar first.
fn captured(labels: &Value, check: SocketAddr) -> Value {
    let ingress = json!({
        "port": { "number": PORT, "name": "grpc", "protocol": "GRPC" },
        "bind": POD.to_string(),
        "captureMode": "NONE",
        "defaultEndpoint": check.to_string(),
    });
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": { "name": "claimgate", "namespace": "claimgate" },
        "spec": { "workloadSelector": { "labels": labels }, "ingress": [ingress] },
    })
}
