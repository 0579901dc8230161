//! Which providers keep the service from being ready.

use std::time::Duration;

use claimgate::jwks::Exemption;
use claimgate::keyring::Algorithm::Es256;
use claimgate::keyring::ProviderId;
use tokio::time::{sleep, timeout};

use crate::support::gate::{Gate, provider};
use crate::support::issuer::{Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;
use crate::support::server::Server;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A configuration with these providers.
fn both(one: &str, other: &str) -> String {
    format!("{one}{}", other.strip_prefix("providers:\n").unwrap())
}

fn break_down(issuer: &Issuer) {
    issuer.reply(JWKS, Reply::status(500));
}

/// The providers that delay readiness.
fn awaited(gate: &Gate) -> Vec<ProviderId> {
    gate.service.gate.generation().jwks.awaited()
}

fn exemption(gate: &Gate, provider: usize) -> Option<Exemption> {
    let generation = gate.service.gate.generation();
    generation.jwks.exemption(ProviderId(provider))
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_not_required_is_not_awaited() {
    let key = signer(Es256, "real");
    let (well, ill) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    break_down(&ill);
    let well = provider(&well, "well", "");
    for (required, expected) in [("true", &[ProviderId(1)][..]), ("false", &[])] {
        let ill = provider(&ill, "ill", &format!("required: {required}"));
        let gate = Gate::start(&both(&well, &ill)).await;
        assert!(
            awaited(&gate).contains(&ProviderId(0)),
            "the other is required"
        );
        sleep(secs(1)).await;
        assert_eq!(awaited(&gate), expected, "required: {required}");
    }
    let alone = Gate::start(&provider(&ill, "ill", "required: false")).await;
    assert_eq!(awaited(&alone), [], "as the operator wants it");
}

#[tokio::test(start_paused = true)]
async fn the_startup_grace_ends_once() {
    const ENDED: &str = "claimgate_jwks_startup_grace_ended_total{provider=\"acme\"}";
    const WARNING: &str = "the startup grace has ended";
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    break_down(&issuer);
    let log = Log::start("warn");
    let refresh = "refresh: { min: 10s, max: 10s, max_stale: 60s }";
    let yaml = |grace: &str| provider(&issuer, "acme", &format!("fetch: {{ {grace} }}, {refresh}"));
    let gate = Gate::start(&yaml("startup_grace: 60s")).await;
    let mut changed = gate.service.gate.changed();
    sleep(secs(59)).await;
    assert_eq!((awaited(&gate).len(), exemption(&gate, 0)), (1, None));
    changed.mark_unchanged();

    let told = timeout(secs(2), changed.changed()).await;
    told.expect("health checks are told").unwrap();
    assert_eq!(awaited(&gate), []);
    assert_eq!(exemption(&gate, 0), Some(Exemption::GraceEnded));
    assert_eq!(
        (gate.metric(ENDED), log.lines(WARNING).len()),
        ("1".to_owned(), 1)
    );
    sleep(secs(600)).await;
    assert_eq!(
        (gate.metric(ENDED), log.lines(WARNING).len()),
        ("1".to_owned(), 1)
    );

    // Once there were keys, it counts again: if they are lost, nothing can be judged any more.
    issuer.publish(&[&key]);
    sleep(secs(60)).await;
    assert_eq!((awaited(&gate), exemption(&gate, 0)), (vec![], None));
    break_down(&issuer);
    sleep(secs(120)).await;
    assert_eq!((awaited(&gate).len(), exemption(&gate, 0)), (1, None));
    assert_eq!(gate.metric(ENDED), "1");
}

#[tokio::test(start_paused = true)]
async fn without_a_startup_grace_keys_are_awaited() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    break_down(&issuer);
    let gate = Gate::start(&provider(&issuer, "acme", "fetch: { startup_grace: 0s }")).await;
    sleep(secs(24 * 3600)).await;
    assert_eq!(awaited(&gate).len(), 1);
}

/// Keys that arrive in time end the wait, and a reload does not begin it anew.
#[tokio::test(start_paused = true)]
async fn the_startup_grace_counts_from_the_start() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let log = Log::start("warn");
    let grace = |more: &str| {
        provider(
            &issuer,
            "acme",
            &format!("fetch: {{ startup_grace: 60s, {more} }}"),
        )
    };
    let gate = Gate::start(&grace("")).await;
    sleep(secs(120)).await;
    assert_eq!((awaited(&gate), exemption(&gate, 0)), (vec![], None));
    assert!(log.lines("startup grace").is_empty());

    break_down(&issuer);
    let gate = Gate::start(&grace("")).await;
    sleep(secs(40)).await;
    gate.reload(&grace("timeout: 2s")).await;
    assert_eq!(awaited(&gate).len(), 1);
    sleep(secs(20)).await;
    assert_eq!(awaited(&gate), []);
}

#[tokio::test]
async fn the_state_of_each_provider_is_shown() {
    let key = signer(Es256, "real");
    let (well, ill) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    break_down(&ill);
    for (more, expected) in [
        (
            "required: false",
            "provider `ill`: no keys; not required (`required: false`); the last",
        ),
        (
            "fetch: { startup_grace: 1ms }",
            "provider `ill`: no keys; no longer awaited (`fetch.startup_grace`); the last",
        ),
    ] {
        let (well, ill) = (provider(&well, "well", ""), provider(&ill, "ill", more));
        let server = Server::start(&both(&well, &ill)).await;
        server.is_serving().await;
        assert_eq!(server.page("/readyz").await, (200, "ready\n".to_owned()));
        // The first fetch may not have ended yet.
        while !server.page("/readyz?verbose").await.1.contains(expected) {
            assert_eq!(server.page("/readyz").await.0, 200);
        }
    }
}
