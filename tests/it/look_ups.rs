//! Which tokens trigger a fetch of keys, how often, and what their senders receive. In paused time,
//! against a scripted issuer.

use std::time::Duration;

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm::{EdDsa, Es256};
use claimgate::keyring::ProviderId;
use claimgate::time::UnixTime;
use serde_json::{Value, json};
use tokio::time::{advance, sleep};

use crate::support::call::Answer;
use crate::support::gate::{Gate, NOW, provider, token};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Part, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;

/// The default of `refresh.unknown_key_cooldown`.
const COOLDOWN: Duration = Duration::from_secs(30);

/// Prevents regular fetches in between, and tolerates a slow machine.
const ONLY_LOOK_UPS: &str = "refresh: { min: 2h, max: 2h, unknown_key_wait: 10s }";

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A token signed by this key, which names this key or none.
fn signed(issuer: &Issuer, key: &Signer, kid: Option<&str>) -> String {
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": NOW + 60});
    let mut header = json!({"alg": key.alg().name(), "typ": "at+jwt"});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    key.sign(&header.to_string(), &claims.to_string()).unwrap()
}

/// A key as it is published under this id, or without one.
fn published(key: &Signer, kid: Option<&str>) -> Value {
    let mut jwk = key.jwk();
    match kid {
        Some(kid) => jwk["kid"] = kid.into(),
        None => drop(jwk.as_object_mut().unwrap().remove("kid")),
    }
    jwk
}

fn set(keys: &[Value]) -> Reply {
    Reply::json(&json!({"keys": keys}))
}

/// The answer: a status, or no verdict and when to try again.
async fn told(gate: &Gate, token: &str) -> (i32, Option<u64>) {
    let answer: Answer = gate.check(token).await;
    let wait = answer
        .header("retry-after")
        .map(|wait| wait.parse().unwrap());
    (answer.status(), wait)
}

