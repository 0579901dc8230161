//! `claimgate validate`: checks a configuration file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, complain, say};
use crate::admin::AccessToken;
use crate::config::{
    Config, ConfigError, DecisionTarget, KeySettings, KeySource, LogSubject, in_file,
};
use crate::gate::decision_log;
use crate::gate::subjects::read_key;
use crate::jwks;
use crate::keyring::KeySet;
use crate::listener::tls::{Material, Protects};
use crate::otlp::Otlp;

/// Checks a configuration file and reports every problem with its line, column and path.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 the file is valid (it may have warnings), 1 there are problems: in the \
    file, including warnings with --strict, or with --online a provider that cannot be used, 2 the file \
    cannot be read"
)]
pub(super) struct Arguments {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,

    /// Also fetch the metadata and keys of every provider, as the service would
    #[arg(long)]
    online: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        file,
        strict,
        online,
    } = arguments;
    let config = match Config::load(&file) {
        Ok(config) => config,
        Err(error @ ConfigError::Wrong { .. }) => {
            complain(&error.to_string());
            return Ok(ExitCode::from(1));
        }
        Err(error @ ConfigError::Unreadable { .. }) => return Err(error.into()),
    };
    for warning in &config.warnings {
        complain(&in_file(&file.display().to_string(), warning));
    }
    if strict && !config.warnings.is_empty() {
        return Ok(ExitCode::from(1));
    }
    let count = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    // The default rule is not the operator's, so it is not counted.
    let rules = config.policy.rules().configured();
    let (providers, rules) = (count(config.keys.len(), "provider"), count(rules, "rule"));
    let warnings = match config.warnings.len() {
        0 => String::new(),
        warnings => format!(", {}", count(warnings, "warning")),
    };
    say(&format!(
        "{}: valid, {providers}, {rules}{warnings}",
        file.display()
    ))?;
    let expressions = config.policy.rules().expressions();
    if let Some(max_path) = expressions.max_path_bytes() {
        say(&format!(
            "regular expressions: {} KiB; a request is compared with up to {}, and its path may \
             have up to {max_path} bytes",
            expressions.memory.div_ceil(1024),
            expressions.max_per_request,
        ))?;
    }
    let mut code = ExitCode::SUCCESS;
    for (what, protects, tls) in [
        ("TLS certificate", Protects::Check, &config.server.tls),
        ("admin TLS certificate", Protects::Admin, &config.admin.tls),
    ] {
        let Some(tls) = tls else { continue };
        match Material::read(protects, tls) {
            Ok(Material { expires, .. }) => say(&format!(
                "{what}: expires {}",
                expires.as_deref().unwrap_or("at an unknown time")
            ))?,
            Err(error) => {
                complain(&error.to_string());
                code = ExitCode::from(1);
            }
        }
    }
    if !are_logs_usable(&config) {
        code = ExitCode::from(1);
    }
    if let Some(file) = &config.admin.token_file
        && let Err(error) = AccessToken::check(file)
    {
        complain(&error.to_string());
        code = ExitCode::from(1);
    }
    if let Err(error) = Otlp::prepare(&config.telemetry, super::variable).await {
        complain(&error.to_string());
        code = ExitCode::from(1);
    }
    for settings in &config.keys {
        if !usable(settings, online).await? {
            code = ExitCode::from(1);
        }
    }
    if code != ExitCode::SUCCESS {
        complain("the file is valid, but not everything in it can be used as configured");
    }
    Ok(code)
}

/// Whether the decision log can be written, and subjects can be hashed.
fn are_logs_usable(config: &Config) -> bool {
    let mut problems = Vec::new();
    let mut subjects = vec![("log", &config.log.subject)];
    if let Some(log) = &config.decision_log {
        subjects.push(("decision_log", &log.subject));
        if let DecisionTarget::File(file) = &log.target
            && let Err(error) = decision_log::check_file(&file.path)
        {
            let path = file.path.display();
            problems.push(format!("decision_log.path: cannot write `{path}`: {error}"));
        }
    }
    // Both may have the same key.
    subjects.dedup_by(|(_, later), (_, earlier)| later == earlier);
    for (section, subject) in subjects {
        if let LogSubject::Hash(Some(file)) = subject
            && let Err(error) = read_key(file)
        {
            problems.push(format!("{section}.subject_key_file: {error}"));
        }
    }
    for problem in &problems {
        complain(problem);
    }
    problems.is_empty()
}

/// Whether a provider can be used as configured. Contacts the provider only with `online`.
async fn usable(settings: &KeySettings, online: bool) -> Result<bool, Failure> {
    let mut usable = true;
    let mut problem = |why: &dyn std::fmt::Display| {
        complain(&format!("provider `{}`: {why}", settings.name));
        usable = false;
    };
    if let Some(file) = &settings.fetch.bearer_token_file
        && let Err(error) = std::fs::metadata(file)
    {
        let file = file.display();
        problem(&format_args!(
            "cannot read `fetch.bearer_token_file` `{file}`: {error}"
        ));
    }
    let local = matches!(settings.source, KeySource::File(_));
    // With `online`, the fetch below reports the same problems.
    if (!online || local)
        && let Err(error) = jwks::check_settings(settings).await
    {
        problem(&error);
    }
    if online || local {
        match jwks::fetch_once(settings).await {
            Ok(keys) => {
                list(settings, &keys)?;
                if let Some(why) = keys.misfit(settings.algorithms) {
                    problem(&why);
                }
            }
            Err(error) => problem(&error),
        }
    }
    Ok(usable)
}

fn list(settings: &KeySettings, keys: &KeySet) -> Result<(), Failure> {
    say(&format!(
        "provider `{}`: {} usable",
        settings.name,
        keys.len()
    ))?;
    for key in keys.iter() {
        let kid = key.kid().unwrap_or("(without id)").escape_debug();
        let (algorithms, thumbprint) = (key.algorithms(), key.thumbprint());
        say(&format!(
            "  key `{kid}` for {algorithms}, thumbprint {thumbprint}"
        ))?;
    }
    for unfit in keys.unfit() {
        say(&format!("  not used: {unfit}"))?;
    }
    if let Some(why) = keys.nameless() {
        say(&format!("  note: {why}"))?;
    }
    Ok(())
}
