//! Decides which clients may connect, by the names in their certificates.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::EndEntityCert;

use super::Protects;
use crate::config::ClientName;
use crate::escaped::{Escaped, listed};

/// Accepts a certificate that an authority has issued and that contains a listed name.
#[derive(Debug)]
pub(super) struct Listed {
    protects: Protects,
    issued: Arc<dyn ClientCertVerifier>,
    allowed: Vec<ClientName>,
}

/// The certificate contains no listed name. It is valid otherwise.
#[derive(Debug)]
pub(super) struct Unlisted {
    section: &'static str,
    names: Vec<Escaped>,
}

impl std::error::Error for Unlisted {}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names.as_slice() {
            [] => f.write_str("the client's certificate contains no DNS name and no URI"),
            names => write!(
                f,
                "the client's certificate is for {}, which `{}.allowed_clients` does not list",
                listed(names, ", "),
                self.section
            ),
        }
    }
}

impl Listed {
    pub(super) fn new(
        protects: Protects,
        issued: Arc<dyn ClientCertVerifier>,
        allowed: Vec<ClientName>,
    ) -> Self {
        Self {
            protects,
            issued,
            allowed,
        }
    }

    /// Whether a name in the certificate is listed. Each kind of name is compared with its own.
    fn lists(&self, certificate: &EndEntityCert<'_>) -> bool {
        self.allowed.iter().any(|allowed| match allowed {
            ClientName::Dns(name) => certificate
                .valid_dns_names()
                .any(|found| found.eq_ignore_ascii_case(name)),
            ClientName::Uri(uri) => certificate.valid_uri_names().any(|found| found == uri),
        })
    }
}

impl ClientCertVerifier for Listed {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .issued
            .verify_client_cert(end_entity, intermediates, now)?;
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.lists(&certificate) {
            return Ok(verified);
        }
        let uris = certificate.valid_uri_names();
        let names = uris.chain(certificate.valid_dns_names());
        let unlisted = Unlisted {
            section: self.protects.section(),
            names: names.map(Escaped::from).collect(),
        };
        Err(Error::InvalidCertificate(CertificateError::Other(
            OtherError(Arc::new(unlisted)),
        )))
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
