//! `claimgate test`: runs the operator's own tests of a policy.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

mod cases;
mod judge;
mod raw;
mod report;

use super::{Failure, complain, say};
use cases::Suite;
use judge::Outcome;

/// Judges the requests in test files by their configurations, and compares the results with the
/// expected ones.
#[derive(Args, Debug)]
#[command(after_help = "A test file:\n\n  \
    config: claimgate.yaml              # relative to this file\n  \
    now: 2026-01-01T12:00:00Z           # default: the time of the run\n  \
    cases:\n    \
      - name: a client that may write, may write\n      \
        request: { method: POST, host: api.example.com, path: /orders, headers: { x-tenant: blue } }\n      \
        token: { provider: acme, claims: { sub: alice, scope: \"orders:write\" } }\n      \
        expect: { decision: allow, rule: orders-write, headers: { x-auth-subject: alice } }\n    \
      - name: no other client may\n      \
        request: { method: POST, host: api.example.com, path: /orders }\n      \
        expect: { reason: missing_token, status: 401 }\n\n\
    Tokens are signed with a key made for the test. They are valid except for what `claims` and\n\
    `header` change (`null` removes a member). A `raw_token` is judged with the keys that the\n\
    configuration has in a file or inline. Nothing is fetched.\n\n\
    Exit codes: 0 all passed, 1 some failed, 2 a file is wrong")]
pub(super) struct Arguments {
    /// The test files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For scripts
    Json,
    /// For build servers
    Junit,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let mut suites = Vec::new();
    let mut wrong = Vec::new();
    for file in &arguments.files {
        match Suite::load(file) {
            Ok(suite) => suites.push(suite),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    if !wrong.is_empty() {
        complain(&wrong.join("\n"));
        return Ok(ExitCode::from(2));
    }
    let mut outcomes: Vec<(&Suite, Vec<Outcome>)> = Vec::new();
    for suite in &suites {
        outcomes.push((suite, judge::run(suite).await?));
    }
    let colours = std::env::var_os("NO_COLOR").is_none() && std::io::stdout().is_terminal();
    let report = match arguments.output {
        Output::Text => report::text(&outcomes, colours),
        Output::Json => format!("{:#}", report::json(&outcomes)),
        Output::Junit => report::junit(&outcomes)?,
    };
    say(report.trim_end())?;
    let all_passed = outcomes
        .iter()
        .flat_map(|(_, outcomes)| outcomes)
        .all(Outcome::passed);
    Ok(ExitCode::from(u8::from(!all_passed)))
}
