//! Records that leave something open: each prediction comes true, or none is made.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::logs::{CLAIMS, predict_with};
use super::{NOW, random};

/// The same rule with these settings, for every request.
fn rules(more: &Value) -> Value {
    let mut rule = json!({"name": "all", "match": {"path": {"prefix": "/"}}});
    merge(&mut rule, more);
    json!({
        "providers": [{"name": "acme", "issuer": "https://acme.example.com", "audiences": ["api"]}],
        "rules": [rule],
    })
}

fn condition(text: &str) -> Value {
    rules(&json!({"condition": text}))
}

/// The configuration with other settings beside the rules.
fn with(mut config: Value, more: &Value) -> Value {
    merge(&mut config, more);
    config
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        into[name] = value.clone();
    }
}

/// A request with a token that has these claims, too.
fn with_claims(claims: &Value) -> Value {
    let mut all = json!({
        "iss": "https://acme.example.com", "aud": "api", "iat": NOW.as_secs(),
        "exp": NOW.as_secs() + 60,
    });
    merge(&mut all, claims);
    json!({"request": {"path": "/a"}, "token": {"typ": "at+jwt", "claims": all}})
}

fn with_request(request: &Value) -> Value {
    let mut asked = with_claims(&json!({}));
    merge(&mut asked["request"], request);
    asked
}

/// A text that looks like a token.
const JWT: &str = "eyJhbGciOiJub25lIn0.e30.c2ln";

struct Case {
    what: &'static str,
    old: Value,
    new: Value,
    claims: &'static [&'static str],
    /// The requests, and whether each can be told.
    requests: Vec<(Value, bool)>,
}

async fn check(cases: Vec<Case>) {
    for case in cases {
        let Case {
            what,
            old,
            new,
            claims,
            requests,
        } = case;
        for (request, is_told) in requests {
            let requests = std::slice::from_ref(&request);
            let (told, _, unknown) = predict_with(&old, &new, claims, requests).await;
            let expected = usize::from(is_told);
            assert_eq!(told, expected, "{what}: {unknown:?}\n{request:#}");
        }
    }
}

