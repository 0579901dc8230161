//! TLS between Envoy and claimgate, by overlays/envoy-gateway/backend-tls-policy.yaml and by `server.tls` as
//! components/tls says.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use super::{Running, policy, wiring};
use crate::gateway::Backends;
use crate::process::free_port;
use crate::setup::{eventually, http};
use crate::{file, read};

const GUIDE: &str = "docs/guides/envoy-gateway.md";
const POLICY: &str = "deploy/kubernetes/overlays/envoy-gateway/backend-tls-policy.yaml";

#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn tokens_travel_encrypted() {
    let certificates = Certificates::create();
    let server = server(certificates.directory.path(), &[]);
    let mut backends = Backends::with_server(GUIDE, &server).await;
    let port = free_port();
    let whole = objects(port, &backends, &certificates);
    let running = Running::start(port, &whole).await;
    backends.are_behind(running.address).await;
    backends.are_protected_by(running.address, &[]).await;

    // Each of these mistakes closes the gateway.
    let other_name = changed(&whole, |it| {
        if let Some(name) = it.pointer_mut("/spec/validation/hostname") {
            *name = "other.claimgate.svc".into();
        }
    });
    let authority = Certificates::create().authority.pem();
    let other_authority = changed(&whole, |it| {
        if it["kind"] == "ConfigMap" {
            it["data"]["ca.crt"] = authority.clone().into();
        }
    });
    for (what, objects) in [
        ("another name", other_name),
        ("another authority", other_authority),
        ("no policy", without(&whole, "BackendTLSPolicy")),
    ] {
        starts_anew(&running, &whole).await;
        running.replace(&objects);
        fails_to_connect(what, &running, &backends, "tls_handshake").await;
    }
    running.replace(&whole);
    backends.are_behind(running.address).await;
    backends.are_closed_by(running.address, 503).await;
    running.stop().await;
}

/// One side without TLS: with the policy, no check is sent in plain text.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn no_check_is_sent_in_plain_text() {
    let certificates = Certificates::create();
    let backends = Backends::start(GUIDE).await;
    let port = free_port();
    let whole = objects(port, &backends, &certificates);
    let running = Running::start(port, &whole).await;
    fails_to_connect("the policy", &running, &backends, "tls").await;
    assert_eq!(backends.count("claimgate_checks_total{").await, 0);
    running.replace(&without(&whole, "BackendTLSPolicy"));
    backends.are_behind(running.address).await;
    running.stop().await;
}

/// With `client_ca` and `allowed_clients`, only the Gateway's certificate may ask.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn the_gateway_shows_its_certificate() {
    let certificates = Certificates::create();
    let mutual = server(
        certificates.directory.path(),
        &["client_ca", "allowed_clients"],
    );
    let backends = Backends::with_server(GUIDE, &mutual).await;
    let port = free_port();
    let without_certificate = objects(port, &backends, &certificates);
    let running = Running::start(port, &without_certificate).await;
    for name in [None, Some(OTHER)] {
        let mut whole = without_certificate.clone();
        shows(&mut whole, name.map(|name| certificates.secret(name)));
        running.replace(&whole);
        fails_to_connect("the certificate", &running, &backends, "tls_handshake").await;
        starts_anew(&running, &whole).await;
    }
    let mut whole = without_certificate;
    shows(&mut whole, Some(certificates.secret(ENVOY)));
    running.replace(&whole);
    backends.are_behind(running.address).await;
    backends.are_protected_by(running.address, &[]).await;
    running.stop().await;
}

/// What the policy's file warns of: without the authority, every request gets 500. The gateway then has no cluster
/// for claimgate, so what comes next gets a new one, and no connection of the old one.
async fn starts_anew(running: &Running, whole: &[Value]) {
    running.replace(&without(whole, "ConfigMap"));
    eventually("the authority is missing", async || {
        http(running.address, "GET /orders", &[]).await.status == 500
    })
    .await;
}

/// Every request gets 503, and claimgate counts a connection that failed for this reason.
async fn fails_to_connect(what: &str, running: &Running, backends: &Backends, kind: &str) {
    let series = format!("claimgate_bad_connections_total{{kind=\"{kind}\"}}");
    let before = backends.count(&series).await;
    eventually(what, async || {
        let answer = http(running.address, "GET /healthz", &[]).await;
        answer.status == 503 && backends.count(&series).await > before
    })
    .await;
}

/// The name that components/tls allows, and another one of the same authority.
const ENVOY: &str = "spiffe://example.org/ns/edge/sa/envoy";
const OTHER: &str = "spiffe://example.org/ns/edge/sa/other";

