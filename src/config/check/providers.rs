//! Whom to trust, and on what terms.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr as _;
use std::time::Duration;

use url::Url;

use super::{Check, HOUR, MINUTE, SECOND, section};
use crate::config::KeySettings;
use crate::config::document::{Field, Spot};
use crate::config::raw::{self, Texts, Values};
use crate::keyring::{Algorithm, AlgorithmSet};
use crate::policy::Provider;
use crate::token::claims::ClaimPath;
use crate::token::{Audiences, RequiredClaim, Terms};

impl Check<'_> {
    pub(super) fn providers(
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
        for (spot, provider) in self.entries(providers) {
            let Some((provider, keys)) = self.provider(&spot, provider) else {
                continue;
            };
            let terms = &provider.terms;
            let same = [&terms.issuer]
                .into_iter()
                .chain(&terms.issuer_aliases)
                .find_map(|issuer| issuers.insert(issuer.clone(), spot.path.clone()));
            if let Some(other) = same {
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
            issuer_aliases,
            audiences,
            audience_claim,
            discovery_url,
            jwks,
            fetch,
            refresh,
            algorithms,
            token_types,
            clock_skew,
            max_lifetime,
            required_claims,
        } = provider;
        let fetch = self.fetch(section(fetch));
        let refresh = self.refresh(section(refresh));
        let audiences = self.audiences(spot, audiences);
        let algorithms = self.algorithms(algorithms);
        let token_types = self.optional_texts(token_types, "at least one type");
        let issuer_aliases = self.optional_texts(issuer_aliases, "at least one issuer");
        let audience_claim = self.claim_path(&audience_claim);
        let required_claims = self.required_claims(required_claims);
        let max_lifetime = max_lifetime
            .given()
            .map(|_| self.duration(&max_lifetime, 24 * HOUR, SECOND, 366 * 24 * HOUR));
        let clock_skew = self.duration(&clock_skew, MINUTE, Duration::ZERO, 5 * MINUTE);
        let (issuer_spot, issuer) = self.required(spot, "issuer", &issuer)?;
        let source = self.key_source(issuer_spot, issuer, &discovery_url, jwks, &fetch);
        let name = self.provider_name(&name, issuer);
        let terms = Terms {
            issuer: issuer.clone(),
            issuer_aliases,
            audiences: audiences?,
            audience_claim: audience_claim?,
            algorithms: algorithms?,
            token_types,
            clock_skew,
            max_lifetime,
            required_claims,
        };
        let keys = KeySettings {
            name: name.clone(),
            source: source?,
            fetch,
            refresh,
        };
        Some((Provider { name, terms }, keys))
    }

    fn optional_texts(&mut self, field: Field<Texts>, wanted: &str) -> Vec<String> {
        let texts = self.texts(field, wanted);
        texts.into_iter().map(|(_, text)| text).collect()
    }

    /// `aud` unless another claim is named.
    fn claim_path(&mut self, field: &Field<String>) -> Option<ClaimPath> {
        let (spot, text) = match field {
            Field::Absent => (&Spot::default(), "aud"),
            Field::Invalid => return None,
            Field::Given(spot, text) => (spot, text.as_str()),
        };
        let parsed = ClaimPath::from_str(text).map_err(|error| error.to_string());
        self.parsed(spot, parsed)
    }

    fn required_claims(
        &mut self,
        field: Field<BTreeMap<String, Field<Values>>>,
    ) -> Vec<RequiredClaim> {
        let Field::Given(spot, claims) = field else {
            return Vec::new();
        };
        let mut required = Vec::new();
        for (name, field) in claims {
            match field {
                Field::Given(spot, Values(any_of)) => {
                    let parsed = ClaimPath::from_str(&name).map_err(|error| error.to_string());
                    let path = self.parsed(&spot, parsed);
                    required.extend(path.map(|path| RequiredClaim { path, any_of }));
                }
                Field::Absent => self.report(&spot, format!("`{name}` has no value")),
                Field::Invalid => {}
            }
        }
        required
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
                let texts = self.texts(given, "at least one audience, or `any` alone");
                for (spot, _) in texts.iter().filter(|(_, text)| text == "any") {
                    let why = "`any` in a list would be an audience of that name; \
                               write `audiences: any` to accept tokens meant for anyone";
                    self.report(spot, why);
                }
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
        if names.iter().any(|name| matches!(name, Field::Absent)) {
            self.report(&spot, "an entry is empty");
        }
        (!set.is_empty()).then_some(set)
    }
}
