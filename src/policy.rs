//! What is required of a request: whom to trust, on what terms, and what the upstream gets.

use std::collections::HashMap;
use std::sync::Arc;

use crate::identity::Upstream;
use crate::keyring::ProviderId;
use crate::token::Terms;
use crate::token::issuer::{TENANT_ID, split_tenant};
use crate::token::source::TokenSource;

/// Everything that a decision depends on, besides keys, time and the request. Immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    providers: Vec<Provider>,
    /// By each `iss`, and by each template of one.
    by_issuer: HashMap<String, ProviderId>,
    /// Everywhere that some provider's tokens may be.
    token_places: Vec<Arc<TokenSource>>,
    upstream: Upstream,
}

/// An OpenID provider whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What logs and metrics call it; unique.
    pub name: String,
    /// What its tokens must be.
    pub terms: Terms,
    /// Where a request carries them.
    pub token_from: Vec<Arc<TokenSource>>,
}

impl Policy {
    /// A policy that trusts `providers`, whose issuers must differ, or the later one is not
    /// reached.
    pub fn new(providers: Vec<Provider>, upstream: Upstream) -> Self {
        let mut by_issuer = HashMap::new();
        let mut token_places = Vec::new();
        for (index, provider) in providers.iter().enumerate() {
            for issuer in provider.terms.issuers() {
                by_issuer
                    .entry(issuer.to_owned())
                    .or_insert(ProviderId(index));
            }
            for place in &provider.token_from {
                if !token_places.contains(place) {
                    token_places.push(Arc::clone(place));
                }
            }
        }
        Self {
            providers,
            by_issuer,
            token_places,
            upstream,
        }
    }

    /// The provider whose tokens have this `iss`: exactly one that is configured, or that of an
    /// accepted tenant.
    pub fn by_issuer(&self, issuer: &str) -> Option<(ProviderId, &Provider)> {
        // What stands for any tenant is the name of none.
        if issuer.contains(TENANT_ID) {
            return None;
        }
        let by_tenant = || self.by_issuer.get(&split_tenant(issuer)?.0);
        let id = *self.by_issuer.get(issuer).or_else(by_tenant)?;
        let provider = self.providers.get(id.0)?;
        provider
            .terms
            .accepts_issuer(issuer)
            .then_some((id, provider))
    }

    /// Where to look for tokens.
    pub fn token_places(&self) -> &[Arc<TokenSource>] {
        &self.token_places
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
