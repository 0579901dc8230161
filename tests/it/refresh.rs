//! How keys are kept fresh, in paused time: what the issuer is asked, and when.

use std::net::SocketAddr;
use std::time::Duration;

use claimgate::keyring::Algorithm::Es256;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::gate::{Gate, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Reply};
use crate::support::keys::signer;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_once_for_all_requests() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, "").await;
    assert!(gate.check(&token(&issuer, &old)).await.is_allow());
    assert_eq!(issuer.asked(JWKS), 1);

    issuer.publish(&[&new]);
    let fresh = token(&issuer, &new);
    let answers = futures_util::future::join_all((0..100).map(|_| gate.check(&fresh))).await;
    assert!(answers.iter().all(super::support::call::Answer::is_allow));
    assert_eq!(issuer.asked(JWKS), 2);
    assert_eq!(
        issuer.asked(DISCOVERY),
        1,
        "a waiting request saves the detour"
    );
    // A key that is no longer published verifies nothing.
    assert_eq!(gate.check(&token(&issuer, &old)).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_issuer_delays_only_its_own_tokens() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, "refresh: { unknown_key_wait: 100ms }").await;
    issuer.reply(JWKS, Reply::Hang);

    let started = Instant::now();
    let unknown = gate.check(&token(&issuer, &new)).await;
    assert_eq!(
        unknown.status(),
        503,
        "whether the token is good could not be found out"
    );
    assert_eq!(
        started.elapsed().as_millis() / 10,
        10,
        "waited for the configured time"
    );

    let started = Instant::now();
    assert!(gate.check(&token(&issuer, &real)).await.is_allow());
    assert_eq!(started.elapsed(), Duration::ZERO);
}

const AGE: &str = "claimgate_jwks_age_seconds{provider=\"acme\"}";

#[tokio::test(start_paused = true)]
async fn known_keys_outlive_an_outage_until_they_are_too_old() {
    let real = signer(Es256, "real");
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 60s, max_stale: 10m }").await;
    issuer.reply(JWKS, Reply::status(500));
    let good = token(&issuer, &real);

    sleep(secs(590)).await;
    assert!(issuer.asked(JWKS) > 10, "keeps trying");
    assert!(
        issuer.asked(JWKS) < 130,
        "but not all the time: {}",
        issuer.asked(JWKS)
    );
    assert!(gate.check(&good).await.is_allow());
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "1");
    let age = gate.metric("claimgate_jwks_age_seconds{provider=\"acme\"}");
    assert!(age.starts_with("590."), "{age}");

    sleep(secs(11)).await;
    assert_eq!(gate.check(&good).await.status(), 503);
    assert_eq!(gate.service.gate.generation().jwks.unavailable().count(), 1);
    // The metrics tell the loss of keys from a service that has just started.
    assert_eq!(gate.metric("claimgate_jwks_keys{provider=\"acme\"}"), "0");
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "1");
    assert!(gate.metric(AGE).starts_with("601."), "{}", gate.metric(AGE));
    // Nor does a reload make them forget it.
    let other = provider(
        &issuer,
        "acme",
        "refresh: { min: 9s, max: 60s, max_stale: 10m }",
    );
    gate.reload(&other).await;
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "1");
    assert!(gate.metric(AGE).starts_with("611."), "{}", gate.metric(AGE));

    issuer.publish(&[&real]);
    sleep(secs(11)).await;
    assert!(gate.check(&good).await.is_allow());
    assert_eq!(gate.metric("claimgate_jwks_stale{provider=\"acme\"}"), "0");
    let age: f64 = gate.metric(AGE).parse().unwrap();
    assert!(age < 11.0, "{age}");
}

