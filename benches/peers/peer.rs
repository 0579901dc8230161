//! The services, how each is found, configured and started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{SERVER, Server, Work, free_address, pinned};
use crate::scene::Scene;
use crate::{cluster, load};

/// A service that answers `Check`.
pub struct Peer {
    pub name: &'static str,
    /// The names of its program, in the order to look for them.
    pub names: &'static [&'static str],
    /// How its program tells its version.
    version: &'static [&'static str],
    /// Its settings: file names and contents, with places to fill in.
    settings: &'static [(&'static str, &'static str)],
    /// Its arguments, with the same places to fill in.
    arguments: &'static [&'static str],
}

const CLAIMGATE: &str = "claimgate";
const AUTHORINO: &str = "authorino";

const PEERS: [Peer; 4] = [
    Peer {
        name: CLAIMGATE,
        names: &[CLAIMGATE],
        version: &["--version"],
        settings: &[("claimgate.yaml", include_str!("settings/claimgate.yaml"))],
        arguments: &[
            "serve",
            "--config",
            "{directory}/claimgate.yaml",
            "--listen",
            "127.0.0.1:{check}",
            "--admin-listen",
            "off",
        ],
    },
    Peer {
        name: "heimdall",
        names: &["heimdall"],
        version: &["--version"],
        settings: &[("heimdall.yaml", include_str!("settings/heimdall.yaml"))],
        arguments: &[
            "serve",
            "decision",
            "--envoy-grpc",
            "--insecure-skip-all-tls-enforcement",
            "--config",
            "{directory}/heimdall.yaml",
        ],
    },
    Peer {
        name: "opa-envoy-plugin",
        names: &["opa-envoy-plugin", "opa"],
        version: &["version"],
        settings: &[
            ("opa.yaml", include_str!("settings/opa.yaml")),
            ("opa.rego", include_str!("settings/opa.rego")),
        ],
        arguments: &[
            "run",
            "--server",
            "--addr=127.0.0.1:{other}",
            "--disable-telemetry",
            "--log-level=error",
            "--config-file={directory}/opa.yaml",
            "{directory}/opa.rego",
        ],
    },
    Peer {
        name: AUTHORINO,
        names: &[AUTHORINO],
        version: &["version"],
        settings: &[("authorino.yaml", include_str!("settings/authorino.yaml"))],
        arguments: &[
            "server",
            "--ext-auth-grpc-port={check}",
            "--ext-auth-http-port=0",
            "--oidc-http-port=0",
            "--metrics-addr=0",
            "--pprof-bind-address=0",
            "--health-probe-addr=127.0.0.1:{other}",
            "--log-level=error",
            "--evaluator-cache-size=64",
        ],
    },
];

impl Peer {
    /// All services, claimgate first.
    pub fn all() -> &'static [Self] {
        &PEERS
    }

    /// The program: the benchmark's own build for claimgate, else the first on `PATH`.
    pub fn program(&self) -> Option<PathBuf> {
        if self.name == CLAIMGATE {
            return Some(env!("CARGO_BIN_EXE_claimgate").into());
        }
        let folders = std::env::var_os("PATH")?;
        self.names.iter().find_map(|name| {
            let mut found = std::env::split_paths(&folders).map(|folder| folder.join(name));
            found.find(|program| program.is_file())
        })
    }

    /// The first line with a digit of what the program says about its version.
    pub fn version(&self, program: &Path) -> String {
        let output = Command::new(program)
            .args(self.version)
            .stdin(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let text = text.unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.contains(|c: char| c.is_ascii_digit()));
        let words = line.unwrap_or("unknown version").split_whitespace();
        let words: Vec<&str> = words.collect();
        words.join(" ")
    }

    /// Starts the program on the core of the servers.
    pub fn start(&self, program: &Path, scene: &Scene) -> Server {
        let (check, other) = (free_address(), free_address());
        let filled = |text: &str| {
            text.replace("{check}", &check.port().to_string())
                .replace("{other}", &other.port().to_string())
                .replace("{issuer}", &scene.issuer)
                .replace("{jwks}", &format!("http://{}/jwks", scene.keys))
                .replace("{directory}", &scene.directory.display().to_string())
        };
        for (name, text) in self.settings {
            std::fs::write(scene.directory.join(name), filled(text)).unwrap();
        }
        let mut command = pinned(SERVER, program);
        command.args(self.arguments.iter().map(|argument| filled(argument)));
        command.current_dir(&scene.directory);
        if self.name == AUTHORINO {
            let written = std::fs::read_to_string(scene.directory.join("authorino.yaml")).unwrap();
            let kubeconfig = scene.directory.join("kubeconfig");
            cluster::serve(&serde_saphyr::from_str(&written).unwrap(), &kubeconfig);
            command.env("KUBECONFIG", kubeconfig);
        }
        Server::start(command, load::Server::Tcp(check))
    }
}

/// A service that is wrong about every bad token.
pub fn allowing_everything() -> Server {
    let server = Server::constant(SERVER, Work::Nothing);
    let load::Server::Tcp(address) = server.server else {
        panic!("the service listens on TCP")
    };
    wait_for(address);
    server
}

/// Waits until something listens there, at most ten seconds.
fn wait_for(address: SocketAddr) {
    crate::process::block_on(async {
        let connected = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(10), connected);
        waited.await.expect("the service does not listen");
    });
}
