//! What the operator set for everything around decisions: listeners, logs, caches, keys.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::ProxyUrl;
use claimgate_core::keyring::{AlgorithmSet, KeySet};
use claimgate_core::token::claims::ClaimPath;

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How callers are named.
    pub subject: LogSubject,
}

/// The decision log: one line for each decision.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionLog {
    /// Where lines are written.
    pub target: DecisionTarget,
    /// Which of the requests that pass are written.
    pub allow: LoggedAllows,
    /// The claims that are written, each once.
    pub claims: Vec<ClaimPath>,
    /// How the subject of a token is named.
    pub subject: LogSubject,
}

/// Where the decision log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionTarget {
    /// Standard output.
    Stdout,
    /// A file.
    File(DecisionFile),
}

/// The file of the decision log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionFile {
    /// Its path, which ends in a file name.
    pub path: PathBuf,
    /// The size in bytes at which a new file begins.
    pub max_bytes: usize,
    /// The number of earlier files that are kept. 0 if another program renames files.
    pub keep: u32,
}

/// Which of the requests that pass are in the decision log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LoggedAllows {
    /// Every request.
    #[default]
    All,
    /// No request.
    None,
    /// A share of the requests, from 0 to 1.
    Sampled(f64),
}

impl LoggedAllows {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::None => "none",
            Self::Sampled(_) => "sampled",
        }
    }
}

/// The importance of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing is logged.
    Off,
    /// What an operator must repair.
    Error,
    /// What an operator should look at.
    Warn,
    /// Denials, and what the service does.
    #[default]
    Info,
    /// Every decision.
    Debug,
    /// Details for developers.
    Trace,
}

impl LogLevel {
    /// All levels.
    pub const ALL: [Self; 6] = [
        Self::Off,
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The name of the level.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log lines and the list of denials name the subject and the client of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogSubject {
    /// As they are.
    #[default]
    Plain,
    /// As keyed hashes. The key is in this file; without one, it is random for each process.
    Hash(Option<PathBuf>),
    /// Not at all.
    Omit,
}

/// The cache of verified tokens.
#[derive(Clone, Debug)]
pub struct TokenCache {
    /// The maximum number of tokens; 0 disables the cache.
    pub max_entries: u32,
    /// The maximum memory in bytes, approximately.
    pub max_bytes: usize,
}

/// The gRPC server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The addresses to listen on; at least one.
    pub listen: Vec<ListenAddress>,
    /// TLS for checks over TCP. `None`: plain text.
    pub tls: Option<Tls>,
    /// The maximum number of connections at once, across all addresses.
    pub max_connections: usize,
    /// The age at which a connection is closed. `None`: connections live as long as clients want.
    pub max_connection_age: Option<Duration>,
    /// How long the service keeps answering after the signal to stop, while clients move on.
    pub drain: Duration,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The server's certificate and its intermediate certificates (PEM).
    pub certificate: PathBuf,
    /// The certificate's private key (PEM).
    pub key: PathBuf,
    /// The clients that may connect. `None`: all, without a certificate.
    pub clients: Option<Clients>,
}

/// Clients with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The authorities that sign their certificates (PEM).
    pub authorities: PathBuf,
    /// The names of which a certificate must contain one. `None`: any certificate from these
    /// authorities is accepted.
    pub allowed: Option<Vec<ClientName>>,
}

/// A subject alternative name (RFC 5280 §4.2.1.6) in a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// A DNS name.
    Dns(String),
    /// A URI, such as a SPIFFE ID.
    Uri(String),
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and port. Port 0 picks any free port.
    Tcp(SocketAddr),
    /// The same port on both loopback addresses, `127.0.0.1` and `[::1]`. Port 0 picks any free
    /// port.
    Localhost(u16),
    /// A Unix domain socket.
    Unix(UnixSocket),
}

