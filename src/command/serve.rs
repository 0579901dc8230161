//! `claimgate serve`: runs the service.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{ConfigInput, Failure, complain};
use crate::app::{self, App};
use crate::config::{AdminListen, Config, ListenAddress, values};
use crate::gate::reload;
use crate::lifecycle::memory;
use crate::lifecycle::signals::StopSignals;
use crate::lifecycle::systemd::Systemd;
use crate::logging::{self, LogFormat, Logging};
use crate::reload::ConfigFile;
use crate::time::{Clock as _, SystemClock};
use crate::version::{Build, VERSION};

/// Runs the service until SIGTERM or SIGINT; a second one ends it at once. Reloads the configuration
/// file when it changes, and at SIGHUP.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    claimgate serve --config claimgate.yaml\n  \
    claimgate serve --issuer https://idp.example.com/realms/acme --audience orders-api\n  \
    OIDC_ISSUER=https://idp.example.com OIDC_AUDIENCE=orders-api claimgate serve")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: ConfigInput,

    /// Serve `Check` on this address instead of the configured one; repeat for more
    #[arg(long, value_name = "ADDRESS", value_parser = values::listen_address)]
    listen: Vec<ListenAddress>,

    /// Serve the admin page, health and metrics on this address instead of the configured one, or `off`
    #[arg(long, value_name = "ADDRESS", value_parser = values::admin_listen)]
    admin_listen: Option<AdminListen>,

    #[command(flatten)]
    log: Log,
}

/// Logging options.
#[derive(Args, Debug)]
pub(super) struct Log {
    /// Format of log lines
    #[arg(long, value_enum, default_value_t, env = "CLAIMGATE_LOG_FORMAT")]
    log_format: LogFormat,

    /// What to log: a level, or levels by module [default: `RUST_LOG`, else the configuration's
    /// `log.level`]
    #[arg(long, value_name = "FILTER", env = "CLAIMGATE_LOG")]
    log_level: Option<String>,
}

impl Log {
    /// Starts logging. It ends when the returned value is dropped.
    pub(super) fn init(&self) -> Result<Logging, Failure> {
        let variable = super::variable("RUST_LOG").filter(|_| self.log_level.is_none());
        if let Some(filter) = &variable {
            let logging = logging::init(self.log_format, Some(filter));
            return Ok(logging.map_err(|error| format!("RUST_LOG: {error}"))?);
        }
        Ok(logging::init(self.log_format, self.log_level.as_deref())?)
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let format = arguments.log.log_format;
    match start_and_serve(arguments).await {
        Err(error) if format == LogFormat::Json => {
            complain(&fatal(&error.to_string()));
            Ok(ExitCode::from(2))
        }
        outcome => outcome,
    }
}

/// The last line of a log in JSON. It does not depend on the log level, and says why nothing follows.
fn fatal(error: &str) -> String {
    let line = json!({
        "timestamp": SystemClock.now().to_string(),
        "level": "ERROR",
        "message": "claimgate has failed",
        "error": error,
    });
    line.to_string()
}

async fn start_and_serve(arguments: Arguments) -> Result<ExitCode, Failure> {
    // Before anything that takes time: reading files, which may hang, and binding addresses.
    let stop = StopSignals::install()?;
    let (app, _logging) = tokio::select! {
        started = start(arguments) => started?,
        // Nothing is served yet, so nothing is cut off.
        () = stop.requested() => return Ok(ExitCode::SUCCESS),
    };
    app.run(stop.requested()).await?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn start(arguments: Arguments) -> Result<(App, Logging), Failure> {
    let Arguments {
        source,
        listen,
        admin_listen,
        log,
    } = arguments;
    let with_addresses = move |mut config: Config| {
        if !listen.is_empty() {
            config.server.listen.clone_from(&listen);
        }
        if let Some(listen) = &admin_listen {
            config.admin.listen.clone_from(listen);
        }
        config
    };
    let file = match source.config.clone() {
        Some(path) => {
            let load = {
                let (path, with_addresses) = (path.clone(), with_addresses.clone());
                move || Ok(with_addresses(Config::load(&path)?))
            };
            ConfigFile::new(path, load)?
        }
        None => ConfigFile::none()?,
    };
    // Elsewhere, so that a file system that hangs does not hold up the signal to stop.
    let config = spawn_blocking(move || source.load()).await??;
    let config = with_addresses(config);
    let logging = log.init()?;
    logging.filter.configure(config.log.level);
    let build = Build::read()?;
    tracing::info!(version = VERSION, cryptography = %build.cryptography(), "claimgate starts");
    if let Err(error) = memory::protect() {
        tracing::warn!(%error, "cannot turn off core dumps, which would contain tokens");
    }
    reload::warn_of(&config);
    reload::log_providers(&config.policy, None);
    let app = app::bind(config, SystemClock).await?;
    let app = app
        .reloading(file.with_log(logging.filter.clone()))
        .supervised(Systemd::from_environment());
    app.count_lines_lost_by(&logging);
    for address in app.check_addresses() {
        tracing::info!(%address, "serving Check");
    }
    for address in app.admin_addresses() {
        tracing::info!(%address, "serving /livez, /readyz and /metrics");
    }
    Ok((app, logging))
}
