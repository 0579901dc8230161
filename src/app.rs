//! Puts the parts together: binds, serves, drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::service::Routes;

mod check;
mod descriptors;
mod health;

use check::{Api, serve};

use crate::admin::{self, Access, Admin, Site, TokenError};
use crate::config::{self, AdminListen, Config, ListenAddress};
use crate::ext_authz::proto::DESCRIPTORS;
use crate::ext_authz::service::Service;
use crate::gate::Gate;
use crate::http2::{Shared, routes};
use crate::lifecycle::Phase;
use crate::lifecycle::systemd::Systemd;
use crate::listener::tls::{Protects, Tls, TlsError};
use crate::listener::{Listener, listen};
use crate::logging::Logging;
use crate::otlp::{Otlp, SettingsError};
use crate::reload::{Bound, ConfigFile};
use crate::time::Clock;

/// How long connections may take to end after the drain period.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How long no client must be connected for the drain period to end early. A client that connects
/// for each check or probe is not gone between two of them.
const UNUSED: Duration = Duration::from_secs(1);

/// The service, bound to its addresses. [`App::run`] serves.
#[derive(Debug)]
pub struct App {
    listeners: Vec<Listener>,
    tls: Option<Arc<Tls>>,
    admin: Site,
    max_connections: usize,
    max_connection_age: Option<Duration>,
    drain: Duration,
    bound: Bound,
    file: Option<ConfigFile>,
    systemd: Systemd,
    otlp: Otlp,
    service: Service,
}

/// Why the service could not start or keep running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: ListenAddress,
        /// The cause.
        error: io::Error,
    },
    /// The files of `server.tls` or `admin.tls` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of `admin.token_file` cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A setting of `telemetry` or a variable of OpenTelemetry is wrong.
    #[error("cannot export spans and metrics: {0}")]
    Telemetry(#[from] SettingsError),
    /// The compiled API description cannot be served. Only a broken build causes this.
    #[error("cannot serve reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A server task ended. The process would keep running but serve nobody.
    #[error("a server ended by itself; this is a bug")]
    Ended,
}

/// Binds the addresses in `config` and starts fetching keys. Port 0 picks any free port.
///
/// # Errors
///
/// Fails if an address cannot be bound, if a file of `server.tls` or `admin` cannot be used, or if a
/// variable of OpenTelemetry is wrong.
pub async fn bind(config: Config, clock: impl Clock) -> Result<App, StartError> {
    bind_with(config, clock, |name| std::env::var(name).ok()).await
}

/// The same with these environment variables.
pub(crate) async fn bind_with(
    config: Config,
    clock: impl Clock,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<App, StartError> {
    let (tracer, otlp) = Otlp::prepare(&config.telemetry, variable).await?;
    let tls = load_tls(Protects::Check, config.server.tls.as_ref()).await?;
    let listeners = listen_on(&config.server.listen).await?;
    let admin_addresses = match &config.admin.listen {
        AdminListen::At(address) => std::slice::from_ref(address),
        AdminListen::Off => &[],
    };
    let admin = Site {
        listeners: listen_on(admin_addresses).await?,
        tls: load_tls(Protects::Admin, config.admin.tls.as_ref()).await?,
        access: Arc::new(Access::new(&config.admin).await?),
    };
    let max_connections = descriptors::fit(
        config.server.max_connections,
        admin::MAX_CONNECTIONS,
        config.keys.len(),
    );

    let bound = Bound {
        server: config.server.clone(),
        admin: config.admin.clone(),
        telemetry: config.telemetry.clone(),
    };
    Ok(App {
        listeners,
        tls,
        admin,
        max_connections,
        max_connection_age: config.server.max_connection_age,
        drain: config.server.drain,
        bound,
        file: None,
        systemd: Systemd::default(),
        otlp,
        service: Service {
            gate: Gate::start_traced(config, Arc::new(clock), tracer).await,
        },
    })
}

/// Binds these addresses.
async fn listen_on(addresses: &[ListenAddress]) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = listen(address).await.map_err(|error| StartError::Bind {
            address: address.clone(),
            error,
        })?;
        listeners.extend(bound);
    }
    Ok(listeners)
}

async fn load_tls(
    protects: Protects,
    settings: Option<&config::Tls>,
) -> Result<Option<Arc<Tls>>, TlsError> {
    Ok(match settings {
        Some(settings) => Some(Arc::new(Tls::load(protects, settings.clone()).await?)),
        None => None,
    })
}

impl App {
    /// The first TCP address that serves `Check`, with its real port.
    pub fn check_address(&self) -> Option<SocketAddr> {
        self.listeners.iter().find_map(Listener::tcp_address)
    }

