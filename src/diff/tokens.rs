//! Tokens of a provider: one that both configurations accept, if there is one, and one for each value
//! of a setting that differs.

use serde_json::{Map, Value};

use super::knobs::{Carried, ScopeClaims};
use super::request::TokenSpec;
use crate::keyring::Algorithm;
use crate::policy::Provider;
use crate::token::claims::ClaimPath;
use crate::token::issuer::TENANT_ID;
use crate::token::source::TokenSource;
use crate::token::{Audiences, Kind, RequiredClaim, Tenants, Terms};

/// The lifetime of tokens, in seconds.
const LIFETIME: u64 = 600;

/// A tenant that no configuration names.
const OTHER_TENANT: &str = "00000000-0000-4000-8000-000000000000";

/// The maximum number of values of a setting that are tried.
const MAX_VALUES: usize = 16;

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
        put(&mut spec.usual, &terms.audience_claim, value);
    }
    for claim in terms.iter().flat_map(|terms| &terms.required_claims) {
        let others: Vec<&RequiredClaim> = terms
            .iter()
            .flat_map(|terms| &terms.required_claims)
            .filter(|other| other.path == claim.path)
            .collect();
        let value = shared(&others, |claim| claim.any_of.iter().collect());
        let value = value.map_or("", String::as_str);
        put(&mut spec.usual, &claim.path, value.into());
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

fn put(claims: &mut Map<String, Value>, path: &ClaimPath, value: Value) {
    let Some((last, outer)) = path.names().split_last() else {
        return;
    };
    let mut members = claims;
    for name in outer {
        let inner = members
            .entry(name.as_str())
            .or_insert_with(|| Map::new().into());
        match inner.as_object_mut() {
            Some(inner) => members = inner,
            None => return,
        }
    }
    members.insert(last.clone(), value);
}

fn remove(claims: &mut Map<String, Value>, path: &ClaimPath) {
    let Some((last, outer)) = path.names().split_last() else {
        return;
    };
    let mut members = claims;
    for name in outer {
        match members.get_mut(name).and_then(Value::as_object_mut) {
            Some(inner) => members = inner,
            None => return,
        }
    }
    members.remove(last);
}

/// A token that shows what a changed setting of its provider does.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    /// The setting.
    pub(super) setting: &'static str,
    pub(super) token: Carried,
}

/// Tokens for each setting that differs between the two sides. A provider that only one side has has
/// one: its usual token.
pub(super) fn variants(
    name: &str,
    old: Option<&Provider>,
    new: Option<&Provider>,
    differing: &[&'static str],
) -> Vec<Variant> {
    let (Some(before), Some(after)) = (old, new) else {
        let only: Vec<&Provider> = old.into_iter().chain(new).collect();
        return vec![Variant {
            setting: "",
            token: usual(name, &only),
        }];
    };
    let both = [before, after];
    let mut all = Variants {
        found: Vec::new(),
        base: usual(name, &both),
    };
    for setting in differing {
        all.of_setting(setting, both);
        // A token of one side may differ in several settings at once.
        for side in both {
            let mut token = usual(name, &[side]);
            if let Carried::Token(spec, _) = &mut token {
                spec.noteworthy.extend(note(setting).map(str::to_owned));
                if *setting == "required_claims" {
                    spec.noteworthy.extend(missing(&spec.usual, both));
                }
            }
            all.found.push(Variant { setting, token });
        }
    }
    all.found
}

/// What a person has to know of a token that shows what a setting does.
fn note(setting: &str) -> Option<&'static str> {
    Some(match setting {
        "issuer" | "issuer_aliases" => "iss",
        "tenants" => "tid",
        "audiences" | "audience_claim" => "aud",
        "algorithms" => "alg",
        "token_types" | "also_accept" => "typ",
        "max_lifetime" => "exp",
        _ => return None,
    })
}

