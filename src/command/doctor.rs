//! `claimgate doctor`: whether a gateway asks claimgate, and whether it is configured safely.
//!
//! Probes (`probe`) are sent by `client`. What came back (`answer`), together with what an instance knows
//! (`admin`), becomes findings by a pure function (`findings`), which `report` renders.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::header::HeaderName;
use tokio::time::{Instant, sleep};
use url::Url;

mod admin;
mod answer;
mod client;
mod findings;
mod probe;
mod report;

use super::tls::TlsArguments;
use super::{Failure, Output, read_token, say};
use crate::config::values;
use admin::{Admin, Counts};
use client::{Gateway, SendError};
use findings::{Instance, Observation, Observations, Verdict, diagnose};
use probe::{Ids, Probe, Target};

/// The time until a token is sent again.
const PAUSE: Duration = Duration::from_millis(500);

/// Sends harmless probes through a gateway, and reports whether claimgate is asked and what to change in Envoy.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate doctor --through https://api.example.com/orders\n  \
    echo \"$TOKEN\" | claimgate doctor --through https://api.example.com/orders --token -\n  \
    claimgate doctor --through http://127.0.0.1:8000/ --admin 127.0.0.1:9002 --output json\n\n\
    Give the URL of a path that requires a token. The probes change nothing: they are GET and OPTIONS\n\
    requests; `delete` in lower case is sent without a token, to a path that does not exist. Their denials are\n\
    logged and counted.\n\n\
    With --token, and an API that echoes requests as JSON, the report says what the API receives. With\n\
    --admin, the instance that the gateway asks says what it knows about the probes.\n\n\
    Exit codes: 0 no problem (there may be warnings), 1 problems found, 2 the gateway could not be probed")]
pub(super) struct Arguments {
    /// URL of the gateway, with the path of an API that requires a token
    #[arg(long, value_name = "URL", value_parser = gateway_url)]
    through: Url,

    /// File with a valid token, or `-` for standard input. It is sent with GET, below the path of the URL
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,

    /// A claim header of the configuration, which a client must not be able to set; repeat for more
    #[arg(long, value_name = "NAME", default_value = probe::CLAIM_HEADER, value_parser = header_name)]
    claim_header: Vec<String>,

    /// The admin address of the instance that the gateway asks
    #[arg(long, value_name = "ADDRESS", value_parser = values::socket_address)]
    admin: Option<SocketAddr>,

    #[command(flatten)]
    tls: TlsArguments,

    /// Expect a login in front of claimgate: it must take browsers, and leave requests with a token to claimgate. Probes
    /// that otherwise have no token then have an unreadable one
    #[arg(long)]
    expects_login: bool,

    /// Time limit for each answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// The port without TLS of a gateway with TLS. It must refuse or redirect
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    plain_port: u16,

    /// Also send 56 KiB of headers
    #[arg(long)]
    large: bool,

    /// Output format
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

fn gateway_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; expected `https://host/path`"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected an `http` or `https` URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave out the user and password; give a token with --token".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("leave out the query and the fragment".to_owned());
    }
    Ok(url)
}

fn header_name(text: &str) -> Result<String, String> {
    let name: HeaderName = text
        .parse()
        .map_err(|_| "expected the name of a header, such as `x-auth-subject`".to_owned())?;
    Ok(name.as_str().to_owned())
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        through,
        token,
        claim_header,
        admin,
        tls,
        expects_login,
        timeout,
        plain_port,
        large,
        output,
    } = arguments;
    let tls = tls.load(through.scheme() == "https")?;
    let token = token.as_deref().map(read_token).transpose()?;
    if token.as_ref().is_some_and(String::is_empty) {
        return Err("--token: it is empty".into());
    }
    let target = Target {
        path: through.path().to_owned(),
        token,
        claim_headers: claim_header,
        expects_login,
    };
    let doctor = Doctor {
        gateway: Gateway::new(&through, tls, plain_port, timeout)?,
        admin: admin.map(Admin),
        target,
        plain_port,
        large,
    };
    let findings = diagnose(&doctor.observe().await?);
    let through = through.to_string();
    say(&match output {
        Output::Text => report::text(&through, &findings),
        Output::Json => format!("{:#}", report::json(&through, &findings)),
    })?;
    Ok(match report::worst(&findings) {
        Verdict::Well | Verdict::Unseen | Verdict::Warning => ExitCode::SUCCESS,
        Verdict::Problem => ExitCode::FAILURE,
        Verdict::CannotProbe => ExitCode::from(2),
    })
}

