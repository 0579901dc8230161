//! A Kubernetes API server with etcd, and nothing else: no controllers, no kubelet.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::process::{Process, free_port, server, servers};

/// The token of the tests' own user, who may do everything.
const TOKEN: &str = "test-real";

pub struct ApiServer {
    pub directory: TempDir,
    etcd: String,
    port: u16,
    keys: Vec<PathBuf>,
    process: Process,
    _etcd: Process,
}

/// What a command said.
pub struct Said {
    pub is_ok: bool,
    pub out: String,
    pub err: String,
}

impl ApiServer {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&own).unwrap();
        std::fs::write(at("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(at("tls.key"), own.serialize_pem()).unwrap();
        let users = format!("{TOKEN},test,test,system:masters\n");
        std::fs::write(at("users.csv"), users).unwrap();

        let etcd = format!("http://127.0.0.1:{}", free_port());
        let peers = format!("http://127.0.0.1:{}", free_port());
        let mut command = Command::new("etcd");
        command
            .arg("--data-dir")
            .arg(at("etcd"))
            .args([
                "--listen-client-urls",
                &etcd,
                "--advertise-client-urls",
                &etcd,
            ])
            .args([
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
            ])
            .args([
                "--initial-cluster",
                &format!("default={peers}"),
                "--unsafe-no-fsync",
            ]);
        let store = Process::start(&mut command, at("etcd.log"));

        let port = free_port();
        let first = signing_key(directory.path(), 1);
        let mut this = Self {
            process: run(directory.path(), port, &etcd, std::slice::from_ref(&first)),
            keys: vec![first],
            directory,
            etcd,
            port,
            _etcd: store,
        };
        this.write_kubeconfig();
        this.becomes_ready().await;
        this
    }

    /// Its address, which is also the issuer of its service accounts' tokens.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate that clients trust.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("tls.crt")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Signs service-account tokens with a new key from now on. Those of the previous key stay valid.
    pub async fn rotate(&mut self) {
        let key = signing_key(self.directory.path(), self.keys.len() + 1);
        self.keys.insert(0, key);
        self.process.kill().await;
        self.process = run(self.directory.path(), self.port, &self.etcd, &self.keys);
        self.becomes_ready().await;
    }

    /// Installs the resource types of these projects.
    pub async fn install(&self, projects: &[&str]) {
        for project in projects {
            let types = servers().join("crds").join(format!("{project}.yaml"));
            let types = types.to_str().unwrap();
            // They are too large for the annotation of a client-side apply.
            let applied = self
                .kubectl(&["apply", "--server-side", "--filename", types], "")
                .await;
            assert!(applied.is_ok, "{project}: {}", applied.err);
        }
        let all = [
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=30s",
        ];
        let waited = self.kubectl(&all, "").await;
        assert!(waited.is_ok, "{}", waited.err);
    }

    /// Applies objects as a user does, with strict validation. Any warning is a failure.
    pub async fn apply(&self, what: &str, objects: &str) {
        let applied = self
            .kubectl(&["apply", "--validate=strict", "--filename", "-"], objects)
            .await;
        assert!(applied.is_ok, "{what}: {}", applied.err);
        assert_eq!(applied.err, "", "{what}");
    }

    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Said {
        kubectl(&self.kubeconfig(), arguments, input).await
    }

    fn write_kubeconfig(&self) {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "clusters": [{ "name": "test", "cluster": {
                "server": self.url(), "certificate-authority": self.authority(),
            } }],
            "users": [{ "name": "test", "user": { "token": TOKEN } }],
        });
        std::fs::write(self.kubeconfig(), kubeconfig.to_string()).unwrap();
    }

    async fn becomes_ready(&mut self) {
        let kubeconfig = self.kubeconfig();
        let ready = async || {
            kubectl(&kubeconfig, &["get", "--raw", "/readyz"], "")
                .await
                .is_ok
        };
        self.process.becomes("the API server is ready", ready).await;
    }
}

async fn kubectl(kubeconfig: &Path, arguments: &[&str], input: &str) -> Said {
    let kubectl = std::env::var_os("KUBECTL_BIN");
    let mut child = Command::new(kubectl.expect("KUBECTL_BIN names kubectl: run `make test-real`"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let written = async {
        // A command that does not read its input may end first.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(written, child.wait_with_output());
    let output = output.unwrap();
    Said {
        is_ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The API server. The first key signs, all verify.
fn run(directory: &Path, port: u16, etcd: &str, keys: &[PathBuf]) -> Process {
    let at = |name: &str| directory.join(name);
    let issuer = format!("https://127.0.0.1:{port}");
    let mut command = server("kube-apiserver");
    command
        .args(["--etcd-servers", etcd])
        .args([
            "--bind-address=127.0.0.1",
            "--secure-port",
            &port.to_string(),
        ])
        // A loopback address cannot be an endpoint.
        .arg("--endpoint-reconciler-type=none")
        .arg("--tls-cert-file")
        .arg(at("tls.crt"))
        .arg("--tls-private-key-file")
        .arg(at("tls.key"))
        .arg("--cert-dir")
        .arg(at("certificates"))
        .args(["--service-account-issuer", &issuer])
        .args([
            "--service-account-jwks-uri",
            &format!("{issuer}/openid/v1/jwks"),
        ])
        .arg("--service-account-signing-key-file")
        .arg(&keys[0])
        .args(["--api-audiences", &issuer])
        .arg("--token-auth-file")
        .arg(at("users.csv"))
        .arg("--authorization-mode=RBAC")
        // No controller gives namespaces their default account.
        .arg("--disable-admission-plugins=ServiceAccount")
        .arg("--service-cluster-ip-range=10.0.0.0/24");
    for key in keys {
        command
            .arg("--service-account-key-file")
            .arg(key.with_extension("pub"));
    }
    Process::start(&mut command, at("api-server.log"))
}

/// A new key, with its public half beside it.
fn signing_key(directory: &Path, number: usize) -> PathBuf {
    let path = directory.join(format!("service-accounts-{number}.key"));
    let key = KeyPair::generate().unwrap();
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::write(path.with_extension("pub"), key.public_key_pem()).unwrap();
    path
}