    /// Every address that serves `Check`.
    pub fn check_addresses(&self) -> Vec<ListenAddress> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// The first TCP address of the admin listener, with its real port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.listeners.iter().find_map(Listener::tcp_address)
    }

    /// Every address of the admin listener. None if it is off.
    pub fn admin_addresses(&self) -> Vec<ListenAddress> {
        self.admin.listeners.iter().map(Listener::address).collect()
    }

    /// Includes lost log lines in the metrics.
    pub fn count_lines_lost_by(&self, logging: &Logging) {
        self.service
            .gate
            .metrics
            .lines()
            .watch(logging.lost.clone());
    }

    /// Reloads the configuration from this file while the service runs.
    #[must_use]
    pub fn reloading(self, file: ConfigFile) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }

    /// Tells systemd about the state of the service.
    #[must_use]
    pub fn supervised(self, systemd: Systemd) -> Self {
        Self { systemd, ..self }
    }

    /// What decides, for callers in the same process.
    #[cfg(feature = "dev")]
    pub(crate) fn gate(&self) -> Gate {
        self.service.gate.clone()
    }

    /// Completes when every provider has keys. Fetching starts in [`bind`], before [`App::run`].
    pub async fn ready(&self) {
        self.service.gate.generation().jwks.all_known().await;
    }

    /// Serves until `shutdown` completes. Then keeps answering for the drain period, or until no client
    /// is connected, while health checks report `NOT_SERVING`. Then closes its connections.
    ///
    /// # Errors
    ///
    /// Fails if a server ends by itself.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        let (phase, _) = watch::channel(Phase::Serving);
        let (reporter, health) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let max_bytes = routes::MAX_MESSAGE_BYTES;
        let mut others = Routes::builder();
        others
            .add_service(health.max_decoding_message_size(max_bytes))
            .add_service(
                reflection()
                    .build_v1()?
                    .max_decoding_message_size(max_bytes),
            )
            // For grpcurl before 1.8.8, grpcio-reflection and Postman.
            .add_service(
                reflection()
                    .build_v1alpha()?
                    .max_decoding_message_size(max_bytes),
            );
        let others = others.routes();
        let metrics = Arc::clone(&self.service.gate.metrics);
        let shared = Shared::new(
            self.max_connections,
            self.max_connection_age,
            metrics.check_connections().clone(),
            metrics.budget().clone(),
            metrics.bad_connections().clone(),
        );

        let gate = self.service.gate.clone();
        let exports = self.otlp.start(&gate);
        let mut helpers = JoinSet::new();
        helpers.spawn(health::report(
            reporter,
            self.service.gate.clone(),
            phase.subscribe(),
            self.systemd.clone(),
        ));
        helpers.spawn(self.systemd.clone().watchdog());
        let file = self.file.as_ref().map(ConfigFile::state);
        helpers.spawn(admin::serve(
            self.admin,
            Admin {
                gate: self.service.gate.clone(),
                phase: phase.subscribe(),
                file: file.unwrap_or_default(),
            },
        ));
        if let Some(file) = self.file {
            helpers.spawn(file.watch(self.service.gate.clone(), self.bound, self.systemd.clone()));
        }
        if let Some(tls) = &self.tls {
            helpers.spawn(Arc::clone(tls).watch());
        }
        let api = Arc::new(Api {
            check: self.service,
            tls: self.tls,
            others,
            shared: Arc::clone(&shared),
        });
        let mut servers = JoinSet::new();
        for listener in self.listeners {
            servers.spawn(serve(listener, Arc::clone(&api), phase.subscribe()));
        }

        self.systemd.ready();

        // Requests in progress are answered in every case.
        let result = tokio::select! {
            () = shutdown => Ok(()),
            Some(_) = servers.join_next() => Err(StartError::Ended),
            Some(_) = helpers.join_next() => Err(StartError::Ended),
        };
        self.systemd.stopping();
        tracing::info!(
            drain_ms = u64::try_from(self.drain.as_millis()).unwrap_or(u64::MAX),
            "draining"
        );
        phase.send_replace(Phase::Draining);
        tokio::select! {
            () = sleep(self.drain) => {}
            () = shared.unused_for(UNUSED) => tracing::info!("no client is connected any more"),
        }
        phase.send_replace(Phase::Stopping);
        let all_ended = async { while servers.join_next().await.is_some() {} };
        if timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
            tracing::warn!("closing connections that are still open");
        }
        exports.flush().await;
        // All answers are sent, so no decision is missing.
        gate.stop_decision_log(SHUTDOWN_GRACE).await;
        result
    }
}
