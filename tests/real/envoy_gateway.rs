//! Envoy Gateway, without a cluster, programs a real Envoy with deploy/kubernetes/overlays/envoy-gateway, and with
//! overlays/envoy-gateway-login, where a person logs in with a headless browser.

mod merged;
mod module;
mod tls;

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use claimgate::dev::upstream::Upstream;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::front::{APPLICATION, browse};
use crate::gateway::{Backends, claim_headers};
use crate::manifests::render;
use crate::process::{Envoy, Process, free_port, server};
use crate::setup::{Claimgate, Provider, bearer, envoy_binary, eventually, http};
use crate::{file, read, stream};

/// The version of the Envoy that the tests install.
const ENVOY: &str = "1.40.0";

const LOGIN: &str = "deploy/kubernetes/overlays/envoy-gateway-login";

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

/// The steps in the browser are those with deploy/envoy/login.yaml.
#[tokio::test]
#[ignore = "needs Envoy Gateway, oidc-provider and Chromium: run `make test-meshes`"]
async fn a_person_logs_in() {
    let provider = Provider::start(0).await;
    let upstream = Upstream::start().await.unwrap();
    let port = free_port();
    let application = format!("http://localhost:{port}");
    let directory = tempfile::tempdir().unwrap();
    let claimgate = behind_a_login(directory.path(), &provider.issuer, &application).await;
    let mut objects = wiring(port, claimgate.check, upstream.address());
    let login = login(&mut objects, &provider.issuer, &application);
    objects.extend(login);
    let running = Running::start(port, &objects).await;

    let token = provider.token(APPLICATION).await;
    let ask = async |request: &str, lines: &[String]| http(running.address, request, lines).await;
    // The overlay has no other host.
    let host = format!("GET http://localhost:{port}/orders");
    eventually("programs are asked about", async || {
        let garbage = ask(&host, &[bearer("x")]).await;
        let good = ask(&host, &[bearer(&token)]).await;
        (garbage.status, good.status) == (401, 200) && garbage.body.contains("malformed_token")
    })
    .await;
    eventually("the login is there", async || {
        ask(&host, &["accept: text/html".to_owned()]).await.status == 302
    })
    .await;

    browse(&application, "oidc-provider", &provider.issuer).await;
    running.stop().await;
}

/// claimgate with the overlay's configuration, for tokens of this provider.
async fn behind_a_login(directory: &Path, issuer: &str, application: &str) -> Claimgate {
    let mut configuration = read(&format!("{LOGIN}/claimgate.yaml")).remove(0);
    let provider = &mut configuration["providers"][0];
    provider["issuer"] = issuer.into();
    provider["audiences"] = json!([APPLICATION]);
    // Its directory is one of the pod.
    provider.as_object_mut().unwrap().remove("refresh").unwrap();
    // Shows the browser which token the request had.
    let id = json!({ "header": "x-auth-token-id", "claim": "jti" });
    let headers = configuration["upstream"]["claim_headers"].as_array_mut();
    headers.unwrap().push(id);
    let text = configuration.to_string();
    let own = format!("== \\\"{APPLICATION}\\\"");
    assert_eq!(text.matches(&own).count(), 1, "{text}");
    let text = text.replace(&own, &format!("== \\\"{application}\\\""));
    let path = directory.join("claimgate.yaml");
    std::fs::write(&path, text).unwrap();
    let claimgate = Claimgate::start(&path).await;
    claimgate.is_ready().await;
    claimgate
}

