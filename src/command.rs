//! The commands. Errors go to standard error and data to standard output.
//!
//! Exit codes: 0 for success or allow, 1 for deny or a problem found, 2 if the command could not do
//! its work.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::values::has_blank_ends;
use crate::config::{Config, ConfigError, Problem, ProviderFlags};
use crate::explain::bare_token;
use crate::version::{Build, VERSION};

mod check;
mod completions;
#[cfg(feature = "dev")]
mod dev;
mod diff;
mod doctor;
mod http;
mod import;
mod man;
mod schema;
mod serve;
mod suite;
mod tls;
mod validate;
mod why;

/// The parsed command line.
#[derive(Debug, Parser)]
#[command(
    name = "claimgate",
    disable_version_flag = true,
    args_conflicts_with_subcommands = true,
    about = "Validates OpenID Connect bearer tokens for Envoy (ext_authz over gRPC)",
    after_help = "Try it:\n  claimgate dev --envoy\n\nExit codes: 0 success or allow, 1 deny or problems found, 2 the command failed",
    arg_required_else_help = true
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,

    /// With --version, also print commit, target, compiler and cryptography
    #[arg(long, requires = "version")]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service
    Serve(serve::Arguments),
    /// Try claimgate on this machine: an issuer, the service and, with --envoy, a real Envoy
    #[cfg(feature = "dev")]
    Dev(dev::Arguments),
    /// Judge one request and explain the decision
    Check(check::Arguments),
    /// Check a configuration file and report every problem in it
    Validate(validate::Arguments),
    /// Run the tests of a configuration: requests with expected decisions
    Test(suite::Arguments),
    /// Compare two configurations: which requests are judged otherwise
    Diff(diff::Arguments),
    /// Ask a running instance why it denied a request
    Why(why::Arguments),
    /// Probe a gateway: is claimgate asked, and is Envoy configured safely
    Doctor(doctor::Arguments),
    /// Turn the token check of Envoy into a configuration
    Import(import::Arguments),
    /// Print the JSON Schema of the configuration or of the decision log
    Schema(schema::Arguments),
    /// Print the completion script of a shell
    Completions(completions::Arguments),
    /// Print manual pages, or write them to a directory
    Man(man::Arguments),
}

/// Runs a command to its end.
pub async fn run(arguments: Arguments) -> ExitCode {
    if let Err(error) = Build::read() {
        complain(&format!("claimgate: {error}"));
        return ExitCode::from(2);
    }
    // Without any argument, clap has printed the help.
    let Some(command) = arguments.command else {
        return or_complain(print_version(arguments.verbose));
    };
    or_complain(match command {
        Command::Serve(arguments) => serve::run(arguments).await,
        #[cfg(feature = "dev")]
        Command::Dev(arguments) => Box::pin(dev::run(arguments)).await,
        Command::Check(arguments) => check::run(arguments).await,
        Command::Validate(arguments) => validate::run(arguments).await,
        Command::Test(arguments) => suite::run(arguments).await,
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Why(arguments) => why::run(arguments).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Import(arguments) => import::run(arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    })
}

fn or_complain(outcome: Result<ExitCode, Failure>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        complain(&format!("claimgate: {error}"));
        ExitCode::from(2)
    })
}

