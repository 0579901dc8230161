//! The configuration: what the operator wrote ([`raw`]), then what it means ([`Config`]).
//!
//! A [`Config`] is whole and right, or there is none: every problem is reported at once, each
//! with its place and what to do about it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

mod check;
pub mod document;
pub mod raw;
pub mod schema;
pub mod values;

pub use document::{Location, Problem, Severity};
pub use values::ProxyUrl;

use claimgate_core::answer::denials::Denials;
use claimgate_core::keyring::{AlgorithmSet, KeySet};
use claimgate_core::policy::Policy;

/// Everything that the operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how `Check` is served.
    pub server: Server,
    /// Where health and metrics are served.
    pub admin: Admin,
    /// What a decision depends on.
    pub policy: Arc<Policy>,
    /// Where each provider's keys come from, in the order of the policy's providers.
    pub keys: Vec<KeySettings>,
    /// How many verified tokens are remembered.
    pub token_cache: TokenCache,
    /// What a refused caller reads.
    pub denials: Denials,
    /// What works as it is written and is likely not what is meant, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// The memory of verified tokens.
#[derive(Clone, Debug)]
pub struct TokenCache {
    /// At most so many; none at 0.
    pub max_entries: u32,
    /// At most about so much memory.
    pub max_bytes: usize,
}

/// The gRPC server.
#[derive(Clone, Debug)]
pub struct Server {
    /// At least one address.
    pub listen: Vec<ListenAddress>,
    /// At most this many connections at once, on all addresses together.
    pub max_connections: usize,
    /// How long to keep answering after the signal to stop, while clients move on.
    pub drain: Duration,
}

/// Where the gRPC server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and port; port 0 takes any.
    Tcp(SocketAddr),
    /// This port of both loopback addresses, `127.0.0.1` and `[::1]`; port 0 takes any.
    Localhost(u16),
    /// A Unix domain socket.
    Unix(UnixSocket),
}

/// A Unix domain socket, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its path.
    pub path: PathBuf,
    /// Its mode; what the process's umask leaves, if there is none and no group.
    pub mode: Option<u32>,
    /// The group that it belongs to: a name or a number.
    pub group: Option<String>,
}

impl From<PathBuf> for UnixSocket {
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            mode: None,
            group: None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
        }
    }
}

/// The operator's HTTP listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// An IP address and port; port 0 takes any.
    pub listen: SocketAddr,
}

/// Where one provider's keys come from, and how they are kept fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// The provider's name.
    pub name: String,
    /// Where they are.
    pub source: KeySource,
    /// How they are fetched.
    pub fetch: Fetch,
    /// When they are fetched.
    pub refresh: Refresh,
    /// The algorithms that the provider's tokens may be signed with.
    pub algorithms: AlgorithmSet,
}

/// Where a provider publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In the document that its metadata points to.
    Discovery {
        /// What the metadata's `issuer` must be.
        issuer: String,
        /// Where the metadata may be, in the order in which to try.
        metadata: Vec<Url>,
    },
    /// At a known address.
    Uri(Url),
    /// In a file.
    File(PathBuf),
    /// In the configuration.
    Inline(Arc<KeySet>),
}

impl KeySource {
    /// Where the first question goes, if anybody is asked.
    pub fn url(&self) -> Option<&Url> {
        match self {
            Self::Discovery { metadata, .. } => metadata.first(),
            Self::Uri(url) => Some(url),
            Self::File(_) | Self::Inline(_) => None,
        }
    }
}

/// How a provider's documents are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// For one document, from connecting to the last byte.
    pub timeout: Duration,
    /// Trust these certificate authorities (PEM) instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The file with the bearer token that is sent along: for the Kubernetes API server.
    pub bearer_token_file: Option<PathBuf>,
    /// Whether plain HTTP is accepted from hosts other than this one.
    pub allow_http: bool,
    /// The largest document that is read.
    pub max_bytes: usize,
    /// The proxy that https goes through.
    pub proxy: Option<Proxy>,
}

/// Which proxy is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// This one.
    Url(ProxyUrl),
    /// The one that `HTTPS_PROXY` or `ALL_PROXY` names, except for the hosts in `NO_PROXY`.
    FromEnvironment,
}

/// When a provider's keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The shortest time between two regular fetches.
    pub min: Duration,
    /// The longest time between two regular fetches.
    pub max: Duration,
    /// How long keys are used while none can be fetched.
    pub max_stale: Duration,
    /// Tokens may ask for 3 fetches at once, and for one more in each of these.
    pub unknown_key_cooldown: Duration,
    /// How long a request waits for such a fetch.
    pub unknown_key_wait: Duration,
    /// Where the last good keys are kept, so that a restart can do without the provider.
    pub cache_dir: Option<PathBuf>,
}

/// A provider given on the command line or in the environment.
#[derive(Clone, Debug, Default)]
pub struct ProviderFlags {
    /// The exact `iss` of its tokens.
    pub issuer: Option<String>,
    /// Accepted audiences.
    pub audiences: Vec<String>,
    /// Whether tokens meant for anyone are accepted, instead of naming audiences.
    pub any_audience: bool,
    /// Where its keys are; found by discovery if absent.
    pub jwks_uri: Option<String>,
}

impl Config {
    /// Reads a configuration file. Paths in it are relative to the directory that it is in.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not right: then with every problem.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let yaml = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        let directory = file.parent().unwrap_or(Path::new(""));
        Self::parse(&yaml, directory).map_err(|problems| ConfigError::Wrong {
            origin: file.display().to_string(),
            problems,
        })
    }

    /// Reads a configuration from YAML text. Paths in it are relative to the working directory.
    ///
    /// # Errors
    ///
    /// When it is not right: then with every problem.
    pub fn from_yaml(yaml: &str) -> Result<Self, ConfigError> {
        Self::parse(yaml, Path::new("")).map_err(|problems| ConfigError::Wrong {
            origin: "configuration".to_owned(),
            problems,
        })
    }

    /// The configuration for one provider, with defaults for the rest.
    ///
    /// # Errors
    ///
    /// When the flags do not make a provider: then with every problem.
    pub fn from_flags(flags: &ProviderFlags) -> Result<Self, ConfigError> {
        check::flags(flags).map_err(|problems| ConfigError::Wrong {
            origin: "command line".to_owned(),
            problems,
        })
    }

    fn parse(yaml: &str, directory: &Path) -> Result<Self, Vec<Problem>> {
        let (root, problems) = document::read(yaml).map_err(|problem| vec![problem])?;
        check::root(root, problems, directory)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {error}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not right.
    #[error("{}", list(origin, problems))]
    Wrong {
        /// Where it comes from: a file's name.
        origin: String,
        /// All that is wrong, and every warning, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// A problem, or a warning, behind the name of the file that it is in: `claimgate.yaml:3:5: …`.
pub fn in_file(origin: &str, problem: &Problem) -> String {
    match problem.location.line {
        0 => format!("{origin}: {problem}"),
        _ => format!("{origin}:{problem}"),
    }
}

fn list(origin: &str, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| in_file(origin, problem))
        .collect();
    lines.join("\n")
}