/// The claims that one side requires and the token does not have.
fn missing(claims: &Map<String, Value>, both: [&Provider; 2]) -> Vec<String> {
    let required = both.iter().flat_map(|side| &side.terms.required_claims);
    let names = required.filter_map(|claim| claim.path.names().first());
    let mut names: Vec<String> = names.cloned().collect();
    names.retain(|name| !claims.contains_key(name));
    names.dedup();
    names
}

struct Variants {
    found: Vec<Variant>,
    base: Carried,
}

impl Variants {
    /// Adds the usual token after a change, which a person reads as `note`.
    fn add(
        &mut self,
        setting: &'static str,
        note: &[&'static str],
        change: impl FnOnce(&mut TokenSpec, &mut ScopeClaims),
    ) {
        if let Carried::Token(mut spec, mut scopes) = self.base.clone() {
            change(&mut spec, &mut scopes);
            spec.noteworthy
                .extend(note.iter().map(|name| (*name).to_owned()));
            let token = Carried::Token(spec, scopes);
            self.found.push(Variant { setting, token });
        }
    }

    fn of_setting(&mut self, setting: &'static str, both: [&Provider; 2]) {
        let terms = both.map(|provider| &provider.terms);
        match setting {
            "issuer" | "issuer_aliases" => {
                let tenant = tenant(&terms);
                for issuer in terms.iter().flat_map(|own| {
                    let aliases = own.issuer_aliases.iter();
                    [&own.issuer].into_iter().chain(aliases)
                }) {
                    self.add(setting, &["iss"], |spec, _| {
                        set_issuer(&mut spec.usual, issuer, &tenant);
                    });
                }
            }
            "tenants" => self.tenants(setting, terms),
            "audiences" | "audience_claim" => self.audiences(setting, terms),
            "algorithms" => {
                for alg in Algorithm::ALL {
                    let [old, new] = terms.map(|terms| terms.algorithms.contains(alg));
                    if old != new {
                        self.add(setting, &["alg"], |spec, _| spec.alg = alg);
                    }
                }
            }
            "token_types" | "also_accept" => self.types(setting, terms),
            "clock_skew" => {
                let [old, new] = terms.map(|terms| terms.clock_skew.as_secs());
                let (less, more) = (old.min(new), old.max(new));
                let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
                self.add(setting, &["exp"], |spec, _| {
                    spec.exp = Some(-seconds(less));
                    spec.iat = Some(-seconds(less) - 60);
                });
                self.add(setting, &["nbf"], |spec, _| spec.nbf = Some(seconds(more)));
                self.add(setting, &["iat"], |spec, _| spec.iat = Some(seconds(more)));
            }
            "max_lifetime" => {
                let limits = terms.map(|terms| terms.max_lifetime);
                for limit in limits.into_iter().flatten() {
                    let limit = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX - 1);
                    for exp in [limit, limit + 1] {
                        self.add(setting, &["iat", "exp"], |spec, _| spec.exp = Some(exp));
                    }
                }
                self.add(setting, &["iat"], |spec, _| spec.iat = None);
            }
            "max_token_bytes" => {
                let [old, new] = terms.map(|terms| terms.max_token_bytes);
                // The middle. Three bytes are four in base64url, and the rest takes about 500.
                let middle = usize::midpoint(old, new).saturating_sub(500) / 4 * 3;
                self.add(setting, &["length"], |spec, _| spec.padding = middle);
            }
            "required_claims" => {
                for claim in terms.iter().flat_map(|own| &own.required_claims) {
                    self.required(setting, claim);
                }
            }
            "scope_claims" => {
                for path in terms.iter().flat_map(|own| &own.scope_claims) {
                    let names = path.names().to_vec();
                    self.add(setting, &[], |_, scopes| *scopes = vec![names]);
                }
            }
            "token_from" => {
                for place in both.iter().flat_map(|provider| &provider.token_from) {
                    self.add(setting, &[], |spec, _| {
                        spec.place = (**place).clone();
                        spec.is_place_unusual = true;
                    });
                }
            }
            // A token that is refused shows whether refusals take effect.
            "enforce" => {
                self.add(setting, &["exp"], |spec, _| {
                    spec.iat = Some(-200_000);
                    spec.exp = Some(-100_000);
                });
            }
            _ => {}
        }
    }

