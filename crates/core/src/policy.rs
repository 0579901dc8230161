//! What is required of a request: by which rule, whom to trust, on what terms, and what the
//! upstream gets.

use std::collections::HashMap;
use std::sync::Arc;

pub mod condition;
mod index;
pub mod matcher;
pub mod pattern;
pub mod requirement;
pub mod resource;
pub mod rules;
pub mod shadow;

use matcher::Target;
use resource::Resource;
use rules::{Rule, RuleId, Rules};

use crate::identity::Upstream;
use crate::keyring::ProviderId;
use crate::request::Request;
use crate::request::host;
use crate::token::Terms;
use crate::token::issuer::{TENANT_ID, split_tenant};
use crate::token::source::TokenSource;
use crate::token::source::places::TokenPlaces;

/// Everything that a decision depends on, besides keys, time and the request. Immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    providers: Vec<Provider>,
    /// By each `iss`, and by each template of one.
    by_issuer: HashMap<String, ProviderId>,
    /// The longest token that some provider accepts, in bytes.
    max_token_bytes: usize,
    /// Everywhere that some provider's tokens may be.
    token_places: TokenPlaces,
    rules: Rules,
    resources: Vec<Arc<Resource>>,
    cors_preflight: CorsPreflight,
    upstream: Upstream,
}

/// What a policy is made of.
#[derive(Clone, Debug)]
pub struct PolicyBuilder {
    /// Whose tokens are accepted. Their issuers must differ, or the later one is not reached.
    pub providers: Vec<Provider>,
    /// What is required of which requests.
    pub rules: Rules,
    /// What has metadata. Their identifiers must differ, or the later one is not reached.
    pub resources: Vec<Resource>,
    /// What becomes of CORS preflight requests.
    pub cors_preflight: CorsPreflight,
    /// What the upstream gets.
    pub upstream: Upstream,
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

/// What becomes of a browser's question whether it may send a request, which never has a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CorsPreflight {
    /// The rules say.
    #[default]
    Judge,
    /// It may pass, unless its rule denies every request, or has a condition that does not hold,
    /// be it only in those of its parts that do not look at claims, method or headers.
    Allow,
}

impl Policy {
    /// A policy of these parts.
    pub fn new(parts: PolicyBuilder) -> Self {
        let PolicyBuilder {
            providers,
            rules,
            resources,
            cors_preflight,
            upstream,
        } = parts;
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
        let max_token_bytes = providers
            .iter()
            .map(|provider| provider.terms.max_token_bytes);
        Self {
            max_token_bytes: max_token_bytes.max().unwrap_or_default(),
            providers,
            by_issuer,
            token_places: TokenPlaces::new(token_places),
            rules,
            resources: resources.into_iter().map(Arc::new).collect(),
            cors_preflight,
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

    /// The longest token that is looked at, whoever it is from.
    pub fn max_token_bytes(&self) -> usize {
        self.max_token_bytes
    }

    /// Where to look for tokens.
    pub fn token_places(&self) -> &TokenPlaces {
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

    /// All rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The rule of this id, unless it is another configuration's.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id)
    }

    /// The resource whose metadata a request is for (RFC 9728 §3.1): read, or asked by a browser
    /// whether it may be read.
    pub fn metadata_for(&self, target: &Target<'_>) -> Option<&Arc<Resource>> {
        if !matches!(target.request.method, "GET" | "HEAD" | "OPTIONS") {
            return None;
        }
        let (path, _) = target.request.split_path();
        self.resources
            .iter()
            .find(|resource| resource.host() == target.host && resource.is_at(path))
    }

    /// The resource that a request is for: of those on its host, that with the longest path.
    pub fn resource_of(&self, request: &Request<'_>) -> Option<&Resource> {
        if self.resources.is_empty() {
            return None;
        }
        let host = host::canonical(request.host)?;
        let (path, _) = request.split_path();
        self.resources
            .iter()
            .filter(|resource| resource.host() == host)
            .filter_map(|resource| Some((resource.covers(path)?, &**resource)))
            .max_by_key(|(length, _)| *length)
            .map(|(_, resource)| resource)
    }

    /// What becomes of CORS preflight requests.
    pub fn cors_preflight(&self) -> CorsPreflight {
        self.cors_preflight
    }

    /// What the upstream gets.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }
}
