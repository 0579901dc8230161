//! TLS over TCP, from files that may change while the service runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

mod clients;
mod failure;
mod files;
pub(crate) mod identity;

pub(crate) use files::{Material, TlsError};

use crate::config;
use crate::gate::file_watch::{Changes, looks};
use crate::gate::files::{Files, Stamp};
use crate::http2::handshake::HandshakeError;

/// The listener that TLS protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protects {
    Check,
    Admin,
}

impl Protects {
    /// The section of the configuration.
    const fn section(self) -> &'static str {
        match self {
            Self::Check => "server.tls",
            Self::Admin => "admin.tls",
        }
    }

    /// The protocol that clients must speak inside TLS (RFC 7301).
    const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Check => b"h2",
            Self::Admin => b"http/1.1",
        }
    }
}

/// A connection after its handshake.
pub(crate) type TlsConnection = TlsStream<TcpStream>;

/// The certificate in force, and the files that it comes from.
#[derive(Debug)]
pub(crate) struct Tls {
    protects: Protects,
    settings: config::Tls,
    /// The versions of the files that were read at start.
    started_with: Vec<Option<Stamp>>,
    /// New connections use it. Those that are open keep the one that they began with.
    current: ArcSwap<ServerConfig>,
    files: Files,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or used.
    pub(crate) async fn load(protects: Protects, settings: config::Tls) -> Result<Self, TlsError> {
        let files = Files::default();
        let started_with = stamps(&files, &settings).await;
        let Material { server, expires } = Material::read(protects, &settings)?;
        let (file, section) = (settings.certificate.display(), protects.section());
        tracing::info!(section, %file, expires, "serving TLS with this certificate");
        Ok(Self {
            protects,
            started_with,
            current: ArcSwap::from_pointee(server),
            settings,
            files,
        })
    }

    /// Completes a handshake. It has no time limit.
    ///
    /// # Errors
    ///
    /// Fails if the client leaves, or if one side refuses the other.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<TlsConnection, HandshakeError> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        acceptor
            .accept(stream)
            .await
            .map_err(|error| failure::explain(&error, self.protects))
    }

    /// Whether each client has presented a certificate that is valid and listed.
    pub(crate) fn identifies_clients(&self) -> bool {
        self.settings.clients.is_some()
    }

    /// Reads the files whenever they have changed. Files that cannot be used change nothing. Runs
    /// until the future is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut changes = Changes::since(self.started_with.clone());
        let mut looks = looks();
        loop {
            looks.tick().await;
            if !changes.settled(stamps(&self.files, &self.settings).await) {
                continue;
            }
            // Taken before the files are read: a change after that is seen at the next look.
            changes = Changes::since(stamps(&self.files, &self.settings).await);
            self.reload().await;
        }
    }

    async fn reload(&self) {
        let (protects, settings) = (self.protects, self.settings.clone());
        let read = spawn_blocking(move || Material::read(protects, &settings)).await;
        let file = self.settings.certificate.display();
        match read {
            Ok(Ok(Material { server, expires })) => {
                self.current.store(Arc::new(server));
                tracing::info!(%file, expires, "TLS certificate reloaded");
            }
            Ok(Err(error)) => tracing::error!(
                %error,
                "the TLS files have changed but cannot be used; the previous ones stay in force"
            ),
            // The process is ending.
            Err(_) => {}
        }
    }
}

/// The versions of all files, in a fixed order.
async fn stamps(files: &Files, settings: &config::Tls) -> Vec<Option<Stamp>> {
    let config::Tls {
        certificate,
        key,
        clients,
    } = settings;
    let authorities = clients.as_ref().map(|clients| &clients.authorities);
    let mut stamps = Vec::new();
    for file in [certificate, key].into_iter().chain(authorities) {
        stamps.push(files.stamp(file).await);
    }
    stamps
}
