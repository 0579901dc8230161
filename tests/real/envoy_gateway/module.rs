//! Envoy Gateway loads claimgate into its Envoy by its own means, as docs/guides/envoy-module.md says.

use std::path::Path;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Running, policy, wiring};
use crate::gateway::{Backends, claim_headers};
use crate::guide;
use crate::process::{free_port, module};
use crate::setup::{eventually, http, post};

const GUIDE: &str = "docs/guides/envoy-module.md";

/// The rules. No route of Envoy Gateway can name one, as a rule of the module's guide requires.
const RULES: &str = "docs/guides/envoy-gateway.md";

#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn answers_are_those_of_the_service() {
    let backends = Backends::start(RULES).await;
    let port = free_port();
    let mut asks = wiring(port, backends.check, backends.upstream.address());
    asks.push(policy());
    let running = Running::start(port, &asks).await;
    backends.are_behind(running.address).await;
    let by_service = backends.answers(running.address).await;
    running.stop().await;

    let running = Running::start(port, &inside(port, &backends)).await;
    backends.are_behind(running.address).await;
    backends.are_protected_by(running.address, &[]).await;
    let by_module = backends.answers(running.address).await;
    assert_eq!(by_module, by_service);
    running.stop().await;
}

/// The guide puts claimgate before the filters that Envoy Gateway runs first otherwise: here, the one
/// that reads a body and refuses a large one.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn claimgate_decides_before_bodies_are_read() {
    let backends = Backends::start(RULES).await;
    let port = free_port();
    let buffer = json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "BackendTrafficPolicy",
        "metadata": { "name": "buffer", "namespace": "gateway" },
        "spec": {
            "targetRefs": [{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "orders" }],
            "requestBuffer": { "limit": "4" },
        },
    });
    let mut objects = inside(port, &backends);
    objects.push(buffer);
    for (what, status) in [("as the guide has it", 401), ("without `filterOrder`", 413)] {
        let running = Running::start(port, &objects).await;
        backends.are_behind(running.address).await;
        let answer = post(running.address, "/orders", &[], "too large").await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        running.stop().await;
        host(&mut objects)["spec"]
            .as_object_mut()
            .unwrap()
            .remove("filterOrder");
    }
}

/// Envoy Gateway accepts these, and Envoy finds the problem. No request passes unchecked.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn problems_close_the_gateway() {
    let backends = Backends::start(RULES).await;
    let port = free_port();
    let whole = inside(port, &backends);
    let with_config = |config: Value| {
        changed(&whole, |it| {
            if it["kind"] == "EnvoyExtensionPolicy" {
                it["spec"]["dynamicModule"][0]["config"] = config.clone();
            }
        })
    };
    let of_a_team = |config: Value| {
        let mut objects = whole.clone();
        objects.push(team(&whole, |spec| {
            spec["dynamicModule"][0]["config"] = config;
        }));
        objects
    };
    let running = Running::start(port, &whole).await;
    for (what, objects) in [
        ("an unknown field", with_config(json!({ "provider": [] }))),
        ("no such file", with_config(json!("file:/nonexistent"))),
        ("a team's", of_a_team(json!({ "provider": [] }))),
        (
            "a team's without a file",
            of_a_team(json!("file:/nonexistent")),
        ),
    ] {
        running.replace(&whole);
        backends.are_behind(running.address).await;
        running.replace(&objects);
        eventually(what, async || {
            let answer = http(running.address, "GET /healthz", &[]).await;
            assert!([200, 500].contains(&answer.status), "{what}: {answer:?}");
            let unchecked = http(running.address, "GET /orders", &[]).await;
            assert!(
                [401, 500].contains(&unchecked.status),
                "{what}: {unchecked:?}"
            );
            (answer.status, unchecked.status) == (500, 500)
        })
        .await;
    }
    running.stop().await;

    // Envoy Gateway finds this one by itself.
    let unknown = changed(&whole, |it| {
        if it["kind"] == "EnvoyExtensionPolicy" {
            it["spec"]["dynamicModule"][0]["name"] = "other".into();
        }
    });
    let running = Running::start(port, &unknown).await;
    let answer = http(running.address, "GET /healthz", &[]).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    running.stop().await;

    // Envoy has no listener then.
    let missing = changed(&whole, |it| {
        if let Some(path) = it.pointer_mut("/spec/dynamicModules/0/source/local/path") {
            *path = "/nonexistent.so".into();
        }
    });
    let running = Running::begin(port, &missing).await;
    let envoy = running.envoy().await;
    eventually("Envoy refuses the listener", async || {
        envoy.counter("listener_manager.lds.update_rejected").await > 0
    })
    .await;
    let connected = TcpStream::connect(running.address).await;
    assert!(connected.is_err(), "the gateway listens");
    running.stop().await;
}

