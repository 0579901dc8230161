//! Requests that tell rules apart: for each pattern of either configuration, some that it matches and
//! some that it just does not match.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::Hash;

use super::request::Shape;
use super::samples::samples;
use crate::identity::Spoofed;
use crate::policy::condition::Condition;
use crate::policy::condition::facts::{Fact, Probe};
use crate::policy::matcher::{HostPattern, Matcher, McpPattern, NAMED_METHODS, PathPattern};
use crate::policy::rule::{PathMode, Rule};
use crate::policy::rules::{DEFAULT, RULE_EXTENSION};
use crate::policy::{CorsPreflight, Policy};

/// A host that no rule names, unless an operator does.
pub(super) const HOST: &str = "api.example.com";

/// A path that no rule names, unless an operator does.
const OTHER_PATH: &str = "/other-path";

/// A revision of MCP that has headers for method and name.
const MCP_REVISION: &str = "2026-07-28";

/// The maximum number of requests for one changed rule.
const MAX_OF_CHANGED: usize = 2000;

/// The minimum number of requests for one rule that did not change, unless the limit of all is reached.
const MIN_OF_OTHER: usize = 60;

/// The maximum number of changed rules whose values are combined with those of other rules.
const MAX_NEAR: usize = 8;

type Lines = Vec<(String, String)>;

/// The values of each part of a request that the search combines.
#[derive(Clone, Debug, Default)]
struct Parts {
    hosts: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
    headers: Vec<Lines>,
}

/// The requests to try, the most promising first, and whether these are all combinations.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) all: Vec<Shape>,
    pub(super) is_complete: bool,
}

/// Collects requests without repetition, up to a limit.
struct Collector {
    all: Vec<Shape>,
    seen: HashSet<Shape>,
    max: usize,
    is_complete: bool,
}

impl Collector {
    fn add(&mut self, shape: Shape) {
        if self.all.len() >= self.max {
            self.is_complete = false;
        } else if self.seen.insert(shape.clone()) {
            self.all.push(shape);
        }
    }

    /// Every combination, but at most `max` of them.
    fn combine(&mut self, parts: &Parts, max: usize) {
        let mut left = max;
        for headers in &parts.headers {
            for path in &parts.paths {
                for host in &parts.hosts {
                    for method in &parts.methods {
                        if left == 0 {
                            self.is_complete = false;
                            return;
                        }
                        left -= 1;
                        let mut shape = Shape::plain(method, host, path);
                        shape.headers.clone_from(headers);
                        self.add(shape);
                    }
                }
            }
        }
    }
}

/// The requests to try. `is_changed` says of each rule of the old and of the new policy whether the
/// other one judges differently by its own.
pub(super) fn shapes(
    policies: [&Policy; 2],
    is_changed: impl Fn(usize, usize) -> bool,
    max: usize,
) -> Shapes {
    let mut collector = Collector {
        all: Vec::new(),
        seen: HashSet::new(),
        max,
        is_complete: true,
    };
    let is_as_is = policies
        .iter()
        .any(|policy| policy.rules().paths() == PathMode::AsIs);
    let mut everything = AllParts::default();
    let mut others = Vec::new();
    let mut of_changed = Vec::new();
    for (side, policy) in policies.iter().enumerate() {
        for (index, rule) in policy.rules().all().enumerate() {
            let parts = parts_of(rule, is_as_is);
            everything.add(&parts);
            match is_changed(side, index) {
                true => of_changed.push(parts),
                false => others.push(parts),
            }
        }
    }
    let outside = Parts {
        hosts: vec![HOST.to_owned()],
        methods: vec!["GET".to_owned(), unmentioned(&everything.methods.list)],
        paths: vec!["/".to_owned(), OTHER_PATH.to_owned()],
        headers: vec![Lines::new()],
    };
    everything.add(&outside);
    let everything = everything.parts();
    special(&mut collector, policies, &everything);
    let of_each = (max / 2 / of_changed.len().max(1)).clamp(1, MAX_OF_CHANGED);
    for parts in &of_changed {
        collector.combine(&parts.with(&outside), of_each);
    }
    let combinations = everything.count();
    if combinations.is_some_and(|count| count <= max.saturating_sub(collector.all.len())) {
        // This contains what was cut above.
        collector.is_complete = true;
        collector.combine(&everything, usize::MAX);
    } else {
        collector.is_complete = false;
        // Rules that did not change may lie inside those that did.
        let mut near = outside.clone();
        for parts in of_changed.iter().take(MAX_NEAR) {
            let parts = Parts {
                hosts: parts.hosts.iter().take(2).cloned().collect(),
                methods: parts.methods.iter().take(2).cloned().collect(),
                paths: Vec::new(),
                headers: parts.headers.iter().take(1).cloned().collect(),
            };
            near.extend(&parts);
        }
        let left = max.saturating_sub(collector.all.len());
        let of_each = (left / others.len().max(1)).clamp(MIN_OF_OTHER, MAX_OF_CHANGED);
        for parts in &others {
            collector.combine(&parts.with(&near), of_each);
        }
        let wide = Parts {
            hosts: vec![HOST.to_owned()],
            methods: outside.methods.clone(),
            paths: everything.paths.clone(),
            headers: vec![Lines::new()],
        };
        collector.combine(&wide, max);
    }
    Shapes {
        all: collector.all,
        is_complete: collector.is_complete,
    }
}

