//! The commands. Errors go to standard error, data to standard output.
//!
//! Exit codes: 0 for success or allow, 1 for deny or a problem found, 2 when the command could not
//! do what it was asked to.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError, ProviderFlags};

mod check;
mod dev;
mod explain;
mod schema;
mod serve;
mod test;
mod validate;

/// What the command line says.
#[derive(Debug, Parser)]
#[command(
    name = "claimgate",
    version,
    about = "Validates OpenID Connect bearer tokens for Envoy (ext_authz over gRPC)",
    after_help = "Try it:  claimgate dev --envoy\n\nExit codes: 0 success or allow, 1 deny or problems found, 2 could not do it",
    arg_required_else_help = true
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Arguments),
    /// Try it out: an issuer, the service and, with --envoy, a real Envoy, on this machine only
    Dev(dev::Arguments),
    /// Judge one request and explain the decision
    Check(check::Arguments),
    /// Check a configuration file, and report everything that is wrong with it
    Validate(validate::Arguments),
    /// Run table tests of a configuration: requests, and what should become of them
    Test(test::Arguments),
    /// Print the JSON Schema of the configuration
    Schema(schema::Arguments),
}

/// Runs a command to its end.
pub async fn run(arguments: Arguments) -> ExitCode {
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Check(arguments) => check::run(arguments).await,
        Command::Validate(arguments) => validate::run(arguments).await,
        Command::Test(arguments) => test::run(arguments).await,
        Command::Schema(schema::Arguments {}) => schema::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("claimgate: {error}");
        ExitCode::from(2)
    })
}

/// What ends a command early: shown to the user as it is.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the configuration comes from.
#[derive(Args, Debug)]
struct Source {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["issuer", "audience", "jwks_uri"])]
    config: Option<PathBuf>,

    /// Without a file: the exact `iss` of accepted tokens (environment: `OIDC_ISSUER`)
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    /// Without a file: an accepted audience; repeat for more (environment: `OIDC_AUDIENCE`, separated by commas)
    #[arg(long, value_name = "AUD")]
    audience: Vec<String>,

    /// Without a file: where the keys are, if discovery does not tell (environment: `OIDC_JWKS_URL`)
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
}

impl Source {
    /// The file, or else the flags, or else the environment: never a mixture, as flags and
    /// variables may be about different providers.
    fn load(&self) -> Result<Config, Failure> {
        if let Some(file) = &self.config {
            return Ok(Config::load(file)?);
        }
        let flags = ProviderFlags {
            issuer: self.issuer.clone(),
            audiences: self.audience.clone(),
            jwks_uri: self.jwks_uri.clone(),
        };
        let any_flag =
            flags.issuer.is_some() || flags.jwks_uri.is_some() || !flags.audiences.is_empty();
        let (given, names) = match any_flag {
            true => (flags, ["--issuer", "--audience", "--jwks-uri"]),
            false => (
                ProviderFlags {
                    issuer: variable("OIDC_ISSUER"),
                    audiences: variable("OIDC_AUDIENCE")
                        .iter()
                        .flat_map(|list| list.split(','))
                        .map(|audience| audience.trim().to_owned())
                        .collect(),
                    jwks_uri: variable("OIDC_JWKS_URL"),
                },
                ["OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_JWKS_URL"],
            ),
        };
        if given.issuer.is_none() && given.audiences.is_empty() && given.jwks_uri.is_none() {
            return Err(
                "no configuration: give --config FILE, or --issuer URL --audience AUD, or \
                        set OIDC_ISSUER and OIDC_AUDIENCE; `claimgate dev` needs none"
                    .into(),
            );
        }
        Ok(Config::from_flags(&given).map_err(|error| rename(error, names))?)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says what the user wrote, be it a flag or a variable.
fn rename(error: ConfigError, [issuer, audience, jwks_uri]: [&str; 3]) -> ConfigError {
    match error {
        ConfigError::Wrong {
            origin,
            mut problems,
        } => {
            for problem in &mut problems {
                let name = match problem.spot.path.as_str() {
                    "--issuer" => issuer,
                    "--audience" => audience,
                    "--jwks-uri" => jwks_uri,
                    _ => continue,
                };
                name.clone_into(&mut problem.spot.path);
            }
            ConfigError::Wrong { origin, problems }
        }
        unreadable @ ConfigError::Unreadable { .. } => unreadable,
    }
}
