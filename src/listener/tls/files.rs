//! Reads certificates and keys.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage};

use super::Protects;
use super::clients::Listed;
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
        let error = |field, file: &PathBuf, why| TlsError {
            section: protects.section(),
            field,
            file: file.clone(),
            why,
        };
        let of_certificate = |why| error("certificate", certificate_file, why);
        let of_key = |why| error("key", key_file, why);

        let chain = contents(certificate_file)
            .and_then(|pem| certificates(&pem))
            .map_err(of_certificate)?;
        let expires = chain.first().and_then(expiry);
        let key = contents(key_file)
            .and_then(|pem| private_key(&pem))
            .map_err(of_key)?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| of_key(format!("its key cannot be used: {error}")))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Of a kind of key that does not tell, the first handshake will.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(of_key(format!(
                    "it is not the key of the first certificate in `{}`; the server's own \
                     certificate comes first, and its intermediate certificates follow",
                    certificate_file.display()
                )));
            }
            Err(error) => {
                return Err(of_certificate(format!(
                    "its first certificate is broken: {error}"
                )));
            }
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| of_certificate(error.to_string()))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(
                verifier(protects, clients, provider)
                    .map_err(|why| error("client_ca", &clients.authorities, why))?,
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
    files::read(file, MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{error}; a relative path begins at the configuration's directory")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}; claimgate's user must be able to read it")
        }
        _ => error.to_string(),
    })
}

/// All certificates in a PEM file; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(
            "it contains no certificate in PEM, which begins with `-----BEGIN CERTIFICATE-----`"
                .to_owned(),
        ),
        Ok(found) => Ok(found),
        Err(error) => Err(broken_pem(&error)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => "it contains no private key in PEM, which begins with \
            `-----BEGIN PRIVATE KEY-----`; decrypt an encrypted key with `openssl pkey`"
            .to_owned(),
        error => broken_pem(&error),
    })
}

fn broken_pem(error: &pem::Error) -> String {
    match error {
        // The parser's message would print the marker byte by byte.
        pem::Error::MissingSectionEnd { .. } => "a section has no end".to_owned(),
        pem::Error::IllegalSectionStart { .. } => {
            "the beginning of a section cannot be read".to_owned()
        }
        other => format!("it is broken: {other}"),
    }
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
