//! What a test may ask. Unknown members are errors, so that a misspelt one does not go unnoticed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

/// One line of standard input.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Asked {
    /// Start the issuers and the service.
    Start(Start),
    /// Make a token.
    Mint(Mint),
    /// Decide a request.
    Check(Check),
    /// Sign with a new key from now on.
    Rotate(Rotate),
    /// Move the clock forward.
    Advance(Advance),
    /// Return to the machine's time.
    Reset {},
}

/// The configuration. Without both, the one of `claimgate dev`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// YAML. Paths in it are relative to the working directory.
    pub(super) config: Option<String>,
    /// A file. Paths in it are relative to its directory.
    pub(super) file: Option<PathBuf>,
}

/// A token of this provider, or of the first one. `null` removes a claim, or a member of the header.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mint {
    pub(super) provider: Option<String>,
    #[serde(default)]
    pub(super) claims: Map<String, Value>,
    #[serde(default)]
    pub(super) header: Map<String, Value>,
    /// Seconds from now to `exp`, unless `claims` has one.
    pub(super) expires_in: Option<i64>,
}

/// A request as Envoy sends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Check {
    pub(super) method: String,
    pub(super) host: String,
    /// With the query.
    pub(super) path: String,
    /// Each line of the header: name and value.
    pub(super) headers: Vec<(String, String)>,
    pub(super) source_address: String,
    pub(super) source_principal: String,
    /// The context extensions of Envoy's route.
    pub(super) context: BTreeMap<String, String>,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            host: "localhost".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            source_address: "127.0.0.1".to_owned(),
            source_principal: String::new(),
            context: BTreeMap::new(),
        }
    }
}

/// Replaces the key of this provider, or of the first one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotate {
    pub(super) provider: Option<String>,
}

/// Moves the clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Advance {
    pub(super) seconds: u64,
}
