//! Writes tests of a model, for `claimgate test`. What is expected comes from the model, and so from the
//! source; the configuration only helps to find a request for each rule.

use serde_json::{Map, Value, json};

use super::model::{Access, Example, Model, PathPattern, Provider, Rule};
use super::predicate::Predicate;
use super::predicate::sample::Sample;
use super::write::{Lines, entry, scalar};
use crate::config::Config;
use crate::request::path::canonical;
use crate::request::{Headers, Peer, Request};

/// The host of requests to rules that match none.
const HOST: &str = "api.example.com";

/// The claims that a test sets by itself, or not at all.
const OF_PROTOCOL: [&str; 5] = ["iss", "aud", "exp", "nbf", "iat"];

/// The tests in YAML. `config` is the name of the configuration's file.
pub(super) fn tests(model: &Model, config: &Config, file: &str) -> String {
    let mut out = Lines::default();
    out.comment(
        0,
        &format!(
            "Tests of `{file}`, derived from {}. Run them with `claimgate test`.",
            model.origin
        ),
    );
    out.line(0, &format!("config: {}", scalar(file)));
    let mut cases = Vec::new();
    for rule in &model.rules {
        match sample(rule, config) {
            Some(request) => cases.extend(cases_of(model, rule, &request)),
            None => out.comment(
                0,
                &format!(
                    "There is no case for the rule `{}`: no example of a request is known.",
                    rule.name
                ),
            ),
        }
    }
    let ends_open = model
        .rules
        .iter()
        .any(|rule| !rule.only_by_name && rule.matches == super::model::Match::default());
    if !ends_open {
        let request = SampleRequest {
            host: HOST.to_owned(),
            path: "/no-rule-names-this-path".to_owned(),
            ..SampleRequest::default()
        };
        if selected(&request, config).as_deref() == Some("default") {
            cases.push(Case {
                name: "other requests need a token".to_owned(),
                request,
                token: None,
                expect: vec![
                    ("reason", json!("missing_token")),
                    ("rule", json!("default")),
                ],
            });
        }
    }
    if cases.is_empty() {
        cases.extend(expired(model, config));
    }
    out.line(0, "cases:");
    for case in cases {
        case.write(&mut out);
    }
    out.text
}

/// What is unknown of a request changes nothing about an expired token, so this is a case where there is no other:
/// a file without cases is an error.
fn expired(model: &Model, config: &Config) -> Option<Case> {
    let provider = model.providers.first()?;
    let mut rules = model.rules.iter().filter(|rule| !rule.is_observed);
    let (rule, request) = rules.find_map(|rule| Some((rule, sample(rule, config)?)))?;
    Some(Case {
        name: format!("{}: an expired token", rule.name),
        request,
        token: Some(json!({"provider": provider.name, "claims": {"exp": 1}})),
        expect: vec![("decision", json!("deny")), ("rule", json!(rule.name))],
    })
}

