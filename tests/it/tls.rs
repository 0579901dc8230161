//! Fetching keys over TLS: the server's identity is checked, and a private authority can be
//! trusted.

use claimgate::keyring::Algorithm::Es256;
use rcgen::{CertificateParams, IsCa};

use crate::support::authority::{OwnAuthority, authority};
use crate::support::gate::{Gate, provider, token};
use crate::support::issuer::{Issuer, JWKS};
use crate::support::keys::signer;

#[tokio::test]
async fn a_private_authority() {
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

/// Authority and certificate are replaced while the service runs, and the file is read again.
#[tokio::test(start_paused = true)]
async fn a_replaced_authority() {
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

/// A certificate that is also an authority's, as `openssl req -x509` creates them, is accepted if
/// the file lists it: the same bytes, with its key, for this name, at this time.
#[tokio::test]
async fn a_listed_certificate_with_ca_true() {
    let own = |change: fn(&mut CertificateParams)| OwnAuthority::new("127.0.0.1", change);
    let key = signer(Es256, "real");
    let [good, twin, expired, early, misnamed, plain] = [
        own(|_| {}),
        own(|_| {}),
        own(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)),
        own(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1)),
        OwnAuthority::new("idp.example.com", |_| {}),
        own(|params| params.is_ca = IsCa::ExplicitNoCa),
    ];
    for (what, listed, server, expected) in [
        ("itself", good.pem(), good.server(), ""),
        ("among others", twin.pem() + &good.pem(), good.server(), ""),
        ("itself, and no authority", plain.pem(), plain.server(), ""),
        (
            "another of the same name",
            twin.pem(),
            good.server(),
            "CaUsedAsEndEntity",
        ),
        (
            "one that it has signed",
            good.pem(),
            good.server_below("127.0.0.1"),
            "CaUsedAsEndEntity",
        ),
        ("expired", expired.pem(), expired.server(), "expired"),
        (
            "not yet valid",
            early.pem(),
            early.server(),
            "not valid yet",
        ),
        (
            "for another name",
            misnamed.pem(),
            misnamed.server(),
            "not valid for name",
        ),
        (
            "without its key",
            good.pem(),
            good.server_without_its_key(),
            "BadSignature",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, listed).unwrap();
        let issuer = Issuer::start_tls(&[&key], server).await;
        let more = format!("fetch: {{ ca_file: {} }}", file.display());
        let gate = Gate::start(&provider(&issuer, "acme", &more)).await;
        let error = loop {
            let generation = gate.service.gate.generation();
            let (id, _) = generation.policy.providers().next().unwrap();
            let status = generation.jwks.status(id).unwrap();
            match (&status.error, status.fetched) {
                (Some(error), _) => break error.to_string(),
                (None, Some(_)) => break String::new(),
                (None, None) => tokio::task::yield_now().await,
            }
        };
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(error.is_empty(), expected.is_empty(), "{what}: {error}");
        let status = gate.check(&token(&issuer, &key)).await.status();
        assert_eq!(status == 200, expected.is_empty(), "{what}");
    }
}
