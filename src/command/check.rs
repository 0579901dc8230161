//! `claimgate check`: one request, judged and explained.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

mod advice;
mod report;

use report::{Report, Steps};

use super::{Failure, Source};
use crate::config::Config;
use crate::decision::{Decision, Fault, decide};
use crate::ext_authz::proto::auth::CheckRequest;
use crate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use crate::ext_authz::{request, response};
use crate::jwks;
use crate::keyring::{Keyring, Keys};
use crate::request::Request;
use crate::time::{Clock as _, SystemClock};
use crate::token::Unverified;
use crate::token::bearer::find_token;

/// Judges one request as the service would, and shows each check on the way.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    echo \"$TOKEN\" | claimgate check --config claimgate.yaml --token -\n  \
    claimgate check --issuer https://idp.example.com --audience orders-api --token token.txt --output json\n  \
    claimgate check --target 127.0.0.1:9001 --token - --path /orders\n\n\
    Exit codes: 0 allow, 1 deny, 2 could not judge")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,

    /// Ask a running server instead
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["config", "issuer", "audience", "jwks_uri"])]
    target: Option<String>,

    /// File with the token, or `-` for standard input. Without it, only --header counts
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,

    /// Method of the request
    #[arg(long, default_value = "GET")]
    method: String,

    /// Host of the request
    #[arg(long, default_value = "localhost")]
    host: String,

    /// Path of the request, with its query
    #[arg(long, default_value = "/")]
    path: String,

    /// A header line of the request, `name: value`; repeat for more
    #[arg(long, value_name = "LINE", value_parser = header_line)]
    header: Vec<(String, String)>,

    /// How the answer looks
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
}

fn header_line(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or("expected `name: value`")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let check = describe(&arguments)?;
    let report = match &arguments.target {
        Some(target) => ask(target, check).await?,
        None => judge(&arguments.source.load()?, &check).await?,
    };
    say(&match arguments.output {
        Output::Text => report.text(),
        Output::Json => format!("{:#}", report.json()),
    });
    Ok(report.exit_code())
}

/// The check that Envoy would ask for.
fn describe(arguments: &Arguments) -> Result<CheckRequest, Failure> {
    let mut lines = arguments.header.clone();
    if let Some(file) = &arguments.token {
        lines.push((
            "authorization".to_owned(),
            format!("Bearer {}", read_token(file)?),
        ));
    }
    Ok(request::compose(&Request {
        method: &arguments.method,
        host: &arguments.host,
        path: &arguments.path,
        headers: lines
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect(),
    }))
}

/// The token, with or without `Bearer` in front, as it was copied from somewhere.
fn read_token(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
    }
    let token = text.trim();
    let token = match token.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start(),
        _ => token,
    };
    Ok(token.to_owned())
}

async fn ask(target: &str, check: CheckRequest) -> Result<Report, Failure> {
    let host = target.strip_prefix("http://").unwrap_or(target);
    let mut client = AuthorizationClient::connect(format!("http://{host}"))
        .await
        .map_err(|error| format!("cannot ask `{target}`: {}", innermost(&error)))?;
    let answer = client.check(check).await.map_err(|status| {
        let message = status.message();
        format!("`{target}` does not answer as claimgate's gRPC address would: {message}")
    })?;
    let response = answer.into_inner();
    // The server tells what it tells any caller.
    let failed = response
        .status
        .as_ref()
        .filter(|status| status.code != 0)
        .map(|status| {
            (
                status.message.clone(),
                "the server's log says more".to_owned(),
            )
        });
    Ok(Report {
        steps: Vec::new(),
        failed,
        likely_cause: None,
        unavailable: None,
        response,
    })
}

/// The cause of all causes, which is what helps.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn judge(config: &Config, check: &CheckRequest) -> Result<Report, Failure> {
    let request = request::describe(check);
    let (keyring, unavailable) = keys_for(config, &request).await;
    let mut steps = Steps::default();
    let decision = decide(
        &config.policy,
        &keyring,
        &(),
        &request,
        SystemClock.now(),
        &mut steps,
    );
    let mut likely_cause = None;
    let (response, failed, unavailable) = match &decision {
        Decision::Allow(permit) => {
            let changes = permit.changes(&config.policy, &request.headers);
            (response::allow(&changes), None, None)
        }
        Decision::Deny(denial) => {
            let mut failed = denial.fault.to_string();
            if let Fault::UnknownIssuer(_) = denial.fault {
                let known: Vec<_> = config
                    .policy
                    .providers()
                    .map(|(_, provider)| provider.terms.issuer.as_str())
                    .collect();
                failed = format!("{failed}; configured: `{}`", known.join("`, `"));
            }
            let token =
                find_token(config.policy.token_places(), &request).map_or("", |found| found.token);
            likely_cause = advice::likely_cause(denial, &config.policy, &keyring, token);
            let why = unavailable.filter(|_| matches!(denial.fault, Fault::KeysUnavailable));
            let response = response::deny(denial, &config.denials, &request);
            let reason = denial.reason().code().to_owned();
            (response, Some((reason, failed)), why)
        }
    };
    Ok(Report {
        steps: steps.0,
        failed,
        likely_cause,
        unavailable,
        response,
    })
}

/// The keys of the one provider that the token says it is from: no other is asked.
async fn keys_for(config: &Config, request: &Request<'_>) -> (Keyring, Option<String>) {
    let empty = Keyring::empty(config.keys.len());
    let token = find_token(config.policy.token_places(), request)
        .ok()
        .and_then(|found| Unverified::parse(found.token).ok());
    let provider = token
        .as_ref()
        .and_then(|token| token.issuer().ok())
        .and_then(|issuer| config.policy.by_issuer(issuer));
    let Some((id, settings)) = provider.and_then(|(id, _)| Some((id, config.keys.get(id.0)?)))
    else {
        return (empty, None);
    };
    match jwks::fetch_once(settings).await {
        Ok(keys) => (empty.with(id, Keys::Known(keys)), None),
        Err(error) => (empty, Some(error.to_string())),
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn say(text: &str) {
    println!("{text}");
}