/// A Unix domain socket, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// The socket's path.
    pub path: PathBuf,
    /// The file mode. `None` with a `group` means `0660`; without one, the process's umask decides.
    pub mode: Option<u32>,
    /// The group that owns the socket: a name or a number.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address, unless the listener is off.
    pub listen: AdminListen,
    /// TLS over TCP. `None`: plain text.
    pub tls: Option<Tls>,
    /// The file with the token that callers must present. `None`: callers need no token.
    pub token_file: Option<PathBuf>,
    /// The DNS names under which clients may address the listener, in lower case.
    pub allowed_hosts: Vec<String>,
    /// Whether callers on other machines may have a token explained.
    pub explain: bool,
}

/// Whether and where the admin listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// There is no admin listener.
    Off,
    /// It listens on this address.
    At(ListenAddress),
}

/// The source of one provider's keys, and how they are kept fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// The provider's name.
    pub name: String,
    /// Where the keys come from.
    pub source: KeySource,
    /// How the keys are fetched.
    pub fetch: Fetch,
    /// When the keys are fetched.
    pub refresh: Refresh,
    /// Whether the service is ready only once it has had the provider's keys.
    pub required: bool,
    /// The algorithms that the provider may sign tokens with.
    pub algorithms: AlgorithmSet,
}

/// Where a provider's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The document that the provider's metadata names.
    Discovery {
        /// The value that the metadata's `issuer` must have.
        issuer: String,
        /// The URLs where the metadata may be, in the order to try them.
        metadata: Vec<Url>,
    },
    /// A key set at this URL.
    Uri(Url),
    /// A key set in this file.
    File(PathBuf),
    /// A key set in the configuration itself.
    Inline(Arc<KeySet>),
}

impl KeySource {
    /// The first URL to contact. `None` if no fetch is needed.
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
    /// The time limit for one document, from connecting to the last byte.
    pub timeout: Duration,
    /// After this time, a provider that never had keys no longer delays readiness. `None`: it always
    /// does.
    pub startup_grace: Option<Duration>,
    /// The certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A file with a bearer token to send along, for the Kubernetes API server.
    pub bearer_token_file: Option<PathBuf>,
    /// Whether plain HTTP is accepted from other machines.
    pub allow_http: bool,
    /// The maximum size of a document in bytes.
    pub max_bytes: usize,
    /// The proxy for https.
    pub proxy: Option<Proxy>,
    /// The cluster of Envoy to fetch through, inside Envoy.
    pub envoy_cluster: Option<String>,
}

/// Which proxy to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// The proxy at this URL.
    Url(ProxyUrl),
    /// The proxy that `HTTPS_PROXY` or `ALL_PROXY` names, except for hosts in `NO_PROXY`.
    FromEnvironment,
}

/// When a provider's keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The minimum time between two regular fetches.
    pub min: Duration,
    /// The maximum time between two regular fetches.
    pub max: Duration,
    /// How long keys stay in use while every fetch fails.
    pub max_stale: Duration,
    /// The cool-down of fetches that tokens ask for: 3 at once, then one more per cool-down.
    pub unknown_key_cooldown: Duration,
    /// The maximum time that a request waits for such a fetch.
    pub unknown_key_wait: Duration,
    /// The directory that stores the last good keys, so that a restart works without the provider.
    pub cache_dir: Option<PathBuf>,
}

/// Where spans and metrics are sent. What is `None` is as the variables of OpenTelemetry say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// OTLP. `None`: only the variables count.
    pub otlp: Option<Otlp>,
}

/// Exports by OTLP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Otlp {
    /// The collector, without the paths of signals.
    pub endpoint: Option<Url>,
    /// How it is spoken to.
    pub protocol: Option<OtlpProtocol>,
    /// A file with headers to send along, one per line.
    pub headers_file: Option<PathBuf>,
    /// The certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether spans are sent.
    pub traces: Option<bool>,
    /// The share of traces that begin here and are recorded, from 0 to 1.
    pub sample_ratio: Option<f64>,
    /// Whether metrics are sent.
    pub metrics: Option<bool>,
    /// The time between two exports of metrics.
    pub metrics_interval: Option<Duration>,
}

/// A transport of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protocol Buffers over HTTP/1.1.
    HttpProtobuf,
}

impl OtlpProtocol {
    /// All transports.
    pub const ALL: [Self; 2] = [Self::Grpc, Self::HttpProtobuf];

    /// The name, as in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }
}
