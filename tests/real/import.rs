//! What a real istiod and a real Envoy Gateway make of the sources in `tests/import` is what is kept beside them,
//! so that the tests of `claimgate import` compare with it on machines without these servers.
//!
//! With `ACCEPT_FILTERS=1`, the kept files are written anew.

use std::net::SocketAddr;
use std::path::PathBuf;

use claimgate::import::{self, source::Source};
use serde_json::{Map, Value, json};

use crate::api_server::ApiServer;
use crate::envoy_gateway::{Running, wiring};
use crate::istio::{Istiod, endpoints_of_kubernetes, runs};
use crate::process::{Envoy, free_port};
use crate::setup::eventually;
use crate::{documents, file, read, stream};

/// The fields of an `HttpConnectionManager` that decide what a policy sees.
const OF_MANAGER: [&str; 7] = [
    "http_filters",
    "merge_slashes",
    "normalize_path",
    "path_with_escaped_slashes_action",
    "strip_any_host_port",
    "strip_matching_host_port",
    "use_remote_address",
];

/// The filters that a policy becomes.
const FILTERS: [&str; 3] = ["JwtAuthentication", "RBAC", "ExtAuthz"];

#[tokio::test]
#[ignore = "needs istiod: run `make test-meshes`"]
async fn istio_makes_the_kept_filters() {
    let (root, own): (Vec<PathBuf>, Vec<PathBuf>) = sources("istio")
        .into_iter()
        .partition(|source| name_of(source) == "mesh-wide");
    let mut wrong = istio(&own).await;
    wrong.extend(istio(&root).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// One istiod for all these sources. Each is a namespace with its name.
async fn istio(sources: &[PathBuf]) -> Vec<String> {
    let api = ApiServer::start().await;
    let namespace = |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let mut cluster: Vec<Value> = sources.iter().map(|it| namespace(&name_of(it))).collect();
    cluster.push(namespace("istio-system"));
    api.apply("namespaces", &stream(&cluster)).await;
    let mut pods: Vec<Value> = sources.iter().map(|it| pod(&name_of(it))).collect();
    pods.push(endpoints_of_kubernetes());
    api.apply("the pods", &stream(&pods)).await;
    for source in sources {
        runs(&api, &name_of(source), "orders-api", "127.0.0.1").await;
    }

    let port = free_port();
    let directory = api.directory.path().join("istio");
    std::fs::create_dir(&directory).unwrap();
    let mut objects = gateway(port, &name_of(&sources[0]));
    for source in sources {
        objects.extend(read(&relative(source)));
    }
    std::fs::write(directory.join("objects.yaml"), stream(&objects)).unwrap();
    let mesh = read("deploy/istio/istioctl.yaml").remove(0)["spec"]["meshConfig"].take();
    let istiod = Istiod::start(&api, mesh, Some(&directory)).await;

    let mut wrong = Vec::new();
    for source in sources {
        let name = name_of(source);
        let node = json!({
            "id": format!("router~127.0.0.1~orders-api.{name}~{name}.svc.cluster.local"),
            "cluster": format!("orders-api.{name}"),
            "metadata": { "NAMESPACE": name, "LABELS": { "app": "orders-api" } },
        });
        let home = api.directory.path().join(format!("envoy-{name}"));
        std::fs::create_dir(&home).unwrap();
        let envoy = Envoy::start(&node, istiod.xds, &home).await;
        let mut managers = Vec::new();
        eventually("istiod has programmed Envoy", async || {
            managers = envoy.configured("HttpConnectionManager").await;
            !managers.is_empty()
        })
        .await;
        wrong.extend(compare(source, &manager(&managers[0])));
    }
    wrong
}

fn pod(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "orders-api", "namespace": namespace, "labels": { "app": "orders-api" } },
        "spec": { "nodeName": "node", "containers": [{ "name": "api", "image": "orders-api" }] },
    })
}

/// A Gateway for the proxies of all namespaces.
fn gateway(port: u16, namespace: &str) -> Vec<Value> {
    let of = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": { "name": "orders-api", "namespace": namespace },
            "spec": spec,
        })
    };
    let server =
        json!({ "port": { "number": port, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] });
    let answer = json!({ "directResponse": { "status": 200 } });
    vec![
        of(
            "Gateway",
            json!({ "selector": { "app": "orders-api" }, "servers": [server] }),
        ),
        of(
            "VirtualService",
            json!({ "hosts": ["*"], "gateways": [format!("{namespace}/orders-api")], "http": [answer] }),
        ),
    ]
}

