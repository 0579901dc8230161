//! Contour programs a real Envoy with deploy/kubernetes/overlays/contour.
//!
//! An API server takes no loopback address as the address of a pod, so these tests run in a network
//! namespace of their own, with the address [`POD`].

mod global;
mod team;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{Certificate, CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;

use crate::api_server::ApiServer;
use crate::gateway::{Backends, claim_headers};
use crate::manifests::render;
use crate::process::{Process, free_port, server};
use crate::setup::{envoy_binary, eventually, http};
use crate::{file, read, stream};

/// The address of the pods. It is one of those for documentation (RFC 5737).
const POD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The host of the overlay's `HTTPProxy`.
const HOST: &str = "api.example.com";

const FORGED: [&str; 2] = ["x_auth_subject: root", "X-Auth_Scope: admin"];

#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn contour_asks_claimgate() {
    let mut contour = Contour::start(json!({}), proxy()).await;
    contour
        .backends
        .are_protected_by(contour.tls, &FORGED)
        .await;
    let plain = http(contour.plain, "GET /orders", &[]).await;
    assert_eq!(plain.status, 301, "{plain:?}");
    contour.backends.are_closed_by(contour.tls, 403).await;
}

/// What the files warn of: each of these passes a client's claim headers.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn contours_ways_past_the_check() {
    let mut open = proxy();
    open["spec"]["routes"] = json!([
        { "conditions": [{ "prefix": "/insecure" }], "permitInsecure": true, "services": [{ "name": "orders-api", "port": 80 }] },
        { "conditions": [{ "prefix": "/disabled" }], "authPolicy": { "disabled": true }, "services": [{ "name": "orders-api", "port": 80 }] },
        { "services": [{ "name": "orders-api", "port": 80 }] },
    ]);
    open["spec"]["virtualhost"]["authorization"]["failOpen"] = true.into();
    let mut contour = Contour::start(json!({}), open).await;
    assert!(contour.accepts("orders").await);
    let guarded = http(contour.tls, "GET /insecure", &[]).await;
    assert_eq!(guarded.status, 401, "{guarded:?}");
    contour
        .passes_claim_headers(contour.plain, "GET /insecure")
        .await;
    contour
        .passes_claim_headers(contour.tls, "GET /disabled")
        .await;
    contour.backends.claimgate_dies().await;
    contour
        .passes_claim_headers(contour.tls, "GET /orders")
        .await;
}

/// An Ingress for a guarded host has routes on the plain port.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn an_ingress_opens_the_plain_port() {
    let contour = Contour::start(json!({}), proxy()).await;
    let service = json!({ "service": { "name": "orders-api", "port": { "number": 80 } } });
    let path = json!({ "path": "/opened", "pathType": "Prefix", "backend": service });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": "orders", "namespace": "orders" },
        "spec": { "rules": [{ "host": HOST, "http": { "paths": [path] } }] },
    });
    contour.api.apply("an Ingress", &stream([&ingress])).await;
    eventually("the plain port passes requests", async || {
        http(contour.plain, "GET /opened", &[]).await.status == 200
    })
    .await;
    contour
        .passes_claim_headers(contour.plain, "GET /opened")
        .await;
    assert!(contour.accepts("orders").await);
    for (at, request, status) in [
        (contour.plain, "GET /orders", 301),
        (contour.tls, "GET /opened", 401),
    ] {
        let answer = http(at, request, &[]).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
    }
}

/// With `tcpproxy`, Contour ignores `authorization` and `globalExtAuth`.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn a_tcp_proxy_is_never_checked() {
    let mut own = proxy();
    let spec = own["spec"].as_object_mut().unwrap();
    spec.remove("routes");
    let service = json!({ "name": "orders-api", "port": 80 });
    spec.insert("tcpproxy".to_owned(), json!({ "services": [service] }));
    let mut every = own.clone();
    let virtual_host = every["spec"]["virtualhost"].as_object_mut().unwrap();
    virtual_host.remove("authorization");
    for (settings, proxy) in [(json!({}), own), (global(), every)] {
        let contour = Contour::run(settings, proxy).await;
        contour.checks_nothing().await;
    }
}

/// A team's `HTTPProxy` that a guarded host includes opens its own routes.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn an_included_proxy_opens_its_routes() {
    let mut root = proxy();
    root["spec"]["includes"] = json!([{ "name": "team", "conditions": [{ "prefix": "/team" }] }]);
    let contour = Contour::start(json!({}), root).await;
    let service = json!({ "name": "orders-api", "port": 80 });
    let team = json!({
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": { "name": "team", "namespace": "orders" },
        "spec": { "routes": [
            { "conditions": [{ "prefix": "/disabled" }], "authPolicy": { "disabled": true }, "services": [service] },
            { "conditions": [{ "prefix": "/insecure" }], "permitInsecure": true, "services": [service] },
        ] },
    });
    contour.api.apply("a team's proxy", &stream([&team])).await;
    for (at, request) in [
        (contour.tls, "GET /team/disabled"),
        (contour.plain, "GET /team/insecure"),
    ] {
        eventually(request, async || http(at, request, &[]).await.status == 200).await;
        contour.passes_claim_headers(at, request).await;
    }
    let guarded = http(contour.tls, "GET /team/insecure", &[]).await;
    assert_eq!(guarded.status, 401, "{guarded:?}");
}

