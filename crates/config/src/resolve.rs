//! Turns what was written into what it means. Continues after a problem, to find the next one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod admin;
mod answers;
mod decision_log;
mod hazards;
mod keys;
mod listen;
mod log;
mod matcher;
mod providers;
mod reading;
mod resources;
mod rules;
mod telemetry;
mod terms;
mod upstream;

use super::document::{Field, Location, Problem, Severity};
use super::raw::provider::{Jwks, RawProvider};
use super::raw::values::Texts;
use super::raw::{self, Root};
use super::{Config, ConfigHash, ProviderFlags, Server, TokenCache, Written};
use claimgate_core::policy::{Policy, PolicyBuilder};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const KIB: usize = 1024;

/// Resolves a whole file.
pub(super) fn root(
    root: Field<Root>,
    problems: Vec<Problem>,
    directory: &Path,
) -> Result<Config, Vec<Problem>> {
    let mut resolver = Resolver {
        problems,
        warnings: Vec::new(),
        cookies: Vec::new(),
        audits: Vec::new(),
        automata_bytes: 0,
        directory,
    };
    let root = match root {
        Field::Given(_, root) => root,
        Field::Absent => Root::default(),
        Field::Invalid => return Err(resolver.problems),
    };
    let config = resolver.root(root);
    resolver.finish(config)
}

/// Resolves a provider from the command line.
pub(super) fn flags(flags: &ProviderFlags) -> Result<Config, Vec<Problem>> {
    let mut resolver = Resolver {
        problems: Vec::new(),
        warnings: Vec::new(),
        cookies: Vec::new(),
        audits: Vec::new(),
        automata_bytes: 0,
        directory: Path::new(""),
    };
    let given = |flag: &str, value: &Option<String>| match value {
        Some(value) => Field::Given(Location::flag(flag), value.clone()),
        None => Field::Absent,
    };
    let each = |audience: &String| Field::Given(Location::flag("--audience"), audience.clone());
    let any = Field::Given(
        Location::flag("--any-audience"),
        Texts::One("any".to_owned()),
    );
    let audiences = match (flags.any_audience, flags.audiences.as_slice()) {
        (true, []) => any,
        (true, _) => {
            let why = "accepts every audience, so it excludes `--audience`";
            resolver.report(&Location::flag("--any-audience"), why);
            any
        }
        (false, audiences) if audiences.iter().any(|audience| audience == "any") => {
            let why = "`any` would be an audience with that name; to accept tokens for any audience, \
                       use the flag `--any-audience`, or `OIDC_ANY_AUDIENCE=true`";
            resolver.report(&Location::flag("--audience"), why);
            Field::Invalid
        }
        (false, _) => Field::Given(
            Location::flag("--audience"),
            Texts::Many(flags.audiences.iter().map(each).collect()),
        ),
    };
    let provider = RawProvider {
        issuer: given("--issuer", &flags.issuer),
        audiences,
        jwks: Field::Given(
            Location::flag("--jwks-uri"),
            Jwks {
                uri: given("--jwks-uri", &flags.jwks_uri),
                ..Jwks::default()
            },
        ),
        ..RawProvider::default()
    };
    let provider = match &flags.jwks_uri {
        Some(_) => provider,
        None => RawProvider {
            jwks: Field::Absent,
            ..provider
        },
    };
    let config = resolver.root(Root {
        providers: Field::Given(
            Location::default(),
            vec![Field::Given(Location::flag("--issuer"), provider)],
        ),
        ..Root::default()
    });
    resolver.finish(config)
}

struct Resolver<'d> {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// The locations of cookies that carry tokens.
    cookies: Vec<Location>,
    /// The locations of `audit: always`.
    audits: Vec<Location>,
    /// The memory of all automata so far, in bytes.
    automata_bytes: usize,
    directory: &'d Path,
}

