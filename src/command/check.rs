//! `claimgate check`: judges one request and explains the decision.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper_util::rt::TokioIo;
use prost_types::value::Kind;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint, Uri};

use super::tls::{self, Protocol, Tls, TlsArguments};
use super::{ConfigInput, Failure, Output, read_token, say, with_advice};
use crate::advice;
use crate::config::{Config, values};
use crate::decision::Reason;
use crate::explain::place::claimed_provider;
use crate::explain::{Report, explain};
use crate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use crate::ext_authz::proto::auth::{CheckRequest, CheckResponse};
use crate::ext_authz::request;
use crate::jwks::{self, KeysError};
use crate::keyring::{Keyring, Keys};
use crate::request::{Peer, Request};
use crate::time::{Clock as _, SystemClock};
use crate::token::bearer::find_token;

/// How long to wait for the first bytes of a server over TLS.
const FIRST_BYTES: Duration = Duration::from_secs(2);

/// What a report may decide.
const DECISIONS: [&str; 3] = ["allow", "deny", "metadata"];

/// What callers read in place of the reasons that would reveal which issuers are trusted.
const INVALID_TOKEN: &str = "invalid_token";

/// Judges one request as the service would, and shows each check on the way.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    echo \"$TOKEN\" | claimgate check --config claimgate.yaml --token -\n  \
    claimgate check --issuer https://idp.example.com --audience orders-api --token token.txt --output json\n  \
    claimgate check --config claimgate.yaml --method POST --host api.example.com --path /orders --token token.txt\n  \
    claimgate check --target 127.0.0.1:9001 --token - --path /orders\n  \
    claimgate check --target https://claimgate.example:9001 --ca-file ca.pem --token token.txt\n  \
    claimgate check --target unix:///run/claimgate/check.sock --token token.txt\n  \
    claimgate check --target 127.0.0.1:9001 --path /orders --expect missing_token\n\n\
    Exit codes: 0 allow, 1 deny or answered with metadata, 2 could not judge. With --expect:\n\
    0 the expected outcome, 1 another, 2 could not judge")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: ConfigInput,

    /// Ask a running server instead: `host:port`, `https://host:port`, or `unix:///path`
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "issuer", "audience", "any_audience", "jwks_uri"])]
    target: Option<String>,

    #[command(flatten)]
    tls: TlsArguments,

    /// File with the token, or `-` for standard input. Without it, the request has only the
    /// --header lines
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

    /// Address of the sender, for conditions
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    source_address: String,

    /// Name in the sender's TLS certificate, for conditions
    #[arg(long, value_name = "NAME", default_value = "")]
    source_principal: String,

    /// A context extension of Envoy's route, `name=value`, such as `claimgate.rule=orders`; repeat
    /// for more
    #[arg(long, value_name = "EXTENSION", value_parser = extension)]
    context: Vec<(String, String)>,

    /// Exit with 0 only if this is the outcome: `allow`, `deny`, `metadata`, or the reason of a denial
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    expect: Option<String>,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn header_line(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or("expected `name: value`")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

fn outcome(text: &str) -> Result<String, String> {
    let mut known = Reason::ALL.into_iter().map(Reason::code);
    match DECISIONS.contains(&text) || text == INVALID_TOKEN || known.any(|code| code == text) {
        true => Ok(text.to_owned()),
        false => {
            Err("expected `allow`, `deny`, `metadata`, or a reason such as `missing_token`".into())
        }
    }
}

fn extension(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected `name=value`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let check = describe(&arguments)?;
    let report = match &arguments.target {
        Some(target) => ask(target, &arguments.tls, check).await?,
        None => judge(&arguments.source.load()?, &check).await?,
    };
    say(&match arguments.output {
        Output::Text => report.text(),
        Output::Json => format!("{:#}", report.json()),
    })?;
    Ok(match &arguments.expect {
        Some(outcome) => report.exit_code_if(outcome),
        None => report.exit_code(),
    })
}

/// The `CheckRequest` that Envoy would send for this request.
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
        path_bytes: Some(arguments.path.as_bytes()),
        headers: lines.iter().collect(),
        source: Peer {
            address: &arguments.source_address,
            principal: &arguments.source_principal,
            certificate: "",
        },
        context: arguments
            .context
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        conflict: None,
    }))
}

