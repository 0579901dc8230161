//! What one provider's tokens must be.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use super::Check;
use crate::config::document::{Field, Spot};
use crate::config::raw::values::{Texts, Values};
use crate::config::values;
use crate::keyring::{Algorithm, AlgorithmSet};
use crate::token::claims::ClaimPath;
use crate::token::issuer::{TENANT_ID, is_tenant_id, trust_domain};
use crate::token::{Audiences, Kind, RequiredClaim, Tenants};

impl Check<'_> {
    pub(super) fn token_types(&mut self, field: Field<Texts>, also_accept: &[Kind]) -> Vec<String> {
        let types = self.texts(field, "at least one type");
        for (spot, typ) in &types {
            let refused = match Kind::named(typ) {
                Some(Kind::IdToken) if also_accept.contains(&Kind::IdToken) => None,
                kind => kind,
            };
            if let Some(kind) = refused {
                let kind = kind.name();
                self.report(
                    spot,
                    format!("`{typ}` is the type of {kind}, which is refused"),
                );
            }
        }
        types.into_iter().map(|(_, typ)| typ).collect()
    }

    pub(super) fn claim_path(&mut self, spot: &Spot, text: &str) -> Option<ClaimPath> {
        self.visible_ends(spot, text);
        let parsed = ClaimPath::from_str(text).map_err(|error| error.to_string());
        self.parsed(spot, parsed)
    }

    /// Whose tokens are accepted of an issuer with many tenants; that issuers of other forms are
    /// of the right form.
    pub(super) fn tenants(
        &mut self,
        issuer: (&Spot, &String),
        aliases: &[(Spot, String)],
        tenants: Field<Texts>,
    ) -> Option<Tenants> {
        let (mut templates, mut exact) = (0, Vec::new());
        let aliases = aliases.iter().map(|(spot, text)| (spot, text));
        for (spot, issuer) in [issuer].into_iter().chain(aliases) {
            let segments = issuer.split('/').filter(|segment| *segment == TENANT_ID);
            match (segments.count(), issuer.matches(TENANT_ID).count()) {
                (0, 0) => exact.push(spot),
                (1, 1) => templates += 1,
                _ => {
                    let why = format!("`{TENANT_ID}` must be one whole segment of the path");
                    self.report(spot, why);
                }
            }
            if issuer.starts_with("spiffe:") && trust_domain(&format!("{issuer}/x")) != Some(issuer)
            {
                let why = "a SPIFFE trust domain is written `spiffe://example.org`, without a path";
                self.report(spot, why);
            }
        }
        if templates > 0 {
            for spot in exact {
                let why = format!(
                    "has no `{TENANT_ID}`, so its tenant would go unchecked; give it a provider \
                     of its own"
                );
                self.report(spot, why);
            }
        }
        match (templates, tenants) {
            (_, Field::Invalid) => None,
            (0, Field::Absent) => Some(Tenants::None),
            (0, Field::Given(spot, _)) => {
                let why = format!("`tenants` is for an issuer with `{TENANT_ID}` in it");
                self.report(&spot, why);
                None
            }
            (_, Field::Absent) => {
                let why = format!(
                    "`{TENANT_ID}` needs `tenants`: the ids of those whose tokens are accepted, \
                     or `any` for everyone with an account"
                );
                self.report(issuer.0, why);
                None
            }
            (_, Field::Given(spot, Texts::One(text))) if text == "any" => {
                self.warn(
                    &spot,
                    "tokens of every tenant are accepted, and anyone can make one",
                );
                Some(Tenants::Any)
            }
            (_, given @ Field::Given(..)) => {
                let texts = self.texts(given, "at least one tenant, or `any` alone");
                for (spot, text) in &texts {
                    if !is_tenant_id(text) {
                        let why = format!(
                            "`{text}` is not a tenant's id: a GUID in lower case, with hyphens"
                        );
                        self.report(spot, why);
                    }
                }
                Some(Tenants::AnyOf(
                    texts.into_iter().map(|(_, text)| text).collect(),
                ))
            }
        }
    }

    pub(super) fn also_accept(&mut self, field: Field<Texts>) -> Vec<Kind> {
        let texts = self.texts(field, "at least one kind of token");
        texts
            .iter()
            .filter_map(|(spot, text)| {
                let kind = match text.as_str() {
                    "id_token" => Ok(Kind::IdToken),
                    "assertion" => Ok(Kind::Assertion),
                    _ => Err(format!(
                        "`{text}` is not a kind that can be accepted besides access tokens: \
                         `id_token` or `assertion`"
                    )),
                };
                self.parsed(spot, kind)
            })
            .collect()
    }

    pub(super) fn scope_claims(&mut self, field: Field<Texts>) -> Vec<ClaimPath> {
        let texts = match field {
            Field::Absent | Field::Invalid => ["scope", "scp"]
                .map(|text| (Spot::default(), text.to_owned()))
                .into(),
            given @ Field::Given(..) => self.texts(given, "at least one claim"),
        };
        texts
            .iter()
            .filter_map(|(spot, text)| self.claim_path(spot, text))
            .collect()
    }

    pub(super) fn required_claims(
        &mut self,
        field: Field<BTreeMap<String, Field<Values>>>,
    ) -> Vec<RequiredClaim> {
        let Field::Given(spot, claims) = field else {
            return Vec::new();
        };
        if claims.is_empty() {
            self.report(&spot, "empty; give at least one claim");
        }
        let mut required = Vec::new();
        for (name, field) in claims {
            match field {
                Field::Given(spot, Values(any_of)) => {
                    for value in any_of.iter().filter(|value| values::has_blank_ends(value)) {
                        self.warn(&spot, values::blank_ends(value));
                    }
                    let path = self.claim_path(&spot, &name);
                    required.extend(path.map(|path| RequiredClaim::new(path, any_of)));
                }
                Field::Absent => self.report(&spot, format!("`{name}` has no value")),
                Field::Invalid => {}
            }
        }
        required
    }

    pub(super) fn audiences(&mut self, spot: &Spot, audiences: Field<Texts>) -> Option<Audiences> {
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
            Field::Given(spot, Texts::One(text)) if text == "any" => {
                let why = "tokens meant for any other API are accepted too: whoever gets one can \
                           use it here";
                self.warn(&spot, why);
                Some(Audiences::Any)
            }
            given @ Field::Given(..) => {
                let texts = self.texts(given, "at least one audience, or `any` alone");
                for (spot, _) in texts.iter().filter(|(_, text)| text == "any") {
                    let why = "`any` in a list would be an audience of that name; \
                               write `audiences: any` to accept tokens meant for anyone";
                    self.report(spot, why);
                }
                for (spot, _) in texts.iter().filter(|(_, text)| text == "account") {
                    let why = "Keycloak puts the audience `account` into the tokens of every \
                               client; give the API an audience of its own";
                    self.warn(spot, why);
                }
                let audiences: Vec<_> = texts.into_iter().map(|(_, text)| text).collect();
                (!audiences.is_empty()).then_some(Audiences::AnyOf(audiences))
            }
        }
    }

    pub(super) fn algorithms(
        &mut self,
        algorithms: Field<Vec<Field<String>>>,
    ) -> Option<AlgorithmSet> {
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
        if names.iter().any(|name| matches!(name, Field::Absent)) {
            self.report(&spot, "an entry is empty");
        }
        (!set.is_empty()).then_some(set)
    }
}
