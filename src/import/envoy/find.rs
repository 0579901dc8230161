//! Finds what matters in Envoy's configuration: the filters, their settings for routes, clusters, and whatever
//! else names the filter. It finds them in a static configuration, in a `config_dump`, and in parts of both.

use std::collections::{BTreeMap, BTreeSet};

use crate::import::source::{Document, Node, Reader, Value, snake};

/// The filter's name, and the namespace of its metadata.
pub(super) const FILTER: &str = "envoy.filters.http.jwt_authn";

/// What was found.
#[derive(Default)]
pub(super) struct Found<'n> {
    pub(super) filters: Vec<Filter<'n>>,
    pub(super) routes: Vec<PerRoute<'n>>,
    /// Other texts that name the filter, such as a policy over its metadata.
    pub(super) mentions: Vec<Reader<'n>>,
    pub(super) clusters: BTreeMap<&'n str, &'n Node>,
    /// Filters whose configuration is not in the files.
    pub(super) elsewhere: Vec<Reader<'n>>,
    /// What the filters are called. Routes name their settings so.
    names: BTreeSet<&'n str>,
}

/// A `jwt_authn` filter.
pub(super) struct Filter<'n> {
    pub(super) message: Reader<'n>,
    pub(super) listener: Option<&'n str>,
    /// Whether it is off except where a route switches it on.
    pub(super) is_disabled: bool,
}

/// Settings of the filter for a route, a virtual host or a whole route configuration.
pub(super) struct PerRoute<'n> {
    pub(super) message: Reader<'n>,
    /// What they apply to.
    pub(super) owner: &'n Node,
    /// `route`, `virtual host`, `route configuration` or `weighted cluster`.
    pub(super) kind: &'static str,
}

#[derive(Clone, Copy)]
struct Around<'n> {
    file: &'n str,
    listener: Option<&'n str>,
    is_disabled: bool,
}

pub(super) fn find(documents: &[Document]) -> Found<'_> {
    let mut found = Found::default();
    found.names.insert(FILTER);
    for document in documents {
        found.add_names(&document.root);
    }
    for document in documents {
        let around = Around {
            file: &document.file,
            listener: None,
            is_disabled: false,
        };
        let root = &document.root;
        // The message itself, as documentation shows it.
        let is_message = matches!(root.get("providers"), Some(node) if !node.map().is_empty())
            && root.get("@type").is_none()
            && root.get("apiVersion").is_none();
        match is_message {
            true => found.add_filter(root, around),
            false => found.walk(root, "", "", around),
        }
    }
    found
}

/// Whether a message, or a `TypedStruct` in its place, is the filter's.
fn is_filter(node: &Node) -> bool {
    let has = |member: &str| {
        let typed = node.text_of(member).unwrap_or_default();
        typed.ends_with(".jwt_authn.v3.JwtAuthentication")
    };
    has("@type") || has("type_url")
}

impl<'n> Found<'n> {
    fn add_names(&mut self, node: &'n Node) {
        if let (Some(name), Some(config)) = (node.text_of("name"), node.get("typed_config"))
            && is_filter(config)
        {
            self.names.insert(name);
        }
        for (_, node) in node.map() {
            self.add_names(node);
        }
        for node in node.list() {
            self.add_names(node);
        }
    }

    fn walk(&mut self, node: &'n Node, name: &'n str, path: &str, around: Around<'n>) {
        match &node.value {
            Value::Map(entries) => self.walk_map(node, entries, name, path, around),
            Value::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    self.walk(node, name, &format!("{path}[{index}]"), around);
                }
            }
            Value::Text(text) if name != "name" && text.contains(FILTER) => {
                let place = Reader::at(node, around.file, path.to_owned());
                self.mentions.push(place);
            }
            _ => {}
        }
    }

    fn walk_map(
        &mut self,
        node: &'n Node,
        entries: &'n [(String, Node)],
        name: &'n str,
        path: &str,
        mut around: Around<'n>,
    ) {
        let typed = node.text_of("@type").unwrap_or_default();
        // The static resources again.
        if typed.ends_with(".BootstrapConfigDump") {
            return;
        }
        let is_active = node.get("active_state").is_some();
        if typed.ends_with(".jwt_authn.v3.JwtAuthentication") {
            return self.add_filter(node, around);
        }
        let of_struct = node.text_of("type_url").unwrap_or_default();
        if let (true, Some(value)) = (
            of_struct.ends_with(".jwt_authn.v3.JwtAuthentication"),
            node.get("value"),
        ) {
            return self.add_filter(value, around);
        }
        let own_name = node.text_of("name");
        if node.get("filter_chains").is_some() || node.get("default_filter_chain").is_some() {
            around.listener = own_name;
        }
        if node.get("typed_config").is_some() {
            around.is_disabled = matches!(
                node.get("disabled").map(|node| &node.value),
                Some(Value::Bool(true))
            );
        }
        if own_name == Some(FILTER) && node.get("config_discovery").is_some() {
            self.elsewhere
                .push(Reader::at(node, around.file, path.to_owned()));
        }
        if let ("clusters" | "cluster", Some(cluster)) = (snake(name).as_str(), own_name) {
            self.clusters.entry(cluster).or_insert(node);
        }
        for (member, value) in entries {
            let inner = match path {
                "" => member.clone(),
                _ => format!("{path}.{member}"),
            };
            match snake(member).as_str() {
                // What Envoy has rejected or removes decides nothing, and what it prepares not yet.
                "error_state" | "draining_state" => {}
                "warming_state" if is_active => {}
                "typed_per_filter_config" => {
                    self.per_filter(value, node, &inner, around);
                }
                _ => self.walk(value, member, &inner, around),
            }
        }
    }

    fn add_filter(&mut self, node: &'n Node, around: Around<'n>) {
        self.filters.push(Filter {
            message: Reader::at(node, around.file, String::new()),
            listener: around.listener,
            is_disabled: around.is_disabled,
        });
    }

    fn per_filter(&mut self, node: &'n Node, owner: &'n Node, path: &str, around: Around<'n>) {
        for (filter, value) in node.map() {
            let path = format!("{path}.{filter}");
            let inner = value.get("config");
            let is_settings = |node: &Node| {
                let types =
                    ["@type", "type_url"].map(|name| node.text_of(name).unwrap_or_default());
                types
                    .iter()
                    .any(|typed| typed.ends_with(".jwt_authn.v3.PerRouteConfig"))
            };
            let is_ours = self.names.contains(filter.as_str())
                || is_settings(value)
                || inner.is_some_and(is_settings);
            if !is_ours {
                self.walk(value, filter, &path, around);
                continue;
            }
            let kind = match () {
                () if owner.get("match").is_some() => "route",
                () if owner.get("domains").is_some() => "virtual host",
                () if owner.get("weight").is_some() => "weighted cluster",
                () => "route configuration",
            };
            // The way to the route configuration says nothing that the line does not say.
            let short = path.find("virtual_hosts").and_then(|at| path.get(at..));
            self.routes.push(PerRoute {
                message: Reader::at(value, around.file, short.unwrap_or(&path).to_owned()),
                owner,
                kind,
            });
        }
    }
}