/// The parts of a connection manager that decide what a policy sees.
fn manager(manager: &Value) -> Value {
    let mut kept = Map::new();
    for name in OF_MANAGER {
        if let Some(value) = manager.get(name) {
            kept.insert(name.to_owned(), value.clone());
        }
    }
    let filters = kept.get_mut("http_filters").and_then(Value::as_array_mut);
    filters.unwrap().retain(|filter| {
        let kind = filter["typed_config"]["@type"].as_str().unwrap_or_default();
        FILTERS
            .iter()
            .any(|name| kind.ends_with(&format!(".v3.{name}")))
    });
    Value::Object(kept)
}

#[tokio::test]
#[ignore = "needs Envoy Gateway: run `make test-meshes`"]
async fn envoy_gateway_makes_the_kept_filters() {
    let mut wrong = Vec::new();
    for source in sources("envoy_gateway") {
        let port = free_port();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut objects = wiring(port, nowhere, nowhere);
        objects.retain(|object| object["kind"] != "HTTPRoute");
        let own = read(&relative(&source));
        let changed = with_changes(&source, &own);
        let made = json!({
            "source": programmed(port, &objects, &own).await,
            "changed": programmed(port, &objects, &changed).await,
        });
        wrong.extend(compare(&source, &made));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What Envoy Gateway makes of `own` together with the other objects.
async fn programmed(port: u16, others: &[Value], own: &[Value]) -> Value {
    let objects: Vec<Value> = others.iter().chain(own).cloned().collect();
    let running = Running::start(port, &objects).await;
    let envoy = running.envoy().await;
    let mut made = Value::Null;
    eventually("Envoy Gateway has programmed Envoy", async || {
        let managers = envoy.configured("HttpConnectionManager").await;
        let routes = envoy.configured("RouteConfiguration").await;
        let of_listener = managers
            .iter()
            .find(|it| it["rds"]["route_config_name"] == ROUTES);
        let routes = routes.iter().find(|it| it["name"] == ROUTES);
        let (Some(of_listener), Some(routes)) = (of_listener, routes) else {
            return false;
        };
        made = manager(of_listener);
        made["virtual_hosts"] = routes["virtual_hosts"].clone();
        true
    })
    .await;
    running.stop().await;
    made
}

/// The objects with what `claimgate import` says that changes in them.
fn with_changes(source: &std::path::Path, own: &[Value]) -> Vec<Value> {
    let text = std::fs::read_to_string(source).unwrap();
    let file = Source {
        name: name_of(source),
        text,
    };
    let imported = import::import(&[file], &import::Options::default()).unwrap();
    let mut objects = own.to_vec();
    let changes = documents(&imported.changes);
    assert!(!changes.is_empty());
    for mut change in changes {
        // Without a cluster there are no Services, so the backend is an address.
        let backends = change
            .pointer_mut("/spec/extAuth/grpc/backendRefs")
            .unwrap();
        *backends =
            json!([{ "group": "gateway.envoyproxy.io", "kind": "Backend", "name": "claimgate" }]);
        let is_same = |object: &&mut Value| {
            object["kind"] == "SecurityPolicy"
                && object["metadata"]["name"] == change["metadata"]["name"]
                && object["metadata"]["namespace"] == change["metadata"]["namespace"]
        };
        let spec = &mut objects.iter_mut().find(is_same).unwrap()["spec"];
        let spec = spec.as_object_mut().unwrap();
        spec.remove("jwt");
        spec.remove("authorization");
        spec.insert("extAuth".to_owned(), change["spec"]["extAuth"].take());
    }
    objects
}

/// The listener `http` of the Gateway `public`.
const ROUTES: &str = "gateway/public/http";

/// The sources of a format.
fn sources(format: &str) -> Vec<PathBuf> {
    let directory = std::fs::read_dir(file("tests/import").join(format)).unwrap();
    let files = directory.map(|entry| entry.unwrap().path());
    let mut sources: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    sources.sort();
    assert!(!sources.is_empty(), "{format}");
    sources
}

fn name_of(source: &std::path::Path) -> String {
    source.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn relative(source: &std::path::Path) -> String {
    let inside = source.strip_prefix(file("")).unwrap();
    inside.to_str().unwrap().to_owned()
}

/// What differs from the file beside the source, which is written instead if that is wanted.
fn compare(source: &std::path::Path, made: &Value) -> Option<String> {
    let kept = source.with_extension("json");
    let text = serde_json::to_string_pretty(made).unwrap() + "\n";
    if std::env::var_os("ACCEPT_FILTERS").is_some() {
        std::fs::write(&kept, text).unwrap();
        return None;
    }
    let known = std::fs::read_to_string(&kept).unwrap_or_default();
    let known: Value = serde_json::from_str(&known).unwrap_or_default();
    (known != *made).then(|| format!("{}: now it is\n{text}", relative(&kept)))
}