/// What conditions see of claims that the record lacks, or has in another form.
#[tokio::test]
async fn open_claims() {
    let old = || rules(&json!({}));
    let url = "/https:~1~1acme.com~1groups";
    let case = |what, new, claims, requests| Case {
        what,
        old: old(),
        new,
        claims,
        requests,
    };
    let claims = |claims: Value| with_claims(&claims);
    check(vec![
        case(
            "`null` is there, and an absent claim is not",
            condition("has(claims.staff)"),
            &["staff"],
            vec![
                (claims(json!({"staff": null})), true),
                (claims(json!({})), true),
                (claims(json!({"staff": true})), true),
            ],
        ),
        case(
            "neither of them has a value",
            condition("has(claims.staff) && claims.staff == true"),
            &["staff"],
            vec![
                (claims(json!({"staff": null})), true),
                (claims(json!({})), true),
            ],
        ),
        Case {
            what: "the old rule tells them apart",
            old: condition("has(claims.staff)"),
            new: condition("has(claims.staff) && claims.level > 1"),
            claims: &["staff", "level"],
            requests: vec![
                (claims(json!({"level": 2})), true),
                (claims(json!({"level": 2, "staff": null})), true),
            ],
        },
        case(
            "an absent claim in an object that is not logged",
            condition("!has(claims.org.team)"),
            &["org.team"],
            vec![
                (claims(json!({})), false),
                (claims(json!({"org": {}})), false),
                (claims(json!({"org": null})), false),
                (claims(json!({"org": {"team": null}})), true),
                (claims(json!({"org": {"team": "a"}})), true),
            ],
        ),
        case(
            "another claim tells that there is the object",
            condition("has(claims.org.team) && claims.org.team == 'a' || claims.org.name == 'b'"),
            &["org.team", "org.name"],
            vec![
                (claims(json!({"org": {"name": "b"}})), true),
                (claims(json!({"org": {"name": "c"}})), true),
                (claims(json!({"org": {}})), true),
            ],
        ),
        case(
            "a claim that decides alike wherever it is missing",
            condition("'admin' in claims.realm_access.roles"),
            &["realm_access.roles"],
            vec![
                (claims(json!({})), true),
                (claims(json!({"realm_access": {}})), true),
                (
                    claims(json!({"realm_access": {"roles": ["admin"]}})),
                    true,
                ),
            ],
        ),
        case(
            "a logged object tells what is in it",
            condition("has(claims.org.team)"),
            &["org.team", "org"],
            vec![
                (claims(json!({"org": {"team": null}})), true),
                (claims(json!({"org": {}})), true),
                (claims(json!({"org": {"team": "a"}})), true),
            ],
        ),
        case(
            "a list is no object",
            condition("claims.roles['0'] == 'x'"),
            &["roles.0"],
            vec![
                (claims(json!({"roles": ["x"]})), false),
                (claims(json!({"roles": {"0": "x"}})), false),
            ],
        ),
        case(
            "a requirement reads both alike",
            rules(&json!({"claims": {"roles.0": "x"}})),
            &["roles.0"],
            vec![
                (claims(json!({"roles": ["x"]})), true),
                (claims(json!({"roles": ["y", "x"]})), true),
                (claims(json!({})), true),
            ],
        ),
        case(
            "members in another order, and numbers in another form",
            condition("claims.org.z == 1 && claims.org.a == 1000"),
            &["org"],
            vec![
                (claims(json!({"org": {"z": 1, "a": 1000.0}})), true),
                (claims(json!({"org": {"z": 2.5, "b": 0.1}})), true),
            ],
        ),
        case(
            "a claim by its pointer that looks like a token",
            condition("'https://acme.com/groups' in claims"),
            &["/https:~1~1acme.com~1groups"],
            vec![
                (
                    claims(json!({"https://acme.com/groups": "Bearer abc"})),
                    false,
                ),
                (claims(json!({"https://acme.com/groups": "abc"})), true),
            ],
        ),
        case(
            "a required claim of that kind",
            rules(&json!({"claims": {url: ["Bearer abc"]}})),
            &["/https:~1~1acme.com~1groups"],
            vec![
                (
                    claims(json!({"https://acme.com/groups": "Bearer abc"})),
                    false,
                ),
                (claims(json!({})), true),
            ],
        ),
        case(
            "a withheld object whose member is logged",
            condition("claims.org.team == 'a'"),
            &["org", "org.team"],
            vec![
                (claims(json!({"org": {"key": JWT, "team": "a"}})), true),
                (claims(json!({"org": {"key": JWT, "team": JWT}})), false),
                (claims(json!({"org": "Bearer abc"})), true),
            ],
        ),
        case(
            "a withheld object with another member",
            condition("claims.org.name == 'a'"),
            &["org", "org.team"],
            vec![
                (claims(json!({"org": {"key": JWT, "name": "a"}})), false),
                (claims(json!({"org": {"key": "b", "name": "a"}})), true),
            ],
        ),
        Case {
            what: "a required claim beside a logged one",
            old: with(
                rules(&json!({})),
                &json!({"providers": [{
                    "name": "acme", "issuer": "https://acme.example.com", "audiences": ["api"],
                    "required_claims": {"org.kind": "x"},
                }]}),
            ),
            new: with(
                condition("claims.org.team == 'a'"),
                &json!({"providers": [{
                    "name": "acme", "issuer": "https://acme.example.com", "audiences": ["api", "web"],
                    "required_claims": {"org.kind": "x"}, "max_lifetime": "2m",
                }]}),
            ),
            claims: &["org.team", "exp", "iat"],
            requests: vec![
                (claims(json!({"org": {"kind": "x", "team": "a"}})), true),
                (claims(json!({"org": {"kind": "x"}})), true),
            ],
        },
    ])
    .await;
}

