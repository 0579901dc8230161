//! A certificate with its key, in PEM.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

/// What cannot be used, and why.
pub(crate) enum IdentityError {
    Certificate(String),
    Key(String),
    /// The key is that of another certificate than the first one.
    OtherKey,
}

/// A certificate, with its intermediate certificates, and its key.
///
/// # Errors
///
/// Fails if a text cannot be used, or if the key is that of another certificate.
pub(crate) fn from_pem(
    certificate: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, IdentityError> {
    let of_certificate = IdentityError::Certificate;
    let of_key = IdentityError::Key;
    let chain = certificates(certificate).map_err(of_certificate)?;
    let key = private_key(key).map_err(of_key)?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| of_key(format!("its key cannot be used: {error}")))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Of a kind of key that does not tell, the first handshake will.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(IdentityError::OtherKey),
        Err(error) => Err(of_certificate(format!(
            "its first certificate is broken: {error}"
        ))),
    }
}

/// All certificates in a PEM file; at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
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
