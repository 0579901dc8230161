//! The index of rules finds the same rule as checking each rule would.

use claimgate::config::Config;
use claimgate::policy::rule::PathMode;
use claimgate::policy::rules::{RuleId, Rules};
use claimgate::request::Request;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn configure(paths: &str, rules: &[Value]) -> Config {
    let config = json!({
        "providers": [{"issuer": "https://a.example", "audiences": "a"}],
        "paths": paths,
        "rules": rules,
    });
    Config::from_yaml(&config.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// These rules, even if some of them are never reached.
fn unchecked(paths: PathMode, rules: &[Value]) -> Rules {
    let word = match paths {
        PathMode::Strict => "strict",
        PathMode::AsIs => "as_is",
    };
    let compiled = rules.iter().map(|rule| {
        let config = configure(word, std::slice::from_ref(rule));
        config.policy.rules().get(RuleId(0)).unwrap().clone()
    });
    Rules::new(compiled.collect(), paths)
}

/// The name of the deciding rule, by the index and by checking each rule in turn.
fn found(rules: &Rules, request: &Request<'_>) -> Option<(String, String)> {
    let target = rules.target(request).ok()?;
    let (id, _) = rules.select(&target).unwrap();
    let by_index = rules.get(id).unwrap().name.clone();
    let names: Vec<&str> = rules.names().collect();
    let others = rules.passed_over(&target, RuleId(names.len()));
    let first = names
        .iter()
        .find(|name| others.iter().all(|(other, _)| other != *name))
        .unwrap();
    Some((by_index, (*first).to_owned()))
}

/// A small vocabulary, so that words collide often.
const SEGMENTS: [&str; 8] = ["a", "b", "ab", "A", "a.b", "1", "", "%40"];
const HOSTS: [&str; 8] = [
    "example.org",
    "a.example.org",
    "b.a.example.org",
    "A.Example.Org:80",
    "aexample.org",
    "org",
    "[::1]",
    "example.org.",
];
const PATTERNS: [&str; 14] = [
    "/a", "/a/.*", "/a(/b)?", "/(a|b)/1", "/a|/b", "(?i)/a", "^/a/b$", "/a/[ab]+", ".*", "/a/b/",
    "/a*", "/(?:a)b", "/ab?/1", "",
];

fn path() -> impl Strategy<Value = String> {
    vec(select(&SEGMENTS[..]), 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn any_rule() -> impl Strategy<Value = Value> {
    let host = prop_oneof![
        select(&["example.org", "a.example.org", "org", "[::1]"][..]).prop_map(ToOwned::to_owned),
        select(&["*.example.org", "*.org", "*.a.example.org"][..]).prop_map(ToOwned::to_owned),
    ];
    let own_path =
        vec(select(&SEGMENTS[..5]), 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
    let path = prop_oneof![
        own_path.clone().prop_map(|path| json!({"exact": path})),
        own_path.prop_map(|path| json!({"prefix": path})),
        select(&PATTERNS[1..13]).prop_map(|pattern| json!({"regex": pattern})),
    ];
    let method = select(&["GET", "POST"][..]);
    (
        option::of(vec(host, 1..3)),
        option::of(path),
        option::of(method),
    )
        .prop_map(|(hosts, path, method)| {
            let mut matches = json!({});
            if let Some(hosts) = hosts {
                matches["hosts"] = hosts.into();
            }
            if let Some(path) = path {
                matches["path"] = path;
            }
            if let Some(method) = method {
                matches["methods"] = method.into();
            }
            match matches.as_object().unwrap().is_empty() {
                true => json!({"only_by_name": true}),
                false => json!({"match": matches}),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_agrees_with_the_rules(
        rules in vec(any_rule(), 1..12),
        requests in vec((select(&HOSTS[..]), path(), select(&["GET", "POST", "PUT"][..])), 1..24),
        strict in any::<bool>(),
    ) {
        let mut rules = rules;
        for (index, rule) in rules.iter_mut().enumerate() {
            rule["name"] = format!("r{index}").into();
        }
        let paths = if strict { PathMode::Strict } else { PathMode::AsIs };
        let compiled = unchecked(paths, &rules);
        let hidden: Vec<_> = compiled.hidden().iter().map(|hidden| format!("r{}", hidden.rule)).collect();
        for (host, path, method) in requests {
            let request = Request { method, host, path: &path, ..Request::default() };
            if let Some((by_index, one_by_one)) = found(&compiled, &request) {
                prop_assert!(!hidden.contains(&by_index), "{} {}{} reaches {}: {:?}", method, host, path, by_index, rules);
                prop_assert_eq!(by_index, one_by_one, "{} {}{}", method, host, path);
            }
        }
    }
}

/// Of ten thousand rules, only those that may match the request are checked.
/// Rules for one path and one header: each is filed under what distinguishes it.
#[test]
fn ten_thousand_rules_on_one_path() {
    let rule = |index: usize| {
        let headers = json!({"x-api": "orders", "x-tenant": format!("t{index}")});
        json!({"name": format!("r{index}"), "match": {"path": {"prefix": "/a"}, "headers": headers}})
    };
    let mut rules: Vec<Value> = (0..10_000).map(rule).collect();
    configure("strict", &rules);
    rules.push(json!({"name": "last", "match": {"path": {"prefix": "/a/b"}, "headers": {"x-tenant": "t9999", "x-api": "orders"}}}));
    let yaml = json!({
        "providers": [{"issuer": "https://a.example", "audiences": "a"}],
        "rules": rules,
    });
    let error = Config::from_yaml(&yaml.to_string())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rules[10000]: never reached: `r9999`"),
        "{error}"
    );
}

#[test]
fn ten_thousand_rules() {
    let rules: Vec<Value> = (0..10_000)
        .map(|index| {
            let matches = match index % 4 {
                0 => json!({"path": {"prefix": format!("/service-{index}")}}),
                1 => json!({"hosts": [format!("s{index}.example.org")]}),
                2 => {
                    json!({"path": {"regex": format!("/team/{index}/[0-9]+")}, "methods": ["GET"]})
                }
                _ => json!({"hosts": [format!("*.t{index}.example.org")], "path": {"exact": "/x"}}),
            };
            json!({"name": format!("r{index}"), "match": matches})
        })
        .collect();
    let config = configure("strict", &rules);
    for (method, host, path, expected) in [
        ("GET", "a.example", "/service-9996/x/y", "r9996"),
        ("GET", "s9997.example.org", "/service-9996/x", "r9996"),
        ("GET", "s9.example.org", "/service-9996/x", "r9"),
        ("GET", "a.example", "/team/9998/42", "r9998"),
        ("POST", "a.example", "/team/9998/42", "default"),
        ("GET", "a.b.t9999.example.org", "/x", "r9999"),
        ("GET", "t9999.example.org", "/x", "default"),
        ("GET", "a.example", "/nothing", "default"),
    ] {
        let request = Request {
            method,
            host,
            path,
            ..Request::default()
        };
        let both = found(config.policy.rules(), &request).unwrap();
        let expected = expected.to_owned();
        assert_eq!(both, (expected.clone(), expected), "{method} {host}{path}");
    }
}