    fn tenants(&mut self, setting: &'static str, terms: [&Terms; 2]) {
        let template = terms.map(|own| own.issuer.as_str());
        let template = template.into_iter().find(|own| own.contains(TENANT_ID));
        let template = template.unwrap_or_default().to_owned();
        let listed = terms.iter().flat_map(|own| match &own.tenants {
            Tenants::AnyOf(tenants) => tenants.as_slice(),
            Tenants::None | Tenants::Any => &[],
        });
        let listed = listed.take(MAX_VALUES).map(String::as_str);
        for tenant in listed.chain([OTHER_TENANT]) {
            self.add(setting, &["tid"], |spec, _| {
                set_issuer(&mut spec.usual, &template, tenant);
            });
        }
    }

    fn audiences(&mut self, setting: &'static str, terms: [&Terms; 2]) {
        let claims = terms.map(|own| &own.audience_claim);
        let names = terms.iter().flat_map(|own| names_of(&own.audiences));
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_VALUES);
        names.push("other-audience");
        for name in names {
            self.add(setting, &["aud"], |spec, _| {
                for claim in claims {
                    put(&mut spec.usual, claim, name.into());
                }
            });
        }
        for claim in claims {
            self.add(setting, &["aud"], |spec, _| remove(&mut spec.usual, claim));
        }
        self.add(setting, &["aud"], |spec, _| {
            for claim in claims {
                remove(&mut spec.usual, claim);
            }
        });
    }

    fn types(&mut self, setting: &'static str, terms: [&Terms; 2]) {
        let listed = terms.iter().flat_map(|own| &own.token_types);
        let kinds = terms.iter().flat_map(|own| &own.also_accept);
        let listed = listed.cloned();
        let kinds = kinds.filter_map(|kind| typ_of(*kind)).map(str::to_owned);
        let usual = ["at+jwt", "JWT"].map(str::to_owned);
        for typ in listed.chain(kinds).chain(usual) {
            self.add(setting, &["typ"], |spec, _| spec.typ = Some(typ));
        }
        self.add(setting, &["typ"], |spec, _| spec.typ = None);
    }

    fn required(&mut self, setting: &'static str, claim: &RequiredClaim) {
        let values = claim.any_of.iter().take(MAX_VALUES).map(String::as_str);
        for value in values.chain(["other-value"]) {
            self.add(setting, &[], |spec, _| {
                remove(&mut spec.usual, &claim.path);
                put(&mut spec.claims, &claim.path, value.into());
                spec.noteworthy.extend(claim.path.names().first().cloned());
            });
        }
        self.add(setting, &[], |spec, _| {
            remove(&mut spec.usual, &claim.path);
            spec.noteworthy.extend(claim.path.names().first().cloned());
        });
    }
}

/// A `typ` that names the kind. `None` if only claims reveal it.
fn typ_of(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::AccessToken => "at+jwt",
        Kind::IdToken => "id+jwt",
        Kind::Assertion => "client-authentication+jwt",
        Kind::RefreshToken => "refresh+jwt",
        Kind::RegistrationToken => "registration-access-token+jwt",
        Kind::SecurityEvent => "secevent+jwt",
        Kind::Introspection => "token-introspection+jwt",
        Kind::AuthorizationRequest => "oauth-authz-req+jwt",
        Kind::AuthorizationResponse => return None,
        Kind::DpopProof => "dpop+jwt",
        Kind::Credential => "vc+jwt",
        Kind::Statement => "entity-statement+jwt",
    })
}
