//! `claimgate dev`: an issuer, the service and Envoy on one machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

mod gate;
mod running;
mod token;

use super::serve::Log;
use super::{Failure, say};
use crate::app::{self, App};
use crate::config::{AdminListen, Config, ListenAddress, values};
use crate::dev::envoy::{self, Envoy, Wiring};
use crate::dev::issuer::Issuer;
use crate::dev::upstream::Upstream;
use crate::lifecycle::signals::StopSignals;
use crate::time::SystemClock;
use running::Running;

/// The audience of the tokens that the issuer mints by default.
const AUDIENCE: &str = "orders-api";

/// Runs a real OIDC issuer, the service and, with --envoy, a real Envoy in front of an API that
/// echoes each request. Nothing is stored, and nothing listens beyond loopback.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  \
    claimgate dev\n  \
    claimgate dev token sub=bob    # in another terminal: a token with this claim\n  \
    claimgate dev --envoy --envoy-bin ./envoy\n  \
    claimgate dev --envoy --state dev.json    # for scripts: addresses and a token as JSON")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Also run a real Envoy, in front of an API that echoes each request
    #[arg(long)]
    envoy: bool,

    /// The Envoy binary
    #[arg(long, value_name = "PATH", default_value = "envoy", requires = "envoy")]
    envoy_bin: PathBuf,

    /// Write addresses and a token to this file as JSON, once everything is ready
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Where to serve `Check` [default: 127.0.0.1:9001, or any free port]
    #[arg(long, value_name = "ADDRESS", value_parser = values::socket_address)]
    listen: Option<SocketAddr>,

    /// Where to serve the admin page, health and metrics [default: 127.0.0.1:9002, or any free port]
    #[arg(long, value_name = "ADDRESS", value_parser = values::socket_address)]
    admin_listen: Option<SocketAddr>,

    /// Where to run the issuer [default: 127.0.0.1:9003, or any free port]
    #[arg(long, value_name = "ADDRESS", value_parser = values::socket_address)]
    issuer_listen: Option<SocketAddr>,

    /// Where Envoy listens [default: 127.0.0.1:8000, or any free port]
    #[arg(long, value_name = "ADDRESS", value_parser = values::socket_address, requires = "envoy")]
    envoy_listen: Option<SocketAddr>,

    #[command(flatten)]
    log: Log,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a token with any claims, from a running `claimgate dev`
    Token(token::Arguments),
    /// Answer the tests of an API: JSON lines on standard input and output
    Gate(gate::Arguments),
}

pub(super) async fn run(mut arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command.take() {
        Some(Command::Token(arguments)) => token::run(arguments).await,
        Some(Command::Gate(arguments)) => gate::run(arguments).await,
        None => Box::pin(run_all(arguments)).await,
    }
}

async fn run_all(arguments: Arguments) -> Result<ExitCode, Failure> {
    let stop = StopSignals::install()?;
    let logging = arguments.log.init()?;
    let issuer = Issuer::start(address(arguments.issuer_listen, 9003)?, AUDIENCE).await?;
    let app = start(&arguments, issuer.url()).await?;
    app.count_lines_lost_by(&logging);
    let (check, admin) = (
        app.check_address()
            .ok_or("the service has no TCP address")?,
        app.admin_address()
            .ok_or("the admin listener has no TCP address")?,
    );
    app.ready().await;
    let (stop_serving, stopping) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::spawn(app.run(async {
        // The sender is also dropped when `run` ends early, which must stop the service too.
        let _ = stopping.await;
    }));

    let upstream = Upstream::start().await?;
    let mut envoy = match arguments.envoy {
        true => {
            let wiring = Wiring {
                listen: address(arguments.envoy_listen, 8000)?,
                claimgate: check.into(),
                upstream: upstream.address(),
            };
            Some(Envoy::start(&arguments.envoy_bin, envoy::EXAMPLE, &wiring).await?)
        }
        false => None,
    };
    let running = Running {
        check,
        admin,
        issuer: issuer.url().to_owned(),
        envoy: envoy.as_ref().map(Envoy::address),
        token: issuer.mint(&Map::new())?,
    };
    if let Some(file) = &arguments.state {
        write_state(file, &running.json())
            .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
    }
    say(&running.text())?;

    let envoy_ended = async {
        match &mut envoy {
            Some(envoy) => envoy.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.requested() => {
            // An error means that the service has already ended; the join below reports why.
            let _ = stop_serving.send(());
            serving.await??;
            Ok(ExitCode::SUCCESS)
        }
        ended = &mut serving => {
            ended??;
            Err("the service ended by itself".into())
        }
        status = envoy_ended => Err(format!("Envoy ended by itself ({})", status?).into()),
    }
}

/// The requested address; or else the usual one if its port is free; or else any free port.
fn address(asked: Option<SocketAddr>, usual: u16) -> Result<SocketAddr, Failure> {
    match asked {
        Some(address) if address.ip().is_loopback() => Ok(address),
        Some(address) => Err(format!(
            "{address} is not a loopback address; `claimgate dev` gives a token to anyone who asks, \
             so it listens on loopback only"
        )
        .into()),
        None => {
            let usual = SocketAddr::from(([127, 0, 0, 1], usual));
            let free = std::net::TcpListener::bind(usual).is_ok();
            Ok(if free {
                usual
            } else {
                SocketAddr::from(([127, 0, 0, 1], 0))
            })
        }
    }
}

async fn start(arguments: &Arguments, issuer: &str) -> Result<App, Failure> {
    let mut config = Config::from_yaml(&usual_configuration(issuer))?;
    config.server.listen = vec![ListenAddress::Tcp(address(arguments.listen, 9001)?)];
    let admin = address(arguments.admin_listen, 9002)?;
    config.admin.listen = AdminListen::At(ListenAddress::Tcp(admin));
    Ok(app::bind(config, SystemClock).await?)
}

/// What is in force unless the user brings a configuration.
fn usual_configuration(issuer: &str) -> String {
    format!(
        "
server: {{ drain: 0s }}
providers:
  - name: dev
    issuer: {issuer}
    audiences: [{AUDIENCE}]
    refresh: {{ min: 1s, unknown_key_cooldown: 1s }}
upstream:
  claim_headers:
    - {{ header: x-auth-subject, claim: sub }}
    - {{ header: x-auth-client, claim: client_id }}
    - {{ header: x-auth-scope, claim: scope }}
    - {{ header: x-auth-roles, claim: realm_access.roles }}
  payload_header: x-auth-claims
"
    )
}

/// Writes the file under another name and renames it, so that no script reads half of it.
fn write_state(file: &Path, state: &Value) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    std::fs::write(&name, format!("{state:#}\n"))?;
    std::fs::rename(&name, file)
}
