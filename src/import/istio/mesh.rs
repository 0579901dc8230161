//! What the files and the options say about the mesh.

use std::collections::BTreeMap;

use crate::import::Options;
use crate::import::objects::Name;
use crate::import::source::Document;

/// The class of waypoints.
pub(super) const WAYPOINT: &str = "istio-waypoint";

/// The class of Istio's other gateways.
const GATEWAY: &str = "istio";

/// The trust domain that stands for that of the mesh in principals.
const OWN_DOMAIN: &str = "cluster.local";

/// What is known of the mesh.
pub(super) struct Mesh<'o> {
    /// Policies without a selector in this namespace are for the whole mesh.
    pub(super) root: &'o str,
    /// Its trust domain, and the aliases. Empty if that is not known.
    trust_domains: &'o [String],
    /// The class of each Gateway among the files.
    gateways: BTreeMap<Name, &'o str>,
}

impl<'o> Mesh<'o> {
    pub(super) fn of(documents: &'o [Document], options: &'o Options) -> Self {
        let gateways = documents.iter().filter_map(|document| {
            let root = &document.root;
            let version = root.text_of("apiVersion")?;
            let is_gateway = version.starts_with("gateway.networking.k8s.io/")
                && root.text_of("kind") == Some("Gateway");
            let class = root.get("spec")?.text_of("gatewayClassName")?;
            let name = Name::of(document, options.namespace.as_deref()).ok()?;
            is_gateway.then_some((name, class))
        });
        Self {
            root: options.root_namespace.as_deref().unwrap_or("istio-system"),
            trust_domains: &options.trust_domains,
            gateways: gateways.collect(),
        }
    }

    /// Whether a Gateway is a waypoint. `None` if it is not among the files, or of a class that is not Istio's
    /// own.
    pub(super) fn is_waypoint(&self, namespace: &str, name: &str) -> Option<bool> {
        let name = Name {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match *self.gateways.get(&name)? {
            WAYPOINT => Some(true),
            GATEWAY => Some(false),
            _ => None,
        }
    }

    /// The trust domains that this one stands for in a principal. `None` if that is not known.
    pub(super) fn domains_of_principal(&self, domain: &str) -> Option<Vec<String>> {
        match domain {
            _ if self.trust_domains.is_empty() || domain.contains('*') => None,
            OWN_DOMAIN => Some(self.trust_domains.to_vec()),
            _ => self.aliases(domain),
        }
    }

    /// The trust domain with its aliases. `None` if that is not known.
    pub(super) fn aliases(&self, domain: &str) -> Option<Vec<String>> {
        match self.trust_domains {
            [] => None,
            all if all.iter().any(|other| other == domain) => Some(all.to_vec()),
            _ => Some(vec![domain.to_owned()]),
        }
    }
}
