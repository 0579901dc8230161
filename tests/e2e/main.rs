//! End-to-end tests. Plain HTTP replaces curl; everything else is real: Envoy with the
//! configuration in `deploy/envoy/envoy.yaml`, the `claimgate` binary, an OpenID provider.
//!
//! `make e2e` installs Envoy and the provider, and runs these.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a test fails by panicking, prints what it counted, and has long tables of cases"
)]

mod admin;
mod ambiguity;
mod authority;
mod certificates;
mod configurations;
mod doctor;
mod draining;
mod envoy;
mod front;
mod grpc;
mod guide;
mod http2;
mod import_meshes;
mod late_routes;
mod load;
mod login;
mod mcp;
mod mesh;
mod migrate;
mod module;
mod production;
mod rules;
mod setup;
mod sidecar;
mod telemetry;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::dev::envoy::EXAMPLE;
use mesh::{Mesh, Place, in_both_places};
use serde_json::{Value, json};
use setup::{Claimgate, Provider, bearer, eventually, http};

in_both_places! {
    tokens_are_judged,
    claim_headers_cannot_be_chosen_by_the_client,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)] rotation_refuses_no_valid_token,
    tokens_in_cookies_and_queries_stay_behind,
    a_restart_during_an_outage_serves,
    an_outage_of_the_provider_is_none_of_the_mesh,
}

async fn tokens_are_judged(place: Place) {
    let mesh = Mesh::start(place, EXAMPLE, "clock_skew: 0s").await;
    let stranger = Provider::start(0).await;
    let good = mesh.provider.token("urn:orders-api").await;
    let [header, claims, signature] = segments(&good);
    let unsigned = format!(
        "{}.{claims}.",
        BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#)
    );
    let admin = rewritten(&claims, |claims| claims["scope"] = "orders:admin".into());
    let tampered = format!("{header}.{admin}.{signature}");
    let cases = [
        ("missing", None, 401, "missing_token"),
        (
            "malformed",
            Some("not-a-token".to_owned()),
            401,
            "malformed_token",
        ),
        (
            "wrong audience",
            Some(mesh.provider.token("urn:other-api").await),
            401,
            "wrong_audience",
        ),
        (
            "wrong issuer",
            Some(stranger.token("urn:orders-api").await),
            401,
            "invalid_token",
        ),
        ("tampered", Some(tampered), 401, "invalid_token"),
        ("unsigned", Some(unsigned), 401, "unsupported_algorithm"),
        (
            "two tokens",
            Some(format!("{good}, Bearer {good}")),
            401,
            "malformed_authorization",
        ),
    ];
    let allowed = http(mesh.envoy.address(), "GET /orders?page=2", &[bearer(&good)]).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    let seen: Value = serde_json::from_str(&allowed.body).unwrap();
    assert_eq!(seen["path"], "/orders?page=2");
    assert_eq!(seen["headers"]["x-auth-subject"], "machine");
    assert_eq!(seen["headers"]["x-auth-claims"], claims.as_str());
    assert_eq!(
        seen["headers"]["authorization"],
        Value::Null,
        "forward_token is off"
    );

    for (what, token, status, reason) in cases {
        let lines: Vec<String> = token.iter().map(|token| bearer(token)).collect();
        let denied = http(mesh.envoy.address(), "GET /orders", &lines).await;
        assert_eq!(denied.status, status, "{what}: {denied:?}");
        let body: Value = serde_json::from_str(&denied.body).unwrap();
        assert_eq!(body["reason"], reason, "{what}");
        assert_eq!(
            denied.header("content-type"),
            Some("application/json"),
            "{what}"
        );
        let challenge = denied.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("Bearer realm=\"127.0.0.1:"),
            "{what}: {challenge}"
        );
        assert_eq!(
            challenge.contains("error="),
            token.is_some(),
            "{what}: {challenge}"
        );
    }

    let short = mesh.provider.token("urn:short-lived").await;
    eventually("the token expires", async || {
        let answer = http(mesh.envoy.address(), "GET /orders", &[bearer(&short)]).await;
        answer.status == 401 && answer.body.contains(r#""reason":"expired""#)
    })
    .await;
}