/// The parts of all rules, of which there may be thousands.
#[derive(Default)]
struct AllParts {
    hosts: Unique<String>,
    methods: Unique<String>,
    paths: Unique<String>,
    headers: Unique<Lines>,
}

impl AllParts {
    fn add(&mut self, parts: &Parts) {
        let Parts {
            hosts,
            methods,
            paths,
            headers,
        } = parts;
        self.hosts.add(hosts);
        self.methods.add(methods);
        self.paths.add(paths);
        self.headers.add(headers);
    }

    fn parts(self) -> Parts {
        let Self {
            hosts,
            methods,
            paths,
            headers,
        } = self;
        Parts {
            hosts: hosts.list,
            methods: methods.list,
            paths: paths.list,
            headers: headers.list,
        }
    }
}

/// Values in the order in which they were added, each once.
struct Unique<T> {
    list: Vec<T>,
    seen: HashSet<T>,
}

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            seen: HashSet::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Unique<T> {
    fn add(&mut self, more: &[T]) {
        for item in more {
            if self.seen.insert(item.clone()) {
                self.list.push(item.clone());
            }
        }
    }
}

impl Parts {
    fn extend(&mut self, other: &Self) {
        let Self {
            hosts,
            methods,
            paths,
            headers,
        } = other;
        add_new(&mut self.hosts, hosts);
        add_new(&mut self.methods, methods);
        add_new(&mut self.paths, paths);
        add_new(&mut self.headers, headers);
    }

    fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.extend(other);
        both
    }

    fn count(&self) -> Option<usize> {
        self.hosts
            .len()
            .checked_mul(self.methods.len())?
            .checked_mul(self.paths.len())?
            .checked_mul(self.headers.len())
    }
}

