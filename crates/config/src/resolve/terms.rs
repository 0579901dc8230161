//! What one provider's tokens must satisfy.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw::values::{Texts, Values};
use crate::values;
use claimgate_core::keyring::{Algorithm, AlgorithmSet};
use claimgate_core::token::claims::ClaimPath;
use claimgate_core::token::issuer::{TENANT_ID, is_tenant_id, trust_domain};
use claimgate_core::token::{Audiences, Kind, RequiredClaim, Tenants};

impl Resolver<'_> {
    pub(super) fn token_types(&mut self, field: Field<Texts>, also_accept: &[Kind]) -> Vec<String> {
        let types = self.texts(field, "at least one type");
        for (location, typ) in &types {
            let refused = match Kind::named(typ) {
                Some(Kind::IdToken) if also_accept.contains(&Kind::IdToken) => None,
                kind => kind,
            };
            if let Some(kind) = refused {
                let kind = kind.name();
                self.report(
                    location,
                    format!("`{typ}` is the type of {kind}, which is refused"),
                );
            }
        }
        types.into_iter().map(|(_, typ)| typ).collect()
    }

    pub(super) fn claim_path(&mut self, location: &Location, text: &str) -> Option<ClaimPath> {
        self.visible_ends(location, text);
        let parsed = ClaimPath::from_str(text).map_err(|error| error.to_string());
        self.parsed(location, parsed)
    }

    /// The tenants whose tokens are accepted. Also checks the form of issuers with tenants, and of
    /// SPIFFE issuers.
    pub(super) fn tenants(
        &mut self,
        issuer: (&Location, &String),
        aliases: &[(Location, String)],
        tenants: Field<Texts>,
    ) -> Option<Tenants> {
        let (mut templates, mut exact) = (0, Vec::new());
        let aliases = aliases.iter().map(|(location, text)| (location, text));
        for (location, issuer) in [issuer].into_iter().chain(aliases) {
            let segments = issuer.split('/').filter(|segment| *segment == TENANT_ID);
            match (segments.count(), issuer.matches(TENANT_ID).count()) {
                (0, 0) => exact.push(location),
                (1, 1) => templates += 1,
                _ => {
                    let why = format!("`{TENANT_ID}` must be one whole segment of the path");
                    self.report(location, why);
                }
            }
            if issuer.starts_with("spiffe:") && trust_domain(&format!("{issuer}/x")) != Some(issuer)
            {
                let why = "write a SPIFFE trust domain as `spiffe://example.org`, without a path";
                self.report(location, why);
            }
        }
        if templates > 0 {
            for location in exact {
                let why = format!(
                    "has no `{TENANT_ID}`, so its tenant would not be checked; give it a separate \
                     provider"
                );
                self.report(location, why);
            }
        }
        match (templates, tenants) {
            (_, Field::Invalid) => None,
            (0, Field::Absent) => Some(Tenants::None),
            (0, Field::Given(location, _)) => {
                let why = format!("`tenants` requires an issuer that contains `{TENANT_ID}`");
                self.report(&location, why);
                None
            }
            (_, Field::Absent) => {
                let why = format!(
                    "`{TENANT_ID}` needs `tenants`: the ids of the tenants whose tokens are accepted, \
                     or `any` for everyone with an account"
                );
                self.report(issuer.0, why);
                None
            }
            (_, Field::Given(location, Texts::One(text))) if text == "any" => {
                self.warn(
                    &location,
                    "tokens of every tenant are accepted, and anyone can create a tenant",
                );
                Some(Tenants::Any)
            }
            (_, given @ Field::Given(..)) => {
                let texts = self.texts(given, "at least one tenant, or `any` alone");
                for (location, text) in &texts {
                    if !is_tenant_id(text) {
                        let why = format!(
                            "`{text}` is not a tenant's id: a GUID in lower case, with hyphens"
                        );
                        self.report(location, why);
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
            .filter_map(|(location, text)| {
                let kind = match text.as_str() {
                    "id_token" => Ok(Kind::IdToken),
                    "assertion" => Ok(Kind::Assertion),
                    _ => Err(format!(
                        "`{text}` is not a kind that can be accepted besides access tokens: \
                         `id_token` or `assertion`"
                    )),
                };
                self.parsed(location, kind)
            })
            .collect()
    }

    pub(super) fn scope_claims(&mut self, field: Field<Texts>) -> Vec<ClaimPath> {
        let texts = match field {
            Field::Absent | Field::Invalid => ["scope", "scp"]
                .map(|text| (Location::default(), text.to_owned()))
                .into(),
            given @ Field::Given(..) => self.texts(given, "at least one claim"),
        };
        texts
            .iter()
            .filter_map(|(location, text)| self.claim_path(location, text))
            .collect()
    }

    pub(super) fn required_claims(
        &mut self,
        field: Field<BTreeMap<String, Field<Values>>>,
    ) -> Vec<RequiredClaim> {
        let Field::Given(location, claims) = field else {
            return Vec::new();
        };
        if claims.is_empty() {
            self.report(&location, "empty; give at least one claim");
        }
        let mut required = Vec::new();
        for (name, field) in claims {
            match field {
                Field::Given(location, Values(any_of)) => {
                    for value in any_of.iter().filter(|value| values::has_blank_ends(value)) {
                        self.warn(&location, values::blank_ends(value));
                    }
                    let path = self.claim_path(&location, &name);
                    required.extend(path.map(|path| RequiredClaim::new(path, any_of)));
                }
                Field::Absent => self.report(&location, format!("`{name}` has no value")),
                Field::Invalid => {}
            }
        }
        required
    }

    pub(super) fn audiences(
        &mut self,
        location: &Location,
        audiences: Field<Texts>,
    ) -> Option<Audiences> {
        match audiences {
            Field::Invalid => None,
            Field::Absent => {
                self.report(
                    location,
                    "missing field `audiences`: the `aud` that your API's tokens carry; \
                     `audiences: any` accepts tokens for any audience",
                );
                None
            }
            Field::Given(location, Texts::One(text)) if text == "any" => {
                let why = "tokens for any other API are accepted too: anyone who obtains one can \
                           use it here";
                self.warn(&location, why);
                Some(Audiences::Any)
            }
            given @ Field::Given(..) => {
                let texts = self.texts(given, "at least one audience, or `any` alone");
                for (location, _) in texts.iter().filter(|(_, text)| text == "any") {
                    let why = "`any` in a list would be an audience with that name; \
                               write `audiences: any` to accept tokens for any audience";
                    self.report(location, why);
                }
                for (location, _) in texts.iter().filter(|(_, text)| text == "account") {
                    let why = "Keycloak puts the audience `account` into the tokens of every \
                               client; give the API its own audience";
                    self.warn(location, why);
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
        let Field::Given(location, names) = algorithms else {
            return Some(Algorithm::ALL.into_iter().collect());
        };
        let set: AlgorithmSet = names
            .iter()
            .filter_map(Field::given)
            .filter_map(|(location, name)| {
                let known: AlgorithmSet = Algorithm::ALL.into_iter().collect();
                let parsed = Algorithm::from_name(name)
                    .ok_or_else(|| format!("`{name}` is not supported; supported: {known}"));
                self.parsed(location, parsed)
            })
            .collect();
        if names.is_empty() {
            self.report(
                &location,
                "at least one algorithm is needed; remove `algorithms` to accept all",
            );
        }
        if names.iter().any(|name| matches!(name, Field::Absent)) {
            self.report(&location, "an entry is empty");
        }
        (!set.is_empty()).then_some(set)
    }
}
