//! What a rule requires of the requests that it is about, and of their tokens.

use std::collections::HashSet;
use std::time::Duration;

use crate::escaped::{Escaped, listed};
use crate::keyring::ProviderId;
use crate::time::UnixTime;
use crate::token::claims::NumericDate;
use crate::token::json::Json;
use crate::token::{RequiredClaim, VerifiedToken};

/// Who may pass.
#[derive(Clone, Debug)]
pub enum Access {
    /// Nobody.
    Deny,
    /// Anybody, and nobody looks at a token.
    Public,
    /// Whoever has a token that holds, and whoever has none. A bad one is refused.
    Optional(Requirement),
    /// Whoever has a token that holds.
    Required(Requirement),
}

/// What a token must be for a rule, besides valid: all of this. What is empty requires nothing.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// It is from one of these.
    pub providers: Vec<ProviderId>,
    /// It has all of these scopes.
    pub scopes: Vec<String>,
    /// It has one of these scopes.
    pub any_scope: Vec<String>,
    /// Each of these claims has, or is an array with, one of its values.
    pub claims: Vec<RequiredClaim>,
    /// Its `acr` is one of these (RFC 9470 §4).
    pub acr: Vec<String>,
    /// Its bearer logged in no longer ago (RFC 9470 §4).
    pub max_age: Option<Duration>,
}

/// Up to this many scopes of a rule are looked for one by one, which is faster than a hash.
const FEW_SCOPES: usize = 4;

/// Why a rule refuses a request whose token, if there is one, is valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It refuses all.
    #[error("the rule denies every request")]
    Denied,
    /// A token from another provider.
    #[error("the rule does not accept tokens of this provider")]
    Provider,
    /// Not the scopes.
    #[error("the token lacks the scope {}", listed(missing, ", "))]
    Scope {
        /// Those that are missing; of several of which one would do, all.
        missing: Vec<String>,
    },
    /// Not the claim.
    #[error("the token's `{claim}` has none of {}", listed(any_of, ", "))]
    Claim {
        /// Which.
        claim: String,
        /// What it should have.
        any_of: Vec<String>,
    },
    /// Not the authentication (RFC 9470 §3).
    #[error("{0}")]
    Authentication(&'static str),
    /// The condition does not hold.
    #[error("the rule's condition does not hold: {0}")]
    Condition(Escaped),
    /// The condition has no answer.
    #[error("the rule's condition failed: {why}: {condition}")]
    ConditionFailed {
        /// Why.
        why: String,
        /// As the operator wrote it.
        condition: Escaped,
    },
}

impl Requirement {
    /// Whether any valid token is what it requires.
    pub fn is_empty(&self) -> bool {
        let Self {
            providers,
            scopes,
            any_scope,
            claims,
            acr,
            max_age,
        } = self;
        providers.is_empty()
            && scopes.is_empty()
            && any_scope.is_empty()
            && claims.is_empty()
            && acr.is_empty()
            && max_age.is_none()
    }

    /// Whether a token is what the rule requires.
    ///
    /// # Errors
    ///
    /// When it is not, with the first thing that it is not. The login comes last: nobody should
    /// log in anew for what they are not allowed anyway.
    pub fn check(
        &self,
        provider: ProviderId,
        token: &VerifiedToken,
        skew: Duration,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        if !self.providers.is_empty() && !self.providers.contains(&provider) {
            return Err(Refusal::Provider);
        }
        self.check_scopes(token)?;
        self.check_claims(token)?;
        self.check_authentication(token, skew, now)
    }

    /// The scopes that a token should have: those that it must have, and the first of those of
    /// which one will do.
    pub fn wanted_scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes
            .iter()
            .chain(self.any_scope.first())
            .map(String::as_str)
    }

    fn check_scopes(&self, token: &VerifiedToken) -> Result<(), Refusal> {
        let lookup: HashSet<&str> = match self.scopes.len() + self.any_scope.len() > FEW_SCOPES {
            true => token.scopes().collect(),
            false => HashSet::new(),
        };
        let has = |scope: &&String| match lookup.is_empty() {
            true => token.scopes().any(|own| own == scope.as_str()),
            false => lookup.contains(scope.as_str()),
        };
        let missing: Vec<String> = self
            .scopes
            .iter()
            .filter(|scope| !has(scope))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Refusal::Scope { missing });
        }
        if !self.any_scope.is_empty() && !self.any_scope.iter().any(|scope| has(&scope)) {
            let missing = self.any_scope.clone();
            return Err(Refusal::Scope { missing });
        }
        Ok(())
    }

    fn check_claims(&self, token: &VerifiedToken) -> Result<(), Refusal> {
        for claim in &self.claims {
            let RequiredClaim { path, any_of, .. } = claim;
            let is_wanted = |value| claim.accepts(value);
            let has = match token.claims().at(path) {
                Some(Json::Array(elements)) => elements.iter().any(is_wanted),
                found => found.is_some_and(is_wanted),
            };
            if !has {
                return Err(Refusal::Claim {
                    claim: path.to_string(),
                    any_of: any_of.clone(),
                });
            }
        }
        Ok(())
    }

    /// RFC 9470 §6.1: a token that does not say when or how its bearer logged in will not do.
    fn check_authentication(
        &self,
        token: &VerifiedToken,
        skew: Duration,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let claims = token.claims();
        if !self.acr.is_empty() {
            let acr = claims.members().get("acr").and_then(Json::as_str);
            if !acr.is_some_and(|acr| self.acr.iter().any(|own| own == acr)) {
                let why = "the token's `acr` is none that the rule accepts";
                return Err(Refusal::Authentication(why));
            }
        }
        if let Some(max_age) = self.max_age {
            let logged_in = claims.date(NumericDate::AuthTime).ok().flatten();
            let Some(logged_in) = logged_in else {
                let why = "the token has no `auth_time`, which the rule's `max_age` needs";
                return Err(Refusal::Authentication(why));
            };
            if now > logged_in.saturating_add(max_age).saturating_add(skew) {
                let why = "the token's `auth_time` is longer ago than the rule's `max_age`";
                return Err(Refusal::Authentication(why));
            }
        }
        Ok(())
    }
}