#[tokio::test(start_paused = true)]
async fn invented_key_ids_cost_three_fetches_and_one_in_each_cool_down() {
    let (real, stranger) = (signer(Es256, "real"), signer(Es256, "stranger"));
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    for (round, fetches) in [3, 1, 1, 1].into_iter().enumerate() {
        let before = issuer.asked(JWKS);
        for attempt in 0..50 {
            let invented = signed(&issuer, &stranger, Some(&format!("{round}-{attempt}")));
            let expected = match attempt < fetches {
                true => (401, None),
                false => (503, Some(30)),
            };
            assert_eq!(told(&gate, &invented).await, expected, "{round}-{attempt}");
        }
        assert_eq!(issuer.asked(JWKS), before + fetches);
        assert!(gate.check(&token(&issuer, &real)).await.is_allow());
        advance(COOLDOWN).await;
    }
    let counted = |outcome| {
        gate.metric(&format!(
            "claimgate_unknown_key_total{{provider=\"acme\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!(counted("refreshed"), "6");
    assert_eq!(counted("cooling_down"), "194");
}

/// While a flood of invented key ids arrives, the token of a new key gets no verdict until a
/// look-up brings its key, at most one cool-down later.
#[tokio::test(start_paused = true)]
async fn a_flood_refuses_no_token_of_a_new_key() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let stranger = signer(Es256, "stranger");
    let flood = async |second: u64| {
        for number in 0..5 {
            let kid = format!("{second}-{number}");
            gate.check(&signed(&issuer, &stranger, Some(&kid))).await;
        }
    };
    for second in 0..100 {
        flood(second).await;
        sleep(secs(1)).await;
    }
    issuer.publish(&[&real, &new]);
    let fresh = token(&issuer, &new);
    let mut waited = 0;
    loop {
        flood(100 + waited).await;
        let (status, wait) = told(&gate, &fresh).await;
        if status == 200 {
            break;
        }
        assert_eq!(status, 503, "after {waited} s");
        let left = wait.unwrap();
        assert!(
            (1..=30 - waited).contains(&left),
            "{left} s after {waited} s"
        );
        sleep(secs(1)).await;
        waited += 1;
    }
    assert!(waited > 0, "the flood has used up the look-ups");
}

/// A provider that rotates several times within seconds.
#[tokio::test(start_paused = true)]
async fn three_rotations_in_a_row_are_followed_at_once() {
    let issuer = Issuer::start(&[&signer(Es256, "0")]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    for kid in ["1", "2", "3"] {
        let key = signer(Es256, kid);
        issuer.publish(&[&key]);
        assert!(gate.check(&token(&issuer, &key)).await.is_allow(), "{kid}");
        sleep(secs(1)).await;
    }
    let key = signer(Es256, "4");
    issuer.publish(&[&key]);
    assert_eq!(told(&gate, &token(&issuer, &key)).await, (503, Some(27)));
    sleep(secs(27)).await;
    assert!(gate.check(&token(&issuer, &key)).await.is_allow());
}

/// Clients keep using tokens of a key that the provider has withdrawn, for an hour.
#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_triggers_no_fetch() {
    let (old, new, newest) = (
        signer(Es256, "old"),
        signer(Es256, "new"),
        signer(Es256, "newest"),
    );
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    issuer.publish(&[&new]);
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
    let fetches = issuer.asked(JWKS);
    for _ in 0..360 {
        assert_eq!(told(&gate, &token(&issuer, &old)).await, (401, None));
        sleep(secs(10)).await;
    }
    assert_eq!(issuer.asked(JWKS), fetches);
    issuer.publish(&[&newest]);
    assert!(gate.check(&token(&issuer, &newest)).await.is_allow());
}

/// A token of another environment, sent every second for half an hour.
#[tokio::test(start_paused = true)]
async fn a_key_that_never_appears_triggers_fewer_and_fewer_fetches() {
    let (real, other) = (signer(Es256, "real"), signer(Es256, "other"));
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let mut asked = Vec::new();
    for second in 0..1_800 {
        let before = issuer.asked(JWKS);
        assert_eq!(told(&gate, &token(&issuer, &other)).await, (401, None));
        if issuer.asked(JWKS) > before {
            asked.push(second);
        }
        sleep(secs(1)).await;
    }
    assert_eq!(asked, [0, 30, 90, 210, 450, 690, 930, 1_170, 1_410, 1_650]);
}

/// One replica of the provider does not know the new key yet.
#[tokio::test(start_paused = true)]
async fn a_provider_may_lag() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let fresh = token(&issuer, &new);
    assert_eq!(gate.check(&fresh).await.status(), 401, "not brought");
    issuer.publish(&[&old, &new]);
    sleep(secs(29)).await;
    assert_eq!(gate.check(&fresh).await.status(), 401);
    sleep(secs(1)).await;
    assert!(gate.check(&fresh).await.is_allow());

    // The next fetch reaches the other replica, so the new key seems to be gone.
    let stranger = signer(Es256, "stranger");
    issuer.publish(&[&old]);
    gate.check(&token(&issuer, &stranger)).await;
    assert_eq!(gate.check(&fresh).await.status(), 401);
    issuer.publish(&[&old, &new]);
    sleep(COOLDOWN).await;
    assert!(gate.check(&fresh).await.is_allow());
}

/// A client that knows a key's id in advance can make claimgate look for it in vain, but only until
/// the next regular fetch.
#[tokio::test(start_paused = true)]
async fn an_id_asked_for_too_early_is_found_by_a_regular_fetch() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 60s, max: 60s }").await;
    for _ in 0..900 {
        gate.check(&signed(&issuer, &real, Some("new"))).await;
        sleep(secs(1)).await;
    }
    issuer.publish(&[&real, &new]);
    sleep(secs(61)).await;
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
}