/// The section `server` of components/tls, with its files in `directory`, and with these of its fields that are
/// comments there.
fn server(directory: &Path, uncommented: &[&str]) -> Value {
    let mut yaml = in_comments(
        "deploy/kubernetes/components/tls/kustomization.yaml",
        "server:",
    );
    for field in uncommented {
        yaml = yaml.replace(&format!("# {field}:"), &format!("{field}:"));
    }
    let yaml = yaml.replace("/etc/claimgate-tls", directory.to_str().unwrap());
    let mut section: Value = serde_saphyr::from_str(&yaml).unwrap();
    for field in uncommented {
        assert!(section["server"]["tls"].get(field).is_some(), "{yaml}");
    }
    section["server"].take()
}

/// What the overlay applies with backend-tls-policy.yaml. Without a cluster there are no Services: claimgate is a
/// `Backend`, and in the Gateway's namespace, because Envoy Gateway heeds no `ReferenceGrant` then.
fn objects(port: u16, backends: &Backends, certificates: &Certificates) -> Vec<Value> {
    let mut objects = wiring(port, backends.check, backends.upstream.address());
    let mut claimgate = objects
        .iter_mut()
        .filter(|it| it["kind"] == "Backend" && it["metadata"]["name"] == "claimgate");
    // As the Service, it does not ask for plain text.
    let spec = claimgate.next().unwrap()["spec"].as_object_mut();
    spec.unwrap().remove("appProtocols").unwrap();
    let mut tls = read(POLICY).remove(0);
    assert_eq!(tls["spec"]["targetRefs"][0]["name"], "claimgate");
    let backend =
        json!({ "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "claimgate" });
    tls["spec"]["targetRefs"] = json!([backend]);
    tls["metadata"]["namespace"] = "gateway".into();
    let authority = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "claimgate-ca", "namespace": "gateway" },
        "data": { "ca.crt": certificates.authority.pem() },
    });
    objects.extend([policy(), tls, authority]);
    objects
}

/// Gives the Gateway the certificate in this Secret, as the policy's file says.
fn shows(objects: &mut Vec<Value>, secret: Option<Value>) {
    if let Some(secret) = secret {
        let mut gateways = objects.iter_mut().filter(|it| it["kind"] == "Gateway");
        let yaml = in_comments(POLICY, "spec:");
        let mut added: Value = serde_saphyr::from_str(&yaml).unwrap();
        gateways.next().unwrap()["spec"]["tls"] = added["spec"]["tls"].take();
        objects.push(secret);
    }
}

/// The lines of YAML in a file's comments, from this one on.
fn in_comments(name: &str, first: &str) -> String {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let lines: Vec<_> = lines.skip_while(|line| *line != first).collect();
    lines.join("\n")
}

fn changed(objects: &[Value], change: impl Fn(&mut Value)) -> Vec<Value> {
    let mut objects = objects.to_vec();
    objects.iter_mut().for_each(change);
    objects
}

fn without(objects: &[Value], kind: &str) -> Vec<Value> {
    let mut objects = objects.to_vec();
    objects.retain(|it| it["kind"] != kind);
    objects
}

/// An authority, and claimgate's certificate with the name in the policy.
struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Certificates {
    fn create() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let this = Self {
            authority,
            directory,
        };
        let policy = read(POLICY).remove(0);
        let host = policy["spec"]["validation"]["hostname"].as_str().unwrap();
        let [certificate, key] = this.sign(SanType::DnsName(host.try_into().unwrap()));
        for (name, content) in [
            ("ca.crt", this.authority.pem()),
            ("tls.crt", certificate),
            ("tls.key", key),
        ] {
            std::fs::write(this.directory.path().join(name), content).unwrap();
        }
        this
    }

    /// A certificate and its key.
    fn sign(&self, name: SanType) -> [String; 2] {
        let own = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = vec![name];
        // A certificate with the authority's name would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, "signed");
        let signed = params.signed_by(&own, &self.authority).unwrap();
        [signed.pem(), own.serialize_pem()]
    }

    /// A certificate for this URI, as a Secret of the Gateway's namespace.
    fn secret(&self, uri: &str) -> Value {
        let [certificate, key] = self.sign(SanType::URI(uri.try_into().unwrap()));
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": { "name": "claimgate-client", "namespace": "gateway" },
            "data": {
                "tls.crt": BASE64_STANDARD.encode(certificate),
                "tls.key": BASE64_STANDARD.encode(key),
            },
        })
    }
}
