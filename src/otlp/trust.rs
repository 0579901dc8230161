//! Whom to trust as a collector.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::error::SettingsError;
use super::settings::Destination;
use crate::gate::files::{self, Files};
use crate::jwks::trust;

/// The maximum size of a file with certificates, in bytes.
const MAX_CA_BYTES: u64 = 1024 * 1024;

/// The TLS configuration for a destination.
///
/// # Errors
///
/// Fails if the certificates cannot be used.
pub(super) async fn of(to: &Destination, files: &Files) -> Result<ClientConfig, SettingsError> {
    let url = &to.url;
    let mut config = match &to.ca_file {
        Some((name, file)) => {
            let cannot = |why: &dyn std::fmt::Display| {
                SettingsError::new(name, format!("cannot use `{}`: {why}", file.display()))
            };
            let path = file.clone();
            let pem = files.run(move || files::read(&path, MAX_CA_BYTES)).await;
            let pem = pem.map_err(|error| cannot(&error))?;
            trust::only(&pem).map_err(|error| cannot(&error))?
        }
        None if url.scheme() == "https" => {
            trust::system().map_err(|error| SettingsError::new(url.as_str(), error.to_string()))?
        }
        // Plain text needs no certificates, and an image may have none.
        None => ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| SettingsError::new(url.as_str(), error.to_string()))?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
    };
    // The connector chooses them by protocol.
    config.alpn_protocols.clear();
    Ok(config)
}