/// Parts of the request that the record lacks.
#[tokio::test]
async fn open_requests() {
    let request = |request: Value| with_request(&request);
    let tier = condition("!('tier' in context) || context.tier != 'x'");
    let header = condition("!('x-env' in request.headers)");
    let of_header = |values: Value| rules(&json!({"match": {"headers": {"x-env": values}}}));
    let preflight = "('origin' in request.headers) != ('access-control-request-method' in \
                     request.headers)";
    let refusing = |more: Value| {
        let mut upstream = json!({"spoofed": "refuse"});
        merge(&mut upstream, &more);
        json!({"upstream": upstream})
    };
    check(vec![
        Case {
            what: "a withheld extension that the condition names",
            old: tier.clone(),
            new: condition("has(context.tier)"),
            claims: &["jti"],
            requests: vec![
                (request(json!({"context": {"tier": "Bearer abc"}})), false),
                (request(json!({"context": {"tier": "gold"}})), true),
                (
                    request(json!({"context": {"tier": "gold", "api-token": "abc"}})),
                    true,
                ),
                (request(json!({"context": {}})), true),
            ],
        },
        Case {
            what: "a withheld extension among all",
            old: tier,
            new: condition("context.exists(name, name == 'api-token')"),
            claims: &["jti"],
            requests: vec![
                (request(json!({"context": {"api-token": "abc"}})), false),
                (request(json!({"context": {"tier": "gold"}})), true),
            ],
        },
        Case {
            what: "a withheld name of a rule",
            old: rules(&json!({})),
            new: rules(&json!({"access": "public"})),
            claims: &["jti"],
            requests: vec![
                (
                    request(json!({"context": {"claimgate.rule": "Bearer abc"}})),
                    false,
                ),
                (request(json!({"context": {"claimgate.rule": "all"}})), true),
            ],
        },
        Case {
            what: "a withheld header under another name",
            old: header,
            new: of_header(json!(["dev"])),
            claims: &["jti"],
            requests: vec![
                (request(json!({"headers": {"x_env": "Bearer abc"}})), false),
                (request(json!({"headers": {"x-env": "Bearer abc"}})), false),
                (request(json!({"headers": {"x_env": "dev"}})), true),
                (request(json!({"headers": {"x-env": "dev"}})), true),
                (request(json!({})), true),
            ],
        },
        Case {
            what: "conditions see paths in another form",
            old: condition("request.path == '/a b'"),
            new: with(
                condition("request.path == '/a b'"),
                &json!({"paths": "as_is"}),
            ),
            claims: &["jti"],
            requests: vec![(request(json!({"path": "/a%20b"})), true)],
        },
        Case {
            what: "no preflight, for a reason that is not logged",
            old: condition(preflight),
            new: with(
                condition(&format!("{preflight} && request.method == 'OPTIONS'")),
                &json!({"cors_preflight": "allow"}),
            ),
            claims: &["jti"],
            requests: [json!({}), json!({"content-type": "text/plain"})]
                .into_iter()
                .map(|more| {
                    let mut headers = json!({
                        "origin": "https://app.example",
                        "access-control-request-method": "PUT",
                    });
                    merge(&mut headers, &more);
                    let asked = request(json!({"method": "OPTIONS", "headers": headers}));
                    (asked, true)
                })
                .collect(),
        },
        Case {
            what: "NEW refuses more headers",
            old: with(rules(&json!({})), &refusing(json!({}))),
            new: with(
                rules(&json!({})),
                &refusing(json!({"scope_header": "x-scopes"})),
            ),
            claims: &["jti"],
            requests: vec![(request(json!({"headers": {"x-scopes": "a"}})), false)],
        },
        Case {
            what: "NEW refuses headers that name another method, since its rules look at methods",
            old: with(
                json!({"providers": rules(&json!({}))["providers"]}),
                &refusing(json!({})),
            ),
            new: with(rules(&json!({})), &refusing(json!({}))),
            claims: &["jti"],
            requests: vec![(
                request(json!({"headers": {"x-http-method-override": "PUT"}})),
                false,
            )],
        },
        Case {
            what: "NEW refuses no more",
            old: with(
                rules(&json!({})),
                &refusing(json!({"scope_header": "x-scopes"})),
            ),
            new: with(rules(&json!({"scopes": ["a"]})), &refusing(json!({}))),
            claims: &["scope", "scp"],
            requests: vec![(request(json!({})), true)],
        },
    ])
    .await;
}

