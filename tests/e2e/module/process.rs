//! An Envoy with the module, whose options and configuration a test chooses, and a way to its keys that a test
//! can block.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use claimgate::dev::envoy::EXAMPLE;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{MANAGER, inside};
use crate::setup::{envoy_binary, eventually, http};

/// An Envoy that may not accept requests yet. It is killed when dropped.
pub struct Starting {
    pub child: Child,
    directory: TempDir,
}

/// A running Envoy. It is killed when dropped.
pub struct Process {
    /// The address for clients.
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub child: Child,
    _directory: TempDir,
}

impl Starting {
    pub fn new(bootstrap: &Value, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("envoy.json");
        std::fs::write(&file, bootstrap.to_string()).unwrap();
        let log = directory.path().join("envoy.log");
        let child = Command::new(envoy_binary())
            .args(["--log-level", "warning", "--config-path"])
            .arg(&file)
            .arg("--admin-address-path")
            .arg(directory.path().join(ADMIN))
            .args(options)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    /// The address of the admin listener.
    pub fn admin(&self) -> Option<SocketAddr> {
        let admin = std::fs::read_to_string(self.directory.path().join(ADMIN)).ok()?;
        admin.trim().parse().ok()
    }

    /// What Envoy has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("envoy.log")).unwrap()
    }

    /// Returns when Envoy accepts requests.
    pub async fn listening(self) -> Process {
        let mut found = None;
        eventually("Envoy listens", async || {
            found = match self.admin() {
                Some(admin) => listening(admin).await,
                None => None,
            };
            found.is_some()
        })
        .await;
        let (address, admin) = found.unwrap();
        Process {
            address,
            admin,
            child: self.child,
            _directory: self.directory,
        }
    }
}

impl Process {
    /// Returns when Envoy accepts requests.
    pub async fn start(bootstrap: &Value, options: &[&str]) -> Self {
        Starting::new(bootstrap, options).listening().await
    }
}

/// The file with the address of the admin listener.
const ADMIN: &str = "admin";

/// The addresses for clients and of the admin listener, once both accept connections.
async fn listening(admin: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    if http(admin, "GET /ready", &[]).await.status != 200 {
        return None;
    }
    let listeners = http(admin, "GET /listeners?format=json", &[]).await.body;
    let from = listeners.find('{')?;
    let listeners: Value =
        serde_json::from_str(listeners.get(from..=listeners.rfind('}')?)?).ok()?;
    let socket = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
    let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
    Some((SocketAddr::from(([127, 0, 0, 1], port)), admin))
}

/// The example with the module, on any free port, in front of an upstream.
pub fn bootstrap(filter_config: &str, upstream: SocketAddr) -> Value {
    let mut whole: Value = serde_json::from_str(&inside(EXAMPLE, filter_config)).unwrap();
    whole["admin"]["address"] = socket(0);
    whole["static_resources"]["listeners"][0]["address"] = socket(0);
    let endpoint =
        "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
    *whole.pointer_mut(endpoint).unwrap() = socket(upstream.port());
    whole
}

/// Envoy's form of an address of this machine.
pub fn socket(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

/// The filters for HTTP of a listener. That of the module is the first.
pub fn filters(listener: &mut Value) -> &mut Vec<Value> {
    let manager = MANAGER.trim_start_matches("/static_resources/listeners/0");
    let filters = listener.pointer_mut(&format!("{manager}/http_filters"));
    filters.unwrap().as_array_mut().unwrap()
}

/// The value of `filter_config` in a listener.
pub fn filter_config(listener: &mut Value) -> &mut Value {
    &mut filters(listener)[0]["typed_config"]["filter_config"]["value"]
}

/// The way to a server. While it is blocked, nothing on it is answered.
pub struct Passage {
    pub address: SocketAddr,
    blocked: watch::Sender<bool>,
    used: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Passage {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (blocked, is_blocked) = watch::channel(false);
        let used = Arc::<AtomicUsize>::default();
        let uses = Arc::clone(&used);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                uses.fetch_add(1, Ordering::Relaxed);
                let mut is_blocked = is_blocked.clone();
                open.spawn(async move {
                    if is_blocked.wait_for(|blocked| !blocked).await.is_err() {
                        return;
                    }
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        // A client that gives up does not matter.
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        // Clients reuse connections.
                        _ = is_blocked.wait_for(|blocked| *blocked) => {}
                    }
                });
            }
        });
        Self {
            address,
            blocked,
            used,
            _connections: connections,
        }
    }

    pub fn block(&self, blocked: bool) {
        self.blocked.send_replace(blocked);
    }

    /// The number of connections so far.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
