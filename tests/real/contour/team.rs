//! What a host's owner or a team can write that changes who is asked, or by which rule.

use serde_json::{Value, json};

use super::{Contour, global, proxy};
use crate::gateway::claim_headers;
use crate::setup::{eventually, http};
use crate::stream;

/// A route's `authPolicy.context` names a public rule, also in an `HTTPProxy` that a guarded host includes.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn an_included_proxy_chooses_its_rule() {
    let mut root = proxy();
    root["spec"]["includes"] = json!([{ "name": "team", "conditions": [{ "prefix": "/team" }] }]);
    let contour = Contour::start(json!({}), root).await;
    let public = json!({ "context": { "claimgate.rule": "health" } });
    let service = json!({ "name": "orders-api", "port": 80 });
    let team = json!({
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": { "name": "team", "namespace": "orders" },
        "spec": { "routes": [{ "authPolicy": public, "services": [service] }] },
    });
    contour.api.apply("a team's proxy", &stream([&team])).await;
    let forged = ["x-auth-subject: root".to_owned()];
    eventually("the route passes requests", async || {
        http(contour.tls, "GET /team", &forged).await.status == 200
    })
    .await;
    // claimgate is asked, and removes claim headers as on each public path.
    let answer = http(contour.tls, "GET /team", &forged).await;
    assert_eq!(Value::Object(claim_headers(&answer)), json!({}));
    let guarded = http(contour.tls, "GET /orders", &[]).await;
    assert_eq!(guarded.status, 401, "{guarded:?}");
}

/// A host's own `authorization` asks another service than `globalExtAuth`: here one that answers no checks and may fail.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn a_host_asks_another_service_than_all() {
    let mut own = proxy();
    let authorization = &mut own["spec"]["virtualhost"]["authorization"];
    authorization["extensionRef"]["name"] = "other".into();
    authorization["extensionRef"]["namespace"] = "orders".into();
    authorization["failOpen"] = true.into();
    let contour = Contour::run(global(), own).await;
    let other = json!({
        "apiVersion": "projectcontour.io/v1alpha1",
        "kind": "ExtensionService",
        "metadata": { "name": "other", "namespace": "orders" },
        "spec": { "protocol": "h2c", "services": [{ "name": "orders-api", "port": 80 }] },
    });
    contour
        .api
        .apply("another service", &stream([&other]))
        .await;
    contour.checks_nothing().await;
}

/// `authorization` without `extensionRef.name` adds no check.
#[tokio::test]
#[ignore = "needs Contour: run `make test-real`"]
async fn authorization_without_a_service_is_no_check() {
    let mut nameless = proxy();
    nameless["spec"]["virtualhost"]["authorization"] =
        json!({ "authPolicy": { "context": { "claimgate.rule": "write" } } });
    let contour = Contour::run(json!({}), nameless).await;
    contour.checks_nothing().await;
}
