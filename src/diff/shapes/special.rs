//! Requests that are unusual in another way than by what the rules compare.

use std::collections::{BTreeSet, HashSet};

use super::{Collector, HOST, OTHER_PATH, Parts};
use crate::diff::judge::with_request;
use crate::diff::request::Shape;
use crate::identity::Spoofed;
use crate::policy::rules::{DEFAULT, RULE_EXTENSION};
use crate::policy::{CorsPreflight, Policy};
use crate::request::overrides;
use crate::token::source::TokenSource;

/// Requests in forms that rules may refuse to compare, requests whose route names a rule, preflights,
/// and requests for metadata.
pub(super) fn special(collector: &mut Collector, policies: [&Policy; 2], everything: &Parts) {
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
        // Servers disagree on which value of a list counts.
        let mut shape = Shape::plain("GET", host, OTHER_PATH);
        shape.headers.push((name.to_owned(), "a,b".to_owned()));
        collector.add(shape);
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

/// Requests with a header that must not reach the upstream, in each spelling that a server may read as
/// it.
fn spoofed(collector: &mut Collector, policies: [&Policy; 2], host: &str) {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut carriers: BTreeSet<String> = BTreeSet::new();
    let plain = Shape::plain("GET", host, OTHER_PATH);
    for policy in policies {
        with_request(&plain, None, |request| {
            let upstream = policy.upstream();
            let changes = upstream.changes(None, policy.token_places(), &[], request);
            let set = changes.set.iter().map(|(name, _)| (*name).to_owned());
            let removed = changes.remove.iter().map(|name| name.clone().into_owned());
            names.extend(set.chain(removed));
        });
        for place in policy.token_places().all().iter() {
            if let TokenSource::Header { name, .. } = &**place {
                carriers.insert(name.clone());
            }
        }
    }
    let misspelt = |name: &String| match name.contains('-') {
        true => vec![name.replace('-', "_"), format!("grpc-metadata-{name}")],
        false => vec![format!("grpc-metadata-{name}")],
    };
    let all: BTreeSet<String> = names
        .iter()
        .chain(&carriers)
        .flat_map(misspelt)
        .chain(names.iter().cloned())
        .chain(overrides::NAMES.map(str::to_owned))
        .collect();
    for name in all {
        let mut shape = plain.clone();
        shape.headers.push((name, "x".to_owned()));
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
