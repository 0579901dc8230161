//! The operator's policy: which providers are trusted, what each rule requires of a request, and
//! what the upstream receives.

use std::collections::HashMap;
use std::sync::Arc;

pub mod condition;
mod index;
pub mod inputs;
pub mod matcher;
pub mod pattern;
pub mod requirement;
pub mod resource;
pub mod rule;
pub mod rules;
pub mod shadow;

use matcher::Target;
use resource::Resource;
use rule::Rule;
use rules::{RuleId, Rules};

use crate::identity::Upstream;
use crate::keyring::ProviderId;
use crate::request::Request;
use crate::request::host;
use crate::token::Terms;
use crate::token::issuer::{TENANT_ID, split_tenant};
use crate::token::source::TokenSource;
use crate::token::source::places::TokenPlaces;

/// Everything that a decision depends on, apart from the keys, the time and the request. Immutable.
#[derive(Clone, Debug)]
pub struct Policy {
    providers: Vec<Provider>,
    /// Keyed by every `iss`, and by every template with [`TENANT_ID`].
    by_issuer: HashMap<String, ProviderId>,
    /// The largest `max_token_bytes` of any provider.
    max_token_bytes: usize,
    /// Every place that may carry a token of some provider.
    token_places: TokenPlaces,
    rules: Rules,
    resources: Vec<Arc<Resource>>,
    cors_preflight: CorsPreflight,
    upstream: Upstream,
    is_enforced: bool,
}

/// The parts of a [`Policy`].
#[derive(Clone, Debug)]
pub struct PolicyBuilder {
    /// The providers whose tokens are accepted. If two share an issuer, only the first is used for
    /// it.
    pub providers: Vec<Provider>,
    /// The rules.
    pub rules: Rules,
    /// The resources with metadata. If two share an identifier, only the first is used.
    pub resources: Vec<Resource>,
    /// How CORS preflight requests are treated.
    pub cors_preflight: CorsPreflight,
    /// What the upstream receives.
    pub upstream: Upstream,
    /// Whether denials take effect. Otherwise they are only reported.
    pub is_enforced: bool,
}

/// An OpenID provider whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The name in logs and metrics. Unique.
    pub name: String,
    /// What its tokens must satisfy.
    pub terms: Terms,
    /// The places where a request may carry its tokens.
    pub token_from: Vec<Arc<TokenSource>>,
    /// Whether denials of its tokens take effect. Otherwise they are only reported.
    pub is_enforced: bool,
}

/// How CORS preflights are treated: a browser asks whether it may send a request, without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CorsPreflight {
    /// The rules decide, as for any request.
    #[default]
    Judge,
    /// The preflight passes, unless its rule denies every request or has a condition that does not
    /// hold. Of a condition, only the parts that do not use claims, method or headers count.
    Allow,
}

impl Policy {
    /// Builds a policy from its parts.
    pub fn new(parts: PolicyBuilder) -> Self {
        let PolicyBuilder {
            providers,
            rules,
            resources,
            cors_preflight,
            upstream,
            is_enforced,
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
            is_enforced,
        }
    }

    /// The provider whose tokens have this `iss`: a configured issuer, or that of an accepted
    /// tenant.
    pub fn by_issuer(&self, issuer: &str) -> Option<(ProviderId, &Provider)> {
        // A text with the placeholder in it is a template and not an issuer.
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

    /// The maximum length in bytes of a token while its provider is unknown.
    pub fn max_token_bytes(&self) -> usize {
        self.max_token_bytes
    }

    /// The places that may carry a token.
    pub fn token_places(&self) -> &TokenPlaces {
        &self.token_places
    }

    /// The provider with this id. `None` for an id from another configuration.
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

    /// The rule with this id. `None` for an id from another configuration.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(id)
    }

    /// The resources with metadata.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().map(|resource| &**resource)
    }

    /// The resource whose metadata the request asks for (RFC 9728 §3.1). Includes a browser's
    /// preflight for it.
    pub fn metadata_for(&self, target: &Target<'_>) -> Option<&Arc<Resource>> {
        if !matches!(target.request.method, "GET" | "HEAD" | "OPTIONS") {
            return None;
        }
        let (path, _) = target.request.split_path();
        self.resources
            .iter()
            .find(|resource| resource.host() == target.host && resource.is_at(path))
    }

    /// The resource that the request belongs to: on its host, the one with the longest matching
    /// path.
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

    /// How CORS preflight requests are treated.
    pub fn cors_preflight(&self) -> CorsPreflight {
        self.cors_preflight
    }

    /// What the upstream receives.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether denials take effect, unless their rule or their provider is only observed.
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }
}
