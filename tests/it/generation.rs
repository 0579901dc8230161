//! What survives a new configuration, and what starts again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::keyring::Algorithm::Es256;
use futures_util::FutureExt as _;
use prost_types::value::Kind;
use tokio::time::{Instant, sleep};

use crate::support::call::{Answer, bearer};
use crate::support::gate::{Gate, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;

const REFUSE: &str =
    "rules: [{ name: closed, access: deny, match: { path: { prefix: /orders } } }]";

#[tokio::test(start_paused = true)]
async fn rules_take_effect_and_keys_live_on() {
    let key = signer(Es256, "a");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "").await;
    let good = token(&issuer, &key);
    assert!(gate.check(&good).await.is_allow());

    issuer.reply(DISCOVERY, Reply::Hang);
    issuer.reply(JWKS, Reply::Hang);
    let same = provider(&issuer, "acme", "");
    gate.reload(&format!("{same}{REFUSE}")).await;
    assert_eq!(gate.check(&good).await.status(), 403);
    gate.reload(&same).await;
    assert!(gate.check(&good).await.is_allow());
    assert_eq!((issuer.asked(DISCOVERY), issuer.asked(JWKS)), (1, 1));
    assert_eq!(
        gate.metric("claimgate_jwks_fetches_total{provider=\"acme\",result=\"success\"}"),
        "1"
    );
    // The refresher survives too: its next fetch hangs.
    sleep(Duration::from_hours(1)).await;
    assert!(issuer.asked(JWKS) > 1);
}

/// With other settings, a new refresher starts with the known keys. With another URL of the keys,
/// it starts without: the known keys may not be there.
#[tokio::test(start_paused = true)]
async fn known_keys_are_used_until_newer_ones_are_fetched() {
    let key = signer(Es256, "a");
    let issuer = Issuer::start(&[&key]).await;
    let gate = Gate::trusting(&issuer, "").await;
    let good = token(&issuer, &key);
    issuer.reply(DISCOVERY, Reply::status(500));
    issuer.reply(JWKS, Reply::status(500));

    gate.reload(&provider(&issuer, "acme", "refresh: { max: 1m }"))
        .await;
    assert!(gate.check(&good).await.is_allow());
    // The new refresher fetches at once, with its own settings.
    assert!(gate.error().is_none(), "{:?}", gate.error());
    sleep(Duration::from_secs(1)).await;
    assert!(gate.error().unwrap().contains("500"));
    assert!(gate.check(&good).await.is_allow());
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "1");

    let elsewhere = format!("jwks: {{ uri: \"{}/other\" }}", issuer.url());
    gate.reload(&provider(&issuer, "acme", &elsewhere)).await;
    assert_eq!(gate.check(&good).await.status(), 503);
}

