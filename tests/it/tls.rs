//! Keys over TLS: from whom they come is checked, and an authority of one's own can be trusted.

use claimgate::keyring::Algorithm::Es256;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::gate::{Gate, provider, token};
use crate::support::issuer::{Issuer, JWKS};
use crate::support::keys::signer;

/// An authority, as PEM, and a server that it vouches for as `name`.
fn authority(name: &str) -> (String, ServerConfig) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (issuer.pem(), server)
}

#[tokio::test]
async fn an_authority_of_ones_own() {
    let key = signer(Es256, "real");
    let directory = tempfile::tempdir().unwrap();
    let (ca, other_ca) = (
        directory.path().join("ca.pem"),
        directory.path().join("other.pem"),
    );
    let (pem, server) = authority("127.0.0.1");
    std::fs::write(&ca, pem).unwrap();
    std::fs::write(&other_ca, authority("127.0.0.1").0).unwrap();
    let issuer = Issuer::start_tls(&[&key], server).await;

    let trusting = format!("fetch: {{ ca_file: {} }}", ca.display());
    let gate = Gate::trusting(&issuer, &trusting).await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());

    let (_, wrong_name) = authority("idp.example.com");
    let impostor = Issuer::start_tls(&[&key], wrong_name).await;
    for (what, issuer, more) in [
        (
            "the system does not know the authority",
            &issuer,
            String::new(),
        ),
        (
            "another authority",
            &issuer,
            format!("fetch: {{ ca_file: {} }}", other_ca.display()),
        ),
        ("a certificate for another name", &impostor, trusting),
    ] {
        let asked = issuer.asked(JWKS);
        let gate = Gate::start(&provider(issuer, "acme", &more)).await;
        let (id, _) = gate.service.policy.providers().next().unwrap();
        let error = loop {
            if let Some(error) = gate.service.jwks.status(id).unwrap().error.clone() {
                break error.to_string();
            }
            tokio::task::yield_now().await;
        };
        assert!(
            error.contains("invalid peer certificate"),
            "{what}: {error}"
        );
        assert_eq!(
            gate.check(&token(issuer, &key)).await.status(),
            503,
            "{what}"
        );
        assert_eq!(issuer.asked(JWKS), asked, "{what}");
    }
}
