//! What the files of `server.tls` and `admin.tls` contain.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use super::Protects;
use super::clients::Listed;
use super::identity::{self, IdentityError, certificates};
use crate::config::files::unreadable;
use crate::config::{self, Clients};
use crate::gate::files;

/// The maximum size of a file in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// What the files contain.
#[derive(Debug)]
pub(crate) struct Material {
    /// How connections are accepted.
    pub(crate) server: ServerConfig,
    /// When the server's certificate expires, as RFC 3339. `None` if its dates cannot be read.
    pub(crate) expires: Option<String>,
}

/// Why a file of `server.tls` or `admin.tls` cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{section}.{field}` `{}`: {why}", file.display())]
pub struct TlsError {
    section: &'static str,
    field: &'static str,
    file: PathBuf,
    why: String,
}

impl Material {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or used.
    pub(crate) fn read(protects: Protects, settings: &config::Tls) -> Result<Self, TlsError> {
        let config::Tls {
            certificate: certificate_file,
            key: key_file,
            clients,
        } = settings;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let error_at = |field, file: &PathBuf, why| TlsError {
            section: protects.section(),
            field,
            file: file.clone(),
            why,
        };
        let of_certificate = |why| error_at("certificate", certificate_file, why);
        let of_key = |why| error_at("key", key_file, why);

        let certificate = contents(certificate_file).map_err(of_certificate)?;
        let key = contents(key_file).map_err(of_key)?;
        let certified = identity::from_pem(&certificate, &key, &provider);
        let certified = certified.map_err(|error| match error {
            IdentityError::Certificate(why) => of_certificate(why),
            IdentityError::Key(why) => of_key(why),
            IdentityError::OtherKey => of_key(format!(
                "it is not the key of the first certificate in `{}`; the server's own certificate \
                 comes first, and its intermediate certificates follow",
                certificate_file.display()
            )),
        })?;
        let expires = certified.cert.first().and_then(expiry);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_certificate(error.to_string()))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(
                verifier(protects, clients, provider)
                    .map_err(|why| error_at("client_ca", &clients.authorities, why))?,
            ),
        };
        let mut server = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        server.alpn_protocols = vec![protects.protocol().to_vec()];
        // A resumed session would not verify the client's certificate again. Connections live
        // long, so resuming them would save little.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { server, expires })
    }
}

fn contents(file: &Path) -> Result<Vec<u8>, String> {
    files::read(file, MAX_BYTES).map_err(|error| unreadable(&error))
}

/// Decides which clients may connect.
fn verifier(
    protects: Protects,
    clients: &Clients,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Clients {
        authorities,
        allowed,
    } = clients;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(&contents(authorities)?)?
        .into_iter()
        .enumerate()
    {
        let broken = |error: &dyn fmt::Display| {
            format!("its certificate number {} is broken: {error}", index + 1)
        };
        roots.add(certificate).map_err(|error| broken(&error))?;
    }
    let issued = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(match allowed {
        None => issued,
        Some(allowed) => Arc::new(Listed::new(protects, issued, allowed.clone())),
    })
}

/// When a certificate expires. No authority is trusted and the time is in the far future, so the
/// verification fails, and says how late it is.
fn expiry(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let never = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let verified =
        certificate.verify_for_usage(&[], &[], &[], never, KeyUsage::server_auth(), None, None);
    let Err(webpki::Error::CertExpired { not_after, .. }) = verified else {
        return None;
    };
    let expires = UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))?;
    Some(humantime::format_rfc3339_seconds(expires).to_string())
}