/// `globalExtAuth` covers hosts with and without TLS, `permitInsecure` included.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn contour_asks_claimgate_about_every_host() {
    let mut every = proxy();
    let virtual_host = every["spec"]["virtualhost"].as_object_mut().unwrap();
    virtual_host.remove("authorization");
    every["spec"]["routes"][0]["permitInsecure"] = true.into();
    let mut contour = Contour::start(global(), every).await;
    for address in [contour.tls, contour.plain] {
        contour.backends.are_protected_by(address, &FORGED).await;
    }
    contour.backends.are_closed_by(contour.plain, 403).await;
}

/// A host without TLS cannot have `authorization`. Contour does not serve it then.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn contour_does_not_serve_an_unguarded_host() {
    let mut without_tls = proxy();
    without_tls["spec"]["virtualhost"]
        .as_object_mut()
        .unwrap()
        .remove("tls");
    let contour = Contour::run(json!({}), without_tls).await;
    eventually("the status says why", async || {
        let condition = contour.condition("orders").await;
        condition["status"] == "False" && condition.to_string().contains("terminate TLS")
    })
    .await;
    assert!(TcpStream::connect(contour.plain_port()).await.is_err());
}

/// The `HTTPProxy` of the overlay.
fn proxy() -> Value {
    read("deploy/kubernetes/overlays/contour/http-proxy.yaml").remove(0)
}

/// The settings for every host, from the overlay's comment.
fn global() -> Value {
    let name = "deploy/kubernetes/overlays/contour/kustomization.yaml";
    let text = std::fs::read_to_string(file(name)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let lines: Vec<_> = lines.skip_while(|line| *line != "globalExtAuth:").collect();
    let settings: Value = serde_saphyr::from_str(&lines.join("\n")).unwrap();
    assert_eq!(
        settings["globalExtAuth"]["extensionService"],
        "claimgate/claimgate"
    );
    settings
}

/// An API server, Contour, and an Envoy that Contour programs.
struct Contour {
    backends: Backends,
    /// Plain HTTP for the tests, TLS towards Envoy.
    tls: SocketAddr,
    /// Plain HTTP, with the host of the `HTTPProxy`.
    plain: SocketAddr,
    /// What a client of the host trusts.
    roots: RootCertStore,
    port: u16,
    api: ApiServer,
    _processes: [Process; 2],
}

impl Contour {
    /// Waits until claimgate is asked.
    async fn start(settings: Value, proxy: Value) -> Self {
        let contour = Self::run(settings, proxy).await;
        contour.backends.are_behind(contour.tls).await;
        contour
    }

    async fn run(settings: Value, proxy: Value) -> Self {
        let backends = Backends::start("docs/guides/istio.md").await;
        let api = ApiServer::start().await;
        let at = |name: &str| api.directory.path().join(name);
        let certificate = a_cluster(&api, &backends, proxy).await;
        std::fs::write(at("contour.yaml"), settings.to_string()).unwrap();
        let [xds, plain_port, tls_port, metrics, health, debug] =
            [(); 6].map(|()| free_port().to_string());
        let mut command = server("contour");
        command
            .args([
                "serve",
                "--no-incluster",
                "--insecure",
                "--disable-leader-election",
            ])
            .arg("--kubeconfig")
            .arg(api.kubeconfig())
            .arg("--config-path")
            .arg(at("contour.yaml"))
            .args(["--xds-address=127.0.0.1", "--xds-port", &xds])
            .args([
                "--envoy-service-http-address=127.0.0.1",
                "--envoy-service-http-port",
                &plain_port,
            ])
            .args([
                "--envoy-service-https-address=127.0.0.1",
                "--envoy-service-https-port",
                &tls_port,
            ])
            .args(["--http-address=127.0.0.1", "--http-port", &metrics])
            .args(["--health-address=127.0.0.1", "--health-port", &health])
            .args([
                "--debug-http-address=127.0.0.1",
                "--debug-http-port",
                &debug,
            ]);
        let mut contour = Process::start(&mut command, at("contour.log"));
        contour
            .becomes("Contour serves", async || {
                TcpStream::connect(format!("127.0.0.1:{xds}")).await.is_ok()
            })
            .await;
        let bootstrap = server("contour")
            .arg("bootstrap")
            .arg(at("envoy.json"))
            .args([
                "--xds-address=127.0.0.1",
                "--xds-port",
                &xds,
                "--admin-address",
            ])
            .arg(at("admin.sock"))
            .output()
            .await
            .unwrap();
        assert!(bootstrap.status.success(), "{bootstrap:?}");
        let mut command = Command::new(envoy_binary());
        command
            .args([
                "--disable-hot-restart",
                "--service-node",
                "envoy",
                "--service-cluster",
                "envoy",
            ])
            .args(["--concurrency", "1", "--config-path"])
            .arg(at("envoy.json"));
        let envoy = Process::start(&mut command, at("envoy.log"));

        let port: u16 = plain_port.parse().unwrap();
        let behind = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self {
            backends,
            tls: front(behind(tls_port.parse().unwrap()), Some(roots.clone())).await,
            plain: front(behind(port), None).await,
            roots,
            port,
            api,
            _processes: [contour, envoy],
        }
    }

    fn plain_port(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The condition `Valid` of an `HTTPProxy`.
    async fn condition(&self, name: &str) -> Value {
        let arguments = [
            "get",
            "httpproxy",
            name,
            "--namespace=orders",
            "--output=json",
        ];
        let said = self.api.kubectl(&arguments, "").await;
        let object: Value = serde_json::from_str(&said.out).unwrap();
        object["status"]["conditions"][0].clone()
    }

    async fn accepts(&self, name: &str) -> bool {
        self.condition(name).await["status"] == "True"
    }

    /// The port with TLS passes requests without a token, with claim headers of the client's choice, and the
    /// status of the host stays `valid`.
    async fn checks_nothing(&self) {
        eventually("the host passes requests", async || {
            http(self.tls, "GET /orders", &[]).await.status == 200
        })
        .await;
        self.passes_claim_headers(self.tls, "GET /orders").await;
        assert!(self.accepts("orders").await);
    }

    /// A request without a token reaches the API, with the claim header that the client sent.
    async fn passes_claim_headers(&self, at: SocketAddr, request: &str) {
        let forged = ["x-auth-subject: root".to_owned()];
        let answer = http(at, request, &forged).await;
        assert_eq!(answer.status, 200, "{request}: {answer:?}");
        assert_eq!(
            claim_headers(&answer)["x-auth-subject"],
            "root",
            "{request}"
        );
    }
}

/// What the overlay, its user and the controllers of a cluster create. Returns the host's certificate.
async fn a_cluster(api: &ApiServer, backends: &Backends, proxy: Value) -> Certificate {
    api.install(&["contour", "gateway-api"]).await;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([HOST.to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": { "name": "api-example-com", "namespace": "orders" },
        "stringData": { "tls.crt": certificate.pem(), "tls.key": key.serialize_pem() },
    });
    let namespaces = ["orders", "projectcontour"].map(
        |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
    );
    api.apply("namespaces", &stream(&namespaces)).await;
    let mut overlay = render(&file("deploy/kubernetes/overlays/contour"));
    overlay.retain(|it| it["kind"] != "HTTPProxy");
    api.apply("the overlay", &stream(&overlay)).await;
    let objects = [
        secret,
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "orders-api", "namespace": "orders" },
            "spec": { "ports": [{ "name": "http", "port": 80 }] },
        }),
        endpoints("claimgate", "claimgate", "grpc", backends.check).await,
        endpoints("orders", "orders-api", "http", backends.upstream.address()).await,
        proxy,
    ];
    api.apply("the cluster", &stream(&objects)).await;
    certificate
}

