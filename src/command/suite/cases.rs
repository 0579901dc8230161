//! The meaning of a test file. Every problem in it is found at once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

mod reader;

use reader::Reader;

use super::raw;
use crate::config::document::{self, Field};
use crate::config::{Config, ConfigError, Problem};
use crate::keyring::ProviderId;
use crate::time::UnixTime;

/// A test file.
pub(super) struct Suite {
    pub(super) file: PathBuf,
    pub(super) config: Config,
    pub(super) now: UnixTime,
    pub(super) cases: Vec<Case>,
}

/// A request with its expected result.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) line: u64,
    pub(super) request: Request,
    pub(super) token: Option<Token>,
    pub(super) expect: Expect,
}

#[derive(Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) address: String,
    pub(super) principal: String,
    pub(super) certificate: String,
    pub(super) context: Vec<(String, String)>,
}

pub(super) enum Token {
    /// Sent as it is.
    Raw(String),
    /// Signed for the test.
    Minted {
        provider: ProviderId,
        claims: Map<String, Value>,
        header: Map<String, Value>,
    },
}

/// The expected result. `None`, or an empty map or list, is not compared.
pub(super) struct Expect {
    pub(super) decision: &'static str,
    pub(super) reason: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) removed: Vec<String>,
    pub(super) response_headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
}

impl Suite {
    /// Reads a test file and the configuration that it names.
    pub(super) fn load(file: &Path) -> Result<Self, ConfigError> {
        let yaml = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        let wrong = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| (problem.location.line, problem.location.column));
            ConfigError::Wrong {
                origin: file.display().to_string(),
                problems,
            }
        };
        let (suite, problems) =
            document::read::<raw::Suite>(&yaml).map_err(|problem| wrong(vec![problem]))?;
        let mut reader = Reader { problems };
        let suite = match suite {
            Field::Given(_, suite) => suite,
            Field::Absent => raw::Suite::default(),
            Field::Invalid => return Err(wrong(reader.problems)),
        };
        let named = reader.config_file(&suite.config);
        let Some(config_file) = named else {
            return Err(wrong(reader.problems));
        };
        let config = Config::load(&file.parent().unwrap_or(Path::new("")).join(config_file))?;
        let now = reader.now(&suite.now);
        let cases = reader.cases(suite.cases, &config);
        match reader.problems.is_empty() {
            true => Ok(Self {
                file: file.to_owned(),
                config,
                now,
                cases,
            }),
            false => Err(wrong(reader.problems)),
        }
    }
}
