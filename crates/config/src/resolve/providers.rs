//! Which providers to trust, and on what terms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{HOUR, KIB, MINUTE, Resolver, SECOND, section};
use crate::KeySettings;
use crate::document::{Field, Location};
use crate::raw::{self, provider::RawProvider};
use claimgate_core::identity::HeaderName;
use claimgate_core::policy::Provider;
use claimgate_core::token::source::{TokenSource, websocket};
use claimgate_core::token::{MAX_TOKEN_BYTES, Terms};

/// The marks that a token in HTTP syntax may contain besides letters and digits (RFC 9110 §5.6.2).
const TOKEN_MARKS: &str = "-_.~!#$%&'*+^`|";

/// Those of a cookie's name. Some servers decode `%41` and `+`, so names with them have two readings.
pub(super) const COOKIE_MARKS: &str = "-_.~!#$&'*^`|";

impl Resolver<'_> {
    pub(super) fn providers(
        &mut self,
        providers: Field<Vec<Field<RawProvider>>>,
    ) -> Option<(Vec<Provider>, Vec<KeySettings>)> {
        match &providers {
            Field::Invalid => return None,
            Field::Given(_, providers) if !providers.is_empty() => {}
            Field::Given(location, _) => {
                self.report(location, "at least one provider is needed");
                return None;
            }
            Field::Absent => {
                self.report(
                    &Location::flag("providers"),
                    "missing; at least one provider with `issuer` and `audiences` is needed",
                );
                return None;
            }
        }
        let all = providers.given().map(|(location, _)| location.clone());
        let mut read = Vec::new();
        let mut names = HashMap::new();
        let mut issuers = HashMap::new();
        for (location, provider) in self.entries(providers) {
            let Some((provider, keys)) = self.provider(&location, provider) else {
                continue;
            };
            let same = provider
                .terms
                .issuers()
                .find_map(|issuer| issuers.insert(issuer.to_owned(), location.path.clone()));
            if let Some(other) = same {
                self.report(
                    &location,
                    format!("{other} has the same `issuer`; merge the two"),
                );
            } else if let Some(other) = names.insert(provider.name.clone(), location.path.clone()) {
                let name = &provider.name;
                self.report(
                    &location,
                    format!("{other} is also called `{name}`; give each a different `name`"),
                );
            }
            if let Some((place, other)) = contradicting(&provider, &read) {
                self.report(&location, contradiction(&place, &other));
            }
            read.push((provider, keys));
        }
        if !read.is_empty() && read.iter().all(|(_, keys)| !keys.required) {
            let why = "no provider is `required`, so the service is ready even without any keys";
            self.warn(&all.unwrap_or_default(), why);
        }
        Some(read.into_iter().unzip())
    }

    fn provider(
        &mut self,
        location: &Location,
        provider: RawProvider,
    ) -> Option<(Provider, KeySettings)> {
        let RawProvider {
            name,
            required,
            issuer,
            issuer_aliases,
            tenants,
            audiences,
            audience_claim,
            discovery_url,
            jwks,
            fetch,
            refresh,
            max_token_bytes,
            algorithms,
            token_types,
            also_accept,
            clock_skew,
            max_lifetime,
            required_claims,
            scope_claims,
            token_from,
            enforce,
        } = provider;
        let startup_grace = startup_grace_of(&fetch).cloned();
        let fetch = self.fetch(section(fetch));
        let required = required.value().copied().unwrap_or(true);
        if let Some(location) = startup_grace.filter(|_| !required && fetch.startup_grace.is_some())
        {
            let why = "has no effect, because `required: false` already keeps the provider from \
                       delaying readiness";
            self.warn(&location, why);
        }
        let refresh = self.refresh(section(refresh));
        let audiences = self.audiences(location, audiences);
        let max_token_bytes = self.bytes(&max_token_bytes, 16 * KIB, KIB, MAX_TOKEN_BYTES);
        let algorithms = self.algorithms(algorithms);
        let also_accept = self.also_accept(also_accept);
        let token_types = self.token_types(token_types, &also_accept);
        let issuer_aliases = self.texts(issuer_aliases, "at least one issuer");
        let audience_claim = match audience_claim.given() {
            Some((location, claim)) => self.claim_path(location, claim),
            None => self.claim_path(location, "aud"),
        };
        let required_claims = self.required_claims(required_claims);
        let scope_claims = self.scope_claims(scope_claims);
        let max_lifetime = max_lifetime
            .given()
            .map(|_| self.duration(&max_lifetime, 24 * HOUR, SECOND, 366 * 24 * HOUR));
        let clock_skew = self.duration(&clock_skew, MINUTE, Duration::ZERO, 5 * MINUTE);
        let token_from = self.token_from(token_from);
        let why = "every request whose token claims this `iss` passes, even if the token is forged, \
                   wherever a rule accepts the provider";
        let is_enforced = self.enforce(&enforce, why);
        let issuer = self.required(location, "issuer", &issuer)?;
        if issuer.1.is_empty() {
            self.report(issuer.0, "empty text");
        }
        self.visible_ends(issuer.0, issuer.1);
        if issuer.1.contains("/.well-known/") {
            let why = "this is the URL of metadata; the `iss` of tokens is usually the part \
                       before `/.well-known/`";
            self.warn(issuer.0, why);
        }
        let tenants = self.tenants(issuer, &issuer_aliases, tenants);
        let source = self.key_source(issuer, &discovery_url, jwks, &fetch);
        let (_, issuer) = issuer;
        let name = self.provider_name(&name, issuer);
        let algorithms = algorithms?;
        let terms = Terms {
            issuer: issuer.clone(),
            issuer_aliases: issuer_aliases.into_iter().map(|(_, text)| text).collect(),
            tenants: tenants?,
            audiences: audiences?,
            audience_claim: audience_claim?,
            max_token_bytes,
            algorithms,
            token_types,
            also_accept,
            clock_skew,
            max_lifetime,
            required_claims,
            scope_claims,
        };
        let keys = KeySettings {
            name: name.clone(),
            source: source?,
            fetch,
            refresh,
            required,
            algorithms,
        };
        let provider = Provider {
            name,
            terms,
            token_from,
            is_enforced,
        };
        Some((provider, keys))
    }

    fn provider_name(&mut self, name: &Field<String>, issuer: &str) -> String {
        if let Some((location, name)) = name.given() {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                self.report(location, "a name has 1 to 64 letters, digits and `-_.:`");
            }
            return name.clone();
        }
        Url::parse(issuer)
            .ok()
            .and_then(|url| url.host_str().map(ToOwned::to_owned))
            .unwrap_or_else(|| issuer.to_owned())
    }

    fn token_from(
        &mut self,
        sources: Field<Vec<Field<raw::provider::TokenSource>>>,
    ) -> Vec<Arc<TokenSource>> {
        let Field::Given(location, listed) = &sources else {
            return vec![Arc::new(TokenSource::authorization())];
        };
        if listed.is_empty() {
            self.report(location, "empty; give at least one place, or remove it");
        }
        let mut places: Vec<Arc<TokenSource>> = Vec::new();
        for (location, source) in self.entries(sources) {
            let Some(place) = self.token_source(&location, &source) else {
                continue;
            };
            if places.iter().any(|other| **other == place) {
                self.report(&location, format!("the {place} is already listed"));
            }
            if let Some(other) = places.iter().find(|other| other.contradicts(&place)) {
                self.report(&location, contradiction(&place, other));
            }
            places.push(Arc::new(place));
        }
        places
    }

    fn token_source(
        &mut self,
        location: &Location,
        source: &raw::provider::TokenSource,
    ) -> Option<TokenSource> {
        let raw::provider::TokenSource {
            header,
            scheme,
            cookie,
            query,
            websocket_protocol,
        } = source;
        if let (Field::Given(location, _), Field::Absent) = (scheme, header) {
            self.report(location, "`scheme` requires `header`");
            return None;
        }
        match (header, cookie, query, websocket_protocol) {
            (Field::Given(location, header), Field::Absent, Field::Absent, Field::Absent) => {
                self.fits(location, header, "header name", "-");
                if header.eq_ignore_ascii_case(websocket::HEADER) {
                    let why = "write `websocket_protocol: bearer` for a token after the \
                               subprotocol `bearer`";
                    self.report(location, why);
                } else if HeaderName::is_of_http(&header.to_ascii_lowercase()) {
                    let why = format!("`{header}` already has a meaning; it cannot carry a token");
                    self.report(location, why);
                }
                if let Some((location, scheme)) = scheme.given() {
                    self.fits(location, scheme, "scheme", "-");
                }
                Some(TokenSource::Header {
                    name: header.to_ascii_lowercase(),
                    scheme: scheme.value().cloned(),
                })
            }
            (Field::Absent, Field::Given(location, cookie), Field::Absent, Field::Absent) => {
                self.fits(location, cookie, "cookie name", COOKIE_MARKS);
                self.cookies.push(location.clone());
                Some(TokenSource::Cookie(cookie.clone()))
            }
            (Field::Absent, Field::Absent, Field::Given(location, query), Field::Absent) => {
                self.fits(location, query, "query parameter", "-_.~");
                Some(TokenSource::Query(query.clone()))
            }
            (Field::Absent, Field::Absent, Field::Absent, Field::Given(location, name)) => {
                self.fits(location, name, "subprotocol", TOKEN_MARKS);
                Some(TokenSource::WebSocket(name.clone()))
            }
            (Field::Invalid, _, _, _)
            | (_, Field::Invalid, _, _)
            | (_, _, Field::Invalid, _)
            | (_, _, _, Field::Invalid) => None,
            _ => {
                let why =
                    "give exactly one of `header`, `cookie`, `query` and `websocket_protocol`";
                self.report(location, why);
                None
            }
        }
    }

    /// Reports a name that is not made of letters, digits and `others`.
    fn fits(&mut self, location: &Location, name: &str, what: &str, others: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            let why = format!("`{name}` is not a {what} of letters, digits and `{others}`");
            self.report(location, why);
        }
    }
}

/// Where `fetch.startup_grace` is written.
fn startup_grace_of(fetch: &Field<raw::provider::Fetch>) -> Option<&Location> {
    fetch
        .value()?
        .startup_grace
        .given()
        .map(|(location, _)| location)
}

/// A place of this provider, and a place of an earlier provider, where a token that fits one is an
/// error in the other.
fn contradicting(
    provider: &Provider,
    earlier: &[(Provider, KeySettings)],
) -> Option<(Arc<TokenSource>, Arc<TokenSource>)> {
    let others = || earlier.iter().flat_map(|(other, _)| &other.token_from);
    provider.token_from.iter().find_map(|place| {
        let other = others().find(|other| other.contradicts(place))?;
        Some((Arc::clone(place), Arc::clone(other)))
    })
}

fn contradiction(place: &TokenSource, other: &TokenSource) -> String {
    format!("tokens are taken from the {other}, so the {place} cannot carry one")
}
