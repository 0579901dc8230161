//! Which policies apply to which workload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::import::Error;
use crate::import::model::{Kind, Note};
use crate::import::source::{Document, Node, Reader, Value};
use crate::import::write::scalar;

/// Policies without a selector in this namespace are for the whole mesh.
const ROOT: &str = "istio-system";

/// The `spec` of an object without one.
static EMPTY: Node = Node {
    line: 0,
    value: Value::Null,
};

/// A policy and what it applies to.
pub(super) struct Policy<'n> {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) spec: Reader<'n>,
    pub(super) is_dry_run: bool,
    targets: Vec<Target>,
}

/// What a policy applies to in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Namespace,
    Labels(BTreeMap<String, String>),
    Object { kind: String, name: String },
}

/// One workload, or all of a namespace or a mesh if no policy tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Workload {
    namespace: String,
    target: Target,
}

impl<'n> Policy<'n> {
    /// `None` for another kind, which is a note if it is one of Istio's for security.
    pub(super) fn read(document: &'n Document, notes: &mut Vec<Note>) -> Option<Self> {
        let version = document.root.text_of("apiVersion")?;
        if !version.starts_with(super::GROUP) {
            return None;
        }
        let metadata = document.root.get("metadata");
        let text = |name: &str| metadata.and_then(|node| node.text_of(name));
        let name = text("name").unwrap_or("unnamed").to_owned();
        let namespace = text("namespace").unwrap_or("default").to_owned();
        let kind = document.root.text_of("kind").unwrap_or_default();
        let path = format!("{kind} {namespace}/{name}");
        let root = Reader::kubernetes(&document.root, &document.file, path.clone());
        let kind = match kind {
            "RequestAuthentication" => "RequestAuthentication",
            "AuthorizationPolicy" => "AuthorizationPolicy",
            // Mutual TLS stays what it is.
            _ => return None,
        };
        root.ignore(&["apiVersion", "kind", "metadata", "status"]);
        // An absent `spec` is an empty one.
        let spec = root
            .get("spec")
            .unwrap_or_else(|| Reader::kubernetes(&EMPTY, &document.file, path));
        root.finish(notes);
        let is_dry_run = metadata
            .and_then(|node| node.get("annotations"))
            .and_then(|node| node.text_of("istio.io/dry-run"))
            .is_some_and(|value| ["1", "t", "T", "true", "True", "TRUE"].contains(&value));
        let targets = targets(&spec, notes);
        Some(Self {
            kind,
            namespace,
            name,
            spec,
            is_dry_run,
            targets,
        })
    }

    /// Whether it applies to several workloads.
    pub(super) fn is_wide(&self) -> bool {
        self.targets.contains(&Target::Namespace) || self.targets.len() > 1
    }

    pub(super) fn note(&self, kind: Kind, text: impl Into<String>) -> Note {
        self.spec.note(kind, text)
    }
}

fn targets(spec: &Reader<'_>, notes: &mut Vec<Note>) -> Vec<Target> {
    if let Some(selector) = spec.get("selector") {
        let labels = selector.get("matchLabels");
        let labels: BTreeMap<String, String> = labels
            .iter()
            .flat_map(Reader::members)
            .filter_map(|(name, value)| Some((name.to_owned(), value.as_text(notes)?)))
            .collect();
        selector.finish(notes);
        return vec![match labels.is_empty() {
            true => Target::Namespace,
            false => Target::Labels(labels),
        }];
    }
    let mut references = spec.list("targetRefs");
    references.extend(spec.get("targetRef"));
    let targets: Vec<Target> = references
        .iter()
        .map(|reference| {
            reference.ignore(&["group", "namespace"]);
            let target = Target::Object {
                kind: reference.text("kind", notes).unwrap_or_default(),
                name: reference.text("name", notes).unwrap_or_default(),
            };
            reference.finish(notes);
            target
        })
        .collect();
    match targets.is_empty() {
        true => vec![Target::Namespace],
        false => targets,
    }
}

