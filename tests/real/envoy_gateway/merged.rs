//! What a team's policy with `mergeType: StrategicMerge` can change: everything that it sets itself, the check included.

use serde_json::{Value, json};

use super::{Running, policy, wiring};
use crate::gateway::{Backends, claim_headers};
use crate::process::free_port;
use crate::read;
use crate::setup::{eventually, http};

/// A team's `extAuth` wins over the Gateway's.
#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn a_merged_policy_with_its_own_check_opens_its_route() {
    let backends = Backends::start("docs/guides/envoy-gateway.md").await;
    let port = free_port();
    let mut gateway = wiring(port, backends.check, backends.upstream.address());
    gateway.push(policy());
    gateway.push(dead(&gateway));
    let cors = read("deploy/kubernetes/overlays/envoy-gateway/team-policy.yaml").remove(0);
    assert_eq!(cors["spec"]["mergeType"], "StrategicMerge");
    let with_policy = |team: &Value| [gateway.as_slice(), std::slice::from_ref(team)].concat();

    let asks = |name: &str| json!({ "backendRefs": [{ "group": "gateway.envoyproxy.io", "kind": "Backend", "name": name }] });
    let public = json!({ "name": "claimgate.rule", "type": "Value", "value": "health" });
    for (what, check, arrive) in [
        (
            "no check",
            json!({ "failOpen": true, "grpc": asks("dead") }),
            json!({ "x-auth-subject": "root" }),
        ),
        (
            "a public rule",
            json!({ "contextExtensions": [public], "grpc": asks("claimgate") }),
            json!({}),
        ),
    ] {
        // What the overlay shows to teams keeps the check.
        let running = Running::start(port, &with_policy(&cors)).await;
        backends.are_behind(running.address).await;
        let mut team = cors.clone();
        team["spec"]["extAuth"] = check;
        running.replace(&with_policy(&team));
        let forged = ["x-auth-subject: root".to_owned()];
        eventually(what, async || {
            http(running.address, "GET /orders", &forged).await.status == 200
        })
        .await;
        let answer = http(running.address, "GET /orders", &forged).await;
        assert_eq!(answer.status, 200, "{what}: {answer:?}");
        assert_eq!(Value::Object(claim_headers(&answer)), arrive, "{what}");
        running.stop().await;
    }
}

/// A backend like that of claimgate, where nothing listens.
fn dead(objects: &[Value]) -> Value {
    let is_claimgate =
        |it: &&Value| it["kind"] == "Backend" && it["metadata"]["name"] == "claimgate";
    let mut backend = objects.iter().find(is_claimgate).unwrap().clone();
    backend["metadata"]["name"] = "dead".into();
    backend["spec"]["endpoints"][0]["ip"]["port"] = free_port().into();
    backend
}