impl Resolver<'_> {
    fn finish(mut self, config: Option<Config>) -> Result<Config, Vec<Problem>> {
        let place = |problem: &Problem| (problem.location.line, problem.location.column);
        match config {
            Some(mut config) if self.problems.is_empty() => {
                self.warnings.sort_by_key(place);
                config.warnings = self.warnings;
                Ok(config)
            }
            _ => {
                self.problems.append(&mut self.warnings);
                self.problems.sort_by_key(place);
                Err(self.problems)
            }
        }
    }

    /// Records a setting that works as written but is probably not what the operator wants.
    fn warn(&mut self, location: &Location, message: impl Into<String>) {
        self.warnings.push(Problem {
            severity: Severity::Warning,
            location: location.clone(),
            message: message.into(),
        });
    }

    fn report(&mut self, location: &Location, message: impl Into<String>) {
        self.problems.push(Problem {
            severity: Severity::Error,
            location: location.clone(),
            message: message.into(),
        });
    }

    fn root(&mut self, root: Root) -> Option<Config> {
        let Root {
            server,
            admin,
            log,
            decision_log,
            telemetry,
            providers,
            token_cache,
            upstream,
            response_headers,
            paths,
            rules,
            cors_preflight,
            protected_resources,
            denials,
            enforce,
        } = root;
        let server = self.server(section(server));
        let admin = self.admin(section(admin));
        let log = self.log(section(log));
        let decision_log = self.decision_log(decision_log, &log);
        let telemetry = self.telemetry(section(telemetry));
        let mut upstream = self.upstream(section(upstream));
        upstream.response_headers = self.response_headers(response_headers);
        let denials = self.denials(section(denials));
        let token_cache = self.token_cache(section(token_cache));
        let paths = self.paths(&paths);
        let cors_preflight = self.cors_preflight(&cors_preflight);
        let (providers, keys) = self.providers(providers)?;
        let rules = self.rules(rules, paths, &providers);
        self.warn_of_cookies(&rules);
        self.warn_of_audits(decision_log.as_ref(), &rules);
        let resources = self.resources(protected_resources, &providers);
        let why = "no request is refused; denials are only reported";
        let is_enforced = self.enforce(&enforce, why);
        Some(Config {
            server,
            admin,
            log,
            decision_log,
            telemetry,
            policy: Arc::new(Policy::new(PolicyBuilder {
                providers,
                rules,
                resources,
                cors_preflight,
                upstream,
                is_enforced,
            })),
            keys,
            token_cache,
            denials,
            warnings: Vec::new(),
            hash: ConfigHash::default(),
            written: Written::default(),
        })
    }

    fn server(&mut self, server: raw::Server) -> Server {
        let raw::Server {
            listen,
            tls,
            max_connections,
            max_connection_age,
            drain,
        } = server;
        let max_connection_age = max_connection_age
            .given()
            .map(|_| self.duration(&max_connection_age, HOUR, SECOND, 24 * HOUR));
        let listen = self.listen(listen);
        Server {
            tls: self.tls(tls, &listen),
            listen,
            max_connections: self.max_connections(&max_connections),
            max_connection_age,
            drain: self.duration(&drain, 5 * SECOND, Duration::ZERO, 10 * MINUTE),
        }
    }

    fn token_cache(&mut self, token_cache: raw::TokenCache) -> TokenCache {
        let raw::TokenCache {
            max_entries,
            max_bytes,
        } = token_cache;
        let max_entries = match max_entries.given() {
            Some((location, max)) if *max > 10_000_000 => {
                self.report(location, "at most 10000000 tokens are kept");
                0
            }
            given => given.map_or(10_000, |(_, max)| *max),
        };
        TokenCache {
            max_entries,
            max_bytes: self.bytes(&max_bytes, 64 * 1024 * 1024, 64 * 1024, 4096 * 1024 * 1024),
        }
    }
}

/// The section, or one with every default if it is absent.
fn section<T: Default>(field: Field<T>) -> T {
    match field {
        Field::Given(_, section) => section,
        Field::Absent | Field::Invalid => T::default(),
    }
}
