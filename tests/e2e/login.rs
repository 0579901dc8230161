//! A login in front of claimgate, in a headless browser: `deploy/envoy/login.yaml` with a real provider.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use claimgate::dev::envoy::{Envoy, Wiring};
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::change;
use crate::configurations::{snippet, with};
use crate::setup::{Claimgate, Provider, bearer, configure_for, envoy_binary, eventually, http};

const FILE: &str = include_str!("../../deploy/envoy/login.yaml");
const GUIDE: &str = include_str!("../../docs/guides/login.md");

/// The application's address in the file, which is also the audience of its tokens.
const APPLICATION: &str = "https://app.example.com";

const FILTERS: &str =
    "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";

/// The maximum time in the browser: two of its waits, and the rest.
const BROWSING: Duration = Duration::from_mins(2);

/// The file with a provider on this machine, without TLS. Its secrets are in `directory`, in the form that the
/// guide shows.
pub fn wired(text: &str, issuer: &str, directory: &Path) -> String {
    for name in ["client-secret.yaml", "hmac-secret.yaml"] {
        fs::write(directory.join(name), block(name)).unwrap();
    }
    let text = text
        .replace("/etc/envoy", directory.to_str().unwrap())
        .replace(APPLICATION, "http://%REQ(:authority)%");
    let mut file: Value = serde_saphyr::from_str(&text).unwrap();
    let login = file
        .pointer_mut(&format!("{FILTERS}/0/typed_config/config"))
        .unwrap();
    login["authorization_endpoint"] = format!("{issuer}/auth").into();
    login["token_endpoint"]["uri"] = format!("{issuer}/token").into();
    login["end_session_endpoint"] = format!("{issuer}/session/end").into();
    login["allowed_redirect_domains"] = json!(["localhost", "127.0.0.1"]);
    login["resources"] = json!([APPLICATION]);
    let cluster = file.pointer_mut("/static_resources/clusters/2").unwrap();
    cluster.as_object_mut().unwrap().remove("transport_socket");
    let (host, port) = issuer
        .strip_prefix("http://")
        .and_then(|address| address.rsplit_once(':'))
        .unwrap();
    *cluster
        .pointer_mut("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address")
        .unwrap() = json!({"address": host, "port_value": port.parse::<u16>().unwrap()});
    file.to_string()
}

