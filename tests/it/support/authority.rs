//! Certificate authorities made for a test.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

/// An authority as PEM, and a server with a certificate from it for `name`.
pub fn authority(name: &str) -> (String, ServerConfig) {
    authority_of(&[name])
}

/// The same, for a server with several names.
pub fn authority_of(names: &[&str]) -> (String, ServerConfig) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = certificate_params(names).signed_by(&key, &issuer).unwrap();
    (issuer.pem(), server(&certificate, &key))
}

/// A server whose certificate is an authority's (`CA:TRUE`) and self-signed.
pub struct OwnAuthority {
    params: CertificateParams,
    key: KeyPair,
    certificate: Certificate,
}

impl OwnAuthority {
    /// The same, with `change` applied to the certificate.
    pub fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = certificate_params(&[name]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            params,
            key,
        }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The server with this certificate.
    pub fn server(&self) -> ServerConfig {
        server(&self.certificate, &self.key)
    }

    /// A server with another authority's certificate, signed by this authority.
    pub fn server_below(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = certificate_params(&[name]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::from_params(&self.params, &self.key);
        server(&params.signed_by(&key, &issuer).unwrap(), &key)
    }

    /// A server that presents this certificate without its key.
    pub fn server_without_its_key(&self) -> ServerConfig {
        let key = any_supported_type(&private(&KeyPair::generate().unwrap())).unwrap();
        let shown = CertifiedKey::new(vec![self.certificate.der().clone()], key);
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(shown));
        ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(resolver)
    }
}

fn certificate_params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn server(certificate: &Certificate, key: &KeyPair) -> ServerConfig {
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private(key))
        .unwrap()
}
