//! Values in and around the patterns of a rule.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::{Lines, Parts, add_new};
use crate::diff::groups::{differing_first, members};
use crate::diff::knobs::texts_of;
use crate::diff::samples::samples;
use crate::policy::condition::Condition;
use crate::policy::condition::facts::Fact;
use crate::policy::matcher::{HostPattern, Matcher, McpPattern, NAMED_METHODS, PathPattern};
use crate::policy::rule::Rule;

/// A revision of MCP that has headers for method and name.
const MCP_REVISION: &str = "2026-07-28";

/// The maximum number of texts of an expression that only one side has.
const MAX_DIFFERING: usize = 64;

/// The maximum number of texts of an expression that both sides have.
const MAX_SHARED: usize = 12;

/// The values that a rule and its counterpart tell apart come first.
pub(super) fn parts_of(rule: &Rule, other: Option<&Rule>, is_as_is: bool) -> Parts {
    let mut parts = Parts::default();
    let nothing = Matcher::default();
    let counterpart = other.and_then(|other| other.matcher.as_ref());
    let counterpart = counterpart.unwrap_or(&nothing);
    if let Some(matcher) = &rule.matcher {
        for host in differing_first(&counterpart.hosts, &matcher.hosts) {
            add_new(&mut parts.hosts, &hosts_of(&host));
        }
        let methods = differing_first(&counterpart.methods, &matcher.methods);
        add_new(&mut parts.methods, &methods);
        paths(&mut parts, matcher, counterpart, is_as_is);
        headers_of(&mut parts, matcher, counterpart);
        if matcher.mcp.is_some() {
            add_new(&mut parts.methods, &["POST".to_owned()]);
        }
    }
    // Headers that meet the rule come first, because not every combination may be tried.
    add_new(&mut parts.headers, &[Lines::new()]);
    let comparisons = rule.condition.iter();
    for comparison in comparisons.flat_map(Condition::comparisons) {
        let texts = texts_of(&comparison.probe).values;
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

fn hosts_of(pattern: &HostPattern) -> Vec<String> {
    match pattern {
        HostPattern::Exact(host) => vec![host.clone()],
        HostPattern::Below(domain) => vec![format!("a.{domain}"), domain.clone()],
    }
}

/// Paths in and around the patterns.
fn paths(parts: &mut Parts, matcher: &Matcher, counterpart: &Matcher, is_as_is: bool) {
    let mut add = |texts: &[String]| {
        let on_the_wire: Vec<String> = texts.iter().map(|path| encoded(path)).collect();
        add_new(&mut parts.paths, &on_the_wire);
        if is_as_is {
            add_new(&mut parts.paths, texts);
        }
    };
    let (mut own, mut around) = (Vec::new(), Vec::new());
    let mut others = HashSet::new();
    let mut is_complete = true;
    for pattern in &counterpart.paths {
        if let PathPattern::Regex(regex) = pattern {
            let found = samples(regex.text());
            others.extend(found.matching);
            around.extend(found.beyond);
        }
    }
    for pattern in &matcher.paths {
        match pattern {
            PathPattern::Exact(path) => {
                add(&[path.clone(), format!("{path}/"), format!("{path}/x")]);
            }
            PathPattern::Prefix(path) if path.is_empty() => {
                add(&["/".to_owned(), "/x".to_owned()]);
            }
            PathPattern::Prefix(path) => add(&[
                path.clone(),
                format!("{path}/x"),
                format!("{path}/"),
                format!("{path}x"),
                format!("{path}/x/y"),
            ]),
            PathPattern::Regex(regex) => {
                let found = samples(regex.text());
                is_complete &= found.is_complete;
                around.extend(found.matching.iter().take(3).flat_map(|text| {
                    let cut = text.char_indices().next_back();
                    let cut = cut.and_then(|(end, _)| text.get(..end)).unwrap_or("/");
                    [format!("{text}/x"), format!("{text}x"), cut.to_owned()]
                }));
                around.extend(found.beyond);
                own.extend(found.matching);
            }
        }
    }
    let (of_both, of_one): (Vec<String>, Vec<String>) =
        own.into_iter().partition(|text| others.contains(text));
    is_complete &= of_one.len() <= MAX_DIFFERING;
    let texts = of_one.into_iter().take(MAX_DIFFERING);
    let texts = texts.chain(of_both.into_iter().take(MAX_SHARED));
    let around = around.into_iter().take(MAX_DIFFERING);
    add(&texts.chain(around).collect::<Vec<_>>());
    parts.is_cut |= !is_complete;
}

/// The path as a client sends it: what is not plain is percent-encoded.
pub(in crate::diff) fn encoded(path: &str) -> String {
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
fn headers_of(parts: &mut Parts, matcher: &Matcher, counterpart: &Matcher) {
    let first = |values: &[String]| values.first().map_or("x", String::as_str).to_owned();
    let own = matcher.headers.iter();
    let own: Lines = own
        .map(|header| (header.name().to_owned(), first(header.values())))
        .collect();
    let mut calls = Vec::new();
    if let Some(pattern) = &matcher.mcp {
        calls = calls_of(parts, pattern, counterpart.mcp.as_ref());
    }
    let meeting = |lines: Lines| -> Lines {
        let call = calls.first().cloned().unwrap_or_default();
        lines.into_iter().chain(call).collect()
    };
    let mut all = vec![meeting(own.clone())];
    for (position, header) in matcher.headers.iter().enumerate() {
        let mut others = counterpart.headers.iter();
        let other = others.find(|other| other.name() == header.name());
        let other = other.map_or(&[][..], |other| other.values());
        let values = members(other, header.values());
        parts.is_cut |= !values.is_complete;
        let values = values.values.into_iter();
        for value in values.chain(["other-value".to_owned()]) {
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
    add_new(&mut parts.headers, &all);
}

/// MCP calls that a pattern matches, and some that it does not.
fn calls_of(
    parts: &mut Parts,
    pattern: &McpPattern,
    counterpart: Option<&McpPattern>,
) -> Vec<Lines> {
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
    let nothing = McpPattern::default();
    let McpPattern {
        methods: other_methods,
        names: other_names,
    } = counterpart.unwrap_or(&nothing);
    let methods = members(other_methods, &pattern.methods);
    let names = members(other_names, &pattern.names);
    parts.is_cut |= !(methods.is_complete && names.is_complete);
    let mut methods = methods.values;
    if methods.is_empty() {
        methods.push("tools/call".to_owned());
    }
    let mut all = Vec::new();
    for (position, method) in methods.iter().enumerate() {
        // Names and methods are compared independently of each other.
        let most = if position < 4 { usize::MAX } else { 2 };
        match names.values.is_empty() {
            true => all.push(call(method, takes_name(method).then_some("x"))),
            false => {
                let names = names.values.iter().take(most);
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