/// Which provider judges a token, and by which keys.
#[tokio::test]
async fn other_providers() {
    let provider = |name: &str, issuer: &str, audience: &str| {
        json!({
            "name": name, "issuer": format!("https://{issuer}.example.com"),
            "audiences": [audience],
        })
    };
    let with_providers =
        |providers: Value| with(rules(&json!({})), &json!({"providers": providers}));
    let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let tenants = json!({
        "name": "tenants", "issuer": "https://login.example.com/{tenantid}/v2.0",
        "tenants": "any", "audiences": ["api"],
    });
    let acme = || with_claims(&json!({}));
    let of_tenant = with_claims(&json!({
        "iss": format!("https://login.example.com/{tenant}/v2.0"), "tid": tenant,
    }));
    let both = json!([
        provider("acme", "acme", "api"),
        provider("beta", "beta", "web")
    ]);
    let mut with_alias = both.clone();
    with_alias[1]["issuer_aliases"] = json!(["https://acme.example.com"]);
    check(vec![
        Case {
            what: "providers change their names",
            old: with_providers(both.clone()),
            new: with_providers(json!([
                provider("beta", "acme", "cli"),
                provider("acme", "beta", "api"),
            ])),
            claims: &["iss"],
            requests: vec![(acme(), false)],
        },
        Case {
            what: "a provider takes over the issuer of a removed one",
            old: with_providers(both.clone()),
            new: with_providers(json!([with_alias[1]])),
            claims: &["iss"],
            requests: vec![(acme(), false)],
        },
        Case {
            what: "a removed provider",
            old: with_providers(both.clone()),
            new: with_providers(json!([both[1]])),
            claims: &["jti"],
            requests: vec![(acme(), true)],
        },
        Case {
            what: "a provider for one tenant of another",
            old: with_providers(json!([tenants])),
            new: with_providers(json!([
                tenants,
                {
                    "name": "own", "issuer": format!("https://login.example.com/{tenant}/v2.0"),
                    "audiences": ["web"],
                },
            ])),
            claims: &["iss", "tid"],
            requests: vec![(of_tenant, false)],
        },
        Case {
            what: "a trust domain beside the issuer asks for `sub`",
            old: with_providers(json!([both[0]])),
            new: with_providers(json!([with(
                both[0].clone(),
                &json!({"issuer_aliases": ["spiffe://example.org"]})
            )])),
            claims: &["iss"],
            requests: vec![(with_claims(&json!({"sub": "a"})), false)],
        },
    ])
    .await;
}

/// Conditions on what records leave open.
const CONDITIONS: [&str; 14] = [
    "has(claims.staff)",
    "!has(claims.staff) || claims.staff == null",
    "has(claims.org.team)",
    "!has(claims.org.team)",
    "'a' in claims.org.teams",
    "has(claims.org) && has(claims.org.team)",
    "claims.level == 1 || !has(claims.level)",
    "context.tier == 'gold'",
    "'tier' in context",
    "request.headers['x-env'] == 'dev' || !('x-tag' in request.headers)",
    "request.query == ''",
    "source.principal != ''",
    "'https://acme.com/groups' in claims",
    "claims.ver != '2'",
];