/// Whatever a client sends under the names of our headers, or under names that an upstream may
/// mistake for them, never arrives: with the shipped configuration, with headers joined, and with
/// an Envoy that lets underscores pass.
async fn claim_headers_cannot_be_chosen_by_the_client(place: Place) {
    let lenient = change(
        EXAMPLE,
        "headers_with_underscores_action: REJECT_REQUEST",
        "headers_with_underscores_action: ALLOW",
    );
    let joined = change(
        &lenient,
        "encode_raw_headers: true",
        "encode_raw_headers: false",
    );
    let attempts = [
        "x-auth-subject: root",
        "X-Auth-Subject: root",
        "X-AUTH-SUBJECT: root, admin",
        "x-auth-roles: admin",
        "X-Auth-Roles: admin",
        "x-auth-claims: e30",
    ];
    let aliases = [
        "x_auth_subject: root",
        "X_Auth_Roles: admin",
        "x-auth_roles: admin",
    ];
    let forms = place.encode_raw_headers().len();
    for configuration in &[EXAMPLE, &lenient, &joined][..=forms] {
        let mesh = Mesh::start(place, configuration, "clock_skew: 0s").await;
        let token = mesh.provider.token("urn:orders-api").await;
        let mut lines: Vec<String> = attempts.iter().map(ToString::to_string).collect();
        lines.push(bearer(&token));
        if *configuration != EXAMPLE {
            lines.extend(aliases.iter().map(ToString::to_string));
        }
        let allowed = http(mesh.envoy.address(), "GET /", &lines).await;
        assert_eq!(allowed.status, 200, "{allowed:?}");
        let seen: Value = serde_json::from_str(&allowed.body).unwrap();
        let seen = seen["headers"].as_object().unwrap();
        let ours: Vec<(String, &Value)> = seen
            .iter()
            .map(|(name, value)| (name.to_lowercase().replace('_', "-"), value))
            .filter(|(name, _)| name.starts_with("x-auth-"))
            .collect();
        let [_, claims, _] = segments(&token);
        let expected = [
            ("x-auth-claims".to_owned(), &json!(claims)),
            ("x-auth-subject".to_owned(), &json!("machine")),
        ];
        assert_eq!(ours, expected);
    }
    let mesh = Mesh::start(place, EXAMPLE, "clock_skew: 0s").await;
    let token = bearer(&mesh.provider.token("urn:orders-api").await);
    let refused = http(
        mesh.envoy.address(),
        "GET /",
        &[token, aliases[0].to_owned()],
    )
    .await;
    assert_eq!(
        refused.status, 400,
        "the shipped configuration refuses underscores"
    );
}

/// The provider changes its signing key twice while requests flow. Each valid token is accepted,
/// including the first one that a new key signed.
async fn rotation_refuses_no_valid_token(place: Place) {
    let refresh = "refresh: { unknown_key_wait: 400ms }";
    let flow = Arc::new(Flow {
        mesh: Mesh::start(place, EXAMPLE, refresh).await,
        sent: AtomicUsize::new(0),
        refused: Mutex::default(),
        kids: Mutex::default(),
        done: AtomicBool::new(false),
    });
    let workers: Vec<_> = (0..6)
        .map(|_| tokio::spawn(Arc::clone(&flow).run()))
        .collect();
    for rotation in 1..=2 {
        flow.reached(rotation * 400).await;
        flow.mesh.provider.rotate().await;
    }
    flow.reached(1_200).await;
    flow.done.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    let sent = flow.sent.load(Ordering::Relaxed);
    assert_eq!(*flow.refused.lock().unwrap(), [""; 0], "of {sent} requests");
    let kids = flow.kids.lock().unwrap().len();
    assert_eq!(kids, 3, "tokens of three keys were used");
    println!("{sent} requests with tokens of {kids} keys, none refused");
}

/// A task that keeps sending requests.
struct Flow {
    mesh: Mesh,
    sent: AtomicUsize,
    refused: Mutex<Vec<String>>,
    kids: Mutex<BTreeSet<String>>,
    done: AtomicBool,
}

impl Flow {
    /// Gets a new token from time to time, and uses it at once.
    async fn run(self: Arc<Self>) {
        while !self.done.load(Ordering::Relaxed) {
            let token = self.mesh.provider.token("urn:orders-api").await;
            let [header, ..] = segments(&token);
            self.kids
                .lock()
                .unwrap()
                .insert(decoded(&header)["kid"].to_string());
            for _ in 0..5 {
                let answer = http(self.mesh.envoy.address(), "GET /", &[bearer(&token)]).await;
                self.sent.fetch_add(1, Ordering::Relaxed);
                if answer.status != 200 {
                    self.refused.lock().unwrap().push(format!("{answer:?}"));
                }
            }
        }
    }

    async fn reached(&self, count: usize) {
        eventually("requests flow", async || {
            self.sent.load(Ordering::Relaxed) >= count
        })
        .await;
    }
}

/// Wherever the token is, Envoy removes it as instructed and keeps the rest.
async fn tokens_in_cookies_and_queries_stay_behind(place: Place) {
    let places = "token_from: [{ header: x-token }, { cookie: session }, { query: access_token }]";
    let mesh = Mesh::start(place, EXAMPLE, places).await;
    let token = mesh.provider.token("urn:orders-api").await;
    let header = format!("x-token: {token}");
    let cookies = format!("cookie: lang=de; session={token}; theme=\"dark\"");
    let cookie = format!("cookie: session={token}");
    let two_lines = vec!["cookie: lang=de".to_owned(), cookie.clone()];
    let query = format!("/orders?a=1&access_token={token}&b=2");
    for (path, lines, cookie_left, path_left) in [
        ("/orders?a=1", vec![header], Value::Null, "/orders?a=1"),
        (
            "/orders?a=1",
            vec![cookies],
            "lang=de; theme=\"dark\"".into(),
            "/orders?a=1",
        ),
        ("/orders?a=1", vec![cookie], Value::Null, "/orders?a=1"),
        ("/orders?a=1", two_lines, "lang=de".into(), "/orders?a=1"),
        (query.as_str(), vec![], Value::Null, "/orders?a=1&b=2"),
    ] {
        let answer = http(mesh.envoy.address(), &format!("GET {path}"), &lines).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(!answer.body.contains(&token), "{answer:?}");
        let seen: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(seen["path"], path_left);
        assert_eq!(seen["headers"]["cookie"], cookie_left);
        assert_eq!(seen["headers"]["x-auth-subject"], "machine");
    }
}