/// A provider never gets another provider's keys, whatever its position in the list.
#[tokio::test(start_paused = true)]
async fn providers_may_change_places() {
    let (one, other) = (signer(Es256, "a"), signer(Es256, "b"));
    let (first, second) = (Issuer::start(&[&one]).await, Issuer::start(&[&other]).await);
    let [first_yaml, second_yaml] = [(&first, "first"), (&second, "second")]
        .map(|(issuer, name)| provider(issuer, name, "").replace("providers:\n", ""));
    let gate = Gate::start(&format!("providers:\n{first_yaml}{second_yaml}")).await;
    gate.service.gate.generation().jwks.all_known().await;
    let count = |name: &str| {
        gate.metric(&format!(
            "claimgate_checks_total{{decision=\"allow\",rule=\"default\",provider=\"{name}\"}}"
        ))
    };
    for round in 1..4 {
        assert!(gate.check(&token(&first, &one)).await.is_allow());
        assert!(gate.check(&token(&second, &other)).await.is_allow());
        // Signed with a trusted key of another provider.
        assert_eq!(gate.check(&token(&first, &other)).await.status(), 401);
        assert_eq!(
            [count("first"), count("second")],
            [round, round].map(|n| n.to_string())
        );
        let (one, other) = match round % 2 {
            0 => (&first_yaml, &second_yaml),
            _ => (&second_yaml, &first_yaml),
        };
        gate.reload(&format!("providers:\n{one}{other}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn counters_continue_under_their_names() {
    let key = signer(Es256, "a");
    let issuer = Issuer::start(&[&key]).await;
    let base = provider(&issuer, "acme", "");
    let rules = |names: &[&str]| {
        let rules = names.iter().map(|name| {
            format!("  - {{ name: {name}, match: {{ path: {{ prefix: /{name} }} }} }}\n")
        });
        format!("{base}rules:\n{}", rules.collect::<String>())
    };
    let gate = Gate::start(&rules(&["orders", "old"])).await;
    gate.service.gate.generation().jwks.all_known().await;
    let series = |rule: &str| {
        format!("claimgate_checks_total{{decision=\"allow\",rule=\"{rule}\",provider=\"acme\"}}")
    };
    let good = token(&issuer, &key);
    assert!(gate.check(&good).await.is_allow());
    gate.reload(&rules(&["new", "orders"])).await;
    assert!(gate.check(&good).await.is_allow());
    assert_eq!(gate.metric(&series("orders")), "2");
    assert_eq!(gate.metric(&series("new")), "0");
    assert_eq!(gate.metric("claimgate_token_cache_misses_total"), "2");
    let text = gate.service.gate.metrics.encode().unwrap();
    assert!(!text.contains("rule=\"old\""), "{text}");
}

/// A provider that is no longer trusted is no longer contacted.
#[tokio::test(start_paused = true)]
async fn a_removed_provider_is_left_alone() {
    let (key, other) = (signer(Es256, "a"), signer(Es256, "b"));
    let (gone, stays) = (Issuer::start(&[&key]).await, Issuer::start(&[&other]).await);
    let gate = Gate::trusting(&gone, "").await;
    let good = token(&gone, &key);
    gate.reload(&provider(&stays, "acme", "")).await;
    assert_eq!(gate.check(&good).await.status(), 401);
    assert!(gate.check(&token(&stays, &other)).await.is_allow());
    let asked = gone.asked(JWKS);
    sleep(Duration::from_hours(2)).await;
    assert_eq!(gone.asked(JWKS), asked);
    assert!(stays.asked(JWKS) > 1);
}

/// A reload waits for the keys of a new provider, but not forever.
#[tokio::test(start_paused = true)]
async fn a_new_provider_has_its_keys_when_it_takes_effect() {
    let (key, other) = (signer(Es256, "a"), signer(Es256, "b"));
    let (known, new) = (Issuer::start(&[&key]).await, Issuer::start(&[&other]).await);
    let gate = Gate::trusting(&known, "").await;
    let both =
        provider(&known, "acme", "") + &provider(&new, "new", "").replace("providers:\n", "");
    for reply in [None, Some(Reply::Hang)] {
        let waits = reply.is_some();
        if let Some(reply) = reply {
            new.reply(DISCOVERY, reply);
        }
        let before = Instant::now();
        gate.reload(&both).await;
        assert_eq!(before.elapsed().as_secs(), if waits { 10 } else { 0 });
        let status = gate.check(&token(&new, &other)).await.status();
        assert_eq!(status, if waits { 503 } else { 200 });
        assert!(gate.check(&token(&known, &key)).await.is_allow());
        gate.reload(&provider(&known, "acme", "")).await;
    }
}

/// A request that waits for keys is judged by the configuration that it arrived under.
#[tokio::test(start_paused = true)]
async fn a_waiting_request_keeps_its_generation() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, "").await;
    issuer.publish(&[&new]);
    let fresh = token(&issuer, &new);
    let waiting = gate.check(&fresh);
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    gate.reload(&format!("{}{REFUSE}", provider(&issuer, "acme", "")))
        .await;
    assert!(waiting.await.is_allow());
    assert_eq!(gate.check(&fresh).await.status(), 403);
}

/// While configurations change, each answer comes from one configuration: never a header of one
/// with the rule of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_mixes_two_configurations() {
    let key = signer(Es256, "a");
    let issuer = Issuer::start(&[&key]).await;
    let yaml = |name: &str| {
        format!(
            "{}rules: [{{ name: {name}, match: {{ path: {{ prefix: /orders }} }} }}]\n\
             upstream: {{ claim_headers: [{{ header: x-{name}, claim: sub }}] }}\n",
            provider(&issuer, "acme", "")
        )
    };
    let gate = Gate::start(&yaml("one")).await;
    gate.service.gate.generation().jwks.all_known().await;
    let good = token(&issuer, &key);
    let done = AtomicBool::new(false);
    let asks = async {
        let mut asked = 0;
        while !done.load(Ordering::Relaxed) || asked < 100 {
            let check = tonic::Request::new(bearer(&good));
            let response = gate.service.check(check).await.unwrap().into_inner();
            let metadata = response.dynamic_metadata.clone().unwrap();
            let answer = Answer::read(response);
            let rule = match (answer.sets("x-one"), answer.sets("x-two")) {
                (Some("alice"), None) => "one",
                (None, Some("alice")) => "two",
                both => panic!("{both:?}"),
            };
            let expected = Kind::StringValue(rule.to_owned());
            assert_eq!(metadata.fields["rule"].kind, Some(expected));
            asked += 1;
            tokio::task::yield_now().await;
        }
    };
    let reloads = async {
        for round in 0..100 {
            gate.reload(&yaml(["two", "one"][round % 2])).await;
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(asks, reloads);
}
