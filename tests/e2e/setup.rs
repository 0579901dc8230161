//! The real components, each on a free loopback port, stopped when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The time limit for anything that does not depend on a clock.
pub const LINE_TIMEOUT: Duration = Duration::from_secs(30);

pub fn envoy_binary() -> PathBuf {
    std::env::var_os("ENVOY_BIN")
        .expect("ENVOY_BIN names an Envoy: run `make e2e`")
        .into()
}

/// claimgate's configuration; `more` goes into the provider's section.
pub fn configure_for(issuer: &str, more: &str, sections: &str) -> String {
    format!(
        "
server: {{ drain: 0s }}
providers:
  - {{ name: acme, issuer: \"{issuer}\", audiences: [urn:orders-api, urn:short-lived], {more} }}
upstream:
  claim_headers:
    - {{ header: x-auth-subject, claim: sub }}
    - {{ header: x-auth-roles, claim: realm_access.roles }}
  payload_header: x-auth-claims
  forward_token: false
{sections}"
    )
}

/// The OpenID provider.
pub struct Provider {
    pub issuer: String,
    child: Child,
}

impl Provider {
    pub async fn start(port: u16) -> Self {
        let mut child = node(&["provider.mjs", &port.to_string()])
            .spawn()
            .expect("node runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let issuer = timeout(LINE_TIMEOUT, lines.next_line())
            .await
            .expect("the provider starts");
        Self {
            issuer: issuer
                .unwrap()
                .expect("the provider names its issuer: run `make e2e`"),
            child,
        }
    }

    /// An RFC 9068 access token for a machine.
    pub async fn token(&self, audience: &str) -> String {
        let form = format!("grant_type=client_credentials&scope=orders:read&resource={audience}");
        let answer = reqwest::Client::new()
            .post(format!("{}/token", self.issuer))
            .basic_auth("machine", Some("secret"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// Signs with a new key from now on.
    pub async fn rotate(&self) {
        let url = format!("{}/test/rotate", self.issuer);
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts again at the same address with other keys.
    pub async fn restart(&mut self) {
        let port = self.issuer.rsplit_once(':').unwrap().1.parse().unwrap();
        *self = Self::start(port).await;
    }
}

/// An MCP server of the official SDK.
pub struct McpServer {
    pub address: SocketAddr,
    _child: Child,
}

impl McpServer {
    pub async fn start() -> Self {
        let mut child = node(&["mcp-server.mjs"]).spawn().expect("node runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(LINE_TIMEOUT, lines.next_line()).await;
        let address = line.expect("the MCP server starts").unwrap();
        Self {
            address: address
                .expect("the MCP server names its address: run `make e2e`")
                .parse()
                .unwrap(),
            _child: child,
        }
    }
}

/// What the official SDK's client finds at a server: its tools, and the results of these calls.
pub async fn mcp_client(url: &str, token: &str, tools: &[&str]) -> Vec<Value> {
    let mut client = node(&["mcp-client.mjs", url, token]);
    client.args(tools).stderr(Stdio::inherit());
    let output = timeout(LINE_TIMEOUT, client.output()).await;
    let output = output.expect("the MCP client ends").unwrap();
    assert!(output.status.success(), "the MCP client fails");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A program from the provider's directory.
fn node(arguments: &[&str]) -> Command {
    let mut node = Command::new("node");
    node.args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/provider"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    node
}

/// The `claimgate` binary.
pub struct Claimgate {
    pub check: SocketAddr,
    pub admin: SocketAddr,
    file: PathBuf,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Claimgate {
    /// Waits until it has its keys.
    pub async fn is_ready(&self) {
        eventually("claimgate is ready", async || {
            http(self.admin, "GET /readyz", &[]).await.status == 200
        })
        .await;
    }

    pub async fn start(file: &Path) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(file, &["127.0.0.1:0"], any).await
    }

    /// Starts at the addresses in the file, none of which is over TCP.
    pub async fn as_configured(file: &Path) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(file, &[], any).await
    }

    async fn start_at(file: &Path, check: &[&str], admin: SocketAddr) -> Self {
        let expected = if check.is_empty() { 1 } else { 2 };
        let listen = check.iter().flat_map(|address| ["--listen", address]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_claimgate"))
            .args(["serve", "--log-format", "json", "--config"])
            .arg(file)
            .args(listen)
            .args(["--admin-listen", &admin.to_string()])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < expected {
            let line = timeout(LINE_TIMEOUT, lines.next_line())
                .await
                .unwrap()
                .unwrap();
            let event: Value = serde_json::from_str(&line.expect("claimgate starts")).unwrap();
            let address = event["address"]
                .as_str()
                .and_then(|address| address.parse::<SocketAddr>().ok());
            addresses.extend(address);
        }
        let log = Arc::<Mutex<Vec<String>>>::default();
        let written = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                written.lock().unwrap().push(line);
            }
        });
        Self {
            check: addresses[0],
            admin: addresses[expected - 1],
            file: file.to_owned(),
            child,
            log,
        }
    }

    /// The number of lines with this text in the log so far, without those of the start.
    pub fn logged(&self, text: &str) -> usize {
        let lines = self.log.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    pub async fn metrics(&self) -> String {
        http(self.admin, "GET /metrics", &[]).await.body
    }

    /// Kills the process without a graceful shutdown.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Stops the process where it is: its connections stay open, and nothing is answered.
    pub async fn freeze(&self) {
        signal(&self.child, "-STOP").await;
        let threads = format!("/proc/{}/task", self.child.id().unwrap());
        // A thread goes on until the kernel next runs it.
        eventually("all threads have stopped", async || {
            std::fs::read_dir(&threads).unwrap().all(|thread| {
                let status = std::fs::read_to_string(thread.unwrap().path().join("status"));
                status.unwrap().contains("\nState:\tT")
            })
        })
        .await;
    }

    pub async fn stop(mut self) {
        terminate(&self.child).await;
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
    }

    /// Stops it and starts it again at the same addresses.
    pub async fn restart(&mut self) {
        terminate(&self.child).await;
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
        let check = self.check.to_string();
        *self = Self::start_at(&self.file.clone(), &[&check], self.admin).await;
    }
}

pub async fn terminate(child: &Child) {
    signal(child, "-TERM").await;
}

async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().await;
    assert!(sent.unwrap().success());
}

/// `claimgate dev --envoy`, on any free ports.
pub fn demo(state: &Path) -> Child {
    let any = "127.0.0.1:0";
    Command::new(env!("CARGO_BIN_EXE_claimgate"))
        .args([
            "dev",
            "--listen",
            any,
            "--admin-listen",
            any,
            "--issuer-listen",
            any,
        ])
        .args(["--envoy", "--envoy-listen", any, "--envoy-bin"])
        .arg(envoy_binary())
        .arg("--state")
        .arg(state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A `POST` with a body.
pub async fn post(address: SocketAddr, path: &str, lines: &[String], body: &str) -> Answer {
    let length = format!("content-length: {}", body.len());
    let lines = [lines, &[length]].concat();
    exchange(address, &format!("POST {path}"), &lines, body).await
}

/// One HTTP/1.1 request, whose header lines are sent unchanged.
pub async fn http(address: SocketAddr, request: &str, lines: &[String]) -> Answer {
    exchange(address, request, lines, "").await
}

async fn exchange(address: SocketAddr, request: &str, lines: &[String], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut text = format!("{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Waits for a condition that takes its own time.
pub async fn eventually(what: &str, done: impl AsyncFnMut() -> bool) {
    within(LINE_TIMEOUT, what, done).await;
}

/// Waits at most this long for a condition, or `PATIENCE` times as long: Valgrind makes Envoy slow.
pub async fn within(limit: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let patience = std::env::var("PATIENCE").map_or(1, |times| times.parse().unwrap());
    let waited = timeout(limit * patience, async {
        while !done().await {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}
