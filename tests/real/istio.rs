//! istiod programs a real Envoy with deploy/istio and deploy/kubernetes/overlays/istio.

mod module;
mod whole_mesh;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::gateway::{Backends, claim_headers};
use crate::manifests::render;
use crate::process::{Envoy, Process, free_port, server};
use crate::setup::{eventually, http};
use crate::xds::listeners;
use crate::{file, read, stream};

/// Istio lets header names with underscores pass.
const FORGED: [&str; 2] = ["x_auth_subject: root", "X-Auth_Scope: admin"];

/// Where Envoy stands.
#[derive(Clone, Copy)]
enum Proxy {
    Gateway,
    Sidecar,
}

#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn istio_asks_claimgate_at_a_gateway() {
    let mut mesh = Mesh::start(Proxy::Gateway, policies()).await;
    mesh.backends.are_protected_by(mesh.address, &FORGED).await;
    mesh.has_the_settings_of_the_files().await;
    mesh.backends.are_closed_by(mesh.address, 503).await;
}

#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn istio_asks_claimgate_in_a_sidecar() {
    let mut mesh = Mesh::start(Proxy::Sidecar, policies()).await;
    mesh.backends.are_protected_by(mesh.address, &FORGED).await;
    mesh.has_the_settings_of_the_files().await;
    mesh.backends.are_closed_by(mesh.address, 503).await;
}

/// The policy for the whole mesh leaves out claimgate's own port with the path of checks, and nothing else.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn istio_asks_claimgate_in_the_whole_mesh() {
    let mut policies = policies();
    policies.retain(|it| it["kind"] != "AuthorizationPolicy");
    policies.extend(read("deploy/kubernetes/overlays/istio/whole-mesh.yaml"));
    let mesh = Mesh::start(Proxy::Gateway, policies).await;
    mesh.backends.are_protected_by(mesh.address, &FORGED).await;
    let check = "POST /envoy.service.auth.v3.Authorization/Check";
    let answer = http(mesh.address, check, &[]).await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

/// What the files warn of: a path that Istio's policy leaves out passes a client's claim headers.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn a_path_outside_istios_policy_passes_claim_headers() {
    let mut policies = policies();
    let policy = policies
        .iter_mut()
        .find(|it| it["kind"] == "AuthorizationPolicy");
    policy.unwrap()["spec"]["rules"] =
        json!([{ "to": [{ "operation": { "notPaths": ["/healthz"] } }] }]);
    let mesh = Mesh::start(Proxy::Gateway, policies).await;
    let answer = http(
        mesh.address,
        "GET /healthz",
        &["x-auth-subject: root".to_owned()],
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(claim_headers(&answer)["x-auth-subject"], "root");
}

/// In ambient mode, the policy of overlays/istio-ambient binds to a waypoint, and that of overlays/istio
/// protects nothing: istiod's status says so. The waypoint asks claimgate before it routes. The released
/// Envoy cannot run as a waypoint, so the test reads the waypoint's configuration.
#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn ambient_mode_asks_at_the_waypoint_only() {
    let api = ApiServer::start().await;
    a_waypoint_runs(&api).await;
    let mut by_selector =
        read("deploy/kubernetes/overlays/istio/authorization-policy.yaml").remove(0);
    by_selector["metadata"]["name"] = "by-selector".into();
    api.apply("the sidecars' policy", &by_selector.to_string())
        .await;

    let mesh = read("deploy/istio/ambient.yaml").remove(0)["spec"]["meshConfig"].take();
    let istiod = Istiod::start(&api, mesh, None).await;
    for (policy, condition, expected) in [
        ("claimgate", "WaypointAccepted", "True"),
        ("only-waypoint", "ZtunnelAccepted", "True"),
        ("by-selector", "ZtunnelAccepted", "False"),
    ] {
        let path = "{.status.conditions[?(@.type==\"".to_owned() + condition + "\")].status}";
        let output = format!("jsonpath={path}");
        let arguments = [
            "get",
            "authorizationpolicies.security.istio.io",
            policy,
            "--namespace=orders",
            "--output",
            &output,
        ];
        eventually(
            &format!("{policy}: {condition} is {expected}"),
            async || api.kubectl(&arguments, "").await.out == expected,
        )
        .await;
    }

    let id = "waypoint~127.0.0.1~waypoint.orders~orders.svc.cluster.local";
    let metadata = json!({
        "NAMESPACE": "orders",
        "SERVICE_ACCOUNT": "waypoint",
        "LABELS": { "gateway.networking.k8s.io/gateway-name": "waypoint" },
    });
    eventually("the waypoint asks claimgate, then routes", async || {
        let listeners = listeners(istiod.xds, id, &metadata).await;
        listeners.iter().any(|listener| {
            let at = |name: &str| {
                listener
                    .windows(name.len())
                    .position(|it| it == name.as_bytes())
            };
            let places = ORDER_AT_THE_WAYPOINT.map(at);
            places.iter().all(Option::is_some) && places.is_sorted()
        })
    })
    .await;
}

