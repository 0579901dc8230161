//! The issuers and the service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::super::Failure;
use super::super::usual_configuration;
use super::protocol::Start;
use crate::app::{self, StartError};
use crate::config::{
    AdminListen, Config, Fetch, KeySettings, KeySource, ListenAddress, LogSubject, Telemetry,
};
use crate::dev::clock::ShiftedClock;
use crate::dev::issuers::{BoundIssuers, Issuers};
use crate::gate::Gate;
use crate::keyring::ProviderId;
use crate::logging::Logging;
use crate::policy::Policy;

/// How long the service may take to fetch every provider's keys from this machine.
const MAX_START: Duration = Duration::from_secs(10);

/// The cool-down of fetches for unknown keys: short, so that a test may replace keys as often as it likes.
const COOLDOWN: Duration = Duration::from_millis(1);

/// What answers a test. It stops when dropped.
pub(super) struct Running {
    pub(super) gate: Gate,
    pub(super) issuers: Issuers,
    pub(super) clock: ShiftedClock,
    policy: Arc<Policy>,
    serving: JoinHandle<Result<(), StartError>>,
}

impl Running {
    /// The provider with this name, or the first one.
    pub(super) fn provider(&self, name: Option<&str>) -> Result<ProviderId, Failure> {
        let mut providers = self.policy.providers();
        let found = match name {
            None => providers.next(),
            Some(name) => providers.find(|(_, known)| known.name == name),
        };
        let (id, _) = found.ok_or_else(|| {
            let name = name.unwrap_or_default();
            format!("the configuration has no provider `{name}`")
        })?;
        Ok(id)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Starts the issuers and the service, and says where they are.
pub(super) async fn start(start: Start, logging: &Logging) -> Result<(Running, Value), Failure> {
    let issuers = BoundIssuers::bind().await?;
    let mut config = match start {
        Start {
            config: Some(_),
            file: Some(_),
        } => return Err("give `config` or `file`, not both".into()),
        Start {
            config: None,
            file: Some(file),
        } => Config::load(&file)?,
        Start {
            config: Some(yaml),
            file: None,
        } => Config::from_yaml(&yaml)?,
        Start {
            config: None,
            file: None,
        } => Config::from_yaml(&usual_configuration(&issuers.url()))?,
    };
    logging.filter.configure(config.log.level);
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    let clock = ShiftedClock::default();
    let policy = Arc::clone(&config.policy);
    let issuers = issuers.serve(&policy, clock.clone());
    keep_to_loopback(&mut config, &issuers)?;

    // Without environment variables: they may name a collector on another machine.
    let app = app::bind_with(config, clock.clone(), |_| None).await?;
    app.count_lines_lost_by(logging);
    let addresses = (app.check_address(), app.admin_address());
    let (Some(check), Some(admin)) = addresses else {
        return Err("the service has no TCP address".into());
    };
    if timeout(MAX_START, app.ready()).await.is_err() {
        return Err("the service cannot fetch the keys from this machine".into());
    }
    let providers: Vec<_> = policy
        .providers()
        .map(|(id, provider)| {
            json!({
                "name": provider.name,
                "issuer": provider.terms.issuer,
                "jwks_uri": issuers.jwks_uri(id).map(String::from),
            })
        })
        .collect();
    let answer = json!({"started": {
        "check": check.to_string(),
        "admin": admin.to_string(),
        "providers": providers,
        "warnings": warnings,
    }});
    let running = Running {
        gate: app.gate(),
        issuers,
        clock,
        policy,
        serving: tokio::spawn(app.run(std::future::pending())),
    };
    Ok((running, answer))
}

/// Replaces everything in the configuration that would listen or connect beyond this machine, or that
/// needs the files of production.
fn keep_to_loopback(config: &mut Config, issuers: &Issuers) -> Result<(), Failure> {
    let any_port = || ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.server.listen = vec![any_port()];
    config.server.tls = None;
    config.admin.listen = AdminListen::At(any_port());
    config.admin.tls = None;
    config.admin.token_file = None;
    config.log.subject = LogSubject::Plain;
    config.decision_log = None;
    config.telemetry = Telemetry::default();
    // Each check then verifies its token, and reports each step.
    config.token_cache.max_entries = 0;
    for (index, settings) in config.keys.iter_mut().enumerate() {
        let KeySettings {
            name: _,
            source,
            fetch,
            refresh,
            required: _,
            algorithms: _,
        } = settings;
        let uri = issuers.jwks_uri(ProviderId(index));
        *source = KeySource::Uri(uri.ok_or("an issuer has no URL")?);
        *fetch = Fetch {
            startup_grace: None,
            ca_file: None,
            bearer_token_file: None,
            allow_http: false,
            proxy: None,
            envoy_cluster: None,
            ..fetch.clone()
        };
        refresh.unknown_key_cooldown = COOLDOWN;
        refresh.cache_dir = None;
    }
    Ok(())
}
