//! Connections that were open before Envoy got the check. Envoy keeps the old filters for them while it drains.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::setup::{envoy_binary, eventually};

const TYPES: &str = "type.googleapis.com/envoy";

/// `--drain-strategy immediate` lets a request of an open connection pass; `--drain-time-s` ends the connection.
#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn only_the_drain_time_ends_an_open_connection() {
    for (options, is_closed) in [
        (["--drain-strategy", "immediate"], false),
        (["--drain-time-s", "1"], true),
    ] {
        let envoy = Envoy::start(&options).await;
        let [mut busy, mut idle] = [envoy.connect().await, envoy.connect().await];
        assert_eq!(ask(&mut busy).await, Some(200));
        assert_eq!(ask(&mut idle).await, Some(200));
        envoy.serves(true);
        eventually("new connections are checked", async || {
            ask(&mut envoy.connect().await).await == Some(403)
        })
        .await;
        assert_eq!(ask(&mut busy).await, Some(200), "{options:?}");
        if is_closed {
            // Until Envoy closes it, it passes requests.
            eventually("the connection ends", async || {
                ask(&mut busy).await.is_none()
            })
            .await;
            assert_eq!(ask(&mut idle).await, None, "{options:?}");
        } else {
            assert_eq!(ask(&mut idle).await, Some(200), "{options:?}");
        }
    }
}

/// An Envoy that answers every request with 200, and reads its listener from a file.
struct Envoy {
    directory: TempDir,
    port: u16,
    _process: Child,
}

impl Envoy {
    async fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let bootstrap = directory.path().join("envoy.json");
        std::fs::write(&bootstrap, bootstrap_in(directory.path()).to_string()).unwrap();
        let mut command = Command::new(envoy_binary());
        command
            .args([
                "--use-dynamic-base-id",
                "--log-level",
                "error",
                "--config-path",
            ])
            .arg(&bootstrap)
            .args(["--concurrency", "1"])
            .args(options)
            .stdout(Stdio::null())
            .kill_on_drop(true);
        std::fs::create_dir(directory.path().join("watched")).unwrap();
        let envoy = Self {
            directory,
            port,
            _process: command.spawn().unwrap(),
        };
        envoy.serves(false);
        eventually("Envoy listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        envoy
    }

    /// Serves with the check, or without.
    fn serves(&self, checked: bool) {
        let listener = listener(self.port, checked).to_string();
        let written = self.directory.path().join("listeners.json");
        std::fs::write(&written, listener).unwrap();
        // Envoy looks when a file is moved into the directory.
        std::fs::rename(written, watched(self.directory.path())).unwrap();
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }
}

/// The status of the next answer. `None` if the connection has ended.
async fn ask(stream: &mut TcpStream) -> Option<u16> {
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    Some(head.split(' ').nth(1).unwrap().parse().unwrap())
}

fn watched(directory: &Path) -> std::path::PathBuf {
    directory.join("watched/listeners.json")
}

fn bootstrap_in(directory: &Path) -> Value {
    let path = watched(directory);
    let source = json!({ "path": path, "watched_directory": { "path": path.parent() } });
    let nobody = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 1 } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": nobody } }] }]);
    json!({
        "node": { "id": "a", "cluster": "a" },
        "dynamic_resources": {
            "lds_config": { "path_config_source": source, "resource_api_version": "V3" },
        },
        "static_resources": { "clusters": [{
            "name": "nobody",
            "type": "STATIC",
            "load_assignment": { "cluster_name": "nobody", "endpoints": endpoints },
        }] },
    })
}

/// A listener that answers 200. With the check, which nobody answers, it refuses.
fn listener(port: u16, checked: bool) -> Value {
    let filter = |name: &str, settings: Value| json!({ "name": name, "typed_config": settings });
    let of = |kind: &str, more: Value| {
        let mut settings = more;
        settings["@type"] = format!("{TYPES}.extensions.filters.{kind}").into();
        settings
    };
    let service = json!({ "envoy_grpc": { "cluster_name": "nobody" } });
    let check = json!({ "transport_api_version": "V3", "grpc_service": service });
    let check = filter("check", of("http.ext_authz.v3.ExtAuthz", check));
    let router = filter("router", of("http.router.v3.Router", json!({})));
    let filters: Vec<Value> = checked
        .then_some(check)
        .into_iter()
        .chain([router])
        .collect();
    let route = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200 } });
    let host = json!({ "name": "api", "domains": ["*"], "routes": [route] });
    let manager = of(
        "network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "ingress",
            "route_config": { "virtual_hosts": [host] },
            "http_filters": filters,
        }),
    );
    let address = json!({ "address": "127.0.0.1", "port_value": port });
    json!({
        "version_info": checked.to_string(),
        "resources": [{
            "@type": format!("{TYPES}.config.listener.v3.Listener"),
            "name": "ingress",
            "address": { "socket_address": address },
            "filter_chains": [{ "filters": [filter("manager", manager)] }],
        }],
    })
}
