//! What Authorino needs of a Kubernetes API server: one `AuthConfig`, and no secrets. Authorino reads its
//! configuration from nowhere else. It asks when it starts, and not while it is measured.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};

const GROUP: &str = "authorino.kuadrant.io";

/// Serves this `AuthConfig`, and writes a file for `KUBECONFIG`.
pub fn serve(auth_config: &Value, kubeconfig: &Path) -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let routes = routes(auth_config);
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "current-context": "bench",
    });
    std::fs::write(kubeconfig, config.to_string()).unwrap();
    address
}

fn routes(auth_config: &Value) -> Router {
    let version = json!({"groupVersion": format!("{GROUP}/v1beta3"), "version": "v1beta3"});
    let group = json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    });
    let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]});
    let resources = |version: &str, names: &[(&str, &str)]| {
        let resources: Vec<Value> = names
            .iter()
            .map(|(name, kind)| {
                json!({
                    "name": name, "kind": kind, "singularName": "", "namespaced": true,
                    "verbs": ["get", "list", "watch", "update", "patch"],
                })
            })
            .collect();
        json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": version, "resources": resources,
        })
    };
    let own = resources(
        &format!("{GROUP}/v1beta3"),
        &[
            ("authconfigs", "AuthConfig"),
            ("authconfigs/status", "AuthConfig"),
        ],
    );
    let core = resources("v1", &[("secrets", "Secret")]);
    let versions = json!({"kind": "APIVersions", "versions": ["v1"]});
    let answer = |value: Value| get(async move || Json(value));
    let one = auth_config.clone();
    let configs = Collection {
        kind: "AuthConfig",
        version: "authorino.kuadrant.io/v1beta3",
        items: vec![auth_config.clone()],
    };
    let secrets = Collection {
        kind: "Secret",
        version: "v1",
        items: Vec::new(),
    };
    let base = "/apis/authorino.kuadrant.io/v1beta3";
    let object = format!("{base}/namespaces/default/authconfigs/bench");
    // Whatever Authorino says about its state is accepted and forgotten.
    let echo = async |body: Bytes| ([("content-type", "application/json")], body);
    Router::new()
        .route("/api", answer(versions))
        .route("/api/v1", answer(core))
        .route("/apis", answer(groups))
        .route(&format!("/apis/{GROUP}"), answer(group))
        .route(base, answer(own))
        .route(&format!("{base}/authconfigs"), configs.route())
        .route("/api/v1/secrets", secrets.route())
        .route(&object, answer(one).put(echo).patch(echo))
        .route(
            &format!("{object}/status"),
            axum::routing::put(echo).patch(echo),
        )
}

/// Objects of one kind.
#[derive(Clone)]
struct Collection {
    kind: &'static str,
    version: &'static str,
    items: Vec<Value>,
}

/// How a collection is asked for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    watch: bool,
    #[serde(default)]
    send_initial_events: bool,
}

impl Collection {
    fn route(self) -> axum::routing::MethodRouter {
        get(async move |Query(asked): Query<Asked>| self.answer(&asked))
    }

    fn answer(&self, asked: &Asked) -> Response {
        let Self {
            kind,
            version,
            items,
        } = self;
        if !asked.watch {
            return Json(json!({
                "kind": format!("{kind}List"), "apiVersion": version,
                "metadata": {"resourceVersion": "1"}, "items": items,
            }))
            .into_response();
        }
        let mut events: Vec<Value> = Vec::new();
        if asked.send_initial_events {
            let added = |object: &Value| json!({"type": "ADDED", "object": object});
            events.extend(items.iter().map(added));
            events.push(json!({"type": "BOOKMARK", "object": {
                "kind": kind, "apiVersion": version,
                "metadata": {
                    "resourceVersion": "1",
                    "annotations": {"k8s.io/initial-events-end": "true"},
                },
            }}));
        }
        // Then nothing changes any more.
        let lines = events.into_iter().map(|event| format!("{event}\n"));
        let lines = stream::iter(lines.collect::<Vec<_>>()).chain(stream::pending());
        let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
        ([("content-type", "application/json")], body).into_response()
    }
}
