//! Which policies apply to which workload.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::mesh::{Mesh, WAYPOINT};
use super::policy::{Policy, Target};
use crate::import::Error;
use crate::import::write::scalar;

/// The label by which Istio knows the proxies of a Gateway.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

/// Whether a policy applies to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Applies {
    No,
    /// That depends on what the files do not say.
    Maybe,
    Yes,
}

impl Applies {
    fn when(truth: bool) -> Self {
        match truth {
            true => Self::Yes,
            false => Self::No,
        }
    }

    /// As far as something is known that must not be.
    fn unless(doubt: Option<bool>) -> Self {
        doubt.map_or(Self::Maybe, |truth| Self::when(!truth))
    }
}

/// One workload, or all of a namespace or a mesh if no policy tells them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Workload {
    namespace: String,
    target: Target,
}

impl Workload {
    /// The workload that `wanted` names, or the only one.
    pub(super) fn choose(
        policies: &[Policy<'_>],
        wanted: Option<&str>,
        mesh: &Mesh<'_>,
    ) -> Result<Self, Error> {
        let all: BTreeSet<Self> = policies.iter().flat_map(Self::of).collect();
        if let Some(wanted) = wanted {
            let own = Self::parse(wanted);
            let has = |own: &Self| {
                let mut policies = policies.iter();
                policies.any(|policy| own.applies(policy, mesh) != Applies::No)
            };
            return own.filter(has).ok_or_else(|| {
                let names = listed(&all);
                Error(format!(
                    "no policy is for the workload `{wanted}`; there are {names}"
                ))
            });
        }
        // A namespace counts only if nothing in it is told apart.
        let is_alone = |it: &&Self| {
            it.target != Target::Namespace
                || !all
                    .iter()
                    .any(|other| other != *it && it.contains(other, mesh.root))
        };
        let alone: BTreeSet<Self> = all.iter().filter(is_alone).cloned().collect();
        match alone.len() {
            0 => Err(Error(
                "no RequestAuthentication and no AuthorizationPolicy".to_owned(),
            )),
            1 => Ok(alone.into_iter().next().unwrap_or(Self {
                namespace: mesh.root.to_owned(),
                target: Target::Namespace,
            })),
            _ => Err(Error(format!(
                "the policies are for several workloads, and each needs its own configuration: choose one by \
                 `--workload NAMESPACE/LABEL=VALUE,…`, with all of its labels that selectors name; there are {}",
                listed(&alone)
            ))),
        }
    }

    /// `shop/app=orders-api,tier=api`, `shop/Gateway/public` or `shop`. A label's name may have a slash.
    fn parse(text: &str) -> Option<Self> {
        let (namespace, target) = text.split_once('/').unwrap_or((text, ""));
        let target = match (target, target.split_once('/')) {
            ("", _) => Target::Namespace,
            (_, Some((kind, name))) if !target.contains('=') => Target::Object {
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
        let kinds = ["Gateway", "GatewayClass", "Service", "ServiceEntry"];
        if let Target::Object { kind, .. } = &target {
            kinds.contains(&kind.as_str()).then_some(())?;
        }
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
            Target::Namespace | Target::Unclear => String::new(),
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

    /// What would tell whether a policy applies.
    pub(super) fn advice(&self, policy: &Policy<'_>) -> &'static str {
        match &self.target {
            _ if policy.targets.contains(&Target::Unclear) => "its target has no meaning in Istio",
            Target::Object { kind, .. } if kind == "Gateway" => {
                "add the Gateway itself to the files, and name all of its labels by `--workload \
                 NAMESPACE/gateway.networking.k8s.io/gateway-name=NAME,LABEL=VALUE,…`"
            }
            _ => "add the Gateways to the files",
        }
    }

    fn of(policy: &Policy<'_>) -> Vec<Self> {
        let of = |target: &Target| Self {
            namespace: policy.name.namespace.clone(),
            target: match target {
                Target::Unclear => Target::Namespace,
                target => target.clone(),
            },
        };
        policy.targets.iter().map(of).collect()
    }

    /// Whether everything that applies to this, a namespace or a mesh, applies to the other one.
    fn contains(&self, other: &Self, root: &str) -> bool {
        self.namespace == root || self.namespace == other.namespace
    }

    /// Whether the policy applies to this workload.
    pub(super) fn applies(&self, policy: &Policy<'_>, mesh: &Mesh<'_>) -> Applies {
        let targets = policy.targets.iter();
        let each = targets.map(|target| self.applies_by(target, &policy.name.namespace, mesh));
        each.max().unwrap_or(Applies::No)
    }

    /// As Istio's `ShouldAttachPolicy`. `namespace` is the policy's.
    fn applies_by(&self, target: &Target, namespace: &str, mesh: &Mesh<'_>) -> Applies {
        let is_root = namespace == mesh.root;
        let is_here = namespace == self.namespace;
        if let Some(gateway) = self.gateway() {
            return match is_root || is_here {
                true => gateway.applies(target, namespace, &self.namespace, mesh),
                false => Applies::No,
            };
        }
        match (target, &self.target) {
            (Target::Unclear, Target::Object { .. }) => Applies::Maybe,
            (Target::Unclear, _) if is_root || is_here => Applies::Maybe,
            (Target::Namespace, Target::Namespace | Target::Labels(_)) => {
                Applies::when(is_root || is_here)
            }
            (Target::Labels(selector), Target::Labels(labels)) => {
                let is_subset = selector
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value));
                Applies::when((is_root || is_here) && is_subset)
            }
            (target, own @ Target::Object { kind: own_kind, .. }) => match target {
                // Only waypoints know services, and one serves several of them.
                Target::Object { kind, name } if kind == "GatewayClass" => {
                    let is_other = own_kind == "GatewayClass" && target != own;
                    Applies::when(is_root && name == WAYPOINT && !is_other)
                }
                Target::Object { kind, name }
                    if kind == "Gateway" && own_kind != "GatewayClass" =>
                {
                    match mesh.is_waypoint(namespace, name) {
                        Some(false) => Applies::No,
                        _ => Applies::Maybe,
                    }
                }
                target => Applies::when(target == own && is_here),
            },
            _ => Applies::No,
        }
    }

    /// The Gateway whose proxies it is.
    fn gateway(&self) -> Option<Gateway<'_>> {
        match &self.target {
            Target::Object { kind, name } if kind == "Gateway" => {
                Some(Gateway { name, labels: None })
            }
            Target::Labels(labels) => Some(Gateway {
                name: labels.get(GATEWAY_NAME)?,
                labels: Some(labels),
            }),
            _ => None,
        }
    }
}

/// The proxies of a Gateway of the Gateway API.
struct Gateway<'w> {
    name: &'w str,
    /// `None` if only the one with its name is known.
    labels: Option<&'w BTreeMap<String, String>>,
}

impl Gateway<'_> {
    /// Whether a policy of its namespace or of the root namespace applies.
    fn applies(&self, target: &Target, namespace: &str, own: &str, mesh: &Mesh<'_>) -> Applies {
        let is_waypoint = mesh.is_waypoint(own, self.name);
        match target {
            Target::Unclear => Applies::Maybe,
            Target::Namespace => Applies::unless(is_waypoint),
            Target::Labels(selector) => self.has(selector).min(Applies::unless(is_waypoint)),
            Target::Object { kind, name } => match kind.as_str() {
                "Gateway" => Applies::when(namespace == own && name == self.name),
                "GatewayClass" if namespace == mesh.root && name == WAYPOINT => {
                    is_waypoint.map_or(Applies::Maybe, Applies::when)
                }
                // What is for one service of a waypoint is not for all of it.
                _ => Applies::No,
            },
        }
    }

    /// Whether it has these labels.
    fn has(&self, selector: &BTreeMap<String, String>) -> Applies {
        let each = selector.iter().map(|(name, value)| match self.labels {
            Some(labels) => Applies::when(labels.get(name) == Some(value)),
            None if name == GATEWAY_NAME => Applies::when(value == self.name),
            None => Applies::Maybe,
        });
        each.min().unwrap_or(Applies::Yes)
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
            Target::Namespace | Target::Unclear => f.write_str(namespace),
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
