//! The form of a file of cases: that of `claimgate test`, with more keys. A case may change the
//! configuration, the published keys and single bytes of a token; `expect` may look at the challenge,
//! the gRPC code, the metadata and the hint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use claimgate::config::Config;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A file of cases about one subject.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// A configuration, or the name of its file. The provider's keys are inserted into it.
    #[serde(deserialize_with = "configuration")]
    pub config: Value,
    /// The keys that each provider signs with, or nothing if its keys are unavailable.
    pub keys: BTreeMap<String, Option<Vec<KeySpec>>>,
    /// Applies to every token in the file, unless its case overrides it.
    pub token: TokenSpec,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    pub kid: String,
    pub alg: String,
    /// Changes to the published key; `null` removes a member.
    #[serde(default)]
    pub jwk: Map<String, Value>,
    /// Whether the provider publishes it.
    #[serde(default = "yes")]
    pub published: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSpec {
    /// The signing key: `provider/kid`.
    pub key: Option<String>,
    /// The algorithm to sign with, if not the key's own.
    pub sign_as: Option<String>,
    /// Changes to the header; `null` removes a member.
    pub header: Map<String, Value>,
    /// Changes to the claims; `null` removes a claim.
    pub claims: Map<String, Value>,
    /// The header, or the claims, as text.
    pub header_text: Option<String>,
    pub claims_text: Option<String>,
    /// Replaces the signature.
    pub signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(default)]
    pub token: TokenSpec,
    /// Changes to the configuration's top-level sections.
    #[serde(default)]
    pub config: Map<String, Value>,
    #[serde(default)]
    pub request: RequestSpec,
    /// Seconds since 1970.
    #[serde(default = "january_2026")]
    pub now: u64,
    /// The clock panics.
    #[serde(default)]
    pub clock_fails: bool,
    pub expect: Expect,
}

const fn january_2026() -> u64 {
    1_767_225_600
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSpec {
    pub method: Option<String>,
    /// Header lines, in which `{token}` is replaced by the token.
    pub header_lines: Option<Vec<(String, String)>>,
    pub path: Option<String>,
    /// The path as bytes that may not be UTF-8: each character is one byte (ISO 8859-1).
    pub path_bytes: Option<String>,
    /// The only form in which Envoy describes the headers: `joined` or `raw`.
    pub form: Option<String>,
    pub host: Option<String>,
    /// Address, principal and certificate of the sender.
    pub source: SourceSpec,
    /// The context extensions of Envoy's route.
    pub context: BTreeMap<String, String>,
    /// The check has no `request.http`.
    pub without_http: bool,
    /// The check has nothing at all.
    pub empty: bool,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    pub address: String,
    pub principal: String,
    pub certificate: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The rule that decides.
    pub rule: Option<String>,
    /// The answer is this metadata document of a resource; `{}` means an empty body.
    pub document: Option<Value>,
    /// The decision, if `reason` does not tell: `allow` for a denial that is only observed.
    #[serde(default)]
    pub decision: Option<Decided>,
    /// The reason of the denial; absent for an allow.
    pub reason: Option<String>,
    /// A part of the likely cause that the log names.
    pub hint: Option<String>,
    pub status: Option<i32>,
    pub code: Option<i32>,
    /// The complete challenge.
    pub challenge: Option<String>,
    pub body: Option<String>,
    /// Some headers of the answer, or some headers set for the upstream.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// All headers that are set on the upstream's response.
    pub response_headers: Option<BTreeMap<String, String>>,
    /// Some members of the dynamic metadata; `null` means absent. `false` means no metadata at all.
    pub metadata: Option<Value>,
    /// All header names that are removed.
    pub removed: Option<BTreeSet<String>>,
    /// All query parameters that are removed.
    #[serde(default)]
    pub remove_query: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decided {
    Allow,
}

impl Expect {
    /// The reason of a denial that takes effect.
    pub fn enforced(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| self.decision.is_none())
    }
}

/// The name of a case's test: `providers/okta::an ID token: unsupported_type`. A filter finds cases by
/// file, by name, and by what they expect.
pub fn test_name(file: &Path, case: &Case) -> String {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let file = file.strip_prefix(cases).unwrap().with_extension("");
    let expected = match (case.expect.enforced(), &case.expect.document) {
        (Some(reason), _) => reason,
        (None, Some(_)) => "metadata",
        (None, None) => "allow",
    };
    format!("{}::{}: {expected}", file.display(), case.name)
}

pub fn files() -> Vec<PathBuf> {
    let mut files = yaml_files("tests/cases");
    files.extend(yaml_files("tests/cases/providers"));
    files
}

pub fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn configuration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(name) => {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
            // The original text, before placeholders are replaced.
            Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
            serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
        }
        config => config,
    })
}

pub fn read(path: &Path) -> File {
    let yaml = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