struct Doctor {
    gateway: Gateway,
    admin: Option<Admin>,
    target: Target,
    plain_port: u16,
    large: bool,
}

impl Doctor {
    /// # Errors
    ///
    /// Fails if the first probe cannot connect to the gateway.
    async fn observe(&self) -> Result<Observations, Failure> {
        let before = self.counts().await;
        let mut probes = Vec::new();
        for probe in probe::ALL {
            if probe == Probe::LargeHeader && !self.large {
                continue;
            }
            if probe == Probe::GarbageAgain {
                sleep(PAUSE).await;
            }
            let Some(observation) = self.send(probe).await else {
                continue;
            };
            if let (Probe::NoToken, Err(error @ SendError::Unreachable(_))) =
                (probe, &observation.outcome)
            {
                return Err(format!("--through: {error}").into());
            }
            // A port without TLS, or a connection for two requests, need not exist.
            let is_extra = matches!(probe, Probe::Kept | Probe::PlainPort);
            if is_extra && observation.outcome.is_err() {
                continue;
            }
            probes.push(observation);
            if is_silent(&probes) {
                break;
            }
        }
        let instance = match before {
            None => Instance::NotAsked,
            Some(before) => match self.ask(&mut probes, before).await {
                Ok(counts) => Instance::Asked(counts),
                Err(error) => Instance::Unreachable(error.to_string()),
            },
        };
        Ok(Observations {
            probes,
            instance,
            claim_headers: self.target.claim_headers.clone(),
            plain_port: self.plain_port,
        })
    }

    async fn send(&self, probe: Probe) -> Option<Observation> {
        let sent = Ids::random();
        let request = probe.request(&self.target, &sent)?;
        let start = Instant::now();
        let outcome = self.gateway.send(&request).await;
        Some(Observation {
            probe,
            sent,
            outcome,
            elapsed: start.elapsed(),
            record: None,
        })
    }

    async fn counts(&self) -> Option<Result<Counts, Failure>> {
        match self.admin {
            Some(admin) => Some(admin.counts().await),
            None => None,
        }
    }

    /// Adds the instance's records to the probes, and returns what it counted in the meantime.
    async fn ask(
        &self,
        probes: &mut [Observation],
        before: Result<Counts, Failure>,
    ) -> Result<Counts, Failure> {
        let before = before?;
        let Some(admin) = self.admin else {
            return Ok(Counts::default());
        };
        for observation in probes {
            let Observation { sent, outcome, .. } = &*observation;
            let told = outcome.as_ref().ok();
            let told = told.and_then(|answer| answer.header("x-request-id"));
            // Envoy replaces `x-request-id` if the client is outside of its network.
            let ids = [Some(sent.trace.as_str()), Some(&sent.request), told];
            let ids: Vec<&str> = ids.into_iter().flatten().collect();
            observation.record = admin.record(&ids).await?;
        }
        Ok(admin.counts().await?.since(before))
    }
}

/// Whether the first three probes had no answer in time. More of them would show nothing else.
fn is_silent(probes: &[Observation]) -> bool {
    let mut outcomes = probes.iter().map(|observation| &observation.outcome);
    probes.len() == 3 && outcomes.all(|outcome| matches!(outcome, Err(SendError::Late(_))))
}
