//! Incidents explain themselves: the hint of a denial, the log and the admin port name the cause and
//! say what to do.

use std::time::Duration;

use claimgate::keyring::Algorithm::Es256;
use claimgate::keyring::ProviderId;
use serde_json::json;
use tokio::time::sleep;

use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The hint for a token that is denied.
async fn hint(gate: &Gate, token: &str) -> String {
    let answer = gate.check(token).await;
    assert!(!answer.is_allow(), "{answer:?}");
    let denial = gate.service.gate.denials.newest().next().unwrap();
    denial.hint.clone().unwrap_or_default()
}

/// Waits until the first provider's fetch has failed.
async fn failed(gate: &Gate) -> String {
    loop {
        match gate.error() {
            Some(error) => return error,
            None => tokio::task::yield_now().await,
        }
    }
}

/// The number of lines with these texts.
fn count(log: &Log, texts: &[&str]) -> usize {
    let lines = log.lines(texts[0]);
    let lines = lines
        .iter()
        .filter(|line| texts.iter().all(|text| line.contains(text)));
    lines.count()
}

/// The provider has one name inside and another outside. Its metadata and its tokens agree.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_only_the_metadata_names() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let url = issuer.url();
    for (named, expected) in [
        (
            "https://login.example.com/realms/a".to_owned(),
            format!(
                "the metadata of provider `acme` names this issuer too, but `{url}` is configured, so \
                 its keys are not fetched: set `issuer: https://login.example.com/realms/a` with \
                 `discovery_url: {url}{DISCOVERY}`"
            ),
        ),
        (
            format!("{url}/"),
            format!(
                "the metadata of provider `acme` names this issuer too, but `{url}` is configured, so \
                 its keys are not fetched: set `issuer: {url}/`"
            ),
        ),
    ] {
        let metadata = json!({"issuer": named, "jwks_uri": format!("{url}{JWKS}")});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        let gate = Gate::start(&provider(&issuer, "acme", "")).await;
        let error = failed(&gate).await;
        let claims = |iss: &str| json!({"iss": iss, "aud": "orders-api", "exp": NOW + 60});
        let outside = key.token(&claims(&named)).unwrap();
        assert_eq!(hint(&gate, &outside).await, expected);
        let stranger = key.token(&claims("https://evil.example")).unwrap();
        assert!(!hint(&gate, &stranger).await.contains("metadata"));
        // A token of the configured issuer is told why there are no keys.
        assert_eq!(hint(&gate, &token(&issuer, &key)).await, error);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_discarded_are_reported_once() {
    let key = signer(Es256, "real");
    let issuer = Issuer::start(&[&key]).await;
    let log = Log::start("info");
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 60s, max_stale: 10m }").await;
    issuer.reply(JWKS, Reply::status(500));
    let discarded = ["keys discarded: older than `refresh.max_stale`", "WARN"];
    let report = || {
        let generation = gate.service.gate.generation();
        generation.jwks.report(ProviderId(0)).unwrap()
    };
    sleep(secs(590)).await;
    assert_eq!((count(&log, &discarded), report().discarded), (0, false));
    sleep(secs(60)).await;
    assert_eq!((count(&log, &discarded), report().discarded), (1, true));
    assert_eq!(report().age.unwrap().as_secs(), 650);
    let hint = hint(&gate, &token(&issuer, &key)).await;
    for text in [
        "answers 500",
        "the last keys are 650 s old and discarded: older than `refresh.max_stale`",
    ] {
        assert!(hint.contains(text), "{hint}");
    }
    issuer.publish(&[&key]);
    sleep(secs(11)).await;
    assert!(!report().discarded);
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn one_warning_for_one_failed_fetch() {
    let (key, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
    issuer.reply(DISCOVERY, Reply::status(503));
    issuer.reply(JWKS, Reply::status(404));
    let fetches = || issuer.asked(JWKS);
    let log = Log::start("warn");
    let before = fetches();
    sleep(secs(30)).await;
    // A request's look-up fails too.
    assert_eq!(gate.check(&token(&issuer, &new)).await.status(), 503);
    let (failed, lines) = (fetches() - before, log.take());
    let warnings: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] != "denied")
        .map(|line| line["message"].as_str().unwrap())
        .collect();
    assert_eq!(warnings, vec!["cannot fetch keys"; failed]);
}
