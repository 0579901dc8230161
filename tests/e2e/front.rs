//! A login in front of claimgate and of an application: `deploy/envoy/login.yaml`, set up as `docs/guides/login.md`
//! says, with a provider on this machine.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use url::Url;

use crate::setup::{Claimgate, bearer, envoy_binary, eventually, http};

const FILE: &str = include_str!("../../deploy/envoy/login.yaml");
const GUIDE: &str = include_str!("../../docs/guides/login.md");

/// The provider's address in the file.
const PROVIDER: &str = "https://idp.example.com";
/// The application's address in the file and in the guide.
pub const APPLICATION: &str = "https://app.example.com";

const FILTERS: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";

/// The maximum time in the browser, a little more than `LIMIT` in `login.mjs`.
const BROWSING: Duration = Duration::from_mins(3);

/// The file with the provider that has this issuer, without TLS. Its secrets are in `directory`, in the form that the
/// guide shows.
pub fn wired(text: &str, issuer: &str, directory: &Path) -> Value {
    for name in ["client-secret.yaml", "hmac-secret.yaml"] {
        fs::write(directory.join(name), block(name)).unwrap();
    }
    let issuer = Url::parse(issuer).unwrap();
    let text = text
        .replace("/etc/envoy", directory.to_str().unwrap())
        .replace(APPLICATION, "http://%REQ(:authority)%")
        .replace(PROVIDER, &issuer.origin().ascii_serialization());
    let mut file: Value = serde_saphyr::from_str(&text).unwrap();
    let domains = format!("{FILTERS}/0/typed_config/config/allowed_redirect_domains");
    *file.pointer_mut(&domains).unwrap() = json!(["localhost", "127.0.0.1"]);
    let cluster = file.pointer_mut("/static_resources/clusters/2").unwrap();
    cluster.as_object_mut().unwrap().remove("transport_socket");
    *cluster
        .pointer_mut("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address")
        .unwrap() =
        json!({"address": issuer.host_str().unwrap(), "port_value": issuer.port().unwrap()});
    file
}

/// A file that the guide shows.
pub fn block(title: &str) -> String {
    let start = format!("```yaml title={title}\n");
    let (_, after) = GUIDE.split_once(&start).unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

/// Everything that stands around Envoy, except for the provider.
pub struct Front {
    issuer: String,
    claimgate: Claimgate,
    upstream: Upstream,
    directory: TempDir,
}

impl Front {
    /// claimgate has the guide's configuration, for tokens of this issuer. `audiences` are added to that of the guide.
    pub async fn start(issuer: &str, audiences: &[&str]) -> Self {
        let mut configuration: Value = serde_saphyr::from_str(&block("claimgate.yaml")).unwrap();
        configuration["server"] = json!({"drain": "0s"});
        let provider = &mut configuration["providers"][0];
        provider["issuer"] = issuer.into();
        let own = provider["audiences"].as_array_mut().unwrap();
        own.extend(audiences.iter().map(|&it| it.into()));
        // Shows the browser which token the request had.
        let headers = configuration.pointer_mut("/upstream/claim_headers");
        let headers = headers.unwrap().as_array_mut().unwrap();
        headers.push(json!({"header": "x-auth-token-id", "claim": "jti"}));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("claimgate.yaml");
        fs::write(&path, configuration.to_string()).unwrap();
        let claimgate = Claimgate::start(&path).await;
        claimgate.is_ready().await;
        Self {
            issuer: issuer.to_owned(),
            claimgate,
            upstream: Upstream::start().await.unwrap(),
            directory,
        }
    }

    /// An Envoy with the file, whose HTTP filters are changed. The first one is the login.
    pub async fn envoy(&self, change: impl FnOnce(&mut Vec<Value>)) -> Envoy {
        let mut file = wired(FILE, &self.issuer, self.directory.path());
        change(file.pointer_mut(FILTERS).unwrap().as_array_mut().unwrap());
        let wiring = Wiring {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            claimgate: self.claimgate.check.into(),
            upstream: self.upstream.address(),
        };
        Envoy::start(&envoy_binary(), &file.to_string(), &wiring)
            .await
            .unwrap()
    }

    /// Names the application's address, whose port is known now, in the rule for writing. `token` is that of a program.
    pub async fn is_at(&self, application: &str, envoy: &Envoy, token: &str) {
        let path = self.directory.path().join("claimgate.yaml");
        let before = fs::read_to_string(&path).unwrap();
        let origin = |address: &str| format!("== \\\"{address}\\\"");
        assert_eq!(before.matches(&origin(APPLICATION)).count(), 1, "{before}");
        let text = before.replace(&origin(APPLICATION), &origin(application));
        fs::write(&path, text).unwrap();
        let lines = [bearer(token), format!("origin: {application}")];
        eventually("the address is configured", async || {
            http(envoy.address(), "POST /orders", &lines).await.status == 200
        })
        .await;
    }
}

/// A person logs in at the application with a headless browser, works there, and signs out. `provider` is the name of
/// its software in `login.mjs`.
pub async fn browse(application: &str, provider: &str, issuer: &str) {
    let mut node = Command::new("node");
    node.args(["login.mjs", application, provider, issuer])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/browser"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(BROWSING, node.output()).await;
    let output = output.expect("the browser ends").expect("node runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
