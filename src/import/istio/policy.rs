//! A policy, and what it applies to.

use std::collections::BTreeMap;

use crate::import::model::{Kind, Note};
use crate::import::objects::Name;
use crate::import::source::{Document, Node, Reader, Value};

/// The `spec` of an object without one.
static EMPTY: Node = Node {
    line: 0,
    value: Value::Null,
};

/// A policy and what it applies to.
pub(super) struct Policy<'n> {
    pub(super) kind: &'n str,
    pub(super) name: Name,
    pub(super) spec: Reader<'n>,
    pub(super) is_dry_run: bool,
    pub(super) targets: Vec<Target>,
}

/// What a policy applies to in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Namespace,
    Labels(BTreeMap<String, String>),
    Object {
        kind: String,
        name: String,
    },
    /// Something that Istio refuses, or that a newer version of it knows.
    Unclear,
}

impl<'n> Policy<'n> {
    pub(super) fn read(document: &'n Document, name: Name, notes: &mut Vec<Note>) -> Self {
        let kind = document.root.text_of("kind").unwrap_or_default();
        let path = format!("{kind} {name}");
        let root = Reader::kubernetes(&document.root, &document.file, path.clone());
        root.ignore(&["apiVersion", "kind", "metadata", "status"]);
        // An absent `spec` is an empty one.
        let spec = root
            .get("spec")
            .unwrap_or_else(|| Reader::kubernetes(&EMPTY, &document.file, path));
        root.finish(notes);
        let is_dry_run = document
            .root
            .get("metadata")
            .and_then(|node| node.get("annotations"))
            .and_then(|node| node.text_of("istio.io/dry-run"))
            .is_some_and(|value| ["1", "t", "T", "true", "True", "TRUE"].contains(&value));
        let targets = targets(&spec, &name.namespace, notes);
        Self {
            kind,
            name,
            spec,
            is_dry_run,
            targets,
        }
    }

    /// Whether it is for all of its namespace.
    pub(super) fn is_for_namespace(&self) -> bool {
        self.targets.contains(&Target::Namespace)
    }

    /// Whether it applies to several workloads.
    pub(super) fn is_wide(&self) -> bool {
        self.is_for_namespace() || self.targets.len() > 1
    }

    pub(super) fn note(&self, kind: Kind, text: impl Into<String>) -> Note {
        self.spec.note(kind, text)
    }
}

fn targets(spec: &Reader<'_>, namespace: &str, notes: &mut Vec<Note>) -> Vec<Target> {
    let names = ["selector", "targetRefs", "targetRef"];
    let mut found = names
        .iter()
        .filter_map(|name| Some((*name, spec.get(name)?)));
    let (first, second) = (found.next(), found.next());
    let targets = match (first, second) {
        (None, _) => vec![Target::Namespace],
        // Istio accepts one of them.
        (Some(_), Some(_)) => vec![Target::Unclear],
        (Some(("selector", selector)), None) => vec![selected(&selector, notes)],
        (Some(("targetRef", reference)), None) => vec![referenced(&reference, namespace, notes)],
        (Some((_, references)), None) => {
            let each = references.elements();
            match references.node.value {
                Value::List(_) => each
                    .iter()
                    .map(|reference| referenced(reference, namespace, notes))
                    .collect(),
                _ => vec![Target::Unclear],
            }
        }
    };
    match targets.is_empty() {
        true => vec![Target::Namespace],
        false => targets,
    }
}

fn selected(selector: &Reader<'_>, notes: &mut Vec<Note>) -> Target {
    let labels = selector.get("matchLabels");
    let labels: BTreeMap<String, String> = labels
        .iter()
        .flat_map(Reader::members)
        .filter_map(|(name, value)| Some((name.to_owned(), value.as_text(notes)?)))
        .collect();
    match (selector.finish(notes), labels.is_empty()) {
        (false, _) => Target::Unclear,
        (true, true) => Target::Namespace,
        (true, false) => Target::Labels(labels),
    }
}

fn referenced(reference: &Reader<'_>, namespace: &str, notes: &mut Vec<Note>) -> Target {
    let mut text = |name: &'static str| reference.text(name, notes).unwrap_or_default();
    let (group, kind, name) = (text("group"), text("kind"), text("name"));
    let of = text("namespace");
    let is_known = matches!(
        (group.as_str(), kind.as_str()),
        ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
            | ("" | "core", "Service")
            | ("networking.istio.io", "ServiceEntry")
    );
    let is_here = of.is_empty() || of == namespace;
    match reference.finish(notes) && is_known && is_here && !name.is_empty() {
        true => Target::Object { kind, name },
        false => Target::Unclear,
    }
}