/// What the guide warns of. A merged policy that says nothing about modules opens nothing.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn what_opens_a_route() {
    let backends = Backends::start(RULES).await;
    let port = free_port();
    let whole = inside(port, &backends);
    let with_team = |change: fn(&mut Value)| {
        let mut objects = whole.clone();
        objects.push(team(&whole, change));
        objects
    };
    let remote = changed(&whole, |it| {
        if let Some(modules) = it.pointer_mut("/spec/dynamicModules/0") {
            let remote = json!({ "url": "http://127.0.0.1:9/module.so", "sha256": "0".repeat(64) });
            modules["source"] = json!({ "type": "Remote", "remote": remote });
        }
    });
    let merged = with_team(|spec| {
        let targets = &spec["targetRefs"];
        *spec = json!({ "mergeType": "StrategicMerge", "targetRefs": targets });
    });
    let running = Running::start(port, &merged).await;
    backends.are_behind(running.address).await;
    running.stop().await;

    for (what, objects) in [
        ("a module that cannot be fetched", remote),
        (
            "a team's own rules, merged",
            with_team(|spec| {
                spec["mergeType"] = "StrategicMerge".into();
                spec["dynamicModule"][0]["config"] = json!({
                    "providers": [{ "name": "a", "issuer": "http://127.0.0.1:9", "audiences": ["a"] }],
                    "rules": [{ "name": "open", "access": "public" }],
                });
            }),
        ),
        (
            "a team's policy without `mergeType`",
            with_team(|spec| *spec = json!({ "targetRefs": spec["targetRefs"] })),
        ),
        (
            "a team's policy that Envoy refuses",
            with_team(|spec| {
                spec["dynamicModule"][0]["filterName"] = "claimgate".into();
                spec["dynamicModule"][0]["config"] = json!({ "provider": [] });
            }),
        ),
    ] {
        let running = Running::start(port, &whole).await;
        backends.are_behind(running.address).await;
        running.replace(&objects);
        let forged = ["x-auth-subject: root".to_owned()];
        eventually(what, async || {
            let answer = http(running.address, "GET /orders", &forged).await;
            answer.status == 200 && claim_headers(&answer)["x-auth-subject"] == "root"
        })
        .await;
        running.stop().await;
    }
}

/// A team's policy for its route, made from that of the Gateway.
fn team(objects: &[Value], change: impl FnOnce(&mut Value)) -> Value {
    let mut policies = objects
        .iter()
        .filter(|it| it["kind"] == "EnvoyExtensionPolicy");
    let mut team = policies.next().unwrap().clone();
    team["metadata"]["name"] = "team".into();
    let target = &mut team["spec"]["targetRefs"][0];
    target["kind"] = "HTTPRoute".into();
    target["name"] = "orders".into();
    change(&mut team["spec"]);
    team
}

fn changed(objects: &[Value], change: impl Fn(&mut Value)) -> Vec<Value> {
    let mut objects = objects.to_vec();
    objects.iter_mut().for_each(change);
    objects
}

/// The `EnvoyProxy` among objects.
fn host(objects: &mut [Value]) -> &mut Value {
    let mut proxies = objects.iter_mut().filter(|it| it["kind"] == "EnvoyProxy");
    proxies.next().unwrap()
}

/// The Gateway with what the guide applies. Its Envoy runs on this machine, with the file of `backends`.
fn inside(port: u16, backends: &Backends) -> Vec<Value> {
    let mut objects = wiring(port, backends.check, backends.upstream.address());
    for mut object in guide(GUIDE, "envoy-gateway.yaml") {
        if object["kind"] == "EnvoyProxy" {
            let own = &mut host(&mut objects)["spec"];
            for field in ["dynamicModules", "filterOrder"] {
                own[field] = object["spec"][field].take();
            }
            let path = &mut own["dynamicModules"][0]["source"]["local"]["path"];
            assert_eq!(*path, "/usr/lib/envoy/libclaimgate_envoy.so");
            *path = module().to_str().unwrap().into();
        } else {
            let config = &mut object["spec"]["dynamicModule"][0]["config"];
            assert_eq!(*config, "file:/etc/claimgate/claimgate.yaml");
            *config = of_file(&backends.configuration()).into();
            objects.push(object);
        }
    }
    objects
}

fn of_file(file: &Path) -> String {
    format!("file:{}", file.display())
}