/// A key that is missing by mistake is back soon after the mistake is corrected, although its
/// tokens trigger no fetch.
#[tokio::test(start_paused = true)]
async fn a_set_that_lacks_a_key_is_fetched_again_soon() {
    let (one, two) = (signer(Es256, "one"), signer(Es256, "two"));
    let issuer = Issuer::start(&[&one, &two]).await;
    let gate = Gate::trusting(&issuer, "refresh: { min: 30s, max: 24h }").await;
    let good = token(&issuer, &two);
    issuer.publish(&[&one]);
    gate.check(&token(&issuer, &signer(Es256, "stranger")))
        .await;
    assert_eq!(gate.check(&good).await.status(), 401);
    issuer.publish(&[&one, &two]);
    sleep(secs(31)).await;
    assert!(gate.check(&good).await.is_allow());
}

/// Providers may replace keys without changing their ids, or publish none.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_replaced_under_its_id_is_fetched() {
    let (old, new, other) = (
        signer(Es256, "old"),
        signer(Es256, "new"),
        signer(EdDsa, "other"),
    );
    let unfit = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": "AAAA", "y": "AAAA"});
    for (what, before, after, kid) in [
        ("the same id", published(&old, Some("k")), &new, Some("k")),
        ("no ids", published(&old, None), &new, None),
        (
            "for another algorithm",
            published(&old, Some("k")),
            &other,
            Some("k"),
        ),
        (
            "for another algorithm, no ids",
            published(&old, None),
            &other,
            None,
        ),
        ("was unfit", unfit, &new, Some("k")),
    ] {
        let issuer = Issuer::start(&[]).await;
        let always = published(&signer(Es256, "always"), Some("always"));
        issuer.reply(JWKS, set(&[before, always.clone()]));
        let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
        issuer.reply(JWKS, set(&[published(after, kid), always]));
        let (good, bad) = (signed(&issuer, after, kid), signed(&issuer, &old, kid));
        assert_eq!(told(&gate, &good).await, (401, None), "{what}: new keys");
        assert_eq!(issuer.asked(JWKS), 1, "{what}");
        advance(COOLDOWN).await;
        assert_eq!(gate.check(&good).await.status(), 200, "{what}");
        assert_eq!(issuer.asked(JWKS), 2, "{what}");
        assert_eq!(told(&gate, &bad).await, (401, None), "{what}: the old one");
        assert_eq!(issuer.asked(JWKS), 2, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_signatures_cost_one_fetch_a_cool_down() {
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let forged = signed(&issuer, &signer(Es256, "stranger"), Some("real"));
    for _ in 0..300 {
        assert_eq!(told(&gate, &forged).await, (401, None));
        sleep(secs(1)).await;
    }
    let fetches = issuer.asked(JWKS);
    assert!((9..=11).contains(&fetches), "{fetches}");
    // They leave look-ups for others.
    issuer.publish(&[&real, &new]);
    assert!(gate.check(&token(&issuer, &new)).await.is_allow());
}

#[tokio::test(start_paused = true)]
async fn nothing_else_makes_a_request_fetch() {
    let (real, stranger) = (signer(Es256, "real"), signer(Es256, "stranger"));
    let issuer = Issuer::start(&[&real]).await;
    let evil = Issuer::start(&[&stranger]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let jku = json!({"alg": "ES256", "kid": "real", "jku": format!("{}{JWKS}", evil.url())});
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "exp": NOW + 60});
    let expired = json!({"iss": issuer.url(), "aud": "orders-api", "exp": NOW - 100});
    // Whether it triggers a fetch once the keys are older than the cool-down.
    for (what, token, asks) in [
        ("an unknown issuer", token(&evil, &stranger), false),
        ("no token", "x".to_owned(), false),
        ("expired", real.token(&expired).unwrap(), false),
        (
            "a bad signature",
            signed(&issuer, &stranger, Some("real")),
            true,
        ),
        ("no kid", signed(&issuer, &stranger, None), true),
        (
            "a key for another algorithm",
            signed(&issuer, &signer(EdDsa, "real"), Some("real")),
            true,
        ),
        (
            "a key url in the header",
            stranger
                .sign(&jku.to_string(), &claims.to_string())
                .unwrap(),
            true,
        ),
    ] {
        let before = issuer.asked(JWKS);
        assert_eq!(gate.check(&token).await.status(), 401, "{what}");
        assert_eq!(issuer.asked(JWKS), before, "{what}: the keys are new");
        advance(COOLDOWN).await;
        assert_eq!(gate.check(&token).await.status(), 401, "{what}");
        let fetches = issuer.asked(JWKS) - before;
        assert_eq!(fetches, usize::from(asks), "{what}: the keys are old");
        assert_eq!(evil.asked(JWKS) + evil.asked(DISCOVERY), 0, "{what}");
        // For the next one, the keys are new.
        gate.check(&signed(&issuer, &stranger, Some("real"))).await;
    }
}

/// The fetch takes longer than a request may wait. Requests that come after it get their verdict.
#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_when_nobody_waits_any_more() {
    let (old, new, other) = (
        signer(Es256, "old"),
        signer(Es256, "new"),
        signer(Es256, "other"),
    );
    let slowly = |keys: &[Value]| {
        let body = json!({"keys": keys}).to_string();
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        Reply::Raw(vec![
            Part::Drip(vec![head.into()]),
            Part::Bytes(body.into()),
        ])
    };
    let issuer = Issuer::start(&[]).await;
    issuer.reply(JWKS, set(&[published(&old, Some("k"))]));
    let refresh = "refresh: { min: 2h, max: 2h, unknown_key_wait: 100ms }";
    let gate = Gate::trusting(&issuer, refresh).await;
    issuer.reply(JWKS, slowly(&[published(&old, Some("k"))]));
    let unknown = token(&issuer, &other);
    for _ in 0..3 {
        assert_eq!(told(&gate, &unknown).await, (503, Some(5)));
    }
    sleep(secs(2)).await;
    assert_eq!(told(&gate, &unknown).await, (401, None));
    assert_eq!(issuer.asked(JWKS), 2);

    issuer.reply(JWKS, slowly(&[published(&new, Some("k"))]));
    sleep(COOLDOWN).await;
    let replaced = signed(&issuer, &new, Some("k"));
    assert_eq!(
        told(&gate, &replaced).await,
        (401, None),
        "by the known key"
    );
    sleep(secs(2)).await;
    assert_eq!(told(&gate, &replaced).await, (200, None));
    assert_eq!(issuer.asked(JWKS), 3);
}

