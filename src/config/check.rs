//! From what was written to what it means. Goes on after a problem, to find the next one.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::document::{Field, Problem, Spot};
use super::raw::{self, Texts};
use super::{
    Admin, Config, Denials, Fetch, KeySettings, KeySource, ProviderFlags, Refresh, Server, values,
};
use crate::identity::{HeaderName, Upstream};
use crate::keyring::{Algorithm, AlgorithmSet, KeySet};
use crate::policy::{Policy, Provider};
use crate::token::claims::ClaimPath;
use crate::token::{Audiences, Terms};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A whole file.
pub(super) fn root(
    root: Field<raw::Root>,
    problems: Vec<Problem>,
    directory: &Path,
) -> Result<Config, Vec<Problem>> {
    let mut check = Check {
        problems,
        directory,
    };
    let root = match root {
        Field::Given(_, root) => root,
        Field::Absent | Field::Invalid => raw::Root::default(),
    };
    let config = check.root(root);
    check.finish(config)
}

/// A provider from the command line.
pub(super) fn flags(flags: &ProviderFlags) -> Result<Config, Vec<Problem>> {
    let mut check = Check {
        problems: Vec::new(),
        directory: Path::new(""),
    };
    let given = |flag: &str, value: &Option<String>| match value {
        Some(value) => Field::Given(Spot::flag(flag), value.clone()),
        None => Field::Absent,
    };
    let audiences = flags
        .audiences
        .iter()
        .map(|audience| Field::Given(Spot::flag("--audience"), audience.clone()))
        .collect();
    let provider = raw::Provider {
        issuer: given("--issuer", &flags.issuer),
        audiences: Field::Given(Spot::flag("--audience"), Texts::Many(audiences)),
        jwks: Field::Given(
            Spot::flag("--jwks-uri"),
            raw::Jwks {
                uri: given("--jwks-uri", &flags.jwks_uri),
                ..raw::Jwks::default()
            },
        ),
        ..raw::Provider::default()
    };
    let provider = match &flags.jwks_uri {
        Some(_) => provider,
        None => raw::Provider {
            jwks: Field::Absent,
            ..provider
        },
    };
    let config = check.root(raw::Root {
        providers: Field::Given(
            Spot::default(),
            vec![Field::Given(Spot::flag("--issuer"), provider)],
        ),
        ..raw::Root::default()
    });
    check.finish(config)
}

struct Check<'d> {
    problems: Vec<Problem>,
    directory: &'d Path,
}