/// A request with its expected decision.
struct Case {
    name: String,
    request: SampleRequest,
    token: Option<Value>,
    expect: Vec<(&'static str, Value)>,
}

/// A request that a rule decides.
#[derive(Clone, Debug, Default)]
pub(super) struct SampleRequest {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    /// The rule that the route names.
    pub(super) named: Option<String>,
}

impl Case {
    fn write(self, out: &mut Lines) {
        let Self {
            name,
            request,
            token,
            expect,
        } = self;
        let SampleRequest {
            method,
            host,
            path,
            headers,
            named,
        } = request;
        out.line(1, &format!("- name: {}", scalar(&name)));
        let mut parts = Vec::new();
        if !method.is_empty() {
            parts.push(format!("method: {}", scalar(&method)));
        }
        parts.push(format!("host: {}", scalar(&host)));
        parts.push(format!("path: {}", scalar(&path)));
        if !headers.is_empty() {
            let headers: Vec<String> = headers
                .iter()
                .map(|(name, value)| entry(name, &scalar(value)))
                .collect();
            parts.push(format!("headers: {{ {} }}", headers.join(", ")));
        }
        if let Some(rule) = named {
            parts.push(format!("context: {{ claimgate.rule: {} }}", scalar(&rule)));
        }
        out.line(2, &format!("request: {{ {} }}", parts.join(", ")));
        if let Some(token) = token {
            out.line(2, &format!("token: {}", flow(&token)));
        }
        let expect: Vec<String> = expect
            .iter()
            .map(|(name, value)| format!("{name}: {}", flow(value)))
            .collect();
        out.line(2, &format!("expect: {{ {} }}", expect.join(", ")));
    }
}

/// A value in YAML's flow style.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(flow).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| entry(name, &flow(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

fn cases_of(model: &Model, rule: &Rule, request: &SampleRequest) -> Vec<Case> {
    let case = |what: String, token: Option<Value>, expect: Vec<(&'static str, Value)>| Case {
        name: format!("{}: {what}", rule.name),
        request: request.clone(),
        token,
        expect,
    };
    let allow = || vec![("decision", json!("allow")), ("rule", json!(rule.name))];
    let deny = |reason: &str| vec![("reason", json!(reason)), ("rule", json!(rule.name))];
    if let Some(meaning) = &rule.meaning {
        return cases_by_meaning(model, rule, request, meaning);
    }
    let mut cases = Vec::new();
    match rule.access {
        Access::Public => cases.push(case("no token is needed".to_owned(), None, allow())),
        Access::Deny => {
            let what = "nothing passes".to_owned();
            cases.push(case(what, None, deny("access_denied")));
        }
        Access::Optional | Access::Required => {
            let without = match (rule.access, rule.is_observed) {
                (Access::Required, false) => deny("missing_token"),
                _ => allow(),
            };
            cases.push(case("without a token".to_owned(), None, without));
            for provider in &model.providers {
                let name = &provider.name;
                if accepts(rule, provider) {
                    let mut expect = allow();
                    expect.push(("provider", json!(name)));
                    let headers = headers_of(model, rule);
                    if !headers.is_empty() {
                        expect.push(("headers", Value::Object(headers.into_iter().collect())));
                    }
                    let token = token_of(model, provider, rule);
                    cases.push(case(format!("a token of `{name}`"), Some(token), expect));
                } else if !rule.is_observed {
                    let token = token_of(model, provider, &Rule::default());
                    let what = format!("`{name}` is not accepted");
                    cases.push(case(what, Some(token), deny("access_denied")));
                }
            }
            cases.extend(
                bad_tokens(model, rule)
                    .into_iter()
                    .map(|(what, token, reason)| {
                        let expect = match rule.is_observed {
                            true => allow(),
                            false => deny(reason),
                        };
                        case(what.to_owned(), Some(token), expect)
                    }),
            );
        }
    }
    cases
}

fn accepts(rule: &Rule, provider: &Provider) -> bool {
    rule.providers.is_empty() || rule.providers.contains(&provider.name)
}

/// What the source says of the request without a token, and with one of each provider.
fn cases_by_meaning(
    model: &Model,
    rule: &Rule,
    request: &SampleRequest,
    meaning: &Predicate,
) -> Vec<Case> {
    let path = canonical(request.path.split('?').next().unwrap_or_default());
    let method = match request.method.as_str() {
        "" => "GET",
        method => method,
    };
    let Ok(path) = path else {
        return Vec::new();
    };
    let decision = |claims: Option<&Map<String, Value>>| {
        let sample = Sample {
            method,
            host: &request.host,
            path: &path,
            headers: &request.headers,
            claims,
        };
        meaning.holds(&sample)
    };
    let case = |what: String, token: Option<Value>, allows: bool| Case {
        name: format!("{}: {what}", rule.name),
        request: request.clone(),
        token,
        expect: vec![
            ("decision", json!(if allows { "allow" } else { "deny" })),
            ("rule", json!(rule.name)),
        ],
    };
    let mut cases = Vec::new();
    let needs_token = rule.access == Access::Required;
    let without = decision(None).map(|allows| allows && !needs_token);
    if let Some(allows) = without.filter(|_| rule.access != Access::Deny) {
        cases.push(case("without a token".to_owned(), None, allows));
    }
    if matches!(rule.access, Access::Public | Access::Deny) {
        if rule.access == Access::Deny {
            cases.push(case("nothing passes".to_owned(), None, false));
        }
        return cases;
    }
    for provider in &model.providers {
        let name = &provider.name;
        let token = token_of(model, provider, rule);
        let claims = token.get("claims").and_then(Value::as_object);
        let mut claims = claims.cloned().unwrap_or_default();
        keep_valid(&mut claims, provider);
        claims.entry("sub").or_insert_with(|| json!("someone"));
        let token = json!({"provider": name, "claims": claims});
        // Each token of a test has these.
        claims.insert("iss".to_owned(), json!(provider.issuer));
        if let Some(audience) = provider.audiences.first() {
            claims.entry("aud").or_insert_with(|| json!(audience));
        }
        if let Some(allows) = decision(Some(&claims)) {
            let what = format!("a token of `{name}`");
            cases.push(case(what, Some(token), allows && accepts(rule, provider)));
        }
    }
    cases
}

/// Removes claims with which no token is valid. A condition may ask for them, and then it is false.
fn keep_valid(claims: &mut Map<String, Value>, provider: &Provider) {
    claims.retain(|name, value| match name.as_str() {
        "iss" | "exp" | "nbf" | "iat" => false,
        "sub" => value.is_string(),
        "aud" => {
            let accepts = |value: &Value| {
                let audiences = &provider.audiences;
                audiences.is_empty() || audiences.iter().any(|own| value == own.as_str())
            };
            match value {
                Value::Array(values) => values.iter().any(accepts),
                value => value.is_string() && accepts(value),
            }
        }
        _ => true,
    });
}

/// Tokens of the rule's first provider that it must refuse, with the reason.
fn bad_tokens(model: &Model, rule: &Rule) -> Vec<(&'static str, Value, &'static str)> {
    let mut of_rule = model
        .providers
        .iter()
        .filter(|provider| accepts(rule, provider));
    let Some(provider) = of_rule.next() else {
        return Vec::new();
    };
    let with = |claim: &str, value: Value| {
        let mut claims = claims_of(model, provider, rule);
        claims.insert(claim.to_owned(), value);
        json!({"provider": provider.name, "claims": claims})
    };
    let own = rule.claims.iter().find(|(claim, _)| claim == "aud");
    let foreign = own.and_then(|(_, accepted)| {
        let mut audiences = provider.audiences.iter();
        audiences.find(|audience| !accepted.contains(audience))
    });
    let mut tokens = vec![("an expired token", with("exp", json!(1)), "expired")];
    if !provider.audiences.is_empty() {
        let other = json!("an-audience-of-another-api");
        tokens.push((
            "a token for another API",
            with("aud", other),
            "wrong_audience",
        ));
    }
    if let Some(audience) = foreign {
        let token = with("aud", json!(audience));
        tokens.push(("a token for another rule", token, "access_denied"));
    }
    tokens
}

/// A token of the provider that meets the rule.
fn token_of(model: &Model, provider: &Provider, rule: &Rule) -> Value {
    let claims = claims_of(model, provider, rule);
    match claims.is_empty() {
        true => json!({"provider": provider.name}),
        false => json!({"provider": provider.name, "claims": claims}),
    }
}

fn claims_of(model: &Model, provider: &Provider, rule: &Rule) -> Map<String, Value> {
    let mut claims = Map::new();
    for (name, value) in simple_claims(model) {
        claims.insert(name, value);
    }
    for (name, values) in &rule.claims {
        // Of the audiences of a rule, each provider accepts its own.
        let fits = |value: &&String| {
            name != "aud" || provider.audiences.is_empty() || provider.audiences.contains(value)
        };
        if let (false, Some(value)) = (name.contains(['.', '/']), values.iter().find(fits)) {
            claims.insert(name.clone(), json!(value));
        }
    }
    for (name, values) in &provider.required_claims {
        if let (false, Some(value)) = (name.contains(['.', '/']), values.first()) {
            claims.insert(name.clone(), json!(value));
        }
    }
    if !rule.scopes.is_empty() {
        let claim = provider
            .scope_claims
            .first()
            .map_or("scope", String::as_str);
        claims.insert(claim.to_owned(), json!(rule.scopes.join(" ")));
    }
    for Example {
        provider: of,
        claim,
        value,
    } in &rule.example
    {
        if of.as_ref().is_none_or(|of| *of == provider.name) {
            claims.insert(claim.clone(), value.clone());
        }
    }
    claims
}

/// A value for each claim that a header carries and that is easy to set.
fn simple_claims(model: &Model) -> Vec<(String, Value)> {
    let headers = model.upstream.claim_headers.iter();
    headers
        .filter(|header| is_simple(&header.claim))
        .map(|header| {
            (
                header.claim.clone(),
                json!(format!("some-{}", header.claim)),
            )
        })
        .collect()
}

fn is_simple(claim: &str) -> bool {
    // These name kinds of tokens, or who obtained one.
    let marks = [
        "typ",
        "token_use",
        "token_type",
        "nonce",
        "events",
        "code",
        "error",
        "scope",
        "scp",
    ];
    !claim.contains(['.', '/']) && !OF_PROTOCOL.contains(&claim) && !marks.contains(&claim)
}

/// The headers that the upstream receives with such a token.
fn headers_of(model: &Model, rule: &Rule) -> Vec<(String, Value)> {
    let is_changed = |claim: &str| {
        let by_rule = rule.claims.iter().map(|(name, _)| name);
        let by_example = rule.example.iter().map(|example| &example.claim);
        let by_provider = model
            .providers
            .iter()
            .flat_map(|provider| provider.required_claims.iter().map(|(name, _)| name));
        by_rule
            .chain(by_example)
            .chain(by_provider)
            .any(|name| name == claim)
    };
    let headers = model.upstream.claim_headers.iter();
    headers
        .filter(|header| is_simple(&header.claim) && !is_changed(&header.claim))
        .map(|header| {
            let value = json!(format!("some-{}", header.claim));
            (header.header.to_ascii_lowercase(), value)
        })
        .collect()
}

/// A request that the rule decides.
fn sample(rule: &Rule, config: &Config) -> Option<SampleRequest> {
    let matches = &rule.matches;
    let host = match matches.hosts.first() {
        Some(host) => host.replace("*.", "some."),
        None => HOST.to_owned(),
    };
    let headers = matches.headers.iter().map(|(name, values)| {
        (
            name.clone(),
            values.first().cloned().unwrap_or_else(|| "some".to_owned()),
        )
    });
    let request = |path: String| SampleRequest {
        method: matches.methods.first().cloned().unwrap_or_default(),
        host: host.clone(),
        path,
        headers: headers.clone().collect(),
        named: rule.only_by_name.then(|| rule.name.clone()),
    };
    let paths = matches.paths.iter().flat_map(|path| match path {
        PathPattern::Exact(path) => vec![path.clone()],
        PathPattern::Prefix(path) => vec![path.clone(), below(path)],
        PathPattern::Regex(_, Some(path)) => vec![path.clone(), below(path), format!("{path}x")],
        PathPattern::Regex(_, None) => Vec::new(),
    });
    let anything = ["/", "/some/path", "/another"].map(str::to_owned);
    let candidates: Vec<String> = match matches.paths.is_empty() {
        true => anything.to_vec(),
        false => paths.collect(),
    };
    candidates
        .into_iter()
        .map(request)
        .find(|request| selected(request, config).as_deref() == Some(rule.name.as_str()))
}

fn below(path: &str) -> String {
    format!("{}/some", path.trim_end_matches('/'))
}

/// The name of the rule that decides the request.
pub(super) fn selected(sample: &SampleRequest, config: &Config) -> Option<String> {
    let headers: Headers<'_> = sample.headers.iter().collect();
    let method = match sample.method.as_str() {
        "" => "GET",
        method => method,
    };
    let named = sample.named.iter();
    let request = Request {
        method,
        host: &sample.host,
        path: &sample.path,
        path_bytes: Some(sample.path.as_bytes()),
        headers,
        source: Peer::default(),
        context: named
            .map(|name| ("claimgate.rule", name.as_str()))
            .collect(),
        conflict: None,
    };
    let rules = config.policy.rules();
    let target = rules.target(&request).ok()?;
    let (id, _) = rules.select(&target).ok()?;
    rules.get(id).map(|rule| rule.name.clone())
}