impl Workload {
    /// The workload that `wanted` names, or the only one.
    pub(super) fn choose(policies: &[Policy<'_>], wanted: Option<&str>) -> Result<Self, Error> {
        let all: BTreeSet<Self> = policies.iter().flat_map(Self::of).collect();
        if let Some(wanted) = wanted {
            let own = Self::parse(wanted);
            let own = own.filter(|own| policies.iter().any(|policy| own.has(policy)));
            return own.ok_or_else(|| {
                let names = listed(&all);
                Error(format!(
                    "no policy is for the workload `{wanted}`; there are {names}"
                ))
            });
        }
        // A namespace counts only if nothing in it is told apart.
        let is_alone = |it: &&Self| {
            it.target != Target::Namespace
                || !all.iter().any(|other| other != *it && it.contains(other))
        };
        let alone: BTreeSet<Self> = all.iter().filter(is_alone).cloned().collect();
        match alone.len() {
            0 => Err(Error(
                "no RequestAuthentication and no AuthorizationPolicy".to_owned(),
            )),
            1 => Ok(alone.into_iter().next().unwrap_or(Self {
                namespace: ROOT.to_owned(),
                target: Target::Namespace,
            })),
            _ => Err(Error(format!(
                "the policies are for several workloads, and each needs its own configuration: choose one by \
                 `--workload NAMESPACE/LABEL=VALUE,…`, with all of its labels that selectors name; there are {}",
                listed(&alone)
            ))),
        }
    }

    /// `shop/app=orders-api,tier=api`, `shop/Gateway/public` or `shop`.
    fn parse(text: &str) -> Option<Self> {
        let (namespace, target) = text.split_once('/').unwrap_or((text, ""));
        let target = match (target, target.split_once('/')) {
            ("", _) => Target::Namespace,
            (_, Some((kind, name))) if !kind.contains('=') => Target::Object {
                kind: kind.to_owned(),
                name: name.to_owned(),
            },
            (labels, _) => {
                let labels = labels.split(',').map(|label| {
                    let (name, value) = label.split_once('=')?;
                    Some((name.to_owned(), value.to_owned()))
                });
                Target::Labels(labels.collect::<Option<_>>()?)
            }
        };
        Some(Self {
            namespace: namespace.to_owned(),
            target,
        })
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The lines of `spec` that name it.
    pub(super) fn target_yaml(&self) -> String {
        match &self.target {
            Target::Namespace => String::new(),
            Target::Labels(labels) => {
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(name, value)| format!("{}: {}", scalar(name), scalar(value)))
                    .collect();
                format!(
                    "  selector: {{ matchLabels: {{ {} }} }}\n",
                    labels.join(", ")
                )
            }
            Target::Object { kind, name } => {
                let group = match kind.as_str() {
                    "Gateway" | "GatewayClass" => "gateway.networking.k8s.io",
                    "ServiceEntry" => "networking.istio.io",
                    _ => "\"\"",
                };
                format!(
                    "  targetRefs: [{{ group: {group}, kind: {}, name: {} }}]\n",
                    scalar(kind),
                    scalar(name)
                )
            }
        }
    }

    fn of(policy: &Policy<'_>) -> Vec<Self> {
        let of = |target: &Target| Self {
            namespace: policy.namespace.clone(),
            target: target.clone(),
        };
        policy.targets.iter().map(of).collect()
    }

    /// Whether everything that applies to this, a namespace or a mesh, applies to the other one.
    fn contains(&self, other: &Self) -> bool {
        self.namespace == ROOT || self.namespace == other.namespace
    }

    /// Whether the policy applies to this workload.
    pub(super) fn has(&self, policy: &Policy<'_>) -> bool {
        let in_namespace = policy.namespace == ROOT || policy.namespace == self.namespace;
        in_namespace
            && policy
                .targets
                .iter()
                .any(|target| match (target, &self.target) {
                    (Target::Namespace, _) => true,
                    (Target::Labels(selector), Target::Labels(labels)) => selector
                        .iter()
                        .all(|(name, value)| labels.get(name) == Some(value)),
                    (target, own) => target == own && policy.namespace == self.namespace,
                })
    }
}

fn listed(workloads: &BTreeSet<Workload>) -> String {
    let names: Vec<String> = workloads.iter().map(|it| format!("`{it}`")).collect();
    names.join(", ")
}

/// As [`Workload::parse`] reads it.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, target } = self;
        match target {
            Target::Namespace => f.write_str(namespace),
            Target::Labels(labels) => {
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                write!(f, "{namespace}/{}", labels.join(","))
            }
            Target::Object { kind, name } => write!(f, "{namespace}/{kind}/{name}"),
        }
    }
}
