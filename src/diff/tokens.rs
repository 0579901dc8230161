//! Tokens of a provider: one that both configurations accept, if there is one, and one for each value
//! of a setting that differs.

use serde_json::{Map, Value};

mod variants;

pub(super) use variants::{Variant, variants};

use super::knobs::{Carried, ScopeClaims};
use super::members::insert;
use super::request::TokenSpec;
use crate::keyring::Algorithm;
use crate::policy::Provider;
use crate::token::issuer::TENANT_ID;
use crate::token::source::TokenSource;
use crate::token::{Audiences, RequiredClaim, Tenants, Terms};

/// The lifetime of tokens, in seconds.
const LIFETIME: u64 = 600;

/// A tenant that no configuration names.
const OTHER_TENANT: &str = "00000000-0000-4000-8000-000000000000";

/// A token that all of these settings of one provider accept, as far as that is possible.
pub(super) fn usual(name: &str, sides: &[&Provider]) -> Carried {
    let terms: Vec<&Terms> = sides.iter().map(|provider| &provider.terms).collect();
    let tenant = tenant(&terms);
    let lifetimes = terms.iter().filter_map(|terms| terms.max_lifetime);
    let lifetime = lifetimes.map(|max| max.as_secs()).fold(LIFETIME, u64::min);
    let places = shared(sides, |provider| provider.token_from.iter().collect());
    let place = places.map_or_else(TokenSource::authorization, |place| (**place).clone());
    let mut spec = TokenSpec {
        provider: name.to_owned(),
        alg: algorithm(&terms),
        typ: Some(typ(&terms)),
        usual: Map::new(),
        claims: Map::new(),
        iat: Some(0),
        exp: Some(i64::try_from(lifetime).unwrap_or(i64::MAX)),
        nbf: None,
        auth_time: None,
        padding: 0,
        is_place_unusual: false,
        place,
        noteworthy: Vec::new(),
    };
    let issuer = shared(&terms, |terms| {
        let aliases = terms.issuer_aliases.iter();
        [&terms.issuer].into_iter().chain(aliases).collect()
    });
    let issuer = issuer.map_or("", String::as_str);
    set_issuer(&mut spec.usual, issuer, &tenant);
    let mut audiences: Vec<&String> = Vec::new();
    let any_of = |terms: &&&Terms| matches!(terms.audiences, Audiences::AnyOf(_));
    let with_audience: Vec<&Terms> = terms.iter().filter(any_of).copied().collect();
    let common = shared(&with_audience, |terms| names_of(&terms.audiences));
    let is_common = |audience: &&&String| {
        let mut all = with_audience.iter();
        all.all(|terms| names_of(&terms.audiences).contains(*audience))
    };
    match common.filter(|audience| is_common(&audience)) {
        Some(common) => audiences.push(common),
        None => {
            for terms in &with_audience {
                audiences.extend(names_of(&terms.audiences).first());
            }
        }
    }
    for terms in &with_audience {
        let value = match audiences.as_slice() {
            [only] => Value::from(only.as_str()),
            several => several.iter().map(|name| name.as_str()).collect(),
        };
        insert(&mut spec.usual, terms.audience_claim.names(), value);
    }
    for claim in terms.iter().flat_map(|terms| &terms.required_claims) {
        let others: Vec<&RequiredClaim> = terms
            .iter()
            .flat_map(|terms| &terms.required_claims)
            .filter(|other| other.path == claim.path)
            .collect();
        let value = shared(&others, |claim| claim.any_of.iter().collect());
        let value = value.map_or("", String::as_str);
        insert(&mut spec.usual, claim.path.names(), value.into());
    }
    Carried::Token(Box::new(spec), scope_claims(&terms))
}

fn names_of(audiences: &Audiences) -> Vec<&String> {
    match audiences {
        Audiences::AnyOf(names) => names.iter().collect(),
        Audiences::Any => Vec::new(),
    }
}

/// The first value that every side has; else the first one of the first side.
fn shared<'s, S, T: PartialEq + ?Sized>(
    sides: &[&'s S],
    values: impl Fn(&'s S) -> Vec<&'s T>,
) -> Option<&'s T> {
    let each: Vec<Vec<&T>> = sides.iter().map(|side| values(side)).collect();
    let (first, others) = each.split_first()?;
    let is_in_all = |value: &&&T| others.iter().all(|other| other.contains(*value));
    let common = first.iter().find(is_in_all);
    common
        .or(each.iter().find_map(|values| values.first()))
        .copied()
}

fn tenant(terms: &[&Terms]) -> String {
    let listed: Vec<&Vec<String>> = terms
        .iter()
        .filter_map(|terms| match &terms.tenants {
            Tenants::AnyOf(tenants) => Some(tenants),
            Tenants::None | Tenants::Any => None,
        })
        .collect();
    let found = shared(&listed, |tenants| tenants.iter().collect());
    found.cloned().unwrap_or_else(|| OTHER_TENANT.to_owned())
}

fn algorithm(terms: &[&Terms]) -> Algorithm {
    let quick = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ed25519];
    let mut all = quick.into_iter().chain(Algorithm::ALL);
    let is_accepted = |alg: &Algorithm| terms.iter().all(|terms| terms.algorithms.contains(*alg));
    let of_first = || {
        let first = terms.first()?;
        let mut all = quick.into_iter().chain(Algorithm::ALL);
        all.find(|alg| first.algorithms.contains(*alg))
    };
    all.find(is_accepted)
        .or_else(of_first)
        .unwrap_or(Algorithm::Es256)
}

fn typ(terms: &[&Terms]) -> String {
    let listed: Vec<&Vec<String>> = terms
        .iter()
        .map(|terms| &terms.token_types)
        .filter(|types| !types.is_empty())
        .collect();
    let found = shared(&listed, |types| types.iter().collect());
    found.map_or("at+jwt", String::as_str).to_owned()
}

fn scope_claims(terms: &[&Terms]) -> ScopeClaims {
    let mut paths = ScopeClaims::new();
    for first in terms.iter().filter_map(|terms| terms.scope_claims.first()) {
        let names = first.names().to_vec();
        if !paths.contains(&names) {
            paths.push(names);
        }
    }
    paths
}

fn set_issuer(claims: &mut Map<String, Value>, issuer: &str, tenant: &str) {
    if issuer.starts_with("spiffe://") {
        claims.remove("iss");
        claims.insert("sub".to_owned(), format!("{issuer}/test").into());
        return;
    }
    let full = issuer.replace(TENANT_ID, tenant);
    claims.insert("iss".to_owned(), full.into());
    if issuer.contains(TENANT_ID) {
        claims.insert("tid".to_owned(), tenant.into());
    }
}
