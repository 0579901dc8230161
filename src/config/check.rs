//! From what was written to what it means. Goes on after a problem, to find the next one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod keys;
mod providers;
mod reading;
mod terms;
mod upstream;

use super::document::{Field, Problem, Spot};
use super::raw::{self, Texts};
use super::{Admin, Config, Denials, ProviderFlags, Server, TokenCache, values};
use crate::policy::Policy;

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
        Field::Absent => raw::Root::default(),
        Field::Invalid => return Err(check.problems),
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
    let audiences = match flags.audiences.as_slice() {
        [any] if any == "any" => Texts::One(any.clone()),
        audiences => Texts::Many(
            audiences
                .iter()
                .map(|audience| Field::Given(Spot::flag("--audience"), audience.clone()))
                .collect(),
        ),
    };
    let provider = raw::Provider {
        issuer: given("--issuer", &flags.issuer),
        audiences: Field::Given(Spot::flag("--audience"), audiences),
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
            token_cache,
            upstream,
            denials,
        } = root;
        let server = self.server(section(server));
        let admin = self.admin(section(admin));
        let upstream = self.upstream(section(upstream));
        let denials = self.denials(section(denials));
        let token_cache = self.token_cache(section(token_cache));
        let (providers, keys) = self.providers(providers)?;
        Some(Config {
            server,
            admin,
            policy: Arc::new(Policy::new(providers, upstream)),
            keys,
            token_cache,
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

    fn token_cache(&mut self, token_cache: raw::TokenCache) -> TokenCache {
        let raw::TokenCache {
            max_entries,
            max_bytes,
        } = token_cache;
        let max_entries = match max_entries.given() {
            Some((spot, most)) if *most > 10_000_000 => {
                self.report(spot, "at most 10000000 tokens are kept");
                0
            }
            given => given.map_or(10_000, |(_, most)| *most),
        };
        TokenCache {
            max_entries,
            max_bytes: self.bytes(&max_bytes, 64 * 1024 * 1024, 64 * 1024, 4096 * 1024 * 1024),
        }
    }
}

/// A section that is absent has every default.
fn section<T: Default>(field: Field<T>) -> T {
    match field {
        Field::Given(_, section) => section,
        Field::Absent | Field::Invalid => T::default(),
    }
}
