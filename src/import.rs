//! Turns the configuration of other token checks into claimgate's. No I/O: texts in, texts out.
//!
//! Each format is a module that reads [`source`] documents into a [`model`]. [`repair`] replaces what
//! claimgate does not accept by something stricter, [`mod@write`] writes the configuration, and [`suite`] its
//! tests. What cannot be expressed never lets more requests pass: it becomes a denial, and a note.

use claimgate_config::Config;

mod decide;
mod envoy;
mod envoy_gateway;
mod istio;
pub mod model;
mod objects;
pub mod predicate;
mod providers;
mod repair;
pub mod source;
mod suite;
mod synthetic;
pub mod write;

use model::{Model, Note};
use source::{Document, Source};

/// What to import, besides the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the configuration's file, for the tests. Relative to their file.
    pub config: String,
    /// The listener whose filter counts, if there are several.
    pub listener: Option<String>,
    /// The workload whose policies of Istio count, if there are several: `shop/app=orders`.
    pub workload: Option<String>,
    /// The namespace of objects that do not say theirs.
    pub namespace: Option<String>,
    /// Istio's root namespace, if not `istio-system`.
    pub root_namespace: Option<String>,
    /// The trust domain of Istio's mesh, and its aliases. Empty if that is not known.
    pub trust_domains: Vec<String>,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Imported {
    /// claimgate's configuration, in YAML. It is valid.
    pub configuration: String,
    /// Tests of it for `claimgate test`, derived from the source.
    pub tests: String,
    /// What changes in the files of the source.
    pub changes: String,
    /// Everything that has no equivalent, and everything that differs.
    pub notes: Vec<Note>,
}

/// Why nothing is imported.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// What a format's module reads: the model, and what changes in the files of the source.
struct Import {
    model: Model,
    changes: String,
}

/// Imports files of one kind, which is found from their content.
///
/// # Errors
///
/// Fails if a file is neither YAML nor JSON, if nothing in the files is known, or if the result would not be
/// a valid configuration.
pub fn import(sources: &[Source], options: &Options) -> Result<Imported, Error> {
    let mut documents: Vec<Document> = Vec::new();
    for source in sources {
        documents.extend(source.documents().map_err(Error)?);
    }
    let Import { mut model, changes } = read(&documents, options)?;
    let config = repair::repair(&mut model).map_err(Error)?;
    Ok(finished(&model, &config, changes, options))
}

/// Reads the documents by the module for their kind.
fn read(documents: &[Document], options: &Options) -> Result<Import, Error> {
    let is_istio = documents.iter().any(istio::is_policy);
    let is_gateway = documents.iter().any(envoy_gateway::is_policy);
    let envoy = envoy::filter(documents);
    let all = [
        (envoy.is_some(), "Envoy's `jwt_authn` filter"),
        (is_istio, "policies of Istio"),
        (is_gateway, "policies of Envoy Gateway"),
    ];
    let found: Vec<&str> = all
        .into_iter()
        .filter_map(|(is_there, what)| is_there.then_some(what))
        .collect();
    if found.len() > 1 {
        let at = envoy.map(|place| format!(" (the filter: {}:{})", place.file, place.line));
        return Err(Error(format!(
            "{}: import each into its own configuration{}",
            found.join(", and "),
            at.unwrap_or_default()
        )));
    }
    let kind = found.first().unwrap_or(&"nothing to import");
    let domains = options.trust_domains.first().cloned();
    for (option, value, is_for) in [
        ("listener", &options.listener, !is_istio && !is_gateway),
        ("workload", &options.workload, is_istio),
        ("namespace", &options.namespace, is_istio || is_gateway),
        ("root-namespace", &options.root_namespace, is_istio),
        ("trust-domain", &domains, is_istio),
    ] {
        if let (Some(value), false) = (value, is_for) {
            let text = format!("`--{option} {value}` chooses nothing: the files hold {kind}");
            return Err(Error(text));
        }
    }
    match (is_istio, is_gateway) {
        (true, _) => istio::read(documents, options),
        (false, true) => envoy_gateway::read(documents, options),
        (false, false) => envoy::read(documents, options),
    }
}

fn finished(model: &Model, config: &Config, changes: String, options: &Options) -> Imported {
    Imported {
        configuration: write::configuration(model),
        tests: suite::tests(model, config, &options.config),
        changes,
        notes: model.all_notes().into_iter().cloned().collect(),
    }
}