/// The first occurrences of these stand in this order in the listener of a waypoint.
const ORDER_AT_THE_WAYPOINT: [&str; 4] = [
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "outbound|9001||claimgate.claimgate.svc.cluster.local",
    "envoy.extensions.filters.http.router.v3.Router",
    "inbound-vip|80|http|orders-api.orders.svc.cluster.local",
];

/// The overlay for ambient mode is applied, its waypoint runs, and a Service uses it.
async fn a_waypoint_runs(api: &ApiServer) {
    api.install(&["gateway-api", "istio"]).await;
    let namespaces = ["istio-system", "orders"].map(
        |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
    );
    api.apply("namespaces", &stream(&namespaces)).await;
    let overlay = render(&file("deploy/kubernetes/overlays/istio-ambient"));
    api.apply("the overlay", &stream(&overlay)).await;
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "istio-waypoint" },
        "spec": { "controllerName": "istio.io/mesh-controller" },
    });
    let waypoint = json!({ "gateway.networking.k8s.io/gateway-name": "waypoint" });
    let service = |name: &str, labels: Value, selector: &Value, port: u16, protocol: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": "orders", "labels": labels },
            "spec": { "selector": selector, "ports": [{ "name": protocol, "port": port }] },
        })
    };
    let uses = json!({ "istio.io/use-waypoint": "waypoint" });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "waypoint", "namespace": "orders", "labels": waypoint },
        "spec": { "nodeName": "node", "serviceAccountName": "waypoint", "containers": [{ "name": "envoy", "image": "proxyv2" }] },
    });
    let cluster = [
        class,
        service("waypoint", waypoint.clone(), &waypoint, 15008, "hbone"),
        service(
            "orders-api",
            uses,
            &json!({ "app": "orders-api" }),
            80,
            "http",
        ),
        pod,
    ];
    api.apply("the cluster", &stream(&cluster)).await;
    runs(api, "orders", "waypoint", "127.0.0.1").await;
    let address = json!({ "type": "Hostname", "value": "waypoint.orders.svc.cluster.local" });
    let status = json!({ "status": { "addresses": [address] } });
    patch_status(
        api,
        "orders",
        &["gateways.gateway.networking.k8s.io", "waypoint"],
        &status,
    )
    .await;
}

/// What the overlay applies for the mesh.
fn policies() -> Vec<Value> {
    let overlay = render(&file("deploy/kubernetes/overlays/istio"));
    let is_istios = |it: &Value| it["apiVersion"].as_str().unwrap().contains(".istio.io/");
    let policies: Vec<_> = overlay.into_iter().filter(is_istios).collect();
    assert_eq!(policies.len(), 4, "{policies:#?}");
    policies
}

/// An API server, istiod, and an Envoy that istiod programs.
struct Mesh {
    backends: Backends,
    address: SocketAddr,
    envoy: Envoy,
    wiring: Vec<Value>,
    _istiod: Istiod,
    api: ApiServer,
}

impl Mesh {
    /// An Envoy that asks claimgate.
    async fn start(proxy: Proxy, policies: Vec<Value>) -> Self {
        let this = Self::with(proxy, |_| policies).await;
        this.backends.are_behind(this.address).await;
        this
    }

