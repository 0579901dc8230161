//! Tokens that show what changed settings of a provider do.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{OTHER_TENANT, set_issuer, tenant, usual};
use crate::diff::groups;
use crate::diff::knobs::{Carried, ScopeClaims};
use crate::diff::members::{insert, remove};
use crate::diff::request::TokenSpec;
use crate::keyring::Algorithm;
use crate::policy::Provider;
use crate::token::claims::ClaimPath;
use crate::token::issuer::TENANT_ID;
use crate::token::{Audiences, Kind, Tenants, Terms};

/// A token that shows what a changed setting of its provider does.
#[derive(Clone, Debug)]
pub(in crate::diff) struct Variant {
    /// The setting.
    pub(in crate::diff) setting: &'static str,
    pub(in crate::diff) token: Carried,
}

/// Tokens for each setting that differs between the two sides. A provider that only one side has has
/// one: its usual token.
pub(in crate::diff) fn variants(
    name: &str,
    old: Option<&Provider>,
    new: Option<&Provider>,
    differing: &[&'static str],
) -> Variants {
    let (Some(before), Some(after)) = (old, new) else {
        let only: Vec<&Provider> = old.into_iter().chain(new).collect();
        return Variants::of(usual(name, &only), true);
    };
    let both = [before, after];
    let mut all = Variants::of(usual(name, &both), false);
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
    all
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

/// The tokens for one provider.
pub(in crate::diff) struct Variants {
    pub(in crate::diff) found: Vec<Variant>,
    /// The settings of which some values were left out.
    pub(in crate::diff) cut: BTreeSet<&'static str>,
    base: Carried,
}

impl Variants {
    fn of(base: Carried, is_only_one: bool) -> Self {
        let only = is_only_one.then(|| Variant {
            setting: "",
            token: base.clone(),
        });
        Self {
            found: only.into_iter().collect(),
            cut: BTreeSet::new(),
            base,
        }
    }

    /// The values of a list to try.
    fn members(&mut self, setting: &'static str, [old, new]: [&[String]; 2]) -> Vec<String> {
        let found = groups::members(old, new);
        if !found.is_complete {
            self.cut.insert(setting);
        }
        found.values
    }

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
                let [old, new] = terms.map(|own| -> Vec<String> {
                    let aliases = own.issuer_aliases.iter();
                    [&own.issuer].into_iter().chain(aliases).cloned().collect()
                });
                for issuer in self.members(setting, [&old, &new]) {
                    self.add(setting, &["iss"], |spec, _| {
                        set_issuer(&mut spec.usual, &issuer, &tenant);
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
            "token_types" => self.types(setting, terms),
            "also_accept" => self.kinds(setting, terms),
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
                let mut seen: Vec<&ClaimPath> = Vec::new();
                for claim in terms.iter().flat_map(|own| &own.required_claims) {
                    if !seen.contains(&&claim.path) {
                        seen.push(&claim.path);
                        self.required(setting, &claim.path, terms);
                    }
                }
            }
            "scope_claims" => {
                let mut paths: Vec<&ClaimPath> = Vec::new();
                for path in terms.iter().flat_map(|own| &own.scope_claims) {
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                }
                self.scope_claims(setting, &paths);
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
        let [old, new] = terms.map(|own| match &own.tenants {
            Tenants::AnyOf(tenants) => tenants.as_slice(),
            Tenants::None | Tenants::Any => &[],
        });
        let listed = self.members(setting, [old, new]);
        let listed = listed.iter().map(String::as_str);
        for tenant in listed.chain([OTHER_TENANT]) {
            self.add(setting, &["tid"], |spec, _| {
                set_issuer(&mut spec.usual, &template, tenant);
            });
        }
    }

    fn audiences(&mut self, setting: &'static str, terms: [&Terms; 2]) {
        let claims = terms.map(|own| &own.audience_claim);
        let [old, new] = terms.map(|own| match &own.audiences {
            Audiences::AnyOf(names) => names.as_slice(),
            Audiences::Any => &[],
        });
        let mut names = self.members(setting, [old, new]);
        names.push("other-audience".to_owned());
        for name in names {
            self.add(setting, &["aud"], |spec, _| {
                for claim in claims {
                    insert(&mut spec.usual, claim.names(), name.as_str().into());
                }
            });
        }
        for claim in claims {
            self.add(setting, &["aud"], |spec, _| {
                remove(&mut spec.usual, claim.names());
            });
        }
        self.add(setting, &["aud"], |spec, _| {
            for claim in claims {
                remove(&mut spec.usual, claim.names());
            }
        });
    }

    fn types(&mut self, setting: &'static str, terms: [&Terms; 2]) {
        let listed = terms.iter().flat_map(|own| &own.token_types);
        let usual = ["at+jwt", "JWT"].map(str::to_owned);
        for typ in listed.cloned().chain(usual) {
            self.add(setting, &["typ"], |spec, _| spec.typ = Some(typ));
        }
        self.add(setting, &["typ"], |spec, _| spec.typ = None);
    }

    /// Tokens of the other kinds that a side accepts, by their `typ` and by what else reveals them.
    fn kinds(&mut self, setting: &'static str, terms: [&Terms; 2]) {
        let listed = terms.iter().flat_map(|own| &own.token_types);
        let usual = ["JWT".to_owned()];
        let types: Vec<String> = usual.into_iter().chain(listed.cloned()).collect();
        for kind in terms.iter().flat_map(|own| &own.also_accept) {
            if let Some(typ) = typ_of(*kind) {
                self.add(setting, &["typ"], |spec, _| spec.typ = Some(typ.to_owned()));
            }
            for typ in &types {
                for claims in revealing(*kind) {
                    self.add(setting, &["typ"], |spec, _| {
                        spec.typ = Some(typ.clone());
                        for (name, value) in claims {
                            let value = match (value, spec.usual.get("iss")) {
                                (Value::Null, Some(issuer)) => issuer.clone(),
                                (value, _) => value,
                            };
                            spec.claims.insert(name.to_owned(), value);
                        }
                    });
                }
            }
        }
    }

    /// Scopes in each of the claims, alone and beside other scopes in another one: the first claim
    /// that is present counts.
    fn scope_claims(&mut self, setting: &'static str, paths: &[&ClaimPath]) {
        for path in paths {
            self.add(setting, &[], |_, scopes| {
                *scopes = vec![path.names().to_vec()];
            });
            for other in paths.iter().filter(|other| *other != path) {
                self.add(setting, &[], |spec, scopes| {
                    *scopes = vec![path.names().to_vec()];
                    insert(&mut spec.claims, other.names(), "other-scope".into());
                });
            }
        }
    }

    fn required(&mut self, setting: &'static str, path: &ClaimPath, terms: [&Terms; 2]) {
        let [old, new] = terms.map(|own| {
            let mut own = own.required_claims.iter();
            own.find(|claim| claim.path == *path)
                .map_or(&[][..], |claim| claim.any_of.as_slice())
        });
        let values = self.members(setting, [old, new]);
        let values = values.iter().map(String::as_str);
        for value in values.chain(["other-value"]) {
            self.add(setting, &[], |spec, _| {
                remove(&mut spec.usual, path.names());
                insert(&mut spec.claims, path.names(), value.into());
                spec.noteworthy.extend(path.names().first().cloned());
            });
        }
        self.add(setting, &[], |spec, _| {
            remove(&mut spec.usual, path.names());
            spec.noteworthy.extend(path.names().first().cloned());
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

/// Claims that reveal the kind, each set of them by itself. A `null` stands for the issuer.
fn revealing(kind: Kind) -> Vec<Vec<(&'static str, Value)>> {
    match kind {
        Kind::AccessToken => Vec::new(),
        Kind::IdToken => vec![vec![("nonce", json!("x"))], vec![("at_hash", json!("x"))]],
        // In an assertion, issuer and subject are the same (RFC 7523 §3).
        Kind::Assertion => vec![vec![("sub", Value::Null)]],
        Kind::RefreshToken => vec![vec![("typ", json!("Refresh"))]],
        Kind::RegistrationToken => vec![vec![("typ", json!("RegistrationAccessToken"))]],
        Kind::SecurityEvent => vec![vec![("events", json!({}))]],
        Kind::Introspection => vec![vec![("token_introspection", json!({}))]],
        Kind::AuthorizationRequest => vec![vec![("typ", json!("oauth-authz-req"))]],
        Kind::AuthorizationResponse => vec![vec![("code", json!("x"))]],
        Kind::DpopProof => vec![vec![("htm", json!("GET")), ("htu", json!("x"))]],
        Kind::Credential => vec![vec![("vct", json!("x"))]],
        Kind::Statement => vec![vec![("typ", json!("entity-statement"))]],
    }
}