#[tokio::test(start_paused = true)]
async fn the_next_regular_fetch_is_announced() {
    const NEXT: &str = "claimgate_jwks_next_refresh_seconds{provider=\"acme\"}";
    let issuer = Issuer::start(&[&*signer(Es256, "real")]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 40s, max: 40s, max_stale: 10m }").await;
    let next = || gate.metric(NEXT).parse::<f64>().unwrap();
    sleep(secs(1)).await;
    let first = next();
    assert!((30.0..=40.0).contains(&first), "{first}");
    sleep(secs(10)).await;
    assert!((first - next() - 10.0).abs() < 0.1, "{first} {}", next());
    let asked = issuer.asked(JWKS);
    sleep(Duration::from_secs_f64(next() + 1.0)).await;
    assert_eq!(issuer.asked(JWKS), asked + 1);
    assert!(next() > 20.0, "{}", next());
}

#[tokio::test(start_paused = true)]
async fn a_late_issuer_is_found() {
    let real = signer(Es256, "real");
    let late = Issuer::start(&[&real]).await;
    let address = late.address();
    let (yaml, good) = (provider(&late, "acme", ""), token(&late, &real));
    drop(late);

    let gate = Gate::start(&yaml).await;
    sleep(secs(1)).await;
    assert_eq!(gate.check(&good).await.status(), 503);
    let error = gate.error().unwrap();
    assert!(error.contains("Connection refused"), "{error}");

    let _back = Issuer::start_at(address, &[&real]).await;
    gate.service.gate.generation().jwks.all_known().await;
    assert!(gate.check(&good).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn a_failing_provider_affects_no_other() {
    let key = signer(Es256, "real");
    let (well, ill) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    ill.reply(DISCOVERY, Reply::Hang);
    let (one, other) = (provider(&well, "well", ""), provider(&ill, "ill", ""));
    let gate = Gate::start(&format!(
        "{one}{}",
        other.strip_prefix("providers:\n").unwrap()
    ))
    .await;
    well.asked_at_least(JWKS, 1).await;
    sleep(secs(60)).await;
    assert!(gate.check(&token(&well, &key)).await.is_allow());
    assert_eq!(gate.check(&token(&ill, &key)).await.status(), 503);
    assert_eq!(gate.service.gate.generation().jwks.unavailable().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn regular_fetches_follow_cache_control_within_bounds() {
    for (cache_control, refresh, from, to) in [
        ("max-age=100", "min: 10s, max: 1000s", 80, 100),
        ("max-age=1", "min: 10s, max: 1000s", 10, 10),
        ("no-store", "min: 10s, max: 1000s", 10, 10),
        ("max-age=31536000", "min: 10s, max: 1000s", 800, 1000),
        ("public", "min: 10s, max: 1000s", 800, 1000),
    ] {
        let key = signer(Es256, "real");
        let issuer = Issuer::start(&[&key]).await;
        let keys = Reply::json(&json!({"keys": [key.jwk()]}));
        issuer.reply(
            JWKS,
            keys.header(&format!("cache-control: {cache_control}")),
        );
        let gate = Gate::trusting(&issuer, &format!("refresh: {{ {refresh} }}")).await;
        let first = Instant::now();
        issuer.asked_at_least(JWKS, 2).await;
        let waited = first.elapsed().as_millis();
        assert!(
            (from * 1000..=to * 1000 + 100).contains(&waited),
            "{cache_control}: {waited} ms"
        );
        drop(gate);
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_have_not_changed_are_not_sent_again() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&real]).await;
    let keys = |key: &claimgate::dev::signer::Signer, tag: &str| {
        Reply::json(&json!({"keys": [key.jwk()]})).header(&format!("etag: {tag}"))
    };
    issuer.reply(JWKS, keys(&real, "\"one\""));
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
    assert!(!issuer.head(JWKS).contains("if-none-match"));

    issuer.reply(JWKS, Reply::status(304));
    issuer.asked_at_least(JWKS, 3).await;
    assert!(issuer.head(JWKS).contains("if-none-match: \"one\""));
    sleep(secs(1)).await;
    assert!(gate.check(&token(&issuer, &real)).await.is_allow());
    let failed = "claimgate_jwks_fetches_total{provider=\"acme\",result=\"failure\"}";
    assert_eq!(gate.metric(failed), "0");
    let age: f64 = gate
        .metric("claimgate_jwks_age_seconds{provider=\"acme\"}")
        .parse()
        .unwrap();
    assert!(age < 11.0, "what was confirmed is as good as new");

    // An outage in between does not make it forget.
    issuer.reply(JWKS, Reply::status(500));
    issuer.asked_at_least(JWKS, 5).await;
    issuer.reply(JWKS, keys(&new, "\"two\""));
    sleep(secs(11)).await;
    assert!(issuer.head(JWKS).contains("if-none-match: \"one\""));
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
    assert_eq!(gate.check(&token(&issuer, &real)).await.status(), 401);
}

/// Requests for keys that do not exist must not keep the old URL of the keys, and thus withdrawn
/// keys, in use.
#[tokio::test(start_paused = true)]
async fn requests_do_not_delay_discovery() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, "").await;
    let url = issuer.url();
    issuer.reply(
        DISCOVERY,
        Reply::json(&json!({"issuer": url, "jwks_uri": format!("{url}/moved")})),
    );
    issuer.reply("/moved", Reply::json(&json!({"keys": [new.jwk()]})));
    let stranger = signer(Es256, "stranger");
    for _ in 0..20 {
        sleep(secs(60)).await;
        gate.check(&token(&issuer, &stranger)).await;
    }
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
    assert_eq!(gate.check(&token(&issuer, &old)).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn the_previous_jwks_uri_is_used_while_metadata_is_down() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
    issuer.reply(DISCOVERY, Reply::status(503));
    issuer.publish(&[&new]);
    sleep(secs(30)).await;
    assert_eq!(gate.check(&token(&issuer, &old)).await.status(), 401);
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_lost_its_keys_does_not_make_all_unready() {
    let key = signer(Es256, "real");
    let (well, ill) = (Issuer::start(&[&key]).await, Issuer::start(&[&key]).await);
    let refresh = "refresh: { min: 10s, max: 10s, max_stale: 60s }";
    let (one, other) = (
        provider(&well, "well", refresh),
        provider(&ill, "ill", refresh),
    );
    let gate = Gate::start(&format!(
        "{one}{}",
        other.strip_prefix("providers:\n").unwrap()
    ))
    .await;
    assert_eq!(gate.service.gate.generation().jwks.awaited().len(), 2);
    gate.service.gate.generation().jwks.all_known().await;
    ill.reply(DISCOVERY, Reply::status(500));
    ill.reply(JWKS, Reply::status(500));
    sleep(secs(120)).await;
    assert_eq!(gate.service.gate.generation().jwks.unavailable().count(), 1);
    assert_eq!(gate.service.gate.generation().jwks.awaited(), []);
    well.reply(DISCOVERY, Reply::status(500));
    well.reply(JWKS, Reply::status(500));
    sleep(secs(120)).await;
    assert_eq!(
        gate.service.gate.generation().jwks.awaited().len(),
        2,
        "nothing can be judged any more"
    );
}

/// A hostile provider's documents cannot flood or forge the log.
#[tokio::test(start_paused = true)]
async fn a_providers_text_is_cut_and_escaped() {
    let issuer = Issuer::start(&[]).await;
    let long = "x".repeat(100_000);
    for (metadata, keys) in [
        (
            json!({"issuer": long, "jwks_uri": "https://a.example"}),
            json!({}),
        ),
        (
            json!({"issuer": "SELF", "jwks_uri": format!("{long}\n2026 INFO allowed\u{1b}[31m")}),
            json!({}),
        ),
        (
            json!({"issuer": "SELF", "jwks_uri": format!("SELF/{long}")}),
            json!({}),
        ),
        (
            json!({"issuer": "SELF", "jwks_uri": 1, "x": long}),
            json!({}),
        ),
        (
            json!({"issuer": "SELF", "jwks_uri": "SELF/jwks"}),
            json!({"keys": vec![json!({"kty": long, "kid": long}); 150]}),
        ),
        (
            json!({"issuer": "SELF", "jwks_uri": "SELF/jwks"}),
            json!(format!("{long}\n\u{1b}[31m")),
        ),
        (
            json!({"issuer": "SELF", "jwks_uri": "SELF/jwks"}),
            json!({"keys": format!("\n\u{1b}[31m{long}")}),
        ),
    ] {
        let metadata = metadata.to_string().replace("SELF", &issuer.url());
        issuer.reply(DISCOVERY, Reply::Http(200, vec![], metadata));
        issuer.reply(JWKS, Reply::json(&keys));
        let gate = Gate::start(&provider(&issuer, "acme", "fetch: { max_bytes: 64MiB }")).await;
        sleep(secs(1)).await;
        let error = gate.error().unwrap();
        assert!(error.len() < 3_000, "{} bytes", error.len());
        assert!(!error.contains(['\n', '\u{1b}']), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_may_be_where_rfc_8414_says() {
    let real = signer(Es256, "real");
    let issuer = Issuer::start(&[&real]).await;
    let metadata = json!({"issuer": issuer.url(), "jwks_uri": format!("{}{JWKS}", issuer.url())});
    issuer.reply(DISCOVERY, Reply::status(404));
    issuer.reply(
        "/.well-known/oauth-authorization-server",
        Reply::json(&metadata),
    );
    let gate = Gate::trusting(&issuer, "").await;
    assert!(gate.check(&token(&issuer, &real)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn keys_may_be_in_a_file_which_is_read_again() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let write = |key: &claimgate::dev::signer::Signer| {
        std::fs::write(&file, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    };
    write(&old);
    let nobody = Issuer::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), &[]).await;
    let gate = Gate::start(&provider(
        &nobody,
        "acme",
        &format!("jwks: {{ file: {} }}", file.display()),
    ))
    .await;
    assert!(
        gate.check(&token(&nobody, &old)).await.is_allow(),
        "there from the start"
    );

    write(&new);
    sleep(secs(31)).await;
    assert!(gate.check(&token(&nobody, &new)).await.is_allow());
    assert_eq!(gate.check(&token(&nobody, &old)).await.status(), 401);
    assert_eq!(nobody.asked(DISCOVERY), 0);
}

/// If a maintenance page replaces the metadata, the URL of the keys is not forgotten.
#[tokio::test(start_paused = true)]
async fn useless_metadata_does_not_hide_the_keys() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(
        &issuer,
        "refresh: { min: 10s, max: 10s, unknown_key_cooldown: 10s }",
    )
    .await;
    issuer.reply(DISCOVERY, Reply::Http(200, vec![], "<html>".to_owned()));
    sleep(secs(12)).await;
    issuer.reply(DISCOVERY, Reply::status(503));
    issuer.publish(&[&new]);
    sleep(secs(60)).await;
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn one_failed_fetch_costs_no_keys() {
    let real = signer(Es256, "real");
    for refresh in ["min: 24h, max: 24h", "max: 24h", "max: 15m, max_stale: 30m"] {
        let issuer = Issuer::start(&[&real]).await;
        let gate = Gate::trusting(&issuer, &format!("refresh: {{ {refresh} }}")).await;
        issuer.reply(DISCOVERY, Reply::status(503));
        issuer.reply(JWKS, Reply::status(503));
        let asked = issuer.asked(JWKS);
        issuer.asked_at_least(JWKS, asked + 1).await;
        sleep(Duration::from_millis(100)).await;
        assert!(
            gate.check(&token(&issuer, &real)).await.is_allow(),
            "{refresh}"
        );
    }
}

/// A server, or a firewall before it, that refuses every conditional request.
#[tokio::test(start_paused = true)]
async fn a_refused_entity_tag_is_dropped() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    for status in [412, 400, 431] {
        let issuer = Issuer::start(&[&old]).await;
        let keys = |key: &claimgate::dev::signer::Signer| {
            Reply::json(&json!({"keys": [key.jwk()]})).header("etag: \"one\"")
        };
        issuer.reply(JWKS, keys(&old));
        let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
        issuer.reply(JWKS, Reply::status(status));
        let asked = issuer.asked(JWKS);
        issuer.asked_at_least(JWKS, asked + 1).await;
        assert!(issuer.head(JWKS).contains("if-none-match"), "{status}");
        issuer.asked_at_least(JWKS, asked + 2).await;
        assert!(!issuer.head(JWKS).contains("if-none-match"), "{status}");
        issuer.reply(JWKS, keys(&new));
        sleep(secs(60)).await;
        assert!(
            gate.check(&token(&issuer, &new)).await.is_allow(),
            "{status}"
        );
    }
}

/// If a token names a new key, the whole set is fetched, whether or not it has changed.
#[tokio::test(start_paused = true)]
async fn a_new_key_is_requested_without_an_entity_tag() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let keys = Reply::json(&json!({"keys": [old.jwk()]})).header("etag: \"one\"");
    issuer.reply(JWKS, keys);
    let gate = Gate::trusting(&issuer, "").await;
    issuer.publish(&[&new]);
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
    assert!(!issuer.head(JWKS).contains("if-none-match"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_over_soon_after_it_ends() {
    let real = signer(Es256, "real");
    let issuer = Issuer::start(&[&real]).await;
    issuer.reply(DISCOVERY, Reply::status(503));
    let gate = Gate::start(&provider(&issuer, "acme", "refresh: { min: 6h, max: 6h }")).await;
    sleep(secs(2 * 3600)).await;
    let url = issuer.url();
    let metadata = json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")});
    issuer.reply(DISCOVERY, Reply::json(&metadata));
    let back = Instant::now();
    gate.service.gate.generation().jwks.all_known().await;
    assert!(
        back.elapsed() < secs(61),
        "still down for {:?}",
        back.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_move_on_to_the_next_place() {
    let real = signer(Es256, "real");
    for status in [429, 408, 503] {
        let issuer = Issuer::start(&[&real]).await;
        issuer.reply(DISCOVERY, Reply::status(status));
        let _gate = Gate::start(&provider(&issuer, "acme", "")).await;
        issuer.asked_at_least(DISCOVERY, 2).await;
        assert_eq!(
            issuer.asked("/.well-known/oauth-authorization-server"),
            0,
            "{status}"
        );
    }
}

/// Metadata from elsewhere must not direct requests to this machine, in any spelling of its
/// address.
#[tokio::test(start_paused = true)]
async fn metadata_from_elsewhere_cannot_point_to_this_machine() {
    for host in [
        "127.0.0.1",
        "127.1.2.3",
        "2130706433",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
    ] {
        let issuer = Issuer::start(&[]).await;
        // An address that does not look like this machine.
        let url = format!("http://0.0.0.0:{}", issuer.address().port());
        let metadata = json!({"issuer": url, "jwks_uri": format!("http://{host}:1/admin")});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        let gate = Gate::start(&format!(
            "providers: [{{ name: acme, issuer: \"{url}\", audiences: [a], \
             fetch: {{ allow_http: true }} }}]"
        ))
        .await;
        issuer.asked_at_least(DISCOVERY, 2).await;
        let error = gate.error().unwrap();
        assert!(error.contains("is on this machine"), "{host}: {error}");
    }
}

/// If a URL returns something other than metadata, the next one is tried.
#[tokio::test(start_paused = true)]
async fn other_documents_lead_to_the_next_place() {
    let real = signer(Es256, "real");
    let page = |status| Reply::Http(status, vec![], "<!doctype html><title>Log in".to_owned());
    let to = |location: &str| Reply::status(302).header(&format!("location: {location}"));
    for (what, reply) in [
        ("a page", page(200)),
        (
            "a page with a mark",
            Reply::Http(200, vec![], "\u{feff}<html>".to_owned()),
        ),
        ("a redirect to the login", to("/login")),
        (
            "a redirect elsewhere",
            to("https://login.example.com/?next=/"),
        ),
        ("a redirect to plain text", to("http://login.example.com/")),
        ("a redirect to nowhere", Reply::status(302)),
        ("a redirect in circles", to(DISCOVERY)),
        ("nothing", Reply::Http(200, vec![], String::new())),
        ("no content", Reply::status(204)),
        (
            "an error as a document",
            Reply::json(&json!({"error": "not found"})),
        ),
        ("a list", Reply::json(&json!([]))),
        ("a key set", Reply::json(&json!({"keys": [real.jwk()]}))),
        (
            "no address of keys",
            Reply::json(&json!({"issuer": "SELF"})),
        ),
        ("too much", Reply::Http(200, vec![], " ".repeat(2_000_000))),
        ("401", page(401)),
        ("404", page(404)),
        ("410", page(410)),
    ] {
        let issuer = Issuer::start(&[&real]).await;
        let url = issuer.url();
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")});
        issuer.reply(DISCOVERY, reply);
        issuer.reply("/login", page(200));
        issuer.reply(
            "/.well-known/oauth-authorization-server",
            Reply::json(&metadata),
        );
        let gate = Gate::start(&provider(&issuer, "acme", "")).await;
        sleep(secs(1)).await;
        assert_eq!(gate.error(), None, "{what}");
        assert!(
            gate.check(&token(&issuer, &real)).await.is_allow(),
            "{what}"
        );
    }
}

/// Metadata of another issuer is a wrong answer, and nothing else is tried.
#[tokio::test(start_paused = true)]
async fn wrong_metadata_ends_the_search() {
    let real = signer(Es256, "real");
    let issuer = Issuer::start(&[&real]).await;
    let url = issuer.url();
    let next = "/.well-known/oauth-authorization-server";
    let metadata =
        |issuer: &str| Reply::json(&json!({"issuer": issuer, "jwks_uri": format!("{url}{JWKS}")}));
    issuer.reply(DISCOVERY, metadata("https://other.example"));
    issuer.reply(next, metadata(&url));
    let gate = Gate::start(&provider(&issuer, "acme", "")).await;
    issuer.asked_at_least(DISCOVERY, 2).await;
    assert_eq!(issuer.asked(next), 0);
    assert_eq!(gate.check(&token(&issuer, &real)).await.status(), 503);
}

/// A byte order mark before a document is skipped (RFC 8259 §8.1), whatever the source.
#[tokio::test(start_paused = true)]
async fn a_byte_order_mark_is_skipped() {
    let real = signer(Es256, "real");
    let marked = |document: &serde_json::Value| format!("\u{feff}{document}");
    let keys = json!({"keys": [real.jwk()]});
    let directory = tempfile::tempdir().unwrap();
    let issuer = Issuer::start(&[]).await;
    let url = issuer.url();
    let metadata = json!({"issuer": url, "jwks_uri": format!("{url}{JWKS}")});
    issuer.reply(DISCOVERY, Reply::Http(200, vec![], marked(&metadata)));
    issuer.reply(JWKS, Reply::Http(200, vec![], marked(&keys)));
    let stored = format!("refresh: {{ cache_dir: {} }}", directory.path().display());
    let gate = Gate::trusting(&issuer, &stored).await;
    assert!(gate.check(&token(&issuer, &real)).await.is_allow());
    let kept = directory.path().join("acme.jwks.json");
    while !kept.exists() {
        sleep(secs(1)).await;
    }
    drop(gate);

    // The stored document has the mark too.
    issuer.reply(DISCOVERY, Reply::status(503));
    let gate = Gate::trusting(&issuer, &stored).await;
    assert!(gate.check(&token(&issuer, &real)).await.is_allow());

    let file = directory.path().join("jwks.json");
    std::fs::write(&file, marked(&keys)).unwrap();
    let gate = Gate::trusting(&issuer, &format!("jwks: {{ file: {} }}", file.display())).await;
    assert!(gate.check(&token(&issuer, &real)).await.is_allow());
}

/// The keys rotate and move at the same time. The first token of the new key finds them.
#[tokio::test(start_paused = true)]
async fn keys_that_have_moved_are_found_at_once() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let to = |location: &str| Reply::status(301).header(&format!("location: {location}"));
    for (what, reply) in [
        ("404", Reply::status(404)),
        ("410", Reply::status(410)),
        ("403", Reply::status(403)),
        ("a page", Reply::Http(200, vec![], "<html>".to_owned())),
        ("an empty set", Reply::json(&json!({"keys": []}))),
        ("another document", Reply::json(&json!({"gone": true}))),
        ("a redirect elsewhere", to("https://idp.example.com/keys")),
    ] {
        let issuer = Issuer::start(&[&old]).await;
        let gate = Gate::trusting(&issuer, "").await;
        let url = issuer.url();
        issuer.reply(JWKS, reply);
        issuer.reply("/moved", Reply::json(&json!({"keys": [new.jwk()]})));
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/moved")});
        issuer.reply(DISCOVERY, Reply::json(&metadata));
        assert!(gate.check(&token(&issuer, &new)).await.is_allow(), "{what}");
        assert_eq!(
            gate.check(&token(&issuer, &old)).await.status(),
            401,
            "{what}"
        );
        assert_eq!(issuer.asked(DISCOVERY), 2, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_whose_host_is_gone_are_found_at_once() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let (issuer, host) = (Issuer::start(&[]).await, Issuer::start(&[&old]).await);
    let metadata = |at: &str| Reply::json(&json!({"issuer": issuer.url(), "jwks_uri": at}));
    issuer.reply(DISCOVERY, metadata(&format!("{}{JWKS}", host.url())));
    let gate = Gate::trusting(&issuer, "").await;
    drop(host);
    issuer.reply("/moved", Reply::json(&json!({"keys": [new.jwk()]})));
    issuer.reply(DISCOVERY, metadata(&format!("{}/moved", issuer.url())));
    // A stopped server releases its port when its task is dropped.
    sleep(secs(1)).await;
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
}

/// Keys that are gone without a new URL cost one more request, however often tokens ask. Keys that
/// are temporarily unavailable cost none.
#[tokio::test(start_paused = true)]
async fn missing_keys_are_sought_once_per_cool_down() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    for (reply, questions) in [
        (Reply::status(404), 1),
        (Reply::status(503), 0),
        (Reply::status(429), 0),
        (Reply::Hang, 0),
    ] {
        let issuer = Issuer::start(&[&real]).await;
        let gate = Gate::trusting(&issuer, "refresh: { min: 1h, max: 1h }").await;
        issuer.reply(JWKS, reply.clone());
        for round in 1..=3 {
            for _ in 0..20 {
                let status = gate.check(&token(&issuer, &new)).await.status();
                assert_eq!(status, 503, "{reply:?}");
            }
            sleep(secs(30)).await;
            // Three look-ups at once, and one more per cool-down.
            let look_ups = issuer.asked(JWKS) - 1;
            assert!(
                (round..=round + 2).contains(&look_ups),
                "{reply:?}: {look_ups}"
            );
            assert_eq!(
                issuer.asked(DISCOVERY),
                1 + look_ups * questions,
                "{reply:?}"
            );
        }
        assert!(gate.check(&token(&issuer, &real)).await.is_allow());
    }
}

/// A web page in place of the metadata does not delay a new key.
#[tokio::test(start_paused = true)]
async fn the_previous_jwks_uri_is_used_while_metadata_is_a_page() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 10s, max: 10s }").await;
    issuer.reply(DISCOVERY, Reply::Http(200, vec![], "<html>".to_owned()));
    issuer.publish(&[&new]);
    sleep(secs(30)).await;
    assert_eq!(gate.check(&token(&issuer, &old)).await.status(), 401);
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
}