    /// With these objects of the mesh, which may do anything.
    async fn with(proxy: Proxy, policies: impl FnOnce(&Backends) -> Vec<Value>) -> Self {
        let backends = Backends::start("docs/guides/istio.md").await;
        let api = ApiServer::start().await;
        register_the_proxy(&api).await;

        let port = free_port();
        let directory = api.directory.path().join("istio");
        std::fs::create_dir(&directory).unwrap();
        let wiring = wiring(proxy, port, &backends);
        let objects = [wiring.clone(), policies(&backends)].concat();
        std::fs::write(directory.join("objects.yaml"), stream(&objects)).unwrap();

        let mesh = read("deploy/istio/istioctl.yaml").remove(0)["spec"]["meshConfig"].take();
        let istiod = Istiod::start(&api, mesh, Some(&directory)).await;

        let kind = match proxy {
            Proxy::Gateway => "router",
            Proxy::Sidecar => "sidecar",
        };
        let node = json!({
            "id": format!("{kind}~127.0.0.1~orders-api.orders~orders.svc.cluster.local"),
            "cluster": "orders-api.orders",
            "metadata": {
                "NAMESPACE": "orders",
                "LABELS": { "app": "orders-api" },
                "INTERCEPTION_MODE": "NONE",
            },
        });
        let envoy = Envoy::start(&node, istiod.xds, api.directory.path()).await;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            backends,
            address,
            envoy,
            wiring,
            _istiod: istiod,
            api,
        }
    }

    /// Gives istiod other objects of the mesh.
    fn apply(&self, policies: &[Value]) {
        let at = |name: &str| self.api.directory.path().join(name);
        let objects = [self.wiring.as_slice(), policies].concat();
        std::fs::write(at("objects.yaml"), stream(&objects)).unwrap();
        std::fs::rename(at("objects.yaml"), at("istio/objects.yaml")).unwrap();
    }

    /// Envoy has what deploy/istio and envoy-filter.yaml say. Istio ignores a field that it does not know.
    async fn has_the_settings_of_the_files(&self) {
        let filters = self.envoy.configured("ExtAuthz").await;
        let filters: Vec<_> = filters
            .iter()
            .filter(|it| it["@type"].as_str().unwrap().contains(".filters.http."))
            .collect();
        assert!(!filters.is_empty(), "no filter asks claimgate");
        for filter in filters {
            let expected = [
                ("/grpc_service/timeout", json!("0.500s")),
                ("/status_on_error/code", json!("ServiceUnavailable")),
                ("/encode_raw_headers", json!(true)),
                ("/validate_mutations", json!(true)),
                ("/include_peer_certificate", json!(true)),
            ];
            for (field, value) in expected {
                assert_eq!(filter.pointer(field), Some(&value), "{field}: {filter:#}");
            }
            for absent in ["failure_mode_allow", "allowed_headers", "with_request_body"] {
                assert!(
                    matches!(filter.get(absent), None | Some(Value::Bool(false))),
                    "{absent}"
                );
            }
        }
        for manager in self.envoy.configured("HttpConnectionManager").await {
            assert_eq!(manager["normalize_path"], true, "{manager:#}");
            assert_eq!(manager["merge_slashes"], true, "{manager:#}");
        }
    }
}

/// A running istiod.
pub struct Istiod {
    pub xds: SocketAddr,
    _process: Process,
}

impl Istiod {
    /// With `objects`, it reads Istio's objects from this directory, otherwise from the API server.
    pub async fn start(api: &ApiServer, mut mesh: Value, objects: Option<&Path>) -> Self {
        // Envoy as it is released has no filter for Istio's own telemetry.
        mesh["defaultProviders"] = json!({ "metrics": [], "accessLogging": [], "tracing": [] });
        // No agent serves certificates here.
        mesh["enableAutoMtls"] = json!(false);
        let at = |name: &str| api.directory.path().join(name);
        std::fs::write(at("mesh.yaml"), mesh.to_string()).unwrap();
        let [xds, http, monitoring] =
            [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut command = server("pilot-discovery");
        command
            .arg("discovery")
            .arg("--kubeconfig")
            .arg(api.kubeconfig())
            .arg("--meshConfig")
            .arg(at("mesh.yaml"))
            .args([
                "--grpcAddr",
                &xds.to_string(),
                "--httpAddr",
                &http.to_string(),
            ])
            .args(["--monitoringAddr", &monitoring.to_string()])
            .args(["--httpsAddr=", "--secureGRPCAddr=", "--ctrlz_port=0"])
            .env("PILOT_ENABLE_ALPN_FILTER", "false")
            .env("PILOT_ENABLE_METADATA_EXCHANGE", "false")
            .env("ENABLE_CA_SERVER", "false")
            .env("PILOT_CERT_PROVIDER", "none")
            .current_dir(api.directory.path());
        if let Some(objects) = objects {
            command.arg("--configDir").arg(objects);
        } else {
            // The tests say themselves that the waypoint runs.
            command
                .env("PILOT_ENABLE_AMBIENT", "true")
                .env("PILOT_ENABLE_GATEWAY_API_STATUS", "false")
                .env("PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER", "false");
        }
        let mut process = Process::start(&mut command, at("istiod.log"));
        process
            .becomes("istiod is ready", async || {
                let ready = reqwest::get(format!("http://{http}/ready")).await;
                ready.is_ok_and(|answer| answer.status() == 200)
            })
            .await;
        Self {
            xds,
            _process: process,
        }
    }
}

/// The pod whose labels istiod gives the proxy.
async fn register_the_proxy(api: &ApiServer) {
    let namespaces = ["istio-system", "orders", "claimgate"].map(
        |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
    );
    api.apply("namespaces", &stream(&namespaces)).await;
    let objects = [
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "orders-api", "namespace": "orders", "labels": { "app": "orders-api" } },
            "spec": { "nodeName": "node", "containers": [{ "name": "api", "image": "orders-api" }] },
        }),
        endpoints_of_kubernetes(),
    ];
    api.apply("the pod", &stream(&objects)).await;
    runs(api, "orders", "orders-api", "127.0.0.1").await;
}

