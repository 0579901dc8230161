//! Decides which TLS servers are trusted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::error::is_ca_certificate;

/// A TLS configuration that trusts only the certificates in a PEM bundle.
///
/// # Errors
///
/// Fails if the bundle has no certificate, or one that cannot be read; the error gives its number,
/// from 1.
pub fn only(bundle: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let mut listed = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let number = listed.len() + 1;
        let broken = |error: &dyn std::fmt::Display| {
            format!("its certificate number {number} is broken: {error}")
        };
        let certificate = certificate.map_err(|error| match error {
            // The parser's message would print the marker byte by byte.
            pem::Error::MissingSectionEnd { .. } => broken(&"it has no end"),
            pem::Error::IllegalSectionStart { .. } => broken(&"its beginning cannot be read"),
            other => broken(&other),
        })?;
        roots
            .add(certificate.clone())
            .map_err(|error| broken(&error))?;
        listed.push(certificate);
    }
    if listed.is_empty() {
        return Err("it contains no PEM certificate".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let issued =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(IssuedOrListed { issued, listed }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A TLS configuration that trusts the certificates of the system, as fetches without `fetch.ca_file` do.
///
/// # Errors
///
/// Fails if the system has none.
pub fn system() -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth())
}

/// Accepts a certificate that a listed one has signed, or one that is itself listed although it is
/// an authority's, as `openssl req -x509` creates them. The latter grants nothing new: the
/// holder of its key could sign a certificate as well.
#[derive(Debug)]
struct IssuedOrListed {
    issued: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for IssuedOrListed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let issued = self.issued.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match &issued {
            // INVARIANT: this error comes after the certificate's dates were checked, and before
            // its signature and name are. The certificate is its own signer and equals a listed one
            // byte by byte. `tests/it/tls.rs` covers wrong dates and names.
            Err(Error::InvalidCertificate(CertificateError::Other(other)))
                if is_ca_certificate(other) && self.listed.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            _ => issued,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}