/// Without the provider, tokens of known keys get their verdict, and tokens of unknown keys get
/// none.
#[tokio::test(start_paused = true)]
async fn during_an_outage() {
    let real = signer(Es256, "real");
    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let stranger = signer(Es256, "stranger");
    issuer.reply(JWKS, Reply::status(500));
    sleep(COOLDOWN).await;
    for _ in 0..10 {
        let forged = signed(&issuer, &stranger, Some("real"));
        assert_eq!(told(&gate, &forged).await, (401, None));
        assert_eq!(told(&gate, &token(&issuer, &stranger)).await.0, 503);
        assert!(gate.check(&token(&issuer, &real)).await.is_allow());
    }
    assert_eq!(issuer.asked(JWKS), 1 + 3, "no more than the allowance");
}

/// Keys in the configuration cannot change, so nothing is waited for.
#[tokio::test(start_paused = true)]
async fn configured_keys_never_change() {
    let (real, stranger) = (signer(Es256, "real"), signer(Es256, "stranger"));
    let issuer = Issuer::start(&[]).await;
    let keys = json!({"keys": [real.jwk()]});
    let gate = Gate::start(&provider(
        &issuer,
        "acme",
        &format!("jwks: {{ inline: {keys} }}"),
    ))
    .await;
    for number in 0..10 {
        let invented = signed(&issuer, &stranger, Some(&number.to_string()));
        assert_eq!(told(&gate, &invented).await, (401, None));
    }
}

