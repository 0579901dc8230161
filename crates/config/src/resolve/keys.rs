//! The source of a provider's keys, and how they are kept fresh.

use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::{HOUR, MINUTE, Resolver, SECOND};
use crate::document::{Field, Location};
use crate::{Fetch, KeySource, Proxy, ProxyUrl, Refresh, raw, values};
use claimgate_core::keyring::KeySet;
use claimgate_core::token::issuer::TENANT_ID;

impl Resolver<'_> {
    pub(super) fn key_source(
        &mut self,
        (issuer_location, issuer): (&Location, &String),
        discovery_url: &Field<String>,
        jwks: Field<raw::provider::Jwks>,
        fetch: &Fetch,
    ) -> Option<KeySource> {
        let source = self.find_source((issuer_location, issuer), discovery_url, jwks, fetch)?;
        if fetch.bearer_token_file.is_some()
            && let Some(url) = source.url()
            && url.scheme() == "http"
            && !values::is_loopback(url)
        {
            let why = format!("`fetch.bearer_token_file` would be sent unencrypted to `{url}`");
            self.report(issuer_location, why);
        }
        if let (Some(Proxy::Url(_)), Some(url)) = (&fetch.proxy, source.url())
            && url.scheme() == "http"
            && !values::is_this_machine(url)
        {
            let why = format!(
                "`{url}` is not https, so `fetch.proxy` could read and replace its response, and \
                 is not used for it; remove `fetch.proxy`"
            );
            self.report(issuer_location, why);
        }
        Some(source)
    }

    fn find_source(
        &mut self,
        (issuer_location, issuer): (&Location, &String),
        discovery_url: &Field<String>,
        jwks: Field<raw::provider::Jwks>,
        fetch: &Fetch,
    ) -> Option<KeySource> {
        match (jwks, discovery_url.given()) {
            (Field::Invalid, _) => None,
            (Field::Given(location, _), Some(_)) => {
                self.report(&location, "`jwks` and `discovery_url` exclude each other");
                None
            }
            (Field::Given(location, jwks), None) => self.jwks(&location, &jwks, fetch),
            (Field::Absent, Some((location, text))) => {
                let url = self.parsed(location, values::key_url(text, fetch.allow_http))?;
                Some(KeySource::Discovery {
                    issuer: issuer.to_owned(),
                    metadata: vec![url],
                })
            }
            (Field::Absent, None) if issuer.contains(TENANT_ID) => {
                let why = format!(
                    "`{TENANT_ID}` needs `discovery_url`; for Entra ID it is `https://login.\
                     microsoftonline.com/organizations/v2.0/.well-known/openid-configuration`"
                );
                self.report(issuer_location, why);
                None
            }
            (Field::Absent, None) => {
                let metadata = values::key_url(issuer.trim(), fetch.allow_http)
                    .and_then(|url| well_known(issuer, &url))
                    .map_err(|why| format!("{why}; set `jwks.uri` if it has no discovery"));
                Some(KeySource::Discovery {
                    issuer: issuer.to_owned(),
                    metadata: self.parsed(issuer_location, metadata)?,
                })
            }
        }
    }

    fn jwks(
        &mut self,
        location: &Location,
        jwks: &raw::provider::Jwks,
        fetch: &Fetch,
    ) -> Option<KeySource> {
        let raw::provider::Jwks { uri, file, inline } = jwks;
        match (uri, file, inline) {
            (Field::Given(location, uri), Field::Absent, Field::Absent) => self
                .parsed(location, values::key_url(uri, fetch.allow_http))
                .map(KeySource::Uri),
            (Field::Absent, Field::Given(..), Field::Absent) => {
                self.file(file).map(KeySource::File)
            }
            (Field::Absent, Field::Absent, Field::Given(location, inline)) => {
                let keys = KeySet::from_json(inline.0.to_string().as_bytes());
                self.parsed(location, keys.map_err(|error| error.to_string()))
                    .map(|keys| KeySource::Inline(Arc::new(keys)))
            }
            (Field::Invalid, _, _) | (_, Field::Invalid, _) | (_, _, Field::Invalid) => None,
            _ => {
                self.report(location, "give exactly one of `uri`, `file` and `inline`");
                None
            }
        }
    }

    pub(super) fn fetch(&mut self, fetch: raw::provider::Fetch) -> Fetch {
        let raw::provider::Fetch {
            timeout,
            startup_grace,
            ca_file,
            bearer_token_file,
            allow_http,
            max_bytes,
            proxy,
            envoy_cluster,
        } = fetch;
        let mebibyte = 1024 * 1024;
        let none = Duration::ZERO;
        let startup_grace = self.duration(&startup_grace, none, none, 24 * HOUR);
        Fetch {
            startup_grace: (!startup_grace.is_zero()).then_some(startup_grace),
            timeout: self.duration(&timeout, 5 * SECOND, SECOND / 10, MINUTE),
            ca_file: self.file(&ca_file),
            bearer_token_file: self.file(&bearer_token_file),
            allow_http: allow_http.value().copied().unwrap_or(false),
            max_bytes: self.bytes(&max_bytes, mebibyte, 1024, 64 * mebibyte),
            proxy: self.proxy(&proxy),
            envoy_cluster: self.envoy_cluster(
                &envoy_cluster,
                &[("ca_file", ca_file.given()), ("proxy", proxy.given())],
            ),
        }
    }

    /// `others` are settings that have no effect on a cluster, with what is given for each.
    fn envoy_cluster(
        &mut self,
        cluster: &Field<String>,
        others: &[(&str, Option<(&Location, &String)>)],
    ) -> Option<String> {
        let (location, name) = cluster.given()?;
        if name.is_empty() {
            self.report(
                location,
                "empty; give the name of a cluster, or leave the field out",
            );
            return None;
        }
        for (other, given) in others {
            if let Some((location, _)) = given {
                self.report(
                    location,
                    format!("`{other}` has no effect with `envoy_cluster`: configure it in Envoy's cluster"),
                );
            }
        }
        Some(name.clone())
    }

    fn proxy(&mut self, proxy: &Field<String>) -> Option<Proxy> {
        let (location, text) = proxy.given()?;
        match text.as_str() {
            "from_environment" => Some(Proxy::FromEnvironment),
            url => self.parsed(location, ProxyUrl::parse(url)).map(Proxy::Url),
        }
    }

    pub(super) fn refresh(&mut self, refresh: raw::provider::Refresh) -> Refresh {
        let raw::provider::Refresh {
            min,
            max,
            max_stale,
            unknown_key_cooldown,
            unknown_key_wait,
            cache_dir,
        } = refresh;
        let (year, day) = (365 * 24 * HOUR, 24 * HOUR);
        let shortest = self.duration(&min, 30 * SECOND, SECOND, day);
        let longest = self.duration(&max, (15 * MINUTE).max(shortest), shortest, 30 * day);
        Refresh {
            min: shortest,
            max: longest,
            max_stale: self.duration(&max_stale, day.max(2 * longest), 2 * longest, year),
            unknown_key_cooldown: self.duration(&unknown_key_cooldown, 30 * SECOND, SECOND, HOUR),
            unknown_key_wait: self.duration(
                &unknown_key_wait,
                SECOND / 10,
                Duration::ZERO,
                10 * SECOND,
            ),
            cache_dir: self.file(&cache_dir),
        }
    }
}

/// The URLs where an issuer's metadata may be. OpenID Connect Discovery 1.0 §4.1 appends its path
/// to the issuer; RFC 8414 §3.1 inserts it between host and path.
fn well_known(issuer: &str, url: &Url) -> Result<Vec<Url>, String> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "`{issuer}` has a query or a fragment, so discovery is not possible"
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let at = |path: String| {
        let mut url = url.clone();
        url.set_path(&path);
        url
    };
    let mut places = vec![
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ];
    if !path.is_empty() {
        places.push(at(format!("/.well-known/openid-configuration{path}")));
    }
    Ok(places)
}
