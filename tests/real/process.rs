//! Servers that run beside the tests, each with its log in a file.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::setup::{envoy_binary, eventually, http, within};

/// How long a server may take until it is ready, on a busy machine.
const START: Duration = Duration::from_mins(3);

/// Runs a program, and ends it and removes the directory `$0` when the standard input ends. This happens
/// when the tests end, however they end.
const WATCHED: &str =
    r#"exec 3<&0; { cat; kill -9 $$; rm -rf "$0"; } <&3 >/dev/null 2>&1 & exec "$@" 3<&-"#;

/// A running server. It is killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs a command, and writes what it says to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        Self::spawn(command.stdin(Stdio::null()), log)
    }

    /// Runs a [`watched`] program, which may be in a `static`, although no `static` is ever dropped.
    pub fn start_watched(command: &mut Command, log: PathBuf) -> Self {
        Self::spawn(command.stdin(Stdio::piped()), log)
    }

    fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let output = File::create(&log).unwrap();
        let child = command
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    /// Waits until it is ready, and panics with its log if it ends instead.
    pub async fn becomes(&mut self, what: &str, mut ready: impl AsyncFnMut() -> bool) {
        let (child, log) = (&mut self.child, &self.log);
        within(START, what, async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{what}: it ended with {status}\n{}", tail(log));
            }
            ready().await
        })
        .await;
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([name, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits until it ends.
    pub async fn ends(&mut self, what: &str) {
        let child = &mut self.child;
        eventually(what, async || child.try_wait().unwrap().is_some()).await;
    }
}

/// A program that ends with the tests, and whose directory is then removed.
pub fn watched(program: &str, directory: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", WATCHED])
        .arg(directory)
        .arg(program)
        .current_dir(directory);
    command
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    lines[from..].join("\n")
}

/// A server that `make test-real` has built.
pub fn server(name: &str) -> Command {
    Command::new(servers().join("bin").join(name))
}

/// Where `make test-real` keeps servers and resource types.
pub fn servers() -> PathBuf {
    std::env::var_os("REAL_SERVERS")
        .expect("REAL_SERVERS names the servers: run `make test-real`")
        .into()
}

/// claimgate's module for Envoy, which is built with the tests.
pub fn module() -> PathBuf {
    let directory = std::env::var_os("ENVOY_DYNAMIC_MODULES_SEARCH_PATH")
        .expect("ENVOY_DYNAMIC_MODULES_SEARCH_PATH has the module: run `make test-meshes`");
    Path::new(&directory).join("libclaimgate_envoy.so")
}

/// A port that was free a moment ago, for a server that cannot choose one by itself.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// An Envoy that a control plane programs.
pub struct Envoy {
    _process: Option<Process>,
    admin: SocketAddr,
}

impl Envoy {
    /// Runs Envoy with `node`, and takes everything else from the control plane at `xds`.
    pub async fn start(node: &Value, xds: SocketAddr, directory: &Path) -> Self {
        let ads = json!({ "ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s" });
        let bootstrap = json!({
            "node": node,
            "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } } },
            "dynamic_resources": {
                "lds_config": ads,
                "cds_config": ads,
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": true,
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
                },
            },
            "static_resources": { "clusters": [{
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "5s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": { "http2_protocol_options": {} },
                    },
                },
                "load_assignment": { "cluster_name": "xds", "endpoints": [{ "lb_endpoints": [{
                    "endpoint": { "address": { "socket_address": {
                        "address": xds.ip().to_string(), "port_value": xds.port(),
                    } } },
                }] }] },
            }] },
        });
        let configuration = directory.join("bootstrap.json");
        std::fs::write(&configuration, bootstrap.to_string()).unwrap();
        let admin_file = directory.join("envoy-admin");
        let mut command = Command::new(envoy_binary());
        command
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "2",
                "--config-path",
            ])
            .arg(&configuration)
            .args([OsStr::new("--admin-address-path"), admin_file.as_os_str()]);
        let mut process = Process::start(&mut command, directory.join("envoy.log"));
        let mut admin = None;
        process
            .becomes("Envoy has an admin port", async || {
                let written = std::fs::read_to_string(&admin_file).unwrap_or_default();
                admin = written.trim().parse().ok();
                admin.is_some()
            })
            .await;
        Self {
            _process: Some(process),
            admin: admin.unwrap(),
        }
    }

    /// An Envoy that something else runs, by its admin port.
    pub fn at(admin: SocketAddr) -> Self {
        Self {
            _process: None,
            admin,
        }
    }

    /// Every object of a type in Envoy's current configuration.
    pub async fn configured(&self, kind: &str) -> Vec<Value> {
        let dump = self.admin("/config_dump").await;
        let dump: Value = serde_json::from_str(&dump).unwrap();
        objects_of(&dump, kind)
    }

    /// The value of one of Envoy's counters, which must exist.
    pub async fn counter(&self, name: &str) -> u64 {
        let found = self.find_counter(name).await;
        found.unwrap_or_else(|| panic!("no `{name}`"))
    }

    /// The value of one of Envoy's counters. `None` if Envoy does not have it, or not yet.
    pub async fn find_counter(&self, name: &str) -> Option<u64> {
        let counters = self.admin("/stats?type=Counters").await;
        let mut lines = counters.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
        Some(value.parse().unwrap())
    }

    /// What Envoy's admin port says, in chunks or not.
    async fn admin(&self, path: &str) -> String {
        let answer = http(self.admin, &format!("GET {path}"), &[]).await;
        unchunked(&answer.head, &answer.body)
    }
}

/// Every object of a type, such as `ExtAuthz`, anywhere in a configuration.
fn objects_of(configuration: &Value, kind: &str) -> Vec<Value> {
    let mut found = Vec::new();
    collect(configuration, kind, &mut found);
    found
}

fn collect(value: &Value, kind: &str, found: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            let name = fields.get("@type").and_then(Value::as_str).unwrap_or("");
            if name.rsplit('.').next() == Some(kind) {
                found.push(value.clone());
            }
            fields.values().for_each(|it| collect(it, kind, found));
        }
        Value::Array(items) => items.iter().for_each(|it| collect(it, kind, found)),
        _ => {}
    }
}

/// The body of an HTTP/1.1 answer, in chunks or not.
fn unchunked(head: &str, body: &str) -> String {
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    whole
}