async fn ask(target: &str, tls: &TlsArguments, check: CheckRequest) -> Result<Report, Failure> {
    let cannot = |why: &str| format!("cannot ask `{target}`: {why}");
    let tls = tls.load(target.starts_with("https://"))?;
    let channel = match (values::unix_path(target), tls) {
        (Some(path), _) => connect_to_socket(path?).await,
        (None, Some(tls)) => connect_by_tls(target.parse()?, tls).await,
        (None, None) => {
            let host = target.strip_prefix("http://").unwrap_or(target);
            Endpoint::from_shared(format!("http://{host}"))?
                .connect()
                .await
        }
    };
    let channel = channel.map_err(|error| cannot(&with_advice(&error)))?;
    let answer = AuthorizationClient::new(channel)
        .check(check)
        .await
        .map_err(|status| match tls::advice(&status) {
            Some(_) => cannot(&with_advice(&status)),
            None => {
                let message = status.message();
                format!("`{target}` does not answer like claimgate's gRPC server: {message}")
            }
        })?;
    let response = answer.into_inner();
    // The server reveals no more than it would to any caller.
    let denied = response.status.as_ref().filter(|status| status.code != 0);
    let reason = denied.map(|status| status.message.clone());
    let failed = reason
        .or_else(|| observed(&response))
        .map(|reason| (reason, "see the server's log for details".to_owned()));
    let mut report = Report {
        passed_over: Vec::new(),
        also_matching: Vec::new(),
        steps: Vec::new(),
        failed,
        likely_cause: None,
        unavailable: None,
        too_long: Vec::new(),
        response,
    };
    let id = report.header("x-request-id").map(str::to_owned);
    if let (Some((_, detail)), Some(id)) = (&mut report.failed, id) {
        *detail = format!("`claimgate why {id} --admin ADDRESS` and the server's log say why");
    }
    Ok(report)
}

/// The reason of a denial that is not enforced, from the metadata.
fn observed(response: &CheckResponse) -> Option<String> {
    let metadata = response.dynamic_metadata.as_ref()?;
    match &metadata.fields.get("would_deny")?.kind {
        Some(Kind::StringValue(reason)) => Some(reason.clone()),
        _ => None,
    }
}

async fn connect_to_socket(path: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://claimgate")
        .connect_with_connector(connector)
        .await
}

async fn connect_by_tls(server: Uri, tls: Tls) -> Result<Channel, tonic::transport::Error> {
    let tls = Arc::new(tls);
    let connector = tower::service_fn(move |server: Uri| {
        let tls = Arc::clone(&tls);
        async move {
            let host = server.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let stream = TcpStream::connect((host, server.port_u16().unwrap_or(443))).await?;
            let stream = tls.connect(host, stream, Protocol::Http2).await?;
            let none = || io::Error::other("it does not offer HTTP/2, so it is not claimgate");
            let mut stream = stream.ok_or_else(none)?;
            // Since TLS 1.3 a server refuses a client after the handshake, in place of its first bytes.
            if let Ok(refused @ Err(_)) = timeout(FIRST_BYTES, stream.fill_buf()).await {
                refused?;
            }
            io::Result::Ok(TokioIo::new(stream))
        }
    });
    Endpoint::from(server)
        .connect_with_connector(connector)
        .await
}

async fn judge(config: &Config, check: &CheckRequest) -> Result<Report, Failure> {
    let mut joined = String::new();
    let request = request::describe(check, &mut joined);
    let (keyring, unavailable) = keys_for(config, &request).await;
    let now = SystemClock.now();
    let mut report = explain(
        &config.policy,
        &config.denials,
        &keyring,
        &request,
        now,
        |denial| advice::likely_cause(denial, &config.policy, &keyring, &request),
    )
    .report;
    if let Some(error) = &unavailable {
        report.say_why_no_keys(error);
    }
    report.say_how_old_keys_are("fetched just now; a running service may have older ones");
    Ok(report)
}

/// The keys of the one provider that the token claims to be from. No other provider is contacted.
async fn keys_for(config: &Config, request: &Request<'_>) -> (Keyring, Option<KeysError>) {
    let empty = Keyring::empty(config.keys.len());
    let policy = &*config.policy;
    let found = find_token(policy.token_places(), request).ok();
    let provider = found.and_then(|found| claimed_provider(policy, &found.token));
    let Some((id, settings)) = provider.and_then(|id| Some((id, config.keys.get(id.0)?))) else {
        return (empty, None);
    };
    match jwks::fetch_once(settings).await {
        Ok(keys) => (empty.with(id, Keys::Known(keys)), None),
        Err(error) => (empty, Some(error)),
    }
}
