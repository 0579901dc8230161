//! `claimgate schema`: prints the JSON Schema of the configuration or of the decision log.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Failure, say};
use crate::config::schema;
use crate::gate::decision_log::record;

/// Prints the JSON Schema (2020-12) of the configuration, for editors, or of the decision log.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate schema > claimgate.schema.json\n  \
    claimgate schema decision-log\n\n\
    With the YAML extension of an editor, make this the first line of a configuration:\n  \
    # yaml-language-server: $schema=claimgate.schema.json")]
pub(super) struct Arguments {
    /// What the schema describes
    #[arg(value_enum, default_value_t, value_name = "DOCUMENT")]
    document: Document,
}

/// A document with a schema.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Document {
    /// The configuration file
    #[default]
    Config,
    /// One line of the decision log
    DecisionLog,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let schema = match arguments.document {
        Document::Config => schema::schema(),
        Document::DecisionLog => record::schema(),
    };
    say(&serde_json::to_string_pretty(&schema)?)?;
    Ok(ExitCode::SUCCESS)
}
