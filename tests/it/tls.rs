//! Keys over TLS: from whom they come is checked, and an authority of one's own can be trusted.

use claimgate::keyring::Algorithm::Es256;

use crate::support::authority::authority;
use crate::support::gate::{Gate, provider, token};
use crate::support::issuer::{Issuer, JWKS};
use crate::support::keys::signer;

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
        let error = loop {
            if let Some(error) = gate.error() {
                break error;
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

/// Authority and certificate are replaced while we run: the file is read again.
#[tokio::test(start_paused = true)]
async fn an_authority_that_is_replaced() {
    for with_uri in [false, true] {
        let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let (pem, server) = authority("127.0.0.1");
        std::fs::write(&file, pem).unwrap();
        let issuer = Issuer::start_tls(&[&old], server).await;
        let jwks = match with_uri {
            true => format!(", jwks: {{ uri: \"{}{JWKS}\" }}", issuer.url()),
            false => String::new(),
        };
        let settings = format!(
            "fetch: {{ ca_file: {} }}, refresh: {{ min: 1s, max: 1s }}{jwks}",
            file.display()
        );
        let gate = Gate::trusting(&issuer, &settings).await;
        assert!(gate.check(&token(&issuer, &old)).await.is_allow());
        let (pem, server) = authority("127.0.0.1");
        std::fs::write(&file, pem).unwrap();
        issuer.present(Some(server));
        issuer.publish(&[&new]);
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
        assert!(gate.check(&token(&issuer, &new)).await.is_allow(), "{jwks}");
    }
}