/// Random requests with much that is not written to records.
fn requests_with_secrets(seed: u64, random: &mut Rng) -> Vec<Value> {
    let mut all = random::requests(seed);
    for asked in &mut all {
        let text = |random: &mut Rng| match random.usize(..4) {
            0 => "Bearer abc".to_owned(),
            1 => "x".repeat(5000),
            2 => "gold".to_owned(),
            _ => "dev".to_owned(),
        };
        let request = &mut asked["request"];
        for name in ["x-env", "x_env", "x-tag", "x.tag"] {
            if random.usize(..8) == 0 {
                request["headers"][name] = text(random).into();
            }
        }
        if random.usize(..2) == 0 {
            for name in ["tier", "api-token", "Bearer abc"] {
                if random.usize(..3) == 0 {
                    request["context"][name] = text(random).into();
                }
            }
        }
        if random.usize(..6) == 0 {
            let path = request["path"].as_str().unwrap().to_owned();
            request["path"] = format!("{path}?a=b").into();
        }
        if random.usize(..6) == 0 {
            request["source"]["principal"] = text(random).into();
        }
        let claims = asked.pointer_mut("/token/claims");
        let Some(claims) = claims.and_then(Value::as_object_mut) else {
            continue;
        };
        for name in ["staff", "level", "ver", "https://acme.com/groups"] {
            let value = match random.usize(..6) {
                0 => Value::Null,
                1 => text(random).into(),
                2 => json!([1, {"b": 1.5, "a": null}]),
                _ => continue,
            };
            claims.insert(name.to_owned(), value);
        }
        let org = match random.usize(..6) {
            0 => Value::Null,
            1 => text(random).into(),
            2 => json!({}),
            3 => json!({"team": null, "teams": ["a"]}),
            4 => json!({"team": text(random), "teams": []}),
            _ => continue,
        };
        claims.insert("org".to_owned(), org);
    }
    all
}

/// Puts other conditions into some rules.
fn with_conditions(config: &mut Value, random: &mut Rng) {
    for rule in config["rules"].as_array_mut().unwrap() {
        let rule: &mut Map<String, Value> = rule.as_object_mut().unwrap();
        let access = rule.get("access").and_then(Value::as_str);
        let reads_token = !matches!(access, Some("deny" | "public"));
        if reads_token && random.usize(..3) > 0 {
            let condition = CONDITIONS[random.usize(..CONDITIONS.len())];
            rule.insert("condition".to_owned(), condition.into());
        }
    }
}

/// Every prediction comes true, whatever records leave out.
#[tokio::test]
async fn predictions_come_true_whatever_is_withheld() {
    const MORE: [&str; 4] = [
        "org",
        "org.team",
        "org.teams",
        "/https:~1~1acme.com~1groups",
    ];
    let (mut told, mut otherwise, mut all) = (0, 0, 0);
    for seed in 0..24 {
        let mut random = Rng::with_seed(seed);
        let random = &mut random;
        let (mut old, mut new) = random::pair_of_values(seed);
        with_conditions(&mut old, random);
        match random.bool() {
            true => with_conditions(&mut new, random),
            false => new["rules"] = old["rules"].clone(),
        }
        if random.usize(..4) == 0 {
            new["paths"] = "as_is".into();
        }
        let claims = CLAIMS.iter().chain(&MORE).copied();
        let mut claims: Vec<&str> = claims.filter(|_| random.usize(..6) > 0).collect();
        random.shuffle(&mut claims);
        let requests = requests_with_secrets(seed, random);
        let (now_told, now_otherwise, unknown) = predict_with(&old, &new, &claims, &requests).await;
        told += now_told;
        otherwise += now_otherwise;
        all += requests.len();
        let guessed = "the log and OLD disagree about the request";
        assert!(
            !unknown.iter().any(|why| why == guessed),
            "seed {seed}: {unknown:?}"
        );
    }
    assert!(2 * told > all, "only {told} of {all} were told");
    assert!(otherwise > 50, "only {otherwise} differ");
}
