//! Changes of the configuration under load, and a hot restart. Each answer is that of one configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use claimgate::dev::issuer::Issuer;
use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::faults::configured;
use super::process::{Passage, Process, bootstrap, filter_config, filters, socket};
use super::{issuer, metric, mint, of_file};
use crate::setup::{bearer, configure_for, eventually};

const TYPE: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// How many clients ask while the configuration changes.
const CLIENTS: usize = 4;

/// Version `A` of the rules opens `/split` and marks the response. Version `B` closes it.
fn sections(is_open: bool, number: usize) -> String {
    let (access, mark) = if is_open {
        ("public", "A")
    } else {
        ("deny", "B")
    };
    format!(
        "
response_headers: [{{ header: x-version, value: \"{mark}\" }}]
rules:
  - {{ name: split, match: {{ path: {{ exact: /split }} }}, access: {access} }}
  - {{ name: number-{number}, match: {{ path: {{ exact: /number-{number} }} }}, access: deny }}
"
    )
}

fn version(issuer: &str, is_open: bool, number: usize) -> String {
    configure_for(issuer, "", &sections(is_open, number))
}

/// A client asks again and again, over a connection that Envoy may end between two requests.
struct Caller {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Caller {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// The answer as text, except for a body without an end.
    async fn ask(&mut self, request: &str) -> String {
        loop {
            let stream = match self.stream.take() {
                Some(stream) => stream,
                None => TcpStream::connect(self.address).await.unwrap(),
            };
            if let Some(answer) = self.exchange(stream, request).await {
                return answer;
            }
        }
    }

    /// `None` if the connection had ended before the request.
    async fn exchange(&mut self, mut stream: TcpStream, request: &str) -> Option<String> {
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        let end = loop {
            let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                assert!(answer.is_empty(), "a broken answer: {answer:?}");
                return None;
            }
        };
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        while answer.len() < end + length {
            let read = stream.read_buf(&mut answer).await.unwrap();
            assert_ne!(read, 0, "a broken answer: {answer:?}");
        }
        if !head.contains("connection: close") {
            self.stream = Some(stream);
        }
        Some(String::from_utf8(answer).unwrap())
    }
}

/// Clients that check every answer, until they are dropped.
struct Load {
    asked: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(address: SocketAddr, issuer: &Issuer) -> Self {
        let asked = Arc::<AtomicUsize>::default();
        let token = bearer(&mint(issuer, &json!({"sub": "alice"})));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (asked, token) = (Arc::clone(&asked), token.clone());
            clients.spawn(async move {
                let mut caller = Caller::new(address);
                loop {
                    checked(&mut caller, &token).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { asked, clients }
    }

    /// Waits for this many further rounds of requests. Fails if an answer was wrong.
    async fn goes_on(&mut self, rounds: usize) {
        let until = self.asked.load(Ordering::Relaxed) + rounds;
        eventually("requests are answered", async || {
            if let Some(ended) = self.clients.try_join_next() {
                ended.unwrap();
            }
            self.asked.load(Ordering::Relaxed) >= until
        })
        .await;
    }
}

/// A round of requests, whose answers follow from either version, and from one version only.
async fn checked(caller: &mut Caller, token: &str) {
    let get = |path: &str, lines: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: api.example.com\r\nx-auth-subject: root\r\n{lines}\r\n"
        )
    };
    let allowed = caller.ask(&get("/orders", &format!("{token}\r\n"))).await;
    assert!(allowed.starts_with("HTTP/1.1 200 "), "{allowed}");
    assert!(
        allowed.contains(r#""x-auth-subject": "alice""#),
        "{allowed}"
    );
    assert!(!allowed.contains("authorization"), "{allowed}");
    let denied = caller.ask(&get("/orders", "")).await;
    assert!(denied.starts_with("HTTP/1.1 401 "), "{denied}");
    let split = caller.ask(&get("/split", "")).await;
    if split.starts_with("HTTP/1.1 200 ") {
        assert!(split.contains("x-version: A\r\n"), "{split}");
        assert!(!split.contains("x-auth-subject"), "{split}");
    } else {
        assert!(split.starts_with("HTTP/1.1 403 "), "{split}");
    }
}

/// The file changes again and again, sometimes to a wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_file_changes_under_load() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    for workers in ["1", "2"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, version(issuer.url(), true, 0)).unwrap();
        let bootstrap = bootstrap(&of_file(&file), upstream.address());
        let options = ["--disable-hot-restart", "--concurrency", workers];
        let envoy = Process::start(&bootstrap, &options).await;
        let mut load = Load::start(envoy.address, &issuer);
        let mut caller = Caller::new(envoy.address);
        for number in 1..=4 {
            if number == 3 {
                std::fs::write(&file, "providers: 3").unwrap();
                eventually("the wrong file is read", async || {
                    let name = "claimgate_config_last_reload_successful";
                    metric(envoy.admin, name, "").await == Some(0)
                })
                .await;
            }
            let is_open = number % 2 == 0;
            std::fs::write(&file, version(issuer.url(), is_open, number)).unwrap();
            in_force(&mut caller, is_open, number).await;
            load.goes_on(50).await;
        }
    }
}

/// Waits until a version is in force.
async fn in_force(caller: &mut Caller, is_open: bool, number: usize) {
    let split = "GET /split HTTP/1.1\r\nhost: api.example.com\r\n\r\n";
    let status = if is_open {
        "HTTP/1.1 200 "
    } else {
        "HTTP/1.1 403 "
    };
    eventually(&format!("version {number} is in force"), async || {
        caller.ask(split).await.starts_with(status)
    })
    .await;
}

/// Envoy replaces the listener, whose filter contains the configuration, again and again. Filters of the one
/// before go on until their connections are drained.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn envoy_replaces_its_configuration_under_load() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    for workers in ["1", "2"] {
        let directory = tempfile::tempdir().unwrap();
        let listeners = directory.path().join("listeners.json");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut bootstrap = bootstrap("", upstream.address());
        let listener = bootstrap["static_resources"]["listeners"][0].take();
        let members = bootstrap["static_resources"].as_object_mut();
        members.unwrap().remove("listeners");
        let source = json!({"path": listeners, "watched_directory": {"path": directory.path()}});
        bootstrap["dynamic_resources"] = json!({
            "lds_config": {"path_config_source": source, "resource_api_version": "V3"},
        });
        bootstrap["node"] = json!({"id": "a", "cluster": "a"});
        let serve = |is_open, number| {
            let mut listener = listener.clone();
            listener["@type"] = TYPE.into();
            listener["address"] = socket(port);
            *filter_config(&mut listener) = version(issuer.url(), is_open, number).into();
            publish(&listeners, number, &listener);
        };
        serve(true, 0);
        let options = [
            "--disable-hot-restart",
            "--drain-time-s",
            "1",
            "--concurrency",
            workers,
        ];
        let envoy = Process::start(&bootstrap, &options).await;
        let mut load = Load::start(envoy.address, &issuer);
        for number in 1..=6 {
            let is_open = number % 2 == 0;
            serve(is_open, number);
            // Connections that are open may still be handled by the version before.
            eventually(&format!("version {number} is in force"), async || {
                let mut caller = Caller::new(envoy.address);
                let split = "GET /split HTTP/1.1\r\nhost: api.example.com\r\n\r\n";
                let answer = caller.ask(split).await;
                answer.starts_with("HTTP/1.1 200 ") == is_open
            })
            .await;
            load.goes_on(50).await;
        }
        // Then Envoy has destroyed their configurations.
        eventually("the versions before are gone", async || {
            metric(
                envoy.admin,
                "envoy_listener_manager_total_filter_chains_draining",
                "",
            )
            .await
                == Some(0)
        })
        .await;
        load.goes_on(50).await;

        // The module stays in memory, for its threads, when no configuration uses it.
        drop(load);
        let mut without = listener.clone();
        without["@type"] = TYPE.into();
        without["address"] = socket(port);
        let filters = filters(&mut without);
        filters.remove(0);
        publish(&listeners, 7, &without);
        let unchecked = async || {
            let request = "GET /closed HTTP/1.1\r\nhost: api.example.com\r\n\r\n";
            let answer = Caller::new(envoy.address).ask(request).await;
            answer.starts_with("HTTP/1.1 200 ")
        };
        eventually("Envoy serves without the module", unchecked).await;
        eventually("its last configuration is gone", async || {
            let name = "envoy_listener_manager_total_filter_chains_draining";
            metric(envoy.admin, name, "").await == Some(0)
        })
        .await;
        serve(true, 8);
        eventually("Envoy serves with the module", async || !unchecked().await).await;
        Load::start(envoy.address, &issuer).goes_on(50).await;
    }
}

/// Envoy looks when a file is moved into the directory.
fn publish(listeners: &Path, number: usize, listener: &Value) {
    let resources = json!({"version_info": number.to_string(), "resources": [listener]});
    let written = listeners.with_extension("new");
    std::fs::write(&written, resources.to_string()).unwrap();
    std::fs::rename(written, listeners).unwrap();
}

/// A second Envoy takes over from the first, whose requests go on: also one that waits for a key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn another_envoy_takes_over() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let keys = Passage::to(issuer.url().trim_start_matches("http://").parse().unwrap()).await;
    for workers in ["1", "2"] {
        let directory = tempfile::tempdir().unwrap();
        let id = directory.path().join("id");
        let config = configured(&issuer, &keys, "unknown_key_wait: 10s", &sections(true, 0));
        let mut bootstrap = bootstrap(&config, upstream.address());
        let times = [
            "--drain-time-s",
            "1",
            "--parent-shutdown-time-s",
            "3",
            "--concurrency",
            workers,
        ];
        let first = [
            "--use-dynamic-base-id",
            "--base-id-path",
            id.to_str().unwrap(),
        ];
        let mut parent = Process::start(&bootstrap, &[&first[..], &times].concat()).await;
        let address = parent.address;
        let mut load = Load::start(address, &issuer);
        load.goes_on(50).await;

        keys.block(true);
        issuer.rotate().unwrap();
        let new = bearer(&mint(&issuer, &json!({"sub": "bob"})));
        let waiting = tokio::spawn(async move {
            let request = format!("GET /orders HTTP/1.1\r\nhost: a.example\r\n{new}\r\n\r\n");
            Caller::new(address).ask(&request).await
        });
        eventually("a request waits", async || {
            metric(parent.admin, "claimgate_checks_in_flight", "").await > Some(0)
        })
        .await;
        keys.block(false);

        let id = std::fs::read_to_string(&id).unwrap();
        bootstrap["static_resources"]["listeners"][0]["address"] = socket(address.port());
        let second = ["--base-id", id.trim(), "--restart-epoch", "1"];
        let child = Process::start(&bootstrap, &[&second[..], &times].concat()).await;
        assert_eq!(child.address, address);
        let answer = waiting.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        load.goes_on(50).await;
        let status = parent.child.wait().await.unwrap();
        assert!(status.success(), "{status}");
        load.goes_on(50).await;
        let allowed = "claimgate_checks_total";
        eventually("the second Envoy decides", async || {
            metric(child.admin, allowed, "").await > Some(50)
        })
        .await;
    }
}
