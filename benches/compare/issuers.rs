//! claimgate beside Envoy's own filter for tokens, by the number of issuers.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::envoy::jwt_authn::{Cache, by_issuer, of_istio};
use crate::envoy::{Authorizer, Mesh};
use crate::load::{self, Load, Pace, Protocol, Refused};
use crate::process::{CLIENT, Server, ask};
use crate::report::{Bar, Row, Sample};
use crate::scene::Scene;
use crate::tokens::{Provider, with_claims, with_signature_of};

const ISSUERS: [usize; 5] = [1, 10, 50, 500, 1_000];

/// About a second of requests to claimgate.
const REQUESTS: usize = 5_000;

/// Everything stays up for all rounds, so a round is only loads, one after the other.
pub fn rows(scene: &Scene) -> Vec<Row> {
    let shared = scene.providers.iter().cycle();
    let providers: Vec<Provider> = shared
        .zip(0..ISSUERS[ISSUERS.len() - 1])
        .map(|(provider, number)| provider.sharing_key(number))
        .collect();
    let contests = ISSUERS.map(|issuers| Contest::start(&providers[..issuers], scene));
    let round = || contests.each_ref().map(|contest| contest.run(&contests[0]));
    let rounds: Vec<[Rates; ISSUERS.len()]> = (0..Sample::TIMES).map(|_| round()).collect();
    let of = |(number, contest): (usize, &Contest)| {
        let rates: Vec<&Rates> = rounds.iter().map(|round| &round[number]).collect();
        contest.rows(&rates)
    };
    contests.iter().enumerate().flat_map(of).collect()
}

/// Envoys that know the same issuers. They get a token of the last one.
struct Contest {
    issuers: usize,
    token: PathBuf,
    claimgate: Mesh,
    jwt_authn: Mesh,
    with_cache: Mesh,
    by_issuer: Mesh,
}

/// Requests per second.
struct Rates {
    claimgate_with_one: f64,
    claimgate: f64,
    jwt_authn: f64,
    with_cache: f64,
    by_issuer: f64,
}

impl Contest {
    fn start(providers: &[Provider], scene: &Scene) -> Self {
        let directory = &scene.directory;
        let issuers = providers.len();
        let last = &providers[issuers - 1];
        let token = last.token(0);
        let [good, bad] = ["good", "bad"].map(|kind| directory.join(format!("{kind}-{issuers}")));
        load::write(&good, [&token]);
        load::write(&bad, [with_signature_of(&token, &last.token(1))]);
        let configured: Vec<Value> = providers
            .iter()
            .map(|provider| provider.configured(&json!({"inline": provider.key_set()})))
            .collect();
        let config = with_claims(directory, &format!("issuers-{issuers}"), &configured);
        let claimgate = Server::claimgate(CLIENT, &config);
        let claimgate = claimgate.wait(Protocol::Check, &Provider::check(&token));
        let start = |authorizer| Mesh::with(authorizer, directory, &token);
        let contest = Self {
            issuers,
            token: good,
            claimgate: start(Authorizer::Service(claimgate)),
            jwt_authn: start(Authorizer::Filter(of_istio(providers, Cache::Off))),
            with_cache: start(Authorizer::Filter(of_istio(providers, Cache::On))),
            by_issuer: start(Authorizer::Filter(by_issuer(providers, Cache::On))),
        };
        let Self {
            claimgate,
            jwt_authn,
            with_cache,
            by_issuer,
            ..
        } = &contest;
        for mesh in [claimgate, jwt_authn, with_cache, by_issuer] {
            let refused = Load {
                refused: Refused::OneOf(1),
                ..mesh.load_of(&bad, Pace::Closed { count: 4 })
            };
            ask(CLIENT, &refused);
            contest.rate(mesh, contest.requests_to_filter() / 10);
        }
        contest
    }

    /// As many requests as take `jwt_authn` about a second, and at least two for each stream.
    fn requests_to_filter(&self) -> usize {
        (30_000 / self.issuers).clamp(64, REQUESTS)
    }

    /// Requests per second, sent as fast as they are answered. All must be allowed.
    fn rate(&self, mesh: &Mesh, count: usize) -> f64 {
        let load = mesh.load_of(&self.token, Pace::Closed { count });
        ask(CLIENT, &load).rate()
    }

    fn claimgate_rate(&self) -> f64 {
        self.rate(&self.claimgate, REQUESTS)
    }

    fn run(&self, with_one: &Self) -> Rates {
        Rates {
            claimgate_with_one: with_one.claimgate_rate(),
            claimgate: self.claimgate_rate(),
            jwt_authn: self.rate(&self.jwt_authn, self.requests_to_filter()),
            with_cache: self.rate(&self.with_cache, self.requests_to_filter()),
            by_issuer: self.rate(&self.by_issuer, REQUESTS),
        }
    }

    fn rows(&self, rounds: &[&Rates]) -> Vec<Row> {
        let issuers = match self.issuers {
            1 => "1 issuer".to_owned(),
            issuers => format!("{issuers} issuers"),
        };
        let row = |what: &str, unit, bar, figure: fn(&Rates) -> f64| Row {
            what: format!("{issuers}: {what}"),
            sample: rounds.iter().map(|rates| figure(rates)).collect(),
            unit,
            bar,
        };
        let rate = |what: &str, figure| row(what, "requests/s", None, figure);
        let ratio =
            |other: &str, bar, figure| row(&format!("claimgate against {other}"), "×", bar, figure);
        let ahead = match self.issuers {
            50 => Some(Bar::AtLeast(6.0)),
            500 => Some(Bar::AtLeast(50.0)),
            _ => None,
        };
        let flat = (self.issuers == 1_000).then_some(Bar::AtLeast(0.9));
        vec![
            rate("claimgate", |rates| rates.claimgate),
            rate("`jwt_authn`", |rates| rates.jwt_authn),
            rate("`jwt_authn` with its token cache", |rates| rates.with_cache),
            rate(
                "`jwt_authn` with its token cache, required by `allow_missing` alone",
                |rates| rates.by_issuer,
            ),
            ratio("`jwt_authn`", ahead, |rates| {
                rates.claimgate / rates.jwt_authn
            }),
            ratio("`jwt_authn` with its token cache", None, |rates| {
                rates.claimgate / rates.with_cache
            }),
            ratio("claimgate with 1 issuer", flat, |rates| {
                rates.claimgate / rates.claimgate_with_one
            }),
        ]
    }
}