/// A provider that asks for a pause gets it, from regular fetches and from tokens.
#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_a_pause_gets_it() {
    let real = signer(Es256, "real");
    let date = "date: Thu, 01 Jan 2026 00:00:00 GMT";
    let until = "retry-after: Thu, 01 Jan 2026 00:02:00 GMT";
    for (what, status, lines, max, from, to) in [
        ("seconds", 429, vec!["retry-after: 120"], "15m", 120, 132),
        ("seconds", 503, vec!["retry-after: 120"], "15m", 120, 132),
        ("a date", 429, vec![date, until], "15m", 120, 132),
        ("too long", 503, vec!["retry-after: 86400"], "60s", 60, 60),
        (
            "nothing that can be read",
            429,
            vec!["retry-after: soon"],
            "15m",
            0,
            1,
        ),
        ("nothing", 503, vec![], "15m", 0, 1),
    ] {
        let issuer = Issuer::start(&[&real]).await;
        let refresh = format!("refresh: {{ min: 5s, max: {max}, unknown_key_wait: 10s }}");
        let reply = lines
            .iter()
            .fold(Reply::status(status), |reply, line| reply.header(line));
        issuer.reply(JWKS, reply);
        let gate = Gate::start(&provider(&issuer, "acme", &refresh)).await;
        issuer.asked_at_least(JWKS, 1).await;
        let started = tokio::time::Instant::now();
        issuer.asked_at_least(JWKS, 2).await;
        let waited = started.elapsed().as_millis();
        assert!(
            (from * 1000..=to * 1000 + 100).contains(&waited),
            "{what}: {waited} ms"
        );
        drop(gate);
    }

    let issuer = Issuer::start(&[&real]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    issuer.reply(JWKS, Reply::status(429).header("retry-after: 120"));
    let invented = |number: u32| signed(&issuer, &real, Some(&number.to_string()));
    assert_eq!(told(&gate, &invented(0)).await.0, 503, "the fetch fails");
    for second in 0..120 {
        let (status, wait) = told(&gate, &invented(second)).await;
        assert_eq!(status, 503);
        assert!(
            wait.unwrap().abs_diff(u64::from(120 - second)) <= 1,
            "{wait:?}"
        );
        assert_eq!(issuer.asked(JWKS), 2);
        sleep(secs(1)).await;
    }
    issuer.publish(&[&real]);
    sleep(secs(1)).await;
    assert_eq!(told(&gate, &invented(0)).await, (401, None));
}

/// When a key last verified a signature is known beyond the set that it was read from.
#[tokio::test(start_paused = true)]
async fn the_last_use_of_a_key_outlives_its_set() {
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[&old]).await;
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let used = |gate: &Gate| {
        let generation = gate.service.gate.generation();
        let report = generation.jwks.report(ProviderId(0)).unwrap();
        let keys = report.keys.unwrap();
        let used = keys.iter().map(|key| {
            let used = key.last_use().get().map(UnixTime::as_secs);
            (key.kid().unwrap().to_owned(), used)
        });
        used.collect::<Vec<_>>()
    };
    let is = |kid: &str, used: Option<u64>| (kid.to_owned(), used);
    assert_eq!(used(&gate), [is("old", None)]);

    let good = token(&issuer, &old);
    assert_eq!(gate.check(&good).await.status(), 200);
    assert_eq!(used(&gate), [is("old", Some(NOW))]);

    // A remembered token and a bad signature are no use of the key.
    gate.clock.set(NOW + 10);
    assert_eq!(gate.check(&good).await.status(), 200);
    let forged = signed(&issuer, &signer(Es256, "stranger"), Some("old"));
    assert_eq!(gate.check(&forged).await.status(), 401);
    assert_eq!(used(&gate), [is("old", Some(NOW))]);

    issuer.publish(&[&old, &new]);
    sleep(COOLDOWN).await;
    assert_eq!(gate.check(&token(&issuer, &new)).await.status(), 200);
    assert_eq!(
        used(&gate),
        [is("old", Some(NOW)), is("new", Some(NOW + 10))]
    );

    // The provider's keys are refreshed in another way from now on.
    let changed = "refresh: { min: 1h, max: 2h }";
    gate.reload(&provider(&issuer, "acme", changed)).await;
    gate.service.gate.generation().jwks.all_known().await;
    assert_eq!(
        used(&gate),
        [is("old", Some(NOW)), is("new", Some(NOW + 10))]
    );
}

