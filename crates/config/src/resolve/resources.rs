//! Resources with metadata (RFC 9728).

use serde_json::{Map, Value};

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw::answers::ProtectedResource;
use crate::values;
use claimgate_core::policy::Provider;
use claimgate_core::policy::resource::Resource;
use claimgate_core::token::source::TokenSource;

impl Resolver<'_> {
    pub(super) fn resources(
        &mut self,
        resources: Field<Vec<Field<ProtectedResource>>>,
        providers: &[Provider],
    ) -> Vec<Resource> {
        let mut read: Vec<Resource> = Vec::new();
        for (location, resource) in self.entries(resources) {
            let Some(resource) = self.resource(&location, resource, providers) else {
                continue;
            };
            let same = |other: &Resource| other.metadata_url() == resource.metadata_url();
            if read.iter().any(same) {
                self.report(&location, "another resource has the same metadata URL");
            }
            read.push(resource);
        }
        read
    }

    fn resource(
        &mut self,
        location: &Location,
        resource: ProtectedResource,
        providers: &[Provider],
    ) -> Option<Resource> {
        let ProtectedResource {
            resource,
            providers: accepted,
            authorization_servers,
            scopes_supported,
            resource_name,
            resource_documentation,
            resource_policy_uri,
            resource_tos_uri,
        } = resource;
        let ids = self.provider_ids(accepted, providers);
        let accepted: Vec<&Provider> = match ids.is_empty() {
            true => providers.iter().collect(),
            false => ids.iter().filter_map(|id| providers.get(id.0)).collect(),
        };
        let mut members = Map::new();
        members.insert(
            "authorization_servers".to_owned(),
            self.authorization_servers(location, authorization_servers, &accepted)
                .into(),
        );
        members.insert(
            "bearer_methods_supported".to_owned(),
            bearer_methods(&accepted),
        );
        let scopes = self.scopes(scopes_supported);
        if !scopes.is_empty() {
            members.insert("scopes_supported".to_owned(), scopes.into());
        }
        let urls = [
            ("resource_documentation", &resource_documentation),
            ("resource_policy_uri", &resource_policy_uri),
            ("resource_tos_uri", &resource_tos_uri),
        ];
        for (name, field) in urls {
            if let Some((location, url)) = field.given() {
                self.parsed(location, values::web_url(url));
                members.insert(name.to_owned(), url.as_str().into());
            }
        }
        if let Some((location, name)) = resource_name.given() {
            if name.is_empty() {
                self.report(location, "empty text");
            }
            members.insert("resource_name".to_owned(), name.as_str().into());
        }
        let (location, identifier) = self.required(location, "resource", &resource)?;
        let resource = Resource::new(identifier, members).map_err(|error| error.to_string());
        self.parsed(location, resource)
    }

    fn authorization_servers(
        &mut self,
        location: &Location,
        given: Field<crate::raw::values::Texts>,
        accepted: &[&Provider],
    ) -> Vec<String> {
        let given = self.texts(given, "at least one, or remove it");
        for (location, url) in &given {
            self.parsed(location, values::web_url(url));
        }
        if !given.is_empty() {
            return given.into_iter().map(|(_, url)| url).collect();
        }
        let issuers = accepted.iter().map(|provider| &provider.terms.issuer);
        let (urls, others): (Vec<_>, Vec<_>) = issuers
            .cloned()
            .partition(|issuer| values::web_url(issuer).is_ok() && !issuer.contains('{'));
        if urls.is_empty() {
            let why = format!(
                "clients cannot find `{}`; give `authorization_servers`",
                others.join("`, `")
            );
            self.report(location, why);
        }
        urls
    }
}

/// The ways in which a client may send its token (RFC 6750 §2).
fn bearer_methods(providers: &[&Provider]) -> Value {
    let places = || providers.iter().flat_map(|provider| &provider.token_from);
    let in_header = places().any(|place| **place == TokenSource::authorization());
    let in_query = places().any(|place| **place == TokenSource::Query("access_token".to_owned()));
    let methods = [("header", in_header), ("query", in_query)];
    let methods = methods.into_iter().filter(|(_, used)| *used);
    methods.map(|(method, _)| method).collect()
}
