//! The configuration: first what the operator wrote ([`raw`]), then what it means ([`Config`]).
//!
//! A [`Config`] is always complete and correct. If the file is not, every problem is reported at once,
//! each with its location and what to do about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

pub mod document;
mod effective;
pub mod files;
mod hash;
pub mod raw;
mod resolve;
pub mod schema;
mod settings;
pub mod values;

pub use document::{Location, Problem, Severity};
use effective::Mark;
pub use effective::Written;
pub use hash::ConfigHash;
pub use settings::{
    Admin, AdminListen, ClientName, Clients, DecisionFile, DecisionLog, DecisionTarget, Fetch,
    KeySettings, KeySource, ListenAddress, Log, LogLevel, LogSubject, LoggedAllows, Otlp,
    OtlpProtocol, Proxy, Refresh, Server, Telemetry, Tls, TokenCache, UnixSocket,
};
pub use values::ProxyUrl;

use claimgate_core::answer::denials::Denials;
use claimgate_core::policy::Policy;

/// Everything that the operator configures.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gRPC server for `Check`.
    pub server: Server,
    /// The HTTP listener for the operator: a page, health and metrics.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
    /// The decision log. `None` if nothing is written.
    pub decision_log: Option<DecisionLog>,
    /// Where spans and metrics are sent.
    pub telemetry: Telemetry,
    /// What decisions depend on.
    pub policy: Arc<Policy>,
    /// The source of each provider's keys, in the order of the policy's providers.
    pub keys: Vec<KeySettings>,
    /// The limits of the token cache.
    pub token_cache: TokenCache,
    /// What a refused caller receives.
    pub denials: Denials,
    /// Settings that work as written but are probably not what the operator wants, in file order.
    pub warnings: Vec<Problem>,
    /// Tells this text from other configurations. Files that it names do not count.
    pub hash: ConfigHash,
    /// The text that this configuration was read from.
    pub written: Written,
}

/// A provider from the command line or the environment.
#[derive(Clone, Debug, Default)]
pub struct ProviderFlags {
    /// The exact `iss` of the provider's tokens.
    pub issuer: Option<String>,
    /// The accepted audiences.
    pub audiences: Vec<String>,
    /// Whether tokens for any audience are accepted.
    pub any_audience: bool,
    /// The URL of the keys. If absent, discovery finds them.
    pub jwks_uri: Option<String>,
}

impl ProviderFlags {
    /// What a file with the same meaning would say.
    fn as_document(&self) -> Value {
        let Self {
            issuer,
            audiences,
            any_audience,
            jwks_uri,
        } = self;
        let audiences = match any_audience {
            true => Value::from("any"),
            false => Value::from(audiences.as_slice()),
        };
        let jwks = jwks_uri.as_ref().map(|uri| json!({"uri": uri}));
        let provider = json!({"issuer": issuer, "audiences": audiences, "jwks": jwks});
        json!({"providers": [provider]})
    }
}

impl Config {
    /// Reads a configuration file. Paths in it are relative to its directory.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or if it is wrong; then the error lists every problem.
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
    /// Fails if the text is wrong; the error lists every problem.
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
    /// Fails if the flags are not a valid provider; the error lists every problem.
    pub fn from_flags(flags: &ProviderFlags) -> Result<Self, ConfigError> {
        let mut config = resolve::flags(flags).map_err(|problems| ConfigError::Wrong {
            origin: "command line".to_owned(),
            problems,
        })?;
        config.hash = ConfigHash::of(&format!("{flags:?}"));
        config.written = Written::new(&flags.as_document().to_string());
        Ok(config)
    }

    fn parse(yaml: &str, directory: &Path) -> Result<Self, Vec<Problem>> {
        let (root, problems) = document::read(yaml).map_err(|problem| vec![problem])?;
        let mut config = resolve::root(root, problems, directory)?;
        config.hash = ConfigHash::of(yaml);
        config.written = Written::new(yaml);
        Ok(config)
    }

    /// What the file says, with defaults and without secrets, for an operator who reads it.
    pub fn effective(&self) -> Value {
        effective::view(self, self.written.parse(), Mark::Same)
    }

    /// The same, but the marks in place of secrets differ if the secrets do. Only for comparisons within
    /// this process, which has the key of the marks.
    pub fn comparable(&self) -> Value {
        effective::view(self, self.written.parse(), Mark::Digest)
    }

    /// [`Self::effective`], and [`Self::comparable`] if that differs because there are secrets. Reads the
    /// file's text once.
    pub fn views(&self) -> (Value, Option<Value>) {
        let written = self.written.parse();
        let comparable = effective::view(self, written.clone(), Mark::Digest);
        let effective = effective::view(self, written, Mark::Same);
        let comparable = (comparable != effective).then_some(comparable);
        (effective, comparable)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {}", file.display(), files::unreadable(error))]
    Unreadable {
        /// The file that cannot be read.
        file: PathBuf,
        /// The cause.
        error: std::io::Error,
    },
    /// The configuration is wrong.
    #[error("{}", list(origin, problems))]
    Wrong {
        /// The source of the configuration, such as a file name.
        origin: String,
        /// Every problem and every warning, in file order.
        problems: Vec<Problem>,
    },
}

/// The problem or warning, prefixed with the file name: `claimgate.yaml:3:5: …`.
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
