//! The decision log, as the operator writes it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::{self, ClaimPath, OneOrMany, Size, Text};
use super::values::Texts;
use crate::document::Field;

/// The decision log: one line of JSON for each decision.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend(
        "oneOf" = [
            {"required": ["path"]},
            {
                "required": ["stdout"],
                "not": {"anyOf": [{"required": ["max_bytes"]}, {"required": ["rotate"]}]},
            },
        ],
        "if" = {"properties": {"allow": {"const": "sampled"}}, "required": ["allow"]},
        "then" = {"required": ["sample_ratio"]},
        "else" = {"not": {"required": ["sample_ratio"]}},
    )
)]
pub struct DecisionLog {
    /// The file to write to. It excludes `stdout`.
    #[schemars(with = "Text")]
    pub path: Field<String>,
    /// `true` writes to standard output. It excludes `path`.
    #[schemars(extend("const" = true))]
    pub stdout: Field<bool>,
    /// Which of the requests that pass are written: `all` (the default), `none`, or `sampled`, which
    /// requires `sample_ratio`. Denials are always written, observed ones and those of `enforce: false`
    /// included.
    #[schemars(with = "forms::LoggedAllows")]
    pub allow: Field<String>,
    /// The share of requests that are written with `allow: sampled`, from 0 to 1. Requests of one trace
    /// are written together.
    #[schemars(range(min = 0, max = 1))]
    pub sample_ratio: Field<f64>,
    /// The claims of valid tokens to write: names separated by dots, or JSON pointers. Default: none.
    #[schemars(with = "OneOrMany<ClaimPath>")]
    pub claims: Field<Texts>,
    /// How the `sub` of a valid token is written: `hash` (the default) by a keyed hash, `plain` as it is,
    /// `omit` not at all.
    #[schemars(with = "forms::LogSubject")]
    pub subject: Field<String>,
    /// The file with the key of `subject: hash`, of at least 16 bytes. Default: the key of
    /// `log.subject_key_file`, else a random key for each process.
    #[schemars(with = "Text")]
    pub subject_key_file: Field<String>,
    /// The size at which the file is renamed to `PATH.1` and a new one begins. Default: `100MiB`, from
    /// `1MiB` to `65536MiB`.
    #[schemars(with = "Size")]
    pub max_bytes: Field<String>,
    /// The number of earlier files that are kept: `PATH.1` to `PATH.N`. 0 leaves rotation to another
    /// program, and excludes `max_bytes`. Default: 4, at most 1000.
    #[schemars(range(max = 1000))]
    pub rotate: Field<u32>,
}
