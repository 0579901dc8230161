//! What a rule requires of the requests that it matches, and of their tokens.

use std::collections::HashSet;
use std::time::Duration;

use crate::escaped::{Escaped, listed};
use crate::keyring::ProviderId;
use crate::time::UnixTime;
use crate::token::claims::NumericDate;
use crate::token::json::Json;
use crate::token::{RequiredClaim, VerifiedToken};

/// Which requests may pass.
#[derive(Clone, Debug)]
pub enum Access {
    /// No request.
    Deny,
    /// Every request. Tokens are not read.
    Public,
    /// Requests with a token that meets the requirement, and requests without a token. A bad token
    /// is refused.
    Optional(Requirement),
    /// Requests with a token that meets the requirement.
    Required(Requirement),
}

impl Access {
    /// Whether a valid token of this provider may be accepted.
    pub fn accepts(&self, provider: ProviderId) -> bool {
        match self {
            Self::Deny => false,
            Self::Public => true,
            Self::Optional(requirement) | Self::Required(requirement) => {
                requirement.accepts(provider)
            }
        }
    }
}

/// What a rule requires of a valid token. Every field must be met; an empty field requires nothing.
#[derive(Clone, Debug, Default)]
pub struct Requirement {
    /// The token is from one of these providers.
    pub providers: Vec<ProviderId>,
    /// The token has all of these scopes.
    pub scopes: Vec<String>,
    /// The token has at least one of these scopes.
    pub any_scope: Vec<String>,
    /// Each of these claims is one of its values, or an array that contains one.
    pub claims: Vec<RequiredClaim>,
    /// The token's `acr` is one of these (RFC 9470 §4).
    pub acr: Vec<String>,
    /// The maximum time since the login in `auth_time` (RFC 9470 §4).
    pub max_age: Option<Duration>,
}

/// The maximum number of a rule's scopes that are searched one by one, which is faster than hashing
/// so few.
const FEW_SCOPES: usize = 4;

/// Why a rule refuses a request whose token, if any, is valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rule refuses every request.
    #[error("the rule denies every request")]
    Denied,
    /// The rule does not accept this provider.
    #[error("the rule does not accept tokens of this provider")]
    Provider,
    /// A required scope is missing.
    #[error("the token lacks the scope {}", listed(missing, ", "))]
    Scope {
        /// The missing scopes. For `any_scope`, all of them, although one would suffice.
        missing: Vec<String>,
    },
    /// A claim does not have a required value.
    #[error("the token's `{claim}` has none of {}", listed(any_of, ", "))]
    Claim {
        /// The path of the claim.
        claim: String,
        /// The accepted values.
        any_of: Vec<String>,
    },
    /// The login is too old or of another kind (RFC 9470 §3).
    #[error("{0}")]
    Authentication(&'static str),
    /// The condition does not hold.
    #[error("the rule's condition does not hold: {0}")]
    Condition(Escaped),
    /// The condition could not be evaluated to true or false.
    #[error("the rule's condition failed: {why}: {condition}")]
    ConditionFailed {
        /// Why it failed.
        why: String,
        /// The condition as the operator wrote it.
        condition: Escaped,
    },
}

impl Requirement {
    /// Whether every valid token meets the requirement.
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

    /// Whether tokens of this provider are accepted.
    pub fn accepts(&self, provider: ProviderId) -> bool {
        self.providers.is_empty() || self.providers.contains(&provider)
    }

    /// Checks a token against the requirement.
    ///
    /// # Errors
    ///
    /// Returns the first unmet requirement. The login comes last: users should not have to log in
    /// again for a request that would be refused anyway.
    pub fn check(
        &self,
        provider: ProviderId,
        token: &VerifiedToken,
        skew: Duration,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        if !self.accepts(provider) {
            return Err(Refusal::Provider);
        }
        self.check_scopes(token)?;
        self.check_claims(token)?;
        self.check_authentication(token, skew, now)
    }

    /// The scopes that a client should request: all of `scopes`, and the first of `any_scope`.
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

    /// Checks the login. A token that does not say when or how its bearer logged in fails (RFC 9470
    /// §6.1).
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
                let why = "the token's `acr` is not one that the rule accepts";
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
                let why = "the token's `auth_time` is older than the rule's `max_age`";
                return Err(Refusal::Authentication(why));
            }
        }
        Ok(())
    }
}
