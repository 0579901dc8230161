//! `claimgate schema`: prints the JSON Schema of the configuration.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, say};
use crate::config::schema;

/// Prints the JSON Schema (2020-12) of the configuration, for editors.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  \
    claimgate schema > claimgate.schema.json\n\n\
    With the YAML extension of an editor, make this the first line of a configuration:\n  \
    # yaml-language-server: $schema=claimgate.schema.json")]
pub(super) struct Arguments {}

pub(super) fn run() -> Result<ExitCode, Failure> {
    say(&serde_json::to_string_pretty(&schema::schema())?)?;
    Ok(ExitCode::SUCCESS)
}