async fn a_restart_during_an_outage_serves(place: Place) {
    let refresh = "refresh: { min: 1s, max: 2s, cache_dir: keys }";
    let mut mesh = Mesh::start(place, EXAMPLE, refresh).await;
    let token = mesh.provider.token("urn:orders-api").await;
    let kept = mesh.directory.path().join("keys/acme.jwks.json");
    eventually("the keys are kept", async || kept.exists()).await;
    mesh.provider.kill().await;
    mesh.restart().await;
    for _ in 0..3 {
        let answer = http(mesh.envoy.address(), "GET /", &[bearer(&token)]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    mesh.is_ready().await;
    for (name, labels, expected) in [
        ("claimgate_jwks_stale", "provider=\"acme\"", 1),
        ("claimgate_token_cache_hits_total", "", 2),
        ("claimgate_token_cache_entries", "", 1),
    ] {
        eventually(name, async || {
            mesh.metric(name, labels).await == Some(expected)
        })
        .await;
    }
}

async fn an_outage_of_the_provider_is_none_of_the_mesh(place: Place) {
    let mut mesh = Mesh::start(
        place,
        EXAMPLE,
        "refresh: { min: 1s, max: 2s, unknown_key_cooldown: 1s }",
    )
    .await;
    let token = mesh.provider.token("urn:orders-api").await;
    let ask = async |mesh: &Mesh, token: &str| {
        http(mesh.envoy.address(), "GET /", &[bearer(token)]).await
    };
    assert_eq!(ask(&mesh, &token).await.status, 200);

    // Known keys stay in use, even after failed fetches.
    mesh.provider.kill().await;
    eventually("a fetch fails", async || {
        mesh.metric("claimgate_jwks_stale", "provider=\"acme\"")
            .await
            == Some(1)
    })
    .await;
    assert_eq!(ask(&mesh, &token).await.status, 200);

    // After a restart no keys are known: not ready, and 503 instead of a verdict.
    mesh.restart().await;
    let answer = ask(&mesh, &token).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(
        answer.body.contains(r#""reason":"keys_unavailable""#),
        "{answer:?}"
    );
    assert_eq!(answer.header("retry-after"), Some("5"));
    if place == Place::Service {
        eventually("claimgate says why it is not ready", async || {
            let ready = http(mesh.claimgate.admin, "GET /readyz", &[]).await;
            let why = "no keys of provider `acme`: cannot fetch";
            ready.status == 503 && ready.body.contains(why)
        })
        .await;
    }

    // Once the provider is back, everything recovers by itself.
    mesh.provider.restart().await;
    mesh.is_ready().await;
    let token = mesh.provider.token("urn:orders-api").await;
    assert_eq!(ask(&mesh, &token).await.status, 200);
}

/// Without claimgate, Envoy lets no request pass.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn without_claimgate_nobody_gets_in() {
    let mesh = Mesh::start(Place::Service, EXAMPLE, "clock_skew: 0s").await;
    let token = mesh.provider.token("urn:orders-api").await;
    let Mesh {
        provider: _provider,
        claimgate,
        envoy,
        upstream: _upstream,
        directory: _directory,
        ..
    } = mesh;
    Claimgate::stop(claimgate).await;
    let answer = http(envoy.address(), "GET /", &[bearer(&token)]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.body, "");
}

/// `claimgate dev --envoy`, the command that `make demo` runs.
#[tokio::test]
#[ignore = "needs Envoy and oidc-provider: run `make e2e`"]
async fn the_demo_works() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let mut demo = setup::demo(&file);
    eventually("the demo is ready", async || file.exists()).await;
    let state: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let envoy = state["envoy"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let answer = http(
        envoy,
        "GET /orders",
        &[bearer(state["token"].as_str().unwrap())],
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(seen["headers"]["x-auth-subject"], "alice");
    assert_eq!(http(envoy, "GET /orders", &[]).await.status, 401);
    setup::terminate(&demo).await;
    assert_eq!(demo.wait().await.unwrap().code(), Some(0));
}

fn segments(token: &str) -> [String; 3] {
    let segments: Vec<String> = token.split('.').map(ToOwned::to_owned).collect();
    segments.try_into().unwrap()
}

fn decoded(segment: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(segment).unwrap()).unwrap()
}

fn rewritten(segment: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value = decoded(segment);
    change(&mut value);
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The configuration with one line replaced. The line must exist.
fn change(configuration: &str, from: &str, to: &str) -> String {
    assert_eq!(configuration.matches(from).count(), 1, "{from}");
    configuration.replace(from, to)
}
