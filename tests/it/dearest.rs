//! The most expensive requests. Their work is counted by their allocations, and does not grow with
//! the number of rules. `make bench` measures their time.

use std::sync::Arc;
use std::time::Duration;

use claimgate::advice::likely_cause;
use claimgate::answer::Answer;
use claimgate::config::Config;
use claimgate::decision::{Decision, decide};
use claimgate::ext_authz::service::Service;
use claimgate::gate::Gate;
use claimgate::keyring::Algorithm::Es256;
use claimgate::keyring::Keyring;
use claimgate::policy::rules::Expressions;
use claimgate::request::Request;
use claimgate::time::{SystemClock, UnixTime};
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::call::bearer;
use crate::support::keys::signer;

/// The header size that Envoy accepts by default.
const ROOM: usize = 60 * 1024;

fn config(rules: &[Value]) -> Result<Config, String> {
    let config = json!({
        "providers": [{"issuer": "https://idp.example.com", "audiences": ["api"], "jwks": {"inline": {"keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        ]}}}],
        "rules": rules,
    });
    Config::from_yaml(&config.to_string()).map_err(|error| error.to_string())
}

fn rules(count: usize, rule: impl Fn(usize) -> Value) -> Vec<Value> {
    let named = |number: usize| {
        let mut rule = rule(number);
        rule["name"] = format!("r{number}").into();
        rule
    };
    (0..count).map(named).collect()
}

/// A request for which `decide` runs, and further work with the decision.
fn measured(
    config: &Config,
    path: &str,
    headers: &[(&str, &str)],
    then: impl FnOnce(Decision, &Keyring, &Request<'_>),
) -> (u64, u64) {
    let lines = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()));
    let request = Request {
        method: "GET",
        host: "api.example.com",
        path,
        headers: lines.collect(),
        ..Request::default()
    };
    let keyring = Keyring::empty(1);
    let measured = allocation_counter::measure(|| {
        let now = UnixTime::from_secs(1_767_225_600);
        let decision =
            decide(&config.policy, &keyring, &(), &request, now, &mut ()).by_what_is_known();
        then(decision, &keyring, &request);
    });
    (measured.count_total, measured.bytes_total)
}

/// The reason of the denial, and the number and total bytes of allocations for one decision.
fn judged(config: &Config, path: &str, headers: &[(&str, &str)]) -> (&'static str, u64, u64) {
    let mut reason = "";
    let (count, bytes) = measured(config, path, headers, |decision, _, _| {
        reason = match decision {
            Decision::Deny(denial) => denial.reason().code(),
            other => panic!("{other:?}"),
        };
    });
    (reason, count, bytes)
}

/// A long header is read once, however many rules match on it.
#[test]
fn long_headers() {
    let commas = ",".repeat(ROOM);
    let different: Vec<String> = (0..9_000).map(|number| format!("v{number}")).collect();
    let different = different.join(",");
    let values: Vec<String> = (0..1_000).map(|number| format!("t{number}")).collect();
    let by_header = |number: usize| json!({"match": {"headers": {"x-tenant": format!("t{number}")}}, "scopes": ["a"]});
    let by_path = |number: usize| json!({"match": {"path": {"prefix": "/a"}, "headers": {"x-tenant": format!("t{number}")}}, "scopes": ["a"]});
    let by_many = |_| json!({"match": {"headers": {"x-tenant": values}}, "scopes": ["a"]});
    for value in [&commas, &different] {
        let headers = [("x-tenant", value.as_str())];
        let few = judged(&config(&rules(1, by_header)).unwrap(), "/a", &headers);
        assert_eq!(few.0, "missing_token");
        assert!(
            few.2 < 4_096,
            "{} bytes for a header that no rule can accept",
            few.2
        );
        for (what, many) in [
            ("header", rules(2_000, by_header)),
            ("path and header", rules(2_000, by_path)),
            ("many values", rules(1, by_many)),
        ] {
            assert_eq!(
                judged(&config(&many).unwrap(), "/a", &headers),
                few,
                "{what}"
            );
        }
    }
}

/// Each line is looked at once, however many header names rules match on.
#[test]
fn many_headers() {
    let names: Vec<String> = (0..1_000).map(|number| format!("x-{number:04}")).collect();
    let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a, b")).collect();
    let by_name = |number: usize| json!({"match": {"headers": {format!("x-{:04}", number % 1_000): format!("c{}", number / 1_000)}}, "scopes": ["a"]});
    let once = judged(&config(&rules(1_000, by_name)).unwrap(), "/a", &headers);
    let often = judged(&config(&rules(10_000, by_name)).unwrap(), "/a", &headers);
    assert_eq!(once, often);
    assert!(once.1 < 10_000, "{} allocations", once.1);
}

/// Expressions read only as much of a path as takes a few milliseconds, and allocate nothing.
#[test]
fn expressions() {
    let matching = |regex: String| json!({"match": {"path": {"regex": regex}}, "scopes": ["a"]});
    let repeated = |number: usize| matching(format!(".*-[a-z0-9-]{{1,40}}/edit{number}"));
    let any = |number: usize| matching(format!(".*-x/edit{number}"));
    let apart = |number: usize| matching(format!("/team{number}/[a-z-]+/edit"));
    for (what, rules, max_path) in [
        ("a few", rules(10, repeated), 8_192),
        ("many", rules(1_000, any), 1_048),
        ("many about different paths", rules(300, apart), 8_192),
    ] {
        let config = config(&rules).unwrap_or_else(|error| panic!("{what}: {error}"));
        let expressions = config.policy.rules().expressions();
        assert_eq!(expressions.max_path_bytes(), Some(max_path), "{what}");
        assert!(
            expressions.max_per_request * max_path <= 1024 * 1024,
            "{what}"
        );
        let path = |bytes: usize| format!("/{}", "-".repeat(bytes - 1));
        let (reason, count, _) = judged(&config, &path(max_path), &[]);
        assert_eq!((reason, count), ("missing_token", 0), "{what}");
        assert_eq!(
            judged(&config, &path(max_path + 1), &[]).0,
            "ambiguous_path",
            "{what}"
        );
    }
    let most = Expressions::MAX_PER_REQUEST;
    let error = config(&rules(most + 1, any)).unwrap_err();
    assert!(error.contains("at most 1024 are allowed"), "{error}");
    let error = config(&rules(1, |_| matching(r".*x\w{100}/1".to_owned()))).unwrap_err();
    assert!(error.contains("automaton would be too large"), "{error}");
}

/// A condition may do a limited amount of work per request. Beyond it, the condition fails.
#[test]
fn conditions() {
    let long = "a,".repeat(ROOM / 2);
    let names: Vec<String> = (0..99).map(|number| format!("x-{number}")).collect();
    let mut headers = vec![("x-list", long.as_str())];
    headers.extend(names.iter().map(|name| (name.as_str(), "a")));
    let each = |text: &str, count: usize| vec![text; count].join(" || ");
    for text in [
        "request.headers['x-list'].split(',').size() < 3".to_owned(),
        "request.headers['x-list'].split(',').exists(x, x == 'b')".to_owned(),
        each("request.headers['x-list'].matches('b+c')", 150),
        each("request.headers['x-list'].indexOf('bbbbbbbb') > 0", 100),
        each(
            "request.headers['x-list'] == request.headers['x-list'] + 'a'",
            16,
        ),
        "request.headers.exists(name, request.headers['x-list'].contains(name + name))".to_owned(),
        format!("request.headers.exists(name, {})", each("name == 'b'", 400)),
        format!(
            "[1, 2, 3, 4, 5, 6, 7, 8].exists(i, request.headers.exists(name, {}))",
            each("i > 8", 100)
        ),
        format!(
            "request.headers.exists(name, {})",
            each("{request.headers['x-list']: 1} == {'a': 1}", 30)
        ),
        format!(
            "request.headers.exists(name, {})",
            each("request.headers['x-list'] in {'a': 1}", 30)
        ),
        format!(
            "request.headers.exists(name, {})",
            each("request.headers[request.headers['x-list']] == 'b'", 30)
        ),
        format!(
            "request.headers.exists(name, {})",
            each("request.headers != request.headers", 30)
        ),
    ] {
        let rule = json!({"name": "a", "match": {"path": {"prefix": "/"}}, "access": "public", "condition": text});
        let config = config(&[rule]).unwrap_or_else(|error| panic!("{text}: {error}"));
        let (reason, count, bytes) = judged(&config, "/a", &headers);
        assert_eq!(reason, "access_denied", "{text}");
        assert!(
            count < 100_000 && bytes < 8 * 1024 * 1024,
            "{text}: {count} allocations, {bytes} bytes"
        );
    }
}

/// The number and total bytes of allocations for one request: its verdict, the changes for the
/// upstream, and the log line.
fn work(config: &Config, path: &str, headers: &[(&str, &str)]) -> (u64, u64) {
    measured(config, path, headers, |decision, keyring, request| {
        let policy = &*config.policy;
        match Answer::to(&decision, policy, &config.denials, request, None) {
            Answer::Pass(pass) => drop(pass.changes()),
            Answer::Direct(_) => {}
        }
        match &decision {
            Decision::Allow(_) => {}
            Decision::Deny(denial) => {
                assert!(denial.fault.to_string().len() < 1_000);
                likely_cause(denial, policy, keyring, request);
            }
            other @ Decision::Respond(_) => panic!("{other:?}"),
        }
    })
}

/// A token place by its number, and the query and headers that are most expensive with it.
type Place<'p> = (
    &'p dyn Fn(usize) -> Value,
    &'p str,
    &'p [(&'p str, &'p str)],
);

/// A request is read once, however many places may carry tokens.
#[test]
fn many_places() {
    let config = |count: usize, place: &dyn Fn(usize) -> Value| {
        let provider = |number: usize| {
            json!({"name": format!("p{number}"), "issuer": format!("https://idp-{number}.example.com"), "audiences": ["api"],
                "token_from": [place(number)], "jwks": {"inline": {"keys": [
                {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            ]}}})
        };
        let config = json!({
            "providers": (0..count).map(provider).collect::<Vec<_>>(),
            "upstream": {"forward_token": false},
            "rules": [{"name": "public", "match": {"path": {"prefix": "/public"}}, "access": "public"}],
        });
        Config::from_yaml(&config.to_string()).unwrap_or_else(|error| panic!("{error}"))
    };
    let name = |number: usize| format!("c{number:04}");
    let cookies = "a;".repeat(29_000);
    let query = "?".to_owned() + &"&".repeat(58_000);
    let schemes = "Basic a".to_owned() + &",".repeat(58_000);
    let protocols = "a,".repeat(29_000);
    let lines: Vec<String> = (0..100).map(|number| format!("b{number:04}")).collect();
    let lines: Vec<(&str, &str)> = lines.iter().map(|name| (name.as_str(), "a")).collect();
    let cases: [Place<'_>; 5] = [
        (
            &|nr| json!({"cookie": name(nr)}),
            "",
            &[("cookie", &cookies)],
        ),
        (&|nr| json!({"query": name(nr)}), &query, &[]),
        (&|nr| json!({"header": name(nr)}), "", &lines),
        (
            &|nr| json!({"header": "x-t", "scheme": name(nr)}),
            "",
            &[("x-t", &schemes)],
        ),
        (
            &|nr| json!({"websocket_protocol": name(nr)}),
            "",
            &[("sec-websocket-protocol", &protocols)],
        ),
    ];
    for (place, query, headers) in cases {
        let (one, many) = (config(1, place), config(1_000, place));
        for path in ["/public", "/required"] {
            let path = format!("{path}{query}");
            let (one, many) = (work(&one, &path, headers), work(&many, &path, headers));
            let what = format!("{} {path:.9}: {one:?}, {many:?}", place(0));
            // One lookup per line, and the texts of eight places.
            assert!(many.0 <= one.0 + 400, "{what}");
            assert!(many.1 <= one.1 + 16 * 1024, "{what}");
        }
    }
}

/// A service that knows the keys of this many providers: the last one at
/// `https://idp.example.com/realms/it`, the others at other hosts. Each accepts this many
/// audiences.
async fn trusting(providers: usize, audiences: usize, upstream: Value) -> Service {
    let audiences: Vec<String> = (0..audiences).map(|number| format!("{number}/")).collect();
    let keys = json!({"inline": {"keys": [signer(Es256, "a").jwk()]}});
    let provider = |number: usize| {
        let host = match number {
            0 => "idp".to_owned(),
            _ => format!("idp{number}"),
        };
        json!({
            "name": format!("p{number}"), "issuer": format!("https://{host}.example.com/realms/it"),
            "audiences": audiences, "jwks": keys,
        })
    };
    let providers: Vec<Value> = (0..providers).rev().map(provider).collect();
    let config = json!({"providers": providers, "upstream": upstream}).to_string();
    let config = Config::from_yaml(&config).unwrap_or_else(|error| panic!("{error}"));
    let service = Service {
        gate: Gate::start(config, Arc::new(SystemClock)).await,
    };
    service.gate.generation().jwks.all_known().await;
    service
}

fn signed(change: &Value) -> String {
    let mut claims = json!({
        "iss": "https://idp.example.com/realms/it", "aud": "0/", "sub": "alice",
        "exp": 4_102_444_800_u64,
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(change.as_object().unwrap().clone());
    signer(Es256, "a").token(&claims).unwrap()
}

/// The likely cause of a token's denial, and the number of allocations for finding it.
fn hinted(service: &Service, token: &str) -> (String, u64) {
    let header = format!("Bearer {token}");
    let request = Request {
        method: "GET",
        host: "api.example.com",
        path: "/",
        headers: [("authorization", header.as_bytes())].into_iter().collect(),
        ..Request::default()
    };
    let keyring = service.gate.generation().jwks.snapshot();
    let now = UnixTime::from_secs(1_767_225_600);
    let decision = decide(
        &service.gate.generation().policy,
        &keyring,
        &(),
        &request,
        now,
        &mut (),
    )
    .by_what_is_known();
    let Decision::Deny(denial) = decision else {
        panic!("{decision:?}");
    };
    let mut hint = None;
    let measured = allocation_counter::measure(|| {
        hint = likely_cause(
            &denial,
            &service.gate.generation().policy,
            &keyring,
            &request,
        );
    });
    (hint.unwrap(), measured.count_total)
}

/// A hint compares the token with each provider or audience without parsing their URLs.
#[tokio::test]
async fn hints() {
    let one = trusting(1, 1, json!({})).await;
    let many = trusting(1_000, 1, json!({})).await;
    let long = |labels: usize| format!("https://{}example/", "é.".repeat(labels));
    for (issuer, says) in [
        (long(1_800), "is unusual"),
        (long(80), "add `"),
        ("https://evil.example".to_owned(), "add `"),
        ("https://evil.example/realms/it".to_owned(), "by its host"),
        ("https://evil.example/realms/x".to_owned(), "add `"),
        ("https://idp.example.com/realms/x".to_owned(), "by its path"),
    ] {
        let token = signed(&json!({"iss": issuer}));
        let (hint, few) = hinted(&one, &token);
        assert!(hint.contains(says), "{issuer}: {hint}");
        let (hint, count) = hinted(&many, &token);
        assert!(hint.contains(says), "{issuer}: {hint}");
        assert!(count <= few + 10, "{issuer}: {count} for {few}");
    }

    let many = trusting(1, 1_000, json!({})).await;
    let others: Vec<String> = (0..1_000).map(|number| format!("x{number}")).collect();
    let token = signed(&json!({"aud": others}));
    assert_eq!(hinted(&many, &token), hinted(&one, &token));
}

/// A claim that is too long for a header is not encoded to its end, and only once.
#[test]
fn claims_that_do_not_fit() {
    let header = |number: usize| json!({"header": format!("x-claim-{number}"), "claim": "list"});
    let upstream = json!({"claim_headers": (0..20).map(header).collect::<Vec<_>>()});
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let service = runtime.block_on(trusting(1, 1, upstream));
    let asked = |list: &Value| {
        let check = bearer(&signed(&json!({"list": list}))).encode_to_vec();
        let measured = || {
            allocation_counter::measure(|| {
                let answer = service.answer(Ok(&check), Duration::from_secs(1));
                assert!(!runtime.block_on(answer).is_empty());
            })
        };
        (measured(), measured())
    };
    let short = asked(&json!([1]));
    let integers = json!(vec![100; 2_700]);
    for (what, list) in [
        ("long texts", json!(vec!["x".repeat(100); 100])),
        ("as JSON", json!(vec![json!([100, "a,b"]); 500])),
        ("an object", json!({"a": integers})),
        ("too many elements", integers),
    ] {
        let (first, again) = asked(&list);
        assert!(
            first.count_total < short.0.count_total + 10_000,
            "{what}: {first:?}"
        );
        assert_eq!(again.count_total, short.1.count_total, "{what}");
    }
    let metrics = service.gate.metrics.encode().unwrap();
    let dropped = "claimgate_claim_headers_dropped_total 160\n";
    assert!(metrics.contains(dropped), "{metrics}");
}
