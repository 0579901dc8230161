//! Runs a case through the service.

use std::sync::Arc;
use std::time::Duration;

use claimgate::config::Config;
use claimgate::dev::signer::Signer;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::attribute_context::{HttpRequest, Peer};
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::proto::envoy::config::core::v3::{Address, SocketAddress, address};
use claimgate::ext_authz::request::describe;
use claimgate::ext_authz::service::Service;
use claimgate::gate::Gate;
use claimgate::keyring::Algorithm;
use claimgate::time::{Clock, UnixTime};
use serde_json::{Map, Value, json};

use super::decision_log::Records;
use super::expect::{self, Answered};
use super::file::{Case, Expect, File, SourceSpec};
use crate::support::call::{check, raw_check, with_http};
use crate::support::keys::signer;
use crate::support::log::Log;

/// Whether the module can get such a request. Envoy shows it raw headers only, and no certificate.
pub fn is_for_module(form: &str, case: &Case) -> bool {
    form == "raw" && case.request.source.certificate.is_empty()
}

/// Runs both forms in which Envoy may describe the request. Their results must be equal.
pub fn requests(file: &File, case: &Case) -> Vec<(&'static str, CheckRequest)> {
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
        .header_lines
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
    [("joined", check(&lines)), ("raw", raw_check(&lines))]
        .into_iter()
        .filter(|(form, _)| spec.form.as_deref().is_none_or(|only| only == *form))
        .map(|(form, mut check)| {
            let attributes = check.attributes.as_mut().unwrap();
            let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
            http.path = spec
                .path
                .as_ref()
                .map(|path| path.replace("{token}", &token))
                .unwrap_or(std::mem::take(&mut http.path));
            http.host = spec.host.clone().unwrap_or(std::mem::take(&mut http.host));
            http.method = spec
                .method
                .clone()
                .unwrap_or(std::mem::take(&mut http.method));
            let path = match &spec.path_bytes {
                Some(text) => text.chars().map(|c| u8::try_from(c).unwrap()).collect(),
                None => http.path.clone().into_bytes(),
            };
            http.path = as_envoy_shows(&path);
            let (method, host) = (http.method.clone(), http.host.clone());
            for (name, bytes) in [
                (":authority", host.as_bytes()),
                (":path", &path),
                (":method", method.as_bytes()),
            ] {
                tell(http, name, bytes);
            }
            let attributes = check.attributes.as_mut().unwrap();
            attributes.context_extensions = spec.context.clone().into_iter().collect();
            attributes.source = Some(peer(&spec.source));
            (form, check)
        })
        .collect()
}

/// In text fields, `!` replaces each byte that is not UTF-8.
pub fn as_envoy_shows(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

/// Adds a line to the headers, in their form.
fn tell(http: &mut HttpRequest, name: &str, bytes: &[u8]) {
    match &mut http.header_map {
        Some(map) => {
            let mut lines = map.headers.iter_mut();
            let line = lines.find(|line| line.key == name);
            line.expect("each pseudo-header is there").raw_value = bytes.to_vec();
        }
        None => {
            http.headers.insert(name.to_owned(), as_envoy_shows(bytes));
        }
    }
}

fn peer(source: &SourceSpec) -> Peer {
    let SourceSpec {
        address,
        principal,
        certificate,
    } = source.clone();
    let socket = SocketAddress {
        address,
        ..SocketAddress::default()
    };
    Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(socket)),
        }),
        principal,
        certificate,
        ..Peer::default()
    }
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

/// The token of a case.
pub fn mint(file: &File, case: &Case) -> String {
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

/// The configuration of a case, before keys are inserted.
pub fn configuration(file: &File, case: &Case) -> Value {
    let mut config = file.config.clone();
    merge(&mut config, &[&case.config]);
    config
}

/// The configuration with the file's keys inserted.
pub fn with_keys(file: &File, mut config: Value) -> Value {
    let providers = config.get_mut("providers").and_then(Value::as_array_mut);
    for provider in providers.into_iter().flatten() {
        let Some(name) = provider["name"].as_str().map(ToOwned::to_owned) else {
            continue;
        };
        merge(
            provider,
            &[&Map::from_iter([("discovery_url".to_owned(), Value::Null)])],
        );
        // A generous limit, so that a stalled machine does not look like an unreachable provider.
        if provider.get("refresh").is_none() {
            provider["refresh"] = json!({"unknown_key_wait": "10s"});
        }
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
    config
}

/// What a clock that fails panics with.
pub const CLOCK_FAILS: &str = "the clock of this case fails";

/// The time of the case, or none.
pub struct CaseClock(pub Option<UnixTime>);

impl Clock for CaseClock {
    fn now(&self) -> UnixTime {
        self.0.expect(CLOCK_FAILS)
    }
}

/// How long the writer of the decision log may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the request has in `Authorization`.
fn secret(request: &CheckRequest) -> String {
    let mut joined = String::new();
    let request = describe(request, &mut joined);
    let lines = request.headers.all("authorization");
    lines.map(String::from_utf8_lossy).collect()
}

/// Asks the service.
pub async fn service(
    service: &Service,
    request: &CheckRequest,
    _: &Expect,
) -> Result<Answered, String> {
    let answer = service.check(tonic::Request::new(request.clone())).await;
    let answer = answer.map_err(|status| format!("a gRPC error, which may fail open: {status}"))?;
    Ok(answer.into_inner().into())
}

/// Runs a case with this configuration. `ask` gets an answer.
pub async fn run(
    file: &File,
    case: &Case,
    config: Value,
    request: CheckRequest,
    ask: impl AsyncFn(&Service, &CheckRequest, &Expect) -> Result<Answered, String>,
) -> Result<(), String> {
    let records = Records::default();
    let config = records.of(with_keys(file, config)).to_string();
    let config = Config::from_yaml(&config).map_err(|error| error.to_string())?;
    let clock = CaseClock((!case.clock_fails).then(|| UnixTime::from_secs(case.now)));
    let service = Service {
        gate: Gate::start(config, Arc::new(clock)).await,
    };
    let log = Log::start("info");
    let ask = async || ask(&service, &request, &case.expect).await;
    expect::compare(&case.expect, ask().await?)?;
    expect::logged(&case.expect, &log.take(), &secret(&request))?;
    expect::counted(&case.expect, &service.gate.metrics)?;
    // Cached state of a token changes no answer.
    for _ in 0..2 {
        expect::compare(&case.expect, ask().await?)?;
    }
    service.gate.stop_decision_log(PATIENCE).await;
    records.check(&case.expect, &request, 3)
}
