use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{Otherwise, Piece, rules};
use crate::import::model::{Access, Keys, Model, Provider};
use crate::import::predicate::sample::Sample;
use crate::import::predicate::{Claim, Path, Predicate, Shape, Test, Text};
use crate::import::repair::repair;
use crate::import::suite::{SampleRequest, selected};

const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
const HOSTS: [&str; 3] = ["a.example", "b.example", "x.b.example"];
const PATHS: [&str; 6] = ["/a", "/a/b", "/ab", "/a/b/c", "/d", "/d/a"];
const VALUES: [&str; 2] = ["x", "z"];

/// Rules of which the first that matches decides mean the same as policies that all look at each request.
#[test]
fn the_first_rule_decides_as_all_policies_together() {
    let mut rng = Rng::with_seed(20_261_130);
    for round in 0..150 {
        let mut policies = |prefix: &str| -> Vec<Piece> {
            let count = rng.usize(..4);
            (0..count)
                .map(|index| Piece {
                    place: crate::import::model::Place::default(),
                    name: format!("{prefix}-{index}"),
                    predicate: predicate(&mut rng),
                    notes: Vec::new(),
                })
                .collect()
        };
        let (denials, allowances) = (policies("deny"), policies("allow"));
        let otherwise = match rng.bool() {
            true => Otherwise::Allow,
            false => Otherwise::Deny,
        };
        let provider = Provider {
            name: "idp".to_owned(),
            issuer: "https://idp.example".to_owned(),
            keys: Keys::Discovery,
            ..Provider::default()
        };
        let mut model = Model {
            providers: vec![provider],
            ..Model::default()
        };
        model.rules = rules(
            denials.clone(),
            allowances.clone(),
            otherwise,
            &model.providers,
        );
        let config = repair(&mut model).unwrap();
        for _ in 0..100 {
            let claims = rng.bool().then(|| claims(&mut rng));
            let request = SampleRequest {
                method: pick(&mut rng, &METHODS).to_owned(),
                host: pick(&mut rng, &HOSTS).to_owned(),
                path: pick(&mut rng, &PATHS).to_owned(),
                ..SampleRequest::default()
            };
            let sample = Sample {
                method: &request.method,
                host: &request.host,
                path: &request.path,
                headers: &[],
                claims: claims.as_ref(),
            };
            let holds = |piece: &Piece| piece.predicate.holds(&sample).unwrap();
            let expected = !denials.iter().any(holds)
                && (allowances.iter().any(holds) || otherwise == Otherwise::Allow);

            let name = selected(&request, &config).unwrap();
            let rule = model.rules.iter().find(|rule| rule.name == name).unwrap();
            let has_token = claims.is_some() || rule.access == Access::Optional;
            let found = rule.access != Access::Deny
                && has_token
                && rule
                    .meaning
                    .as_ref()
                    .is_none_or(|meaning| meaning.holds(&sample).unwrap());
            // claimgate opens no rule by a host alone.
            let is_closed = rule
                .notes
                .iter()
                .any(|note| note.text.contains("hosts_are_bound"));
            assert!(
                found == expected || is_closed && !found,
                "round {round}: {request:?} {claims:?}: expected {expected}, `{name}` says {found}\n\
                 {denials:#?}\n{allowances:#?}\n{:#?}",
                model.rules
            );
        }
    }
}

fn pick<'t>(rng: &mut Rng, from: &[&'t str]) -> &'t str {
    rng.choice(from.iter()).copied().unwrap()
}

fn claims(rng: &mut Rng) -> Map<String, Value> {
    let mut claims = Map::new();
    for name in ["a", "b"] {
        if rng.bool() {
            claims.insert(name.to_owned(), json!(pick(rng, &VALUES)));
        }
    }
    claims
}

/// A policy's rule: some of hosts, methods, paths and claims, plain and negated.
fn predicate(rng: &mut Rng) -> Predicate {
    let mut all = Vec::new();
    for kind in 0..5 {
        if rng.u8(..5) < 3 {
            continue;
        }
        let count = rng.usize(1..3);
        let any = (0..count).map(|_| Predicate::Test(test(rng, kind)));
        let any = Predicate::any(any.collect::<Vec<_>>());
        all.push(match rng.u8(..4) {
            0 => any.negated(),
            _ => any,
        });
    }
    Predicate::all(all)
}

fn test(rng: &mut Rng, kind: u8) -> Test {
    match kind {
        0 => Test::Host(match rng.bool() {
            true => Text::Exact(pick(rng, &HOSTS).to_owned()),
            false => Text::Suffix(".b.example".to_owned()),
        }),
        1 => Test::Method(Text::Exact(pick(rng, &METHODS).to_owned())),
        2 => Test::Path(match rng.u8(..4) {
            0 => Path::Text(Text::Prefix(pick(rng, &["/a", "/a/", "/d/"]).to_owned())),
            1 => Path::Text(Text::Suffix(pick(rng, &["/a", "b"]).to_owned())),
            2 => Path::Below(pick(rng, &["/a", "/a/b", "/d"]).to_owned()),
            _ => Path::Text(Text::Exact(pick(rng, &PATHS).to_owned())),
        }),
        _ => Test::Claim(Claim {
            names: vec![pick(rng, &["a", "b"]).to_owned()],
            values: vec![Text::Exact(pick(rng, &VALUES).to_owned())],
            shape: Shape::TextOrList,
        }),
    }
}