/// Envoy waits for endpoints of every Service.
pub fn endpoints_of_kubernetes() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "https", "port": 6443, "protocol": "TCP" }],
        "endpoints": [{ "addresses": ["192.0.2.1"] }],
    })
}

/// Says that a pod runs on this machine, at this address.
pub async fn runs(api: &ApiServer, namespace: &str, pod: &str, address: &str) {
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    patch_status(api, namespace, &["pod", pod], &status).await;
}

async fn patch_status(api: &ApiServer, namespace: &str, object: &[&str], status: &Value) {
    let status = status.to_string();
    let mut arguments = vec![
        "patch",
        "--namespace",
        namespace,
        "--subresource=status",
        "--type=merge",
    ];
    arguments.extend(["--patch", &status]);
    arguments.extend(object);
    let patched = api.kubectl(&arguments, "").await;
    assert!(patched.is_ok, "{}", patched.err);
}

/// Stands for the cluster: where claimgate and the API are, and which port Envoy has.
fn wiring(proxy: Proxy, port: u16, backends: &Backends) -> Vec<Value> {
    let service = |host: &str, port: u16, protocol: &str, at: SocketAddr| {
        let (name, namespace) = host.split_once('.').unwrap();
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": name, "namespace": namespace },
            "spec": {
                "hosts": [format!("{host}.svc.cluster.local")],
                "location": "MESH_INTERNAL",
                "resolution": "STATIC",
                "ports": [{ "number": port, "name": protocol.to_lowercase(), "protocol": protocol }],
                "endpoints": [{ "address": "127.0.0.1", "ports": { protocol.to_lowercase(): at.port() } }],
            },
        })
    };
    let upstream = backends.upstream.address();
    let mut objects = vec![
        service("claimgate.claimgate", 9001, "GRPC", backends.check),
        service("orders-api.orders", 80, "HTTP", upstream),
    ];
    let of = |kind: &str, version: &str, spec: Value| {
        json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": { "name": "orders-api", "namespace": "orders" },
            "spec": spec,
        })
    };
    match proxy {
        Proxy::Gateway => {
            let server = json!({ "port": { "number": port, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] });
            let gateway = json!({ "selector": { "app": "orders-api" }, "servers": [server] });
            objects.push(of("Gateway", "networking.istio.io/v1", gateway));
            let to =
                json!({ "host": "orders-api.orders.svc.cluster.local", "port": { "number": 80 } });
            let route = json!([{ "destination": to }]);
            let routes = json!({
                "hosts": ["*"],
                "gateways": ["orders-api"],
                "http": [
                    { "name": "health", "match": [{ "uri": { "exact": "/healthz" } }], "route": route },
                    { "route": route },
                ],
            });
            objects.push(of("VirtualService", "networking.istio.io/v1", routes));
        }
        Proxy::Sidecar => {
            let ingress = json!({
                "port": { "number": port, "name": "http", "protocol": "HTTP" },
                "bind": "127.0.0.1",
                "captureMode": "NONE",
                "defaultEndpoint": upstream.to_string(),
            });
            let sidecar = json!({
                "workloadSelector": { "labels": { "app": "orders-api" } },
                "ingress": [ingress],
                // As docs/guides/istio.md says.
                "egress": [{ "hosts": ["./*", "istio-system/*", "claimgate/*"] }],
            });
            objects.push(of("Sidecar", "networking.istio.io/v1", sidecar));
            // No agent serves certificates here.
            let plain = json!({ "mtls": { "mode": "DISABLE" } });
            objects.push(of("PeerAuthentication", "security.istio.io/v1", plain));
        }
    }
    objects
}
