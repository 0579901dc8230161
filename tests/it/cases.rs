//! Decisions as data: every case of `tests/cases/*.yaml`, through the service itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use claimgate::config::Config;
use claimgate::decision::Reason;
use claimgate::dev::signer::Signer;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::attribute_context::HttpRequest;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::service::Service;
use claimgate::keyring::Algorithm;
use claimgate::telemetry::metrics::Metrics;
use claimgate::time::{Clock, UnixTime};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::call::{Answer, check, raw_check, with_http};
use crate::support::keys::signer;

/// A file of cases about one subject.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// A configuration, or the name of its file; a provider's keys are put into it.
    #[serde(deserialize_with = "configuration")]
    config: Value,
    /// By provider: the keys that it signs with, or nothing when they cannot be had.
    keys: BTreeMap<String, Option<Vec<KeySpec>>>,
    /// What every token of the file has, unless its case says otherwise.
    token: TokenSpec,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySpec {
    kid: String,
    alg: String,
    /// Changes to the published key; `null` takes a member away.
    #[serde(default)]
    jwk: Map<String, Value>,
    /// Whether the provider publishes it.
    #[serde(default = "yes")]
    published: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokenSpec {
    /// Who signs: `provider/kid`.
    key: Option<String>,
    /// By another algorithm than the key's own.
    sign_as: Option<String>,
    /// Changes to the header; `null` takes a member away.
    header: Map<String, Value>,
    /// Changes to the claims; `null` takes a claim away.
    claims: Map<String, Value>,
    /// The header, or the claims, as text.
    header_text: Option<String>,
    claims_text: Option<String>,
    /// Replaces the signature.
    signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    token: TokenSpec,
    /// Changes to the configuration's top-level sections.
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    request: RequestSpec,
    /// Seconds since 1970.
    #[serde(default = "january_2026")]
    now: u64,
    /// The clock panics.
    #[serde(default)]
    clock_fails: bool,
    expect: Expect,
}

const fn january_2026() -> u64 {
    1_767_225_600
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RequestSpec {
    /// Header lines, in which `{token}` stands for the token.
    headers: Option<Vec<(String, String)>>,
    path: Option<String>,
    host: Option<String>,
    /// The check has no `request.http`.
    without_http: bool,
    /// The check has nothing at all.
    empty: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The reason of the denial; absent for an allow.
    deny: Option<String>,
    status: Option<i32>,
    code: Option<i32>,
    /// What the caller's challenge is, in full.
    challenge: Option<String>,
    body: Option<String>,
    /// Some of the headers of the answer, or of those that are set for the upstream.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// All header names that are removed.
    remove: Option<BTreeSet<String>>,
    /// All query parameters that are removed.
    #[serde(default)]
    remove_query: Vec<String>,
}

#[tokio::test]
async fn every_case() {
    let mut failures = String::new();
    let mut count = 0;
    for path in files() {
        let file = read(&path);
        for case in &file.cases {
            count += 1;
            let name = format!("{}: {}", path.file_stem().unwrap().display(), case.name);
            for (form, request) in requests(&file, case) {
                if let Err(why) = run(&file, case, request).await {
                    writeln!(failures, "{name} ({form}): {why}").unwrap();
                }
            }
        }
    }
    assert!(count > 50, "the cases were not found");
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn every_reason_has_a_case() {
    let tested: BTreeSet<String> = files()
        .iter()
        .flat_map(|path| read(path).cases)
        .filter_map(|case| case.expect.deny)
        .collect();
    let all: BTreeSet<String> = Reason::ALL.map(|reason| reason.code().to_owned()).into();
    assert_eq!(
        tested, all,
        "a reason without a case, or a case with an unknown reason"
    );
}

/// Each configuration that a user may start from is tried with that provider's tokens.
#[test]
fn every_provider_has_cases() {
    let names = |directory: &str| -> BTreeSet<_> {
        yaml_files(directory)
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("deploy/providers"), names("tests/cases/providers"));
}

fn files() -> Vec<PathBuf> {
    let mut files = yaml_files("tests/cases");
    files.extend(yaml_files("tests/cases/providers"));
    files
}

fn yaml_files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn configuration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(name) => {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
            // As it is, before anything in it is replaced.
            Config::load(&file).unwrap_or_else(|error| panic!("{error}"));
            serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
        }
        config => config,
    })
}