/// A file that the guide shows.
fn block(title: &str) -> String {
    let start = format!("```yaml title={title}\n");
    let (_, after) = GUIDE.split_once(&start).unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

/// claimgate's configuration: the sections in the file's comment, for tokens of this provider.
fn configured(issuer: &str) -> Value {
    let text = configure_for(issuer, "", "");
    let sections = snippet(FILE);
    let guide: Value = serde_saphyr::from_str(&block("claimgate.yaml")).unwrap();
    for name in ["upstream", "rules"] {
        assert_eq!(
            sections[name], guide[name],
            "{name}: the file and the guide differ"
        );
    }
    let mut whole = with(&text, &sections);
    let audiences = whole.pointer_mut("/providers/0/audiences").unwrap();
    audiences.as_array_mut().unwrap().push(APPLICATION.into());
    // Shows the browser which token the request had.
    let headers = whole.pointer_mut("/upstream/claim_headers").unwrap();
    let id = json!({"header": "x-auth-token-id", "claim": "jti"});
    headers.as_array_mut().unwrap().push(id);
    whole
}

/// Everything that stands around the file.
struct Front {
    provider: Provider,
    claimgate: Claimgate,
    upstream: Upstream,
    directory: tempfile::TempDir,
}

impl Front {
    /// claimgate has the configuration in the file's comment.
    async fn start() -> Self {
        let provider = Provider::start(0).await;
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("claimgate.yaml");
        fs::write(&own, configured(&provider.issuer).to_string()).unwrap();
        let claimgate = Claimgate::start(&own).await;
        claimgate.is_ready().await;
        Self {
            provider,
            claimgate,
            upstream: Upstream::start().await.unwrap(),
            directory,
        }
    }

    /// An Envoy with the file, whose HTTP filters are changed.
    async fn envoy(&self, change: impl FnOnce(&mut Vec<Value>)) -> Envoy {
        let text = wired(FILE, &self.provider.issuer, self.directory.path());
        let mut file: Value = serde_json::from_str(&text).unwrap();
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
}

#[tokio::test]
#[ignore = "needs Envoy, oidc-provider, Chromium and playwright-core: run `make e2e`"]
async fn a_person_logs_in_with_a_browser() {
    let front = Front::start().await;
    let envoy = front.envoy(|_| {}).await;
    let provider = &front.provider;
    // The rule for writing names the application's address, whose port is known now.
    let application = format!("http://localhost:{}", envoy.address().port());
    let origin = |address: &str| format!("== \\\"{address}\\\"");
    let own = front.directory.path().join("claimgate.yaml");
    let before = fs::read_to_string(&own).unwrap();
    let text = change(&before, &origin(APPLICATION), &origin(&application));
    fs::write(&own, text).unwrap();
    let token = provider.token("urn:orders-api").await;
    let lines = [bearer(&token), format!("origin: {application}")];
    eventually("the address is configured", async || {
        http(envoy.address(), "POST /orders", &lines).await.status == 200
    })
    .await;

    let mut node = Command::new("node");
    node.args(["login.mjs", &application, &provider.issuer])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/browser"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(BROWSING, node.output()).await;
    let output = output
        .expect("the browser ends")
        .expect("node runs: run `make e2e`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    // Programs.
    let accept = |what: &str| format!("accept: {what}");
    let script = "sec-fetch-mode: cors".to_owned();
    for (request, lines, status, says) in [
        ("GET /orders", vec![bearer(&token)], 200, "machine"),
        ("POST /orders", vec![bearer(&token)], 200, "machine"),
        ("GET /orders", vec![bearer("x")], 401, "malformed_token"),
        ("GET /orders", vec![], 401, "OAuth flow failed"),
        (
            "GET /orders",
            vec![accept("application/json")],
            401,
            "OAuth flow failed",
        ),
        (
            "GET /orders",
            vec![accept("text/html"), script],
            401,
            "OAuth flow failed",
        ),
        ("GET /orders", vec![accept("text/html, */*")], 302, ""),
        // Nobody comes back to another host.
        (
            "GET http://evil.example/orders",
            vec![accept("text/html")],
            401,
            "OAuth flow failed",
        ),
    ] {
        let answer = http(envoy.address(), request, &lines).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.body.contains(says), "{request}: {answer:?}");
    }
}

/// `claimgate doctor` knows what a login in front does, and what is wrong with it.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn doctor_expects_a_login() {
    type Change = fn(&mut Vec<Value>);
    let front = Front::start().await;
    let cases: [(&str, Change, &[&str], i32); 4] = [
        ("the file", |_| {}, &[], 0),
        (
            "the other order",
            |filters| filters.swap(0, 1),
            &["login_order"],
            1,
        ),
        (
            "no pass_through_matcher",
            |filters| {
                let config = &mut filters[0]["typed_config"]["config"];
                config["pass_through_matcher"] = Value::Null;
            },
            &["bearer_ignored"],
            0,
        ),
        (
            "another host",
            |filters| {
                let config = &mut filters[0]["typed_config"]["config"];
                config["allowed_redirect_domains"] = json!(["app.example.com"]);
            },
            &["login_refused"],
            1,
        ),
    ];
    for (what, change, expected, code) in cases {
        let envoy = front.envoy(change).await;
        let output = Command::new(env!("CARGO_BIN_EXE_claimgate"))
            .args(["doctor", "--expects-login", "--output", "json", "--through"])
            .arg(format!("http://{}/orders", envoy.address()))
            .output()
            .await
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let wrong = findings.filter(|it| it["verdict"] != "ok" && it["verdict"] != "unseen");
        let wrong: Vec<_> = wrong.map(|it| it["code"].as_str().unwrap()).collect();
        assert_eq!(wrong, expected, "{what}: {report:#}");
        assert_eq!(output.status.code(), Some(code), "{what}");
    }
}
