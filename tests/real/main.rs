//! Tests with the servers that users run beside claimgate: a Kubernetes API server with etcd, istiod, Envoy
//! Gateway and Contour, each with a real Envoy, the OpenID providers Keycloak and Ory Hydra, and grpc-java,
//! whose clients ask claimgate by themselves.
//!
//! `make test-real` and `make test-meshes` build the servers and run these, one after another.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod api_server;
mod cluster_tokens;
#[path = "../it/support/command.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod command;
mod compose;
mod contour;
mod envoy_gateway;
#[path = "../it/support/examples.rs"]
#[expect(dead_code, reason = "the integration tests use all of it")]
mod examples;
#[path = "../e2e/front.rs"]
mod front;
mod gateway;
mod grpc_java;
mod guarded;
mod hydra;
mod import;
mod istio;
mod keycloak;
mod manifests;
mod process;
#[path = "../e2e/setup.rs"]
#[expect(dead_code, reason = "the end-to-end tests use all of it")]
mod setup;
mod xds;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of the repository.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The documents of a YAML stream.
fn documents(yaml: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    documents.into_iter().filter(|it| !it.is_null()).collect()
}

/// The documents of a YAML file of the repository.
fn read(name: &str) -> Vec<Value> {
    let path = file(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    documents(&text)
}

/// The documents of a block `yaml title=…` of a guide.
fn guide(name: &str, title: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file(name)).unwrap();
    let info = format!("yaml title={title}");
    let mut found = examples::blocks(&text).into_iter();
    let (_, yaml) = found
        .find(|(found, _)| *found == info)
        .unwrap_or_else(|| panic!("{name} has no `{title}`"));
    documents(&yaml)
}

/// Objects as one stream, as `kubectl` and file providers read it.
fn stream<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    let objects = objects.into_iter().map(ToString::to_string);
    objects.collect::<Vec<_>>().join("\n---\n")
}