#[tokio::test(start_paused = true)]
async fn changes_of_keys_are_logged_by_thumbprint() {
    let log = Log::start("debug");
    let (old, new) = (signer(Es256, "old"), signer(Es256, "new"));
    let issuer = Issuer::start(&[]).await;
    issuer.reply(JWKS, set(&[published(&old, Some("k"))]));
    let gate = Gate::trusting(&issuer, ONLY_LOOK_UPS).await;
    let thumbprint = |key: &Signer| {
        let text = json!({"keys": [key.jwk()]}).to_string();
        let set = claimgate::keyring::KeySet::from_json(text.as_bytes()).unwrap();
        set.iter().next().unwrap().thumbprint().to_string()
    };
    let named = |key| format!("\"`k` for ES256, thumbprint {}\"", thumbprint(key));
    let [fetched] = &log.lines("keys fetched")[..] else {
        panic!("{:?}", log.lines("keys"));
    };
    assert!(
        fetched.contains(&format!("\"added\":{}", named(&old))),
        "{fetched}"
    );

    issuer.reply(JWKS, set(&[published(&new, Some("k"))]));
    let forged = signed(&issuer, &signer(Es256, "stranger"), Some("k"));
    for wait in [COOLDOWN, secs(7)] {
        sleep(wait).await;
        assert_eq!(gate.check(&forged).await.status(), 401);
    }
    let [changed] = &log.lines("keys have changed")[..] else {
        panic!("{:?}", log.lines("keys"));
    };
    assert!(
        changed.contains("INFO") && changed.contains("\"keys\":1"),
        "{changed}"
    );
    assert!(
        changed.contains(&format!("\"added\":{}", named(&new))),
        "{changed}"
    );
    assert!(
        changed.contains(&format!("\"removed\":{}", named(&old))),
        "{changed}"
    );

    let denied = log.lines("bad_signature");
    assert_eq!(denied.len(), 2);
    assert!(denied[0].contains("\"keys_age_seconds\":0,"), "{denied:?}");
    assert!(denied[1].contains("\"keys_age_seconds\":7,"), "{denied:?}");
}

/// An unusable key is logged once, when it appears. A key for another purpose is never logged.
#[tokio::test(start_paused = true)]
async fn an_unusable_key_is_named_when_it_appears() {
    let log = Log::start("debug");
    let (real, new) = (signer(Es256, "real"), signer(Es256, "new"));
    let encryption = json!({"kty": "RSA", "kid": "enc", "use": "enc", "alg": "RSA-OAEP"});
    let odd = |kid: &str| json!({"kty": "EC", "crv": "secp256k1", "kid": kid});
    let issuer = Issuer::start(&[]).await;
    let named = || log.lines("WARN").len();
    let gate = Gate::start(&provider(
        &issuer,
        "acme",
        "refresh: { min: 10s, max: 10s }",
    ))
    .await;
    for (keys, expected) in [
        (vec![real.jwk(), encryption.clone()], 0),
        (vec![real.jwk(), encryption.clone(), odd("1")], 1),
        (vec![real.jwk(), new.jwk(), encryption.clone(), odd("1")], 1),
        (vec![new.jwk(), encryption.clone(), odd("1"), odd("2")], 2),
        (vec![new.jwk(), encryption], 2),
    ] {
        issuer.reply(JWKS, set(&keys));
        sleep(secs(31)).await;
        assert!(gate.check(&token(&issuer, &real)).await.status() < 500);
        let before_first = log.lines("cannot fetch keys").len();
        assert_eq!(named() - before_first, expected, "{:?}", log.lines("WARN"));
    }
    assert_eq!(log.lines("key `1`").len(), 1);
    assert_eq!(log.lines("enc").len(), 0, "{:?}", log.lines("enc"));
}
