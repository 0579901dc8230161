//! Every manifest is accepted by a real API server, without a warning.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::{documents, file, stream};

/// Files that an overlay offers beside what its kustomization applies.
const ALTERNATIVES: [&str; 3] = [
    "deploy/kubernetes/overlays/istio/whole-mesh.yaml",
    "deploy/kubernetes/overlays/envoy-gateway/team-policy.yaml",
    "deploy/kubernetes/overlays/envoy-gateway/backend-tls-policy.yaml",
];

/// Components, which change the base.
const COMPONENTS: [&[&str]; 3] = [&["cluster-tokens"], &["tls"], &["tls", "cert-manager"]];

#[tokio::test]
#[ignore = "needs a Kubernetes API server: run `make test-real`"]
async fn the_api_server_accepts_every_manifest() {
    let api = ApiServer::start().await;
    let projects = [
        "gateway-api",
        "istio",
        "envoy-gateway",
        "contour",
        "prometheus-operator",
        "cert-manager",
    ];
    api.install(&projects).await;

    let mut overlays: Vec<_> = std::fs::read_dir(file("deploy/kubernetes/overlays"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    overlays.sort();
    assert!(overlays.len() >= 5, "the overlays were not found");
    let mut rendered = vec![("the base".to_owned(), render(&file("deploy/kubernetes")))];
    for overlay in overlays {
        rendered.push((overlay.display().to_string(), render(&overlay)));
    }
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-R")
        .arg(file("deploy/kubernetes"))
        .arg(copy.path())
        .status();
    assert!(copied.unwrap().success());
    for components in COMPONENTS {
        let at = copy
            .path()
            .join("kubernetes")
            .join(components.join("-and-"));
        std::fs::create_dir(&at).unwrap();
        let named: Vec<_> = components
            .iter()
            .map(|it| format!("../components/{it}"))
            .collect();
        let kustomization = json!({ "resources": ["../base"], "components": named });
        std::fs::write(at.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        rendered.push((format!("{components:?}"), render(&at)));
    }
    for name in ALTERNATIVES {
        rendered.push((name.to_owned(), crate::read(name)));
    }
    for title in ["envoy-gateway.yaml", "envoy-filter.yaml"] {
        let module = crate::guide("docs/guides/envoy-module.md", title);
        rendered.push((format!("the guide's {title}"), module));
    }
    for values in chart_values() {
        let what = format!("the chart with {}", values.display());
        rendered.push((what, template(&values)));
    }

    let mut pods = 0;
    for (what, objects) in &rendered {
        namespaces_exist(&api, objects).await;
        api.apply(what, &stream(objects)).await;
        for workload in objects.iter().filter(|it| it["kind"] == "Deployment") {
            let tried = create(&api, &pod_of(workload)).await;
            assert!(tried.is_ok && tried.err.is_empty(), "{what}: {}", tried.err);
            pods += 1;
        }
        remove(&api, objects).await;
    }
    assert!(pods >= 14, "{pods} pods were tried");
}

/// Helm installs, upgrades and removes the chart, without a warning.
#[tokio::test]
#[ignore = "needs a Kubernetes API server: run `make test-real`"]
async fn helm_installs_the_chart() {
    let api = ApiServer::start().await;
    api.install(&["prometheus-operator", "cert-manager"]).await;
    for values in chart_values() {
        for verb in ["install", "upgrade", "uninstall"] {
            let mut command = helm();
            command
                .args([verb, "claimgate"])
                .args(["--namespace", "claimgate", "--kubeconfig"])
                .arg(api.kubeconfig());
            if verb != "uninstall" {
                command
                    .arg(file("deploy/helm/claimgate"))
                    .arg("--create-namespace")
                    .arg("--values")
                    .arg(&values);
            }
            let output = command.output().unwrap();
            let err = String::from_utf8(output.stderr).unwrap();
            let what = format!("{verb} with {}", values.display());
            assert!(output.status.success() && err.is_empty(), "{what}: {err}");
        }
    }
}

/// The checks of the test above do find something.
#[tokio::test]
#[ignore = "needs a Kubernetes API server: run `make test-real`"]
async fn the_api_server_refuses_mistakes() {
    let api = ApiServer::start().await;
    let base = render(&file("deploy/kubernetes"));
    api.apply("the base", &stream(&base)).await;
    let deployment = base.iter().find(|it| it["kind"] == "Deployment").unwrap();
    let container = "/spec/template/spec/containers/0";

    let mut misspelt = deployment.clone();
    misspelt.pointer_mut(container).unwrap()["readynessProbe"] = json!({});
    let arguments = ["apply", "--validate=strict", "--filename", "-"];
    let said = api.kubectl(&arguments, &misspelt.to_string()).await;
    assert!(
        !said.is_ok && said.err.contains("readynessProbe"),
        "{}",
        said.err
    );

    let mut lax = deployment.clone();
    lax.pointer_mut(container).unwrap()["securityContext"] = json!({});
    let said = api.kubectl(&arguments, &lax.to_string()).await;
    assert!(
        said.is_ok && said.err.contains("Warning: would violate PodSecurity"),
        "{}",
        said.err
    );
    let refused = create(&api, &pod_of(&lax)).await;
    assert!(
        !refused.is_ok && refused.err.contains("violates PodSecurity"),
        "{}",
        refused.err
    );

    // What Istio injects without its CNI plugin.
    let mut injected = pod_of(deployment);
    injected["spec"]["initContainers"] = json!([{
        "name": "istio-init",
        "image": "proxyv2",
        "securityContext": {
            "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] },
            "runAsUser": 0,
            "runAsNonRoot": false,
        },
    }]);
    let refused = create(&api, &injected).await;
    assert!(
        !refused.is_ok && refused.err.contains("violates PodSecurity"),
        "{}",
        refused.err
    );
}

/// What `kubectl kustomize` makes of a directory.
pub fn render(directory: &Path) -> Vec<Value> {
    let kubectl = std::env::var_os("KUBECTL_BIN");
    let kubectl = kubectl.expect("KUBECTL_BIN names kubectl: run `make test-real`");
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(directory)
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && err.is_empty(),
        "{}: {err}",
        directory.display()
    );
    documents(&String::from_utf8(output.stdout).unwrap())
}

/// The values files that come with the chart.
fn chart_values() -> Vec<PathBuf> {
    let mut values: Vec<_> = std::fs::read_dir(file("deploy/helm/claimgate/ci"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    values.sort();
    assert!(values.len() >= 5, "{values:?}");
    values
}

/// What `helm template` makes of the chart.
fn template(values: &Path) -> Vec<Value> {
    let output = helm()
        .args(["template", "claimgate", "--namespace", "claimgate"])
        .arg(file("deploy/helm/claimgate"))
        .arg("--values")
        .arg(values)
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && err.is_empty(), "{err}");
    documents(&String::from_utf8(output.stdout).unwrap())
}

fn helm() -> Command {
    let helm = std::env::var_os("HELM_BIN");
    Command::new(helm.expect("HELM_BIN names helm: run `make test-real`"))
}

/// The pod that a Deployment would create.
pub fn pod_of(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = deployment["metadata"]["name"].clone();
    metadata["namespace"] = deployment["metadata"]["namespace"].clone();
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Tries to create an object, and keeps nothing.
async fn create(api: &ApiServer, object: &Value) -> crate::api_server::Said {
    let arguments = [
        "create",
        "--dry-run=server",
        "--validate=strict",
        "--filename",
        "-",
    ];
    api.kubectl(&arguments, &object.to_string()).await
}

/// Creates the namespaces of the user's own objects.
async fn namespaces_exist(api: &ApiServer, objects: &[Value]) {
    let of = |object: &Value| {
        object["metadata"]["namespace"]
            .as_str()
            .map(ToOwned::to_owned)
    };
    let needed: BTreeSet<_> = objects.iter().filter_map(of).collect();
    let own = |name: &String| {
        let is_it = |it: &Value| it["kind"] == "Namespace" && it["metadata"]["name"] == **name;
        !objects.iter().any(is_it)
    };
    for name in needed.iter().filter(|name| own(name)) {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        api.apply(name, &namespace.to_string()).await;
    }
}

/// Removes objects, so that the next overlay finds none. Namespaces stay: nothing would finish their removal.
async fn remove(api: &ApiServer, objects: &[Value]) {
    let others = objects.iter().filter(|it| it["kind"] != "Namespace");
    let removed = api
        .kubectl(
            &["delete", "--wait=false", "--filename", "-"],
            &stream(others),
        )
        .await;
    assert!(removed.is_ok, "{}", removed.err);
}