fn print_version(verbose: bool) -> Result<ExitCode, Failure> {
    match verbose {
        true => say(&Build::read()?.to_string())?,
        false => say(&format!("claimgate {VERSION}"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The format of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For scripts
    Json,
}

/// An error that ends a command. Its message is shown to the user unchanged.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Writes a result to standard output.
///
/// # Errors
///
/// Fails if it cannot be written. A reader that stops early, as `head` does, is not an error.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}").into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes to standard error. Errors are ignored, because there is nowhere to report them.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Reads a token from a file, or from standard input for `-`, and removes a leading `Bearer`, because tokens are
/// often copied with it.
fn read_token(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
    }
    Ok(bare_token(&text).to_owned())
}

/// The innermost cause, which is the most helpful one.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The innermost cause, with what to do about an error of TLS.
fn with_advice(error: &(dyn std::error::Error + 'static)) -> String {
    let cause = innermost(error);
    match tls::advice(error) {
        Some(advice) => format!("{cause}; {advice}"),
        None => cause,
    }
}

/// The source of the configuration.
#[derive(Args, Debug)]
struct ConfigInput {
    /// Configuration file (YAML)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["issuer", "audience", "any_audience", "jwks_uri"])]
    config: Option<PathBuf>,

    /// Without a file: the exact `iss` of accepted tokens (environment: `OIDC_ISSUER`)
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    /// Without a file: an accepted audience; repeat for more (environment: `OIDC_AUDIENCE`, separated by commas)
    #[arg(long, value_name = "AUD")]
    audience: Vec<String>,

    /// Without a file: accept tokens for any audience, instead of --audience (environment:
    /// `OIDC_ANY_AUDIENCE`, `true` or `false`)
    #[arg(long)]
    any_audience: bool,

    /// Without a file: the URL of the keys, if discovery does not find them (environment:
    /// `OIDC_JWKS_URL`)
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
}

impl ConfigInput {
    /// The file, or else the flags, or else the environment. These are never mixed, because flags
    /// and variables may describe different providers.
    fn load(&self) -> Result<Config, Failure> {
        if let Some(file) = &self.config {
            return Ok(Config::load(file)?);
        }
        let flags = ProviderFlags {
            issuer: self.issuer.clone(),
            audiences: self.audience.clone(),
            any_audience: self.any_audience,
            jwks_uri: self.jwks_uri.clone(),
        };
        let any_flag = flags.issuer.is_some()
            || flags.jwks_uri.is_some()
            || !flags.audiences.is_empty()
            || flags.any_audience;
        let (given, names) = match any_flag {
            true => (flags, FLAGS),
            false => (Self::from_environment()?, VARIABLES),
        };
        let ProviderFlags {
            issuer,
            audiences,
            any_audience,
            jwks_uri,
        } = &given;
        if issuer.is_none() && audiences.is_empty() && !any_audience && jwks_uri.is_none() {
            return Err(
                "no configuration: use --config FILE, or --issuer URL --audience AUD, or \
                        set OIDC_ISSUER and OIDC_AUDIENCE; `claimgate dev` needs none"
                    .into(),
            );
        }
        let mut config = Config::from_flags(&given).map_err(|error| rename(error, names))?;
        for warning in &mut config.warnings {
            rename_place(warning, names);
        }
        Ok(config)
    }

    fn from_environment() -> Result<ProviderFlags, Failure> {
        let [issuer, audience, any_audience, jwks_uri] = VARIABLES;
        let any_audience = match variable(any_audience).as_deref() {
            Some("true") => true,
            Some("false") | None => false,
            Some(_) => return Err(format!("{any_audience}: write `true` or `false`").into()),
        };
        Ok(ProviderFlags {
            issuer: variable(issuer),
            audiences: variable(audience).map(audiences).unwrap_or_default(),
            any_audience,
            jwks_uri: variable(jwks_uri),
        })
    }
}

/// The flags, and the environment variables that stand for them, in the same order.
const FLAGS: [&str; 4] = ["--issuer", "--audience", "--any-audience", "--jwks-uri"];
const VARIABLES: [&str; 4] = [
    "OIDC_ISSUER",
    "OIDC_AUDIENCE",
    "OIDC_ANY_AUDIENCE",
    "OIDC_JWKS_URL",
];

/// The audiences in a list with commas. White space after a comma is dropped. White space at the
/// ends of the list is a mistake, so it is kept, and reported later.
fn audiences(list: String) -> Vec<String> {
    if has_blank_ends(&list) {
        return vec![list];
    }
    let audiences = list.split(',').map(|audience| audience.trim().to_owned());
    audiences.collect()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Replaces flags in an error's locations by the names that the user wrote: flags or variables.
fn rename(error: ConfigError, names: [&str; 4]) -> ConfigError {
    match error {
        ConfigError::Wrong {
            origin,
            mut problems,
        } => {
            for problem in &mut problems {
                rename_place(problem, names);
            }
            ConfigError::Wrong { origin, problems }
        }
        unreadable @ ConfigError::Unreadable { .. } => unreadable,
    }
}

fn rename_place(problem: &mut Problem, names: [&str; 4]) {
    let mut places = FLAGS.into_iter().zip(names);
    let place = places.find(|(flag, _)| *flag == problem.location.path);
    if let Some((_, name)) = place {
        name.clone_into(&mut problem.location.path);
    }
}