impl Check<'_> {
    fn finish(mut self, config: Option<Config>) -> Result<Config, Vec<Problem>> {
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => {
                self.problems
                    .sort_by_key(|problem| (problem.spot.line, problem.spot.column));
                Err(self.problems)
            }
        }
    }

    fn report(&mut self, spot: &Spot, message: impl Into<String>) {
        self.problems.push(Problem {
            spot: spot.clone(),
            message: message.into(),
        });
    }

    fn root(&mut self, root: raw::Root) -> Option<Config> {
        let raw::Root {
            server,
            admin,
            providers,
            upstream,
            denials,
        } = root;
        let server = self.server(section(server));
        let admin = self.admin(section(admin));
        let upstream = self.upstream(section(upstream));
        let denials = self.denials(section(denials));
        let (providers, keys) = self.providers(providers)?;
        Some(Config {
            server,
            admin,
            policy: Arc::new(Policy::new(providers, upstream)),
            keys,
            denials,
        })
    }

    fn server(&mut self, server: raw::Server) -> Server {
        let raw::Server { listen, drain } = server;
        let texts = match listen {
            Field::Absent | Field::Invalid => vec![(Spot::default(), "0.0.0.0:9001".to_owned())],
            given @ Field::Given(..) => self.texts(given, "at least one address"),
        };
        let listen = texts
            .iter()
            .filter_map(|(spot, text)| self.parsed(spot, values::listen_address(text)))
            .collect();
        Server {
            listen,
            drain: self.duration(&drain, 5 * SECOND, Duration::ZERO, 10 * MINUTE),
        }
    }

    fn admin(&mut self, admin: raw::Admin) -> Admin {
        let raw::Admin { listen } = admin;
        let default = std::net::SocketAddr::from(([127, 0, 0, 1], 9002));
        let listen = match listen.given() {
            Some((spot, text)) => self.parsed(spot, values::socket_address(text)),
            None => None,
        };
        Admin {
            listen: listen.unwrap_or(default),
        }
    }

    fn denials(&mut self, denials: raw::Denials) -> Denials {
        let raw::Denials {
            realm,
            expose_reason,
        } = denials;
        if let Some((spot, realm)) = realm.given() {
            let quotable = |c: char| c == ' ' || (c.is_ascii_graphic() && c != '"' && c != '\\');
            if realm.is_empty() || !realm.chars().all(quotable) {
                self.report(spot, "a realm is printable ASCII without `\"` and `\\`");
            }
        }
        Denials {
            realm: realm.value().cloned(),
            expose_reason: expose_reason.value().copied().unwrap_or(true),
        }
    }

    fn upstream(&mut self, upstream: raw::Upstream) -> Upstream {
        let raw::Upstream {
            claim_headers,
            payload_header,
            forward_token,
        } = upstream;
        let mut taken = HashMap::new();
        let mut headers = Vec::new();
        for field in listed(claim_headers) {
            let Field::Given(spot, raw::ClaimHeader { header, claim }) = field else {
                continue;
            };
            let name = self
                .required(&spot, "header", &header)
                .and_then(|header| self.header_name(header, &mut taken));
            let path = self
                .required(&spot, "claim", &claim)
                .and_then(|(spot, claim)| {
                    let parsed = ClaimPath::from_str(claim).map_err(|error| error.to_string());
                    self.parsed(spot, parsed)
                });
            headers.extend(name.zip(path));
        }
        let payload_header = payload_header
            .given()
            .and_then(|header| self.header_name(header, &mut taken));
        Upstream::new(
            headers,
            payload_header,
            forward_token.value().copied().unwrap_or(true),
        )
    }

    fn header_name(
        &mut self,
        (spot, text): (&Spot, &String),
        taken: &mut HashMap<String, String>,
    ) -> Option<HeaderName> {
        let parsed = HeaderName::from_str(text).map_err(|error| error.to_string());
        let name = self.parsed(spot, parsed)?;
        if let Some(other) = taken.insert(name.as_str().to_owned(), spot.path.clone()) {
            self.report(spot, format!("`{text}` is set by {other} already"));
        }
        Some(name)
    }

    fn providers(
        &mut self,
        providers: Field<Vec<Field<raw::Provider>>>,
    ) -> Option<(Vec<Provider>, Vec<KeySettings>)> {
        match &providers {
            Field::Invalid => return None,
            Field::Given(_, providers) if !providers.is_empty() => {}
            Field::Given(spot, _) => {
                self.report(spot, "at least one provider is needed");
                return None;
            }
            Field::Absent => {
                self.report(
                    &Spot::flag("providers"),
                    "missing; at least one provider with `issuer` and `audiences` is needed",
                );
                return None;
            }
        }
        let mut read = Vec::new();
        let mut names = HashMap::new();
        let mut issuers = HashMap::new();
        for field in listed(providers) {
            let Field::Given(spot, provider) = field else {
                continue;
            };
            let Some((provider, keys)) = self.provider(&spot, provider) else {
                continue;
            };
            if let Some(other) = issuers.insert(provider.terms.issuer.clone(), spot.path.clone()) {
                self.report(
                    &spot,
                    format!("{other} has the same `issuer`; merge the two"),
                );
            } else if let Some(other) = names.insert(provider.name.clone(), spot.path.clone()) {
                let name = &provider.name;
                self.report(
                    &spot,
                    format!("{other} is called `{name}` too; give each a `name` of its own"),
                );
            }
            read.push((provider, keys));
        }
        Some(read.into_iter().unzip())
    }

    fn provider(
        &mut self,
        spot: &Spot,
        provider: raw::Provider,
    ) -> Option<(Provider, KeySettings)> {
        let raw::Provider {
            name,
            issuer,
            audiences,
            discovery_url,
            jwks,
            fetch,
            refresh,
            algorithms,
            token_types,
            clock_skew,
        } = provider;
        let fetch = self.fetch(section(fetch));
        let refresh = self.refresh(section(refresh));
        let audiences = self.audiences(spot, audiences);
        let algorithms = self.algorithms(algorithms);
        let token_types = match token_types {
            Field::Given(..) => self
                .texts(token_types, "at least one type")
                .into_iter()
                .map(|(_, text)| text)
                .collect(),
            Field::Absent | Field::Invalid => Vec::new(),
        };
        let clock_skew = self.duration(&clock_skew, MINUTE, Duration::ZERO, 5 * MINUTE);
        let (issuer_spot, issuer) = self.required(spot, "issuer", &issuer)?;
        let source = self.key_source(issuer_spot, issuer, &discovery_url, jwks, &fetch);
        let name = self.provider_name(&name, issuer);
        let terms = Terms {
            issuer: issuer.clone(),
            audiences: audiences?,
            algorithms: algorithms?,
            token_types,
            clock_skew,
        };
        let keys = KeySettings {
            name: name.clone(),
            source: source?,
            fetch,
            refresh,
        };
        Some((Provider { name, terms }, keys))
    }

    fn provider_name(&mut self, name: &Field<String>, issuer: &str) -> String {
        if let Some((spot, name)) = name.given() {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                self.report(spot, "a name has 1 to 64 letters, digits and `-_.:`");
            }
            return name.clone();
        }
        Url::parse(issuer)
            .ok()
            .and_then(|url| url.host_str().map(ToOwned::to_owned))
            .unwrap_or_else(|| issuer.to_owned())
    }

    fn audiences(&mut self, spot: &Spot, audiences: Field<Texts>) -> Option<Audiences> {
        match audiences {
            Field::Invalid => None,
            Field::Absent => {
                self.report(
                    spot,
                    "missing field `audiences`: the `aud` that your API's tokens carry; \
                     `audiences: any` accepts tokens meant for anyone",
                );
                None
            }
            Field::Given(_, Texts::One(text)) if text == "any" => Some(Audiences::Any),
            given @ Field::Given(..) => {
                let texts = self.texts(given, "at least one audience, or `any` instead of a list");
                let audiences: Vec<_> = texts.into_iter().map(|(_, text)| text).collect();
                (!audiences.is_empty()).then_some(Audiences::AnyOf(audiences))
            }
        }
    }

    fn algorithms(&mut self, algorithms: Field<Vec<Field<String>>>) -> Option<AlgorithmSet> {
        let Field::Given(spot, names) = algorithms else {
            return Some(Algorithm::ALL.into_iter().collect());
        };
        let set: AlgorithmSet = names
            .iter()
            .filter_map(Field::given)
            .filter_map(|(spot, name)| {
                let known: AlgorithmSet = Algorithm::ALL.into_iter().collect();
                let parsed = Algorithm::from_name(name)
                    .ok_or_else(|| format!("`{name}` is not supported; supported: {known}"));
                self.parsed(spot, parsed)
            })
            .collect();
        if names.is_empty() {
            self.report(
                &spot,
                "at least one algorithm is needed; leave it out to accept all",
            );
        }
        (!set.is_empty()).then_some(set)
    }

    fn key_source(
        &mut self,
        issuer_spot: &Spot,
        issuer: &str,
        discovery_url: &Field<String>,
        jwks: Field<raw::Jwks>,
        fetch: &Fetch,
    ) -> Option<KeySource> {
        match (jwks, discovery_url.given()) {
            (Field::Invalid, _) => None,
            (Field::Given(spot, _), Some(_)) => {
                self.report(&spot, "`jwks` and `discovery_url` exclude each other");
                None
            }
            (Field::Given(spot, jwks), None) => self.jwks(&spot, &jwks, fetch),
            (Field::Absent, Some((spot, text))) => {
                let url = self.parsed(spot, values::key_url(text, fetch.allow_http))?;
                Some(KeySource::Discovery {
                    issuer: issuer.to_owned(),
                    metadata: vec![url],
                })
            }
            (Field::Absent, None) => {
                let metadata = values::key_url(issuer, fetch.allow_http)
                    .and_then(|url| well_known(issuer, &url))
                    .map_err(|why| format!("{why}; give `jwks.uri` if it has no discovery"));
                Some(KeySource::Discovery {
                    issuer: issuer.to_owned(),
                    metadata: self.parsed(issuer_spot, metadata)?,
                })
            }
        }
    }

    fn jwks(&mut self, spot: &Spot, jwks: &raw::Jwks, fetch: &Fetch) -> Option<KeySource> {
        let raw::Jwks { uri, file, inline } = jwks;
        match (uri, file, inline) {
            (Field::Given(spot, uri), Field::Absent, Field::Absent) => self
                .parsed(spot, values::key_url(uri, fetch.allow_http))
                .map(KeySource::Uri),
            (Field::Absent, Field::Given(_, file), Field::Absent) => {
                Some(KeySource::File(self.directory.join(file)))
            }
            (Field::Absent, Field::Absent, Field::Given(spot, inline)) => {
                let keys = KeySet::from_json(inline.0.to_string().as_bytes());
                self.parsed(spot, keys.map_err(|error| error.to_string()))
                    .map(|keys| KeySource::Inline(Arc::new(keys)))
            }
            (Field::Invalid, _, _) | (_, Field::Invalid, _) | (_, _, Field::Invalid) => None,
            _ => {
                self.report(spot, "give exactly one of `uri`, `file` and `inline`");
                None
            }
        }
    }

    fn fetch(&mut self, fetch: raw::Fetch) -> Fetch {
        let raw::Fetch {
            timeout,
            ca_file,
            allow_http,
            max_bytes,
        } = fetch;
        let default = 1024 * 1024;
        let max_bytes = match max_bytes.given() {
            Some((spot, text)) => match self.parsed(spot, values::bytes(text)) {
                Some(bytes) if !(1024..=64 * default).contains(&bytes) => {
                    self.report(spot, "must be from 1KiB to 64MiB");
                    default
                }
                bytes => bytes.unwrap_or(default),
            },
            None => default,
        };
        Fetch {
            timeout: self.duration(&timeout, 5 * SECOND, SECOND / 10, MINUTE),
            ca_file: ca_file.value().map(|file| self.directory.join(file)),
            allow_http: allow_http.value().copied().unwrap_or(false),
            max_bytes,
        }
    }

    fn refresh(&mut self, refresh: raw::Refresh) -> Refresh {
        let raw::Refresh {
            min,
            max,
            max_stale,
            unknown_key_cooldown,
            unknown_key_wait,
        } = refresh;
        let (year, day) = (365 * 24 * HOUR, 24 * HOUR);
        let shortest = self.duration(&min, 30 * SECOND, SECOND, day);
        let longest = self.duration(&max, (15 * MINUTE).max(shortest), shortest, 30 * day);
        Refresh {
            min: shortest,
            max: longest,
            max_stale: self.duration(&max_stale, day.max(longest), longest, year),
            unknown_key_cooldown: self.duration(&unknown_key_cooldown, 30 * SECOND, SECOND, HOUR),
            unknown_key_wait: self.duration(
                &unknown_key_wait,
                SECOND / 10,
                Duration::ZERO,
                10 * SECOND,
            ),
        }
    }

    /// A duration from `least` to `most`; `default` when it is absent, or wrong and reported.
    fn duration(
        &mut self,
        field: &Field<String>,
        default: Duration,
        least: Duration,
        most: Duration,
    ) -> Duration {
        let Some((spot, text)) = field.given() else {
            return default;
        };
        match self.parsed(spot, values::duration(text)) {
            Some(duration) if duration < least || duration > most => {
                let (least, most) = (
                    humantime::format_duration(least),
                    humantime::format_duration(most),
                );
                self.report(
                    spot,
                    format!("`{text}` is out of range: from {least} to {most}"),
                );
                default
            }
            duration => duration.unwrap_or(default),
        }
    }

    /// Texts that are not empty, with their places; reports when there is none.
    fn texts(&mut self, field: Field<Texts>, wanted: &str) -> Vec<(Spot, String)> {
        let Field::Given(spot, texts) = field else {
            return Vec::new();
        };
        let fields = match texts {
            Texts::One(text) => vec![Field::Given(spot.clone(), text)],
            Texts::Many(fields) => fields,
        };
        if fields.is_empty() {
            self.report(&spot, format!("empty; give {wanted}"));
        }
        let mut texts = Vec::new();
        for field in fields {
            match field {
                Field::Given(spot, text) if text.is_empty() => self.report(&spot, "empty text"),
                Field::Given(spot, text) => texts.push((spot, text)),
                Field::Absent => self.report(&spot, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        texts
    }

    fn required<'f, T>(
        &mut self,
        parent: &Spot,
        name: &str,
        field: &'f Field<T>,
    ) -> Option<(&'f Spot, &'f T)> {
        if matches!(field, Field::Absent) {
            self.report(parent, format!("missing field `{name}`"));
        }
        field.given()
    }

    fn parsed<T>(&mut self, spot: &Spot, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|why| self.report(spot, why)).ok()
    }
}

/// A section that is absent has every default.
fn section<T: Default>(field: Field<T>) -> T {
    match field {
        Field::Given(_, section) => section,
        Field::Absent | Field::Invalid => T::default(),
    }
}

fn listed<T>(field: Field<Vec<Field<T>>>) -> Vec<Field<T>> {
    section(field)
}

/// Where the metadata of an issuer may be: OpenID Connect Discovery 1.0 §4.1 appends, RFC 8414
/// §3.1 inserts between host and path.
fn well_known(issuer: &str, url: &Url) -> Result<Vec<Url>, String> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "`{issuer}` has a query or a fragment, so discovery is not possible"
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url
    };
    let mut places = vec![
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ];
    if !path.is_empty() {
        places.push(at(format!("/.well-known/openid-configuration{path}")));
    }
    Ok(places)
}
