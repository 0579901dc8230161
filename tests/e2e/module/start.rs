//! The module in Envoy's bootstrap: it holds the start, and fetches keys through clusters.

use std::net::SocketAddr;
use std::time::Duration;

use claimgate::dev::upstream::Upstream;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::process::{Passage, Starting, bootstrap, socket};
use super::{faults, issuer, metric, mint};
use crate::setup::{bearer, configure_for, envoy_binary, eventually, http};

const OPTIONS: [&str; 3] = ["--disable-hot-restart", "--concurrency", "1"];

/// Adds the module to the bootstrap.
fn extended(mut whole: Value) -> Value {
    whole["bootstrap_extensions"] = json!([{
        "name": "claimgate",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension",
            "dynamic_module_config": {"name": "claimgate_envoy"},
            "extension_name": "claimgate",
        },
    }]);
    whole
}

/// Adds the cluster `idp` with one server.
fn add_cluster(whole: &mut Value, server: SocketAddr) {
    let clusters = whole.pointer_mut("/static_resources/clusters").unwrap();
    clusters.as_array_mut().unwrap().push(json!({
        "name": "idp",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "idp",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(server.port())}}]}],
        },
    }));
}

/// A port that nothing else uses while the test runs.
async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Envoy does not serve before it has keys, so its first request is answered well. Meanwhile, its admin
/// listener answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn the_start_waits_for_keys() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let address = issuer.url().trim_start_matches("http://").parse().unwrap();
    let keys = Passage::to(address).await;
    keys.block(true);
    let configured = faults::configured(&issuer, &keys, "unknown_key_wait: 1ms", "");
    let mut whole = extended(bootstrap(&configured, upstream.address()));
    let port = free_port().await;
    whole["static_resources"]["listeners"][0]["address"] = socket(port);
    let starting = Starting::new(&whole, &OPTIONS);
    eventually("a fetch begins", async || keys.used() > 0).await;
    let admin = starting.admin().expect("the admin listener is open");
    let ready = http(admin, "GET /ready", &[]).await;
    assert_eq!(ready.status, 503, "{ready:?}");
    let listener = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(TcpStream::connect(listener).await.is_err());

    keys.block(false);
    let envoy = starting.listening().await;
    let token = mint(&issuer, &json!({"sub": "alice"}));
    let answer = http(envoy.address, "GET /orders", &[bearer(&token)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// After the grace of its providers, Envoy serves without their keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn the_start_does_not_wait_longer_than_the_grace() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let address = issuer.url().trim_start_matches("http://").parse().unwrap();
    let keys = Passage::to(address).await;
    keys.block(true);
    let jwks = format!("jwks: {{ uri: \"http://{}/jwks\" }}", keys.address);
    let more = format!("{jwks}, fetch: {{ startup_grace: 1s, timeout: 1m }}");
    let configured = configure_for(issuer.url(), &more, "");
    let whole = extended(bootstrap(&configured, upstream.address()));
    let envoy = Starting::new(&whole, &OPTIONS).listening().await;
    let token = mint(&issuer, &json!({"sub": "alice"}));
    let answer = http(envoy.address, "GET /orders", &[bearer(&token)]).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let name = "claimgate_jwks_startup_grace_ended_total";
    eventually(name, async || {
        metric(envoy.admin, name, "acme").await == Some(1)
    })
    .await;
}

/// Keys come through a cluster: nothing else knows the way to their host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn keys_come_through_a_cluster() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let server: SocketAddr = issuer.url().trim_start_matches("http://").parse().unwrap();
    let keys = Passage::to(server).await;
    let with = |cluster: &str| {
        let jwks = "jwks: { uri: \"https://idp.example.com/jwks\" }";
        let fetch =
            format!("fetch: {{ envoy_cluster: {cluster}, timeout: 2s, startup_grace: 1s }}");
        let refresh = "refresh: { unknown_key_wait: 10s }";
        configure_for(issuer.url(), &format!("{jwks}, {fetch}, {refresh}"), "")
    };
    let with_cluster = |configured: &str| {
        let mut whole = bootstrap(configured, upstream.address());
        add_cluster(&mut whole, keys.address);
        whole
    };
    let token = mint(&issuer, &json!({"sub": "alice"}));

    let envoy = Starting::new(&extended(with_cluster(&with("idp"))), &OPTIONS);
    let envoy = envoy.listening().await;
    let ask = async |token: &str| http(envoy.address, "GET /orders", &[bearer(token)]).await;
    let answer = ask(&token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    issuer.rotate().unwrap();
    let newer = mint(&issuer, &json!({"sub": "bob"}));
    let answer = ask(&newer).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // What the cluster cannot reach, nothing else fetches. The known keys stay.
    keys.block(true);
    issuer.rotate().unwrap();
    let newest = mint(&issuer, &json!({"sub": "carol"}));
    assert_eq!(ask(&newest).await.status, 503);
    assert_eq!(ask(&newer).await.status, 200);
    keys.block(false);

    let unknown = Starting::new(&extended(with_cluster(&with("nowhere"))), &OPTIONS);
    eventually("the log says why", async || {
        let line = "cannot fetch `https://idp.example.com/jwks`: Envoy's cluster `nowhere`: there is \
                    no cluster of this name";
        unknown.log().contains(line)
    })
    .await;

    // Envoy says why it reaches nobody.
    let mut refused = with_cluster(&with("idp"));
    *refused
        .pointer_mut("/static_resources/clusters/1/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address")
        .unwrap() = socket(free_port().await);
    let refused = Starting::new(&extended(refused), &OPTIONS);
    eventually("the log says why", async || {
        let line = "cannot fetch `https://idp.example.com/jwks`: Envoy's cluster `idp`: remote connection failure";
        refused.log().contains(line)
    })
    .await;

    // Without the extension, the configuration is refused.
    let mut refused = Starting::new(&with_cluster(&with("idp")), &OPTIONS);
    let status = refused.child.wait().await.unwrap();
    let log = refused.log();
    let sentence = "`fetch.envoy_cluster` needs the module in `bootstrap_extensions`, too";
    assert!(!status.success() && log.contains(sentence), "{log}");
}

/// Envoy refuses what it does not know of the module, also when it only validates.
#[tokio::test]
#[ignore = "needs Envoy: run `make e2e`"]
async fn the_bootstrap_is_checked() {
    let upstream = Upstream::start().await.unwrap();
    let whole = extended(bootstrap(
        "providers: [{ name: a, issuer: https://a.example, audiences: [x] }]",
        upstream.address(),
    ));
    let mut misnamed = whole.clone();
    misnamed["bootstrap_extensions"][0]["typed_config"]["extension_name"] = json!("keys");
    let mut twice = whole.clone();
    let extension = twice["bootstrap_extensions"][0].clone();
    let extensions = twice["bootstrap_extensions"].as_array_mut().unwrap();
    extensions.push(extension);
    let mut configured = whole.clone();
    configured["bootstrap_extensions"][0]["typed_config"]["extension_config"] = json!({
        "@type": "type.googleapis.com/google.protobuf.StringValue",
        "value": "providers: []",
    });
    let through_cluster = "providers: [{ name: a, issuer: https://a.example, audiences: [x], \
                           jwks: { uri: https://a.example/jwks }, fetch: { envoy_cluster: idp } }]";
    let unextended = bootstrap(through_cluster, upstream.address());
    let directory = tempfile::tempdir().unwrap();
    for (what, sentence) in [
        (&whole, None),
        (&extended(unextended.clone()), None),
        (
            &misnamed,
            Some(
                "`extension_name: keys` is not an extension of this module; its extension is `claimgate`",
            ),
        ),
        (
            &twice,
            Some("`bootstrap_extensions` has the module more than once"),
        ),
        (
            &configured,
            Some(
                "`extension_config` has no effect; `filter_config` of the filter has the configuration",
            ),
        ),
        (
            &unextended,
            Some("`fetch.envoy_cluster` needs the module in `bootstrap_extensions`, too"),
        ),
    ] {
        let file = directory.path().join("envoy.json");
        std::fs::write(&file, what.to_string()).unwrap();
        // Envoy would serve what is good.
        let modes = match sentence {
            None => &["validate"][..],
            Some(_) => &["validate", "serve"],
        };
        for mode in modes {
            let ran = Command::new(envoy_binary())
                .args(["--mode", mode, "--config-path"])
                .arg(&file)
                .args(OPTIONS)
                .output()
                .await
                .unwrap();
            let said = [ran.stdout, ran.stderr].map(|said| String::from_utf8(said).unwrap());
            let said = said.concat();
            assert!(said.contains(sentence.unwrap_or("OK")), "{mode}: {said}");
            assert_eq!(ran.status.success(), sentence.is_none(), "{mode}: {said}");
        }
    }
}

/// Envoy ends at once while its start is held, with a fetch under way that nothing answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy: run `make e2e`"]
async fn a_held_start_can_be_ended() {
    let (issuer, upstream) = (issuer().await, Upstream::start().await.unwrap());
    let server = issuer.url().trim_start_matches("http://").parse().unwrap();
    let keys = Passage::to(server).await;
    keys.block(true);
    for way in ["", ", envoy_cluster: idp"] {
        let jwks = format!("jwks: {{ uri: \"http://{}/jwks\" }}", keys.address);
        let more = format!("{jwks}, fetch: {{ timeout: 1m{way} }}");
        let mut whole = bootstrap(&configure_for(issuer.url(), &more, ""), upstream.address());
        add_cluster(&mut whole, keys.address);
        let before = keys.used();
        let mut starting = Starting::new(&extended(whole), &OPTIONS);
        eventually("a fetch begins", async || keys.used() > before).await;
        let process = starting.child.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &process])
            .status()
            .await;
        assert!(sent.unwrap().success());
        let ended = timeout(Duration::from_secs(10), starting.child.wait()).await;
        let status = ended.expect("it ends").unwrap();
        assert!(status.success(), "{way}: {status}: {}", starting.log());
    }
}
