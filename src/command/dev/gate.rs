//! `claimgate dev gate`: a gate for the tests of an API in any language.
//!
//! One JSON object per line in, one per line out, in the same order. It ends with its standard input, so
//! it never outlives the process that started it.

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::sync::mpsc;

mod check;
mod protocol;
mod service;

use super::super::serve::Log;
use super::super::{Failure, say};
use crate::config::ConfigError;
use crate::lifecycle::signals::StopSignals;
use protocol::{Advance, Asked, Mint, Rotate};
use service::Running;

/// Answers the tests of an API.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    printf '%s\\n' '{\"start\": {}}' '{\"check\": {\"path\": \"/orders\"}}' | claimgate dev gate\n  \
    printf '%s\\n' '{\"start\": {\"file\": \"claimgate.yaml\"}}' '{\"mint\": {\"claims\": {\"sub\": \"bob\"}}}' | claimgate dev gate\n\n\
    Each line of standard input is a JSON object, and so is each line of standard output; docs/testing.md lists\n\
    them. It decides by the configuration of production, with an issuer on this machine in place of each\n\
    provider. Nothing listens beyond loopback, and nothing is fetched from elsewhere. It ends with its\n\
    standard input.")]
pub(super) struct Arguments {
    #[command(flatten)]
    log: Log,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let stop = StopSignals::install()?;
    let logging = arguments.log.init()?;
    let mut lines = lines_of_stdin();
    let mut running = None;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            () = stop.requested() => None,
        };
        let Some(line) = line else {
            return Ok(ExitCode::SUCCESS);
        };
        let asked = line
            .map_err(|error| error.to_string())
            .and_then(|line| serde_json::from_str(&line).map_err(|error| error.to_string()));
        let answer = match (asked, &running) {
            (Err(error), _) => Err(format!("not a request: {error}").into()),
            (Ok(Asked::Start(start)), None) => match service::start(start, &logging).await {
                Ok((service, answer)) => {
                    running = Some(service);
                    Ok(answer)
                }
                // Nothing can follow. The message is also the last line of the log.
                Err(error) => {
                    let kind = error.is::<ConfigError>().then_some("configuration");
                    let answer = json!({"error": error.to_string(), "kind": kind});
                    say(&answer.to_string())?;
                    return Err(error);
                }
            },
            (Ok(asked), Some(running)) => running.answer(asked).await,
            (Ok(_), None) => Err("the first request must be `start`".into()),
        };
        let answer = answer.unwrap_or_else(|error| json!({"error": error.to_string()}));
        say(&answer.to_string())?;
    }
}

/// The lines of standard input. A thread reads them, because a pending read by tokio would keep the
/// process from ending.
fn lines_of_stdin() -> mpsc::Receiver<io::Result<String>> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            // An error means that the command has ended.
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Running {
    async fn answer(&self, asked: Asked) -> Result<Value, Failure> {
        Ok(match asked {
            Asked::Start(_) => return Err("it has started already".into()),
            Asked::Mint(Mint {
                provider,
                mut claims,
                header,
                expires_in,
            }) => {
                let id = self.provider(provider.as_deref())?;
                if let Some(seconds) = expires_in {
                    let exp = self.gate.now().as_secs().saturating_add_signed(seconds);
                    claims.entry("exp").or_insert(exp.into());
                }
                json!({"token": self.issuers.mint(id, &claims, &header)?})
            }
            Asked::Check(check) => json!({"check": check::answer(&self.gate, &check).await}),
            Asked::Rotate(Rotate { provider }) => {
                let id = self.provider(provider.as_deref())?;
                json!({"kid": self.issuers.rotate(id)?})
            }
            Asked::Advance(Advance { seconds }) => {
                self.clock.advance(Duration::from_secs(seconds));
                json!({"now": self.gate.now().as_secs()})
            }
            Asked::Reset {} => {
                self.clock.reset();
                json!({"now": self.gate.now().as_secs()})
            }
        })
    }
}
