//! What is required of a request: whom to trust, on what terms, and what the upstream gets.

use std::collections::HashMap;

use crate::identity::Upstream;
use crate::keyring::ProviderId;
use crate::token::Terms;

/// Everything that a decision depends on, besides keys, time and the request. Immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    providers: Vec<Provider>,
    by_issuer: HashMap<String, ProviderId>,
    upstream: Upstream,
}

/// An OpenID provider whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What logs and metrics call it; unique.
    pub name: String,
    /// What its tokens must be.
    pub terms: Terms,
}

impl Policy {
    /// A policy that trusts `providers`, whose issuers must differ, or the later one is not
    /// reached.
    pub fn new(providers: Vec<Provider>, upstream: Upstream) -> Self {
        let mut by_issuer = HashMap::new();
        for (index, provider) in providers.iter().enumerate() {
            let Terms {
                issuer,
                issuer_aliases,
                ..
            } = &provider.terms;
            for issuer in issuer_aliases.iter().chain([issuer]) {
                by_issuer.entry(issuer.clone()).or_insert(ProviderId(index));
            }
        }
        Self {
            providers,
            by_issuer,
            upstream,
        }
    }

    /// The provider one of whose `iss` values is exactly `issuer`.
    pub fn by_issuer(&self, issuer: &str) -> Option<(ProviderId, &Provider)> {
        let id = *self.by_issuer.get(issuer)?;
        Some((id, self.providers.get(id.0)?))
    }

    /// The provider of this id, unless it is another configuration's.
    pub fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id.0)
    }

    /// All providers, in the order of the configuration.
    pub fn providers(&self) -> impl Iterator<Item = (ProviderId, &Provider)> {
        self.providers
            .iter()
            .enumerate()
            .map(|(index, provider)| (ProviderId(index), provider))
    }

    /// What the upstream gets.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }
}