/// The endpoint of a Service: an address of a pod, behind which is `to`.
async fn endpoints(namespace: &str, service: &str, port: &str, to: SocketAddr) -> Value {
    let pod = TcpListener::bind((POD, 0)).await;
    let pod =
        pod.expect("this runs in a network namespace with the pods' address: run `make test-real`");
    let address = pod.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = pod.accept().await.unwrap();
            tokio::spawn(async move {
                if let Ok(mut to) = TcpStream::connect(to).await {
                    let _ = copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service, "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [{ "name": port, "port": address.port(), "protocol": "TCP" }],
        "endpoints": [{ "addresses": [POD.to_string()], "conditions": { "ready": true } }],
    })
}

/// Takes plain HTTP requests, and forwards each with the host of the `HTTPProxy`, over TLS if `roots` are given.
async fn front(to: SocketAddr, roots: Option<RootCertStore>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connector = roots.map(|roots| {
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    });
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let connector = connector.clone();
            tokio::spawn(async move {
                if forward(&mut from, to, connector).await.is_none() {
                    let _ = from.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
                }
            });
        }
    });
    address
}

/// `None` if Envoy cannot be reached.
async fn forward(from: &mut TcpStream, to: SocketAddr, tls: Option<TlsConnector>) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        head.push(from.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let lines = head
        .split("\r\n")
        .map(|line| match line.starts_with("Host: ") {
            true => format!("Host: {HOST}"),
            false => line.to_owned(),
        });
    let head = lines.collect::<Vec<_>>().join("\r\n");
    let mut to = TcpStream::connect(to).await.ok()?;
    match tls {
        None => {
            to.write_all(head.as_bytes()).await.ok()?;
            copy_bidirectional(from, &mut to).await.ok()?;
        }
        Some(tls) => {
            let name = ServerName::try_from(HOST).unwrap();
            let mut to = tls.connect(name, to).await.ok()?;
            to.write_all(head.as_bytes()).await.ok()?;
            copy_bidirectional(from, &mut to).await.ok()?;
        }
    }
    Some(())
}