fn read(path: &Path) -> File {
    let yaml = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Both forms in which Envoy may describe the request: they must come to the same.
fn requests(file: &File, case: &Case) -> Vec<(&'static str, CheckRequest)> {
    let spec = &case.request;
    if spec.empty {
        return vec![("empty", CheckRequest::default())];
    }
    if spec.without_http {
        let mut check = with_http(HttpRequest::default());
        check
            .attributes
            .as_mut()
            .unwrap()
            .request
            .as_mut()
            .unwrap()
            .http = None;
        return vec![("without http", check)];
    }
    let token = mint(file, case);
    let lines = spec
        .headers
        .clone()
        .unwrap_or_else(|| vec![("authorization".to_owned(), "Bearer {token}".to_owned())]);
    let lines: Vec<(String, String)> = lines
        .into_iter()
        .map(|(name, value)| (name, value.replace("{token}", &token)))
        .collect();
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    [
        ("joined headers", check(&lines)),
        ("raw headers", raw_check(&lines)),
    ]
    .into_iter()
    .map(|(form, mut check)| {
        let attributes = check.attributes.as_mut().unwrap();
        let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
        http.path = spec
            .path
            .as_ref()
            .map(|path| path.replace("{token}", &token))
            .unwrap_or(std::mem::take(&mut http.path));
        http.host = spec.host.clone().unwrap_or(std::mem::take(&mut http.host));
        (form, check)
    })
    .collect()
}

fn key(file: &File, name: &str) -> Arc<Signer> {
    let (provider, kid) = name.split_once('/').expect("a key is `provider/kid`");
    let specs = file.keys[provider].as_ref().expect("the provider has keys");
    let spec = specs
        .iter()
        .find(|spec| spec.kid == kid)
        .expect("the provider has this key");
    signer(
        Algorithm::from_name(&spec.alg).unwrap(),
        &format!("{provider}/{kid}"),
    )
}

fn mint(file: &File, case: &Case) -> String {
    let (base, own) = (&file.token, &case.token);
    let name = own
        .key
        .as_ref()
        .or(base.key.as_ref())
        .expect("a token names its key");
    let key = key(file, name);
    let kid = name.split_once('/').unwrap().1;
    let sign_as = own
        .sign_as
        .as_deref()
        .map(|alg| Algorithm::from_name(alg).unwrap());
    let alg = sign_as.unwrap_or(key.alg());

    let mut header = json!({"alg": alg.name(), "kid": kid, "typ": "at+jwt"});
    merge(&mut header, &[&base.header, &own.header]);
    let mut claims = json!({});
    merge(&mut claims, &[&base.claims, &own.claims]);
    let header = own
        .header_text
        .clone()
        .unwrap_or_else(|| header.to_string());
    let claims = own
        .claims_text
        .clone()
        .unwrap_or_else(|| claims.to_string());
    let token = key.sign_as(alg, &header, &claims).unwrap();
    match &own.signature {
        Some(signature) => format!("{}.{signature}", token.rsplit_once('.').unwrap().0),
        None => token,
    }
}

fn merge(value: &mut Value, changes: &[&Map<String, Value>]) {
    let members = value.as_object_mut().unwrap();
    for change in changes {
        members.extend((*change).clone());
    }
    members.retain(|_, value| !value.is_null());
}

fn configure(file: &File, case: &Case) -> Config {
    let mut config = file.config.clone();
    merge(&mut config, &[&case.config]);
    for provider in config["providers"].as_array_mut().unwrap() {
        let name = provider["name"].as_str().unwrap().to_owned();
        merge(
            provider,
            &[&Map::from_iter([("discovery_url".to_owned(), Value::Null)])],
        );
        provider["jwks"] = match &file.keys[&name] {
            None => json!({"file": "/nonexistent"}),
            Some(specs) => {
                let keys: Vec<Value> = specs
                    .iter()
                    .filter(|spec| spec.published)
                    .map(|spec| {
                        let mut jwk = key(file, &format!("{name}/{}", spec.kid)).jwk();
                        jwk["kid"] = spec.kid.as_str().into();
                        merge(&mut jwk, &[&spec.jwk]);
                        jwk
                    })
                    .collect();
                json!({"inline": {"keys": keys}})
            }
        };
    }
    Config::from_yaml(&config.to_string()).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

/// The time of the case, or none.
struct CaseClock(Option<UnixTime>);

impl Clock for CaseClock {
    fn now(&self) -> UnixTime {
        self.0.expect("the clock of this case fails")
    }
}

async fn run(file: &File, case: &Case, request: CheckRequest) -> Result<(), String> {
    let config = configure(file, case);
    let clock = CaseClock((!case.clock_fails).then(|| UnixTime::from_secs(case.now)));
    let service = Service::start(config, Arc::new(clock)).await;
    let answer = service.check(tonic::Request::new(request)).await;
    let answer = answer.map_err(|status| format!("a gRPC error, which may fail open: {status}"))?;
    compare(&case.expect, &Answer::read(answer.into_inner()))?;
    counted(&case.expect, &service.metrics)
}

fn compare(expect: &Expect, answer: &Answer) -> Result<(), String> {
    let same = |what: &str, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        match expected == found {
            true => Ok(()),
            false => Err(format!("{what}: expected {expected}, found {found}")),
        }
    };
    let headers = match (answer, &expect.deny) {
        (
            Answer::Allow {
                set,
                remove,
                remove_query,
            },
            None,
        ) => {
            same("removed from the query", &expect.remove_query, remove_query)?;
            if let Some(expected) = &expect.remove {
                same(
                    "removed",
                    expected,
                    &remove.iter().cloned().collect::<BTreeSet<_>>(),
                )?;
            }
            set
        }
        (
            Answer::Deny {
                status,
                code,
                headers,
                body,
            },
            Some(_),
        ) => {
            same("status", &expect.status.unwrap_or(401), status)?;
            if let Some(expected) = &expect.code {
                same("gRPC code", expected, code)?;
            }
            if let Some(expected) = &expect.body {
                same("body", expected, body)?;
            }
            if let Some(expected) = &expect.challenge {
                let found = headers.iter().find(|(name, _)| name == "www-authenticate");
                same("challenge", &Some(expected), &found.map(|(_, value)| value))?;
            }
            headers
        }
        (answer, _) => return Err(format!("expected {:?}, found {answer:?}", expect.deny)),
    };
    for (name, expected) in &expect.headers {
        let found = headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value);
        same(name, &Some(expected), &found)?;
    }
    Ok(())
}

/// The metric tells the operator the reason that the caller may not be told.
fn counted(expect: &Expect, metrics: &Metrics) -> Result<(), String> {
    let (decision, reason) = match &expect.deny {
        Some(reason) => ("deny", reason.as_str()),
        None => ("allow", "none"),
    };
    let wanted = format!("claimgate_checks_total{{decision=\"{decision}\",reason=\"{reason}\"");
    let text = metrics.encode().unwrap();
    let counted: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("claimgate_checks_total") && !line.ends_with(" 0"))
        .collect();
    match counted.as_slice() {
        [line] if line.starts_with(&wanted) && line.ends_with(" 1") => Ok(()),
        found => Err(format!("reason: expected {reason}, counted {found:?}")),
    }
}