fn add_new<T: Clone + PartialEq>(all: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// A method that no rule names.
fn unmentioned(methods: &[String]) -> String {
    let usual = ["DELETE", "PATCH", "PUT", "POST", "HEAD", "OTHER"];
    let mut free = usual
        .into_iter()
        .filter(|method| !methods.iter().any(|own| own == method));
    free.next().unwrap_or("UNUSUAL").to_owned()
}

fn parts_of(rule: &Rule, is_as_is: bool) -> Parts {
    let mut parts = Parts::default();
    if let Some(matcher) = &rule.matcher {
        for host in &matcher.hosts {
            add_new(&mut parts.hosts, &hosts_of(host));
        }
        add_new(&mut parts.methods, &matcher.methods);
        for pattern in &matcher.paths {
            let texts = paths_of(pattern);
            let on_the_wire: Vec<String> = texts.iter().map(|path| encoded(path)).collect();
            add_new(&mut parts.paths, &on_the_wire);
            if is_as_is {
                add_new(&mut parts.paths, &texts);
            }
        }
        add_new(&mut parts.headers, &headers_of(matcher));
        if matcher.mcp.is_some() {
            add_new(&mut parts.methods, &["POST".to_owned()]);
        }
    }
    // Headers that meet the rule come first, because not every combination may be tried.
    add_new(&mut parts.headers, &[Lines::new()]);
    let comparisons = rule.condition.iter();
    for comparison in comparisons.flat_map(Condition::comparisons) {
        let texts = texts_of(&comparison.probe);
        match comparison.fact {
            Fact::Host => add_new(&mut parts.hosts, &texts),
            Fact::Method => add_new(&mut parts.methods, &texts),
            Fact::Path => {
                let paths = texts.iter().filter(|text| text.starts_with('/'));
                let paths: Vec<String> = paths.map(|path| encoded(path)).collect();
                add_new(&mut parts.paths, &paths);
            }
            _ => {}
        }
    }
    parts
}

/// Texts for which a comparison with `probe` may hold, and some for which it just does not.
pub(super) fn texts_of(probe: &Probe) -> Vec<String> {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match probe {
        Probe::Value(value) => vec![text(value)],
        Probe::Containing(value) => vec![text(value), format!("x{}x", text(value))],
        Probe::Beginning(beginning) => vec![beginning.clone(), format!("{beginning}x")],
        Probe::Ending(ending) => vec![ending.clone(), format!("/x{ending}"), format!("x{ending}")],
        Probe::Matching(pattern) => samples(pattern),
        Probe::Within(block) => {
            let address = block.split('/').next().unwrap_or_default();
            vec![address.to_owned()]
        }
        Probe::Length(length) => {
            let length = usize::try_from(*length).unwrap_or(0).min(1000);
            let lengths = [length, length + 1, length.saturating_sub(1)];
            lengths
                .into_iter()
                .map(|length| "x".repeat(length))
                .collect()
        }
        Probe::Presence => vec!["x".to_owned()],
    }
}

fn hosts_of(pattern: &HostPattern) -> Vec<String> {
    match pattern {
        HostPattern::Exact(host) => vec![host.clone()],
        HostPattern::Below(domain) => vec![format!("a.{domain}"), domain.clone()],
    }
}

/// Paths in and around a pattern, as rules compare them.
fn paths_of(pattern: &PathPattern) -> Vec<String> {
    match pattern {
        PathPattern::Exact(path) => {
            let path = path.as_str();
            vec![path.to_owned(), format!("{path}/"), format!("{path}/x")]
        }
        PathPattern::Prefix(path) if path.is_empty() => vec!["/".to_owned(), "/x".to_owned()],
        PathPattern::Prefix(path) => vec![
            path.clone(),
            format!("{path}/x"),
            format!("{path}/"),
            format!("{path}x"),
            format!("{path}/x/y"),
        ],
        PathPattern::Regex(regex) => {
            let found = samples(regex.text());
            let around = found.iter().take(3).flat_map(|text| {
                let cut = text.char_indices().next_back();
                let cut = cut.and_then(|(end, _)| text.get(..end)).unwrap_or("/");
                [format!("{text}/x"), format!("{text}x"), cut.to_owned()]
            });
            let around: Vec<String> = around.collect();
            found.into_iter().chain(around).collect()
        }
    }
}

/// The path as a client sends it: what is not plain is percent-encoded.
pub(super) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,:=@".contains(&byte);
        match is_plain {
            true => text.push(char::from(byte)),
            // Writing to a `String` cannot fail.
            false => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

/// Header lines that meet a rule, and lines that lack or change one header.
fn headers_of(matcher: &Matcher) -> Vec<Lines> {
    let first = |values: &[String]| values.first().map_or("x", String::as_str).to_owned();
    let own = matcher.headers.iter();
    let own: Lines = own
        .map(|header| (header.name().to_owned(), first(header.values())))
        .collect();
    let calls = matcher.mcp.iter().flat_map(calls_of);
    let calls: Vec<Lines> = calls.collect();
    let meeting = |lines: Lines| -> Lines {
        let call = calls.first().cloned().unwrap_or_default();
        lines.into_iter().chain(call).collect()
    };
    let mut all = vec![meeting(own.clone())];
    for (position, header) in matcher.headers.iter().enumerate() {
        let others = header.values().iter().skip(1).take(8).cloned();
        let others = others.chain(["other-value".to_owned()]);
        for value in others {
            let lines = own.iter().enumerate();
            let lines = lines.map(|(at, (name, own))| match at == position {
                true => (name.clone(), value.clone()),
                false => (name.clone(), own.clone()),
            });
            all.push(meeting(lines.collect()));
        }
        let mut lines = own.clone();
        lines.remove(position);
        all.push(meeting(lines));
    }
    for call in calls.iter().skip(1) {
        all.push(own.iter().chain(call).cloned().collect());
    }
    all
}

/// MCP calls that a pattern matches, and one that it does not.
fn calls_of(pattern: &McpPattern) -> Vec<Lines> {
    let McpPattern { methods, names } = pattern;
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let call = |method: &str, name: Option<&str>| -> Lines {
        let lines = [
            line("mcp-protocol-version", MCP_REVISION),
            line("mcp-method", method),
        ];
        let name = name.map(|name| line("mcp-name", name));
        lines.into_iter().chain(name).collect()
    };
    let takes_name = |method: &str| NAMED_METHODS.contains(&method);
    let default = ["tools/call".to_owned()];
    let methods = match methods.is_empty() {
        true => default.as_slice(),
        false => methods.as_slice(),
    };
    let mut all = Vec::new();
    for method in methods.iter().take(6) {
        match names.is_empty() {
            true => all.push(call(method, takes_name(method).then_some("x"))),
            false => {
                let names = names.iter().take(8);
                all.extend(names.map(|name| call(method, Some(name))));
            }
        }
        if takes_name(method) {
            all.push(call(method, Some("other-name")));
        }
    }
    all.push(call("tools/list", None));
    all
}

/// Requests in forms that rules may refuse to compare, requests whose route names a rule, preflights,
/// and requests for metadata.
fn special(collector: &mut Collector, policies: [&Policy; 2], everything: &Parts) {
    let host = everything.hosts.first().map_or(HOST, String::as_str);
    collector.add(Shape::plain("GET", host, OTHER_PATH));
    for path in ["//other-path", "/other-path/../x", "/other%2Fpath", "/%61"] {
        collector.add(Shape::plain("GET", host, path));
    }
    collector.add(Shape::plain("get", host, OTHER_PATH));
    collector.add(Shape::plain("GET", "", OTHER_PATH));
    collector.add(Shape::plain("GET", "a_b.example.com.", OTHER_PATH));
    let named = everything.headers.iter().flatten();
    let mut names: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        if name.contains('-') {
            let mut shape = Shape::plain("GET", host, OTHER_PATH);
            shape.headers.push((name.replace('-', "_"), "x".to_owned()));
            collector.add(shape);
        }
    }
    for policy in policies {
        if policy.upstream().spoofed == Spoofed::Refuse {
            spoofed(collector, policies, host);
        }
        if policy.cors_preflight() == CorsPreflight::Allow {
            for path in &everything.paths {
                for host in &everything.hosts {
                    let mut shape = Shape::plain("OPTIONS", host, path);
                    let lines = [
                        ("origin", "https://app.example.com"),
                        ("access-control-request-method", "GET"),
                    ];
                    let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
                    shape.headers = lines.into();
                    collector.add(shape);
                }
            }
        }
        for resource in policy.resources() {
            if let Ok(url) = url::Url::parse(resource.metadata_url()) {
                collector.add(Shape::plain("GET", resource.host(), url.path()));
            }
        }
    }
    routed(collector, policies, host);
}

/// Requests with a header that claimgate would have to remove.
fn spoofed(collector: &mut Collector, policies: [&Policy; 2], host: &str) {
    let claim_headers = policies
        .iter()
        .flat_map(|policy| policy.upstream().claim_headers.iter());
    let names = claim_headers.map(|(name, _)| name.as_str());
    for name in names.chain(["x-http-method-override"]) {
        let mut shape = Shape::plain("GET", host, OTHER_PATH);
        shape.headers.push((name.to_owned(), "x".to_owned()));
        collector.add(shape);
    }
}

/// Requests whose route names a rule. A rule that only one side has counts only if nothing else
/// selects it: that a route may name any rule is no reason to report each one that is new.
fn routed(collector: &mut Collector, [old, new]: [&Policy; 2], host: &str) {
    let sides = [(old, new), (new, old)];
    for (own, other) in sides {
        let others: HashSet<&str> = other.rules().names().collect();
        for rule in own.rules().all() {
            let is_in_both = others.contains(rule.name.as_str());
            if rule.name == DEFAULT || (!is_in_both && rule.matcher.is_some()) {
                continue;
            }
            let mut shape = Shape::plain("GET", host, OTHER_PATH);
            let context = (RULE_EXTENSION.to_owned(), rule.name.clone());
            shape.context.push(context);
            collector.add(shape);
        }
    }
}