/// What the overlay applies, at this provider and for this application. Without a cluster, the order of the
/// filters goes into the `EnvoyProxy` among `objects`, and secrets are there as they are.
fn login(objects: &mut [Value], issuer: &str, application: &str) -> Vec<Value> {
    let secret = |name: &str, namespace: &str, key: &str, value: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": namespace },
            "data": { key: BASE64_STANDARD.encode(value) },
        })
    };
    let mut own = vec![
        policy(),
        secret("app-login", "gateway", "client-secret", "secret-of-the-app"),
        secret(
            "envoy-oidc-hmac",
            "envoy-gateway-system",
            "hmac-secret",
            "0123456789abcdef0123456789abcdef",
        ),
    ];
    for mut object in render(&file(LOGIN)) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let name = object["metadata"]["name"].clone();
        match kind.as_str() {
            "EnvoyProxy" => {
                let mut host = objects.iter_mut().filter(|it| it["kind"] == "EnvoyProxy");
                host.next().unwrap()["spec"]["filterOrder"] = object["spec"]["filterOrder"].take();
            }
            "SecurityPolicy" if name == "login" => {
                let oidc = &mut object["spec"]["oidc"];
                oidc["redirectURL"] = format!("{application}/oauth2/callback").into();
                oidc["resources"] = json!([APPLICATION]);
                // A name, which Envoy Gateway requires. It does not look for metadata.
                let token = issuer.replace("127.0.0.1", "localhost");
                let endpoints = &mut oidc["provider"];
                endpoints["authorizationEndpoint"] = format!("{issuer}/auth").into();
                endpoints["tokenEndpoint"] = format!("{token}/token").into();
                endpoints["endSessionEndpoint"] = format!("{issuer}/session/end").into();
                own.push(object);
            }
            "HTTPRoute" => {
                object["spec"]["hostnames"] = json!(["localhost"]);
                let backend = object.pointer_mut("/spec/rules/0/backendRefs").unwrap();
                assert_eq!(*backend, json!([{ "name": "app", "port": 80 }]));
                *backend = orders_api();
                own.push(object);
            }
            _ => {}
        }
    }
    own
}

/// A Gateway with the policy of the overlay, and what stands behind it.
struct Gateway {
    backends: Backends,
    address: SocketAddr,
    running: Running,
}

impl Gateway {
    /// The overlay's policy on a Gateway with one route, and perhaps a team's policy for the route.
    async fn start(team: Option<Value>) -> Self {
        let backends = Backends::start("docs/guides/envoy-gateway.md").await;
        let port = free_port();
        let mut objects = wiring(port, backends.check, backends.upstream.address());
        objects.push(policy());
        objects.extend(team);
        let running = Running::start(port, &objects).await;
        Self {
            backends,
            address: running.address,
            running,
        }
    }

    async fn stop(self) {
        self.running.stop().await;
    }
}

/// Envoy Gateway and its Envoy. It always listens on port 18000 itself, so only one runs at a time.
pub struct Running {
    address: SocketAddr,
    process: Process,
    directory: TempDir,
}

impl Running {
    /// With these objects, of which a Gateway listens on this port.
    pub async fn start(port: u16, objects: &[Value]) -> Self {
        let mut this = Self::begin(port, objects).await;
        let address = this.address;
        this.process
            .becomes("the gateway listens", async || {
                TcpStream::connect(address).await.is_ok()
            })
            .await;
        this
    }

    /// Does not wait for the Gateway.
    async fn begin(port: u16, objects: &[Value]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("resources")).unwrap();
        std::fs::write(at("resources/objects.yaml"), stream(objects)).unwrap();

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
        let process = Process::start(&mut command, at("envoy-gateway.log"));
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            process,
            directory,
        }
    }

    /// Gives it other objects, all at once: without its objects, it would end its Envoy.
    fn replace(&self, objects: &[Value]) {
        let at = |name: &str| self.directory.path().join(name);
        std::fs::write(at("objects.yaml"), stream(objects)).unwrap();
        std::fs::rename(at("objects.yaml"), at("resources/objects.yaml")).unwrap();
    }

    /// Its Envoy, once that has written where its admin port is.
    pub async fn envoy(&self) -> Envoy {
        let mut admin = None;
        eventually("Envoy has an admin port", async || {
            let runs = std::fs::read_dir(self.directory.path().join("run"));
            let runs = runs.into_iter().flatten().flatten();
            let mut written =
                runs.map(|run| std::fs::read_to_string(run.path().join("admin-address.txt")));
            admin = written.find_map(|text| text.ok()?.trim().parse().ok());
            admin.is_some()
        })
        .await;
        Envoy::at(admin.unwrap())
    }

    /// Ends Envoy Gateway, which ends its Envoy.
    pub async fn stop(mut self) {
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
pub fn wiring(port: u16, check: SocketAddr, upstream: SocketAddr) -> Vec<Value> {
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
        "rules": [{ "backendRefs": orders_api() }],
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
        backend("claimgate", check, &["gateway.envoyproxy.io/h2c"]),
        backend("orders-api", upstream, &[]),
    ]
}

/// The backend of the routes.
fn orders_api() -> Value {
    json!([{ "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "orders-api" }])
}
