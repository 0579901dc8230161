//! What the operator requires of one provider's tokens.

use std::collections::HashSet;
use std::time::Duration;

use super::claims::ClaimPath;
use super::json::{Decimal, Json};
use super::kind::Kind;
use crate::keyring::AlgorithmSet;

/// What a provider's tokens must satisfy besides a valid signature.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The exact `iss` (RFC 7519 §4.1.1), compared byte by byte and never normalised. `{tenantid}`
    /// in it stands for one of `tenants`. `spiffe://…` stands for a SPIFFE trust domain.
    pub issuer: String,
    /// Further exact `iss` values of the same provider, in the same forms.
    pub issuer_aliases: Vec<String>,
    /// The tenants whose tokens are accepted, for an issuer with many tenants.
    pub tenants: Tenants,
    /// The audiences that a token must name.
    pub audiences: Audiences,
    /// The claim that holds the audience: `aud`, except for providers that deviate from it.
    pub audience_claim: ClaimPath,
    /// The maximum length of a token in bytes.
    pub max_token_bytes: usize,
    /// The accepted signature algorithms (RFC 8725 §3.1).
    pub algorithms: AlgorithmSet,
    /// The accepted `typ` values. If empty, every `typ` is accepted except a `…+jwt` other than
    /// `at+jwt`, which names another kind of token.
    pub token_types: Vec<String>,
    /// Kinds of token accepted besides access tokens.
    pub also_accept: Vec<Kind>,
    /// How far the provider's clock may differ from ours.
    pub clock_skew: Duration,
    /// The maximum time from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
    /// Claims that must be present, each with one of its accepted values.
    pub required_claims: Vec<RequiredClaim>,
    /// The claims that may hold scopes; the first one present counts.
    pub scope_claims: Vec<ClaimPath>,
}

/// The tenants whose tokens are accepted, for an issuer that has many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tenants {
    /// The issuer has no tenants.
    #[default]
    None,
    /// Only these tenants: GUIDs in lower case.
    AnyOf(Vec<String>),
    /// Every tenant, so anyone can open an account and get a token. Only an explicit setting of the
    /// operator does this.
    Any,
}

/// The audiences that a token must name (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// The token must name at least one of these.
    AnyOf(Vec<String>),
    /// A token for any audience. Only an explicit setting of the operator does this.
    Any,
}

/// A claim that must have one of several values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// The path of the claim.
    pub path: ClaimPath,
    /// The values as text. `true` accepts both the boolean and the string, because providers
    /// differ. `1000` accepts the number in every spelling.
    pub any_of: Vec<String>,
    /// `any_of`, prepared for lookup.
    texts: HashSet<String>,
    numbers: HashSet<String>,
}

impl RequiredClaim {
    /// A claim at `path` that must have one of the values in `any_of`.
    pub fn new(path: ClaimPath, any_of: Vec<String>) -> Self {
        let numbers = any_of.iter().filter_map(|text| Decimal::parse(text));
        Self {
            path,
            texts: any_of.iter().cloned().collect(),
            numbers: numbers.map(|number| number.canonical()).collect(),
            any_of,
        }
    }

    /// Whether a string, number or boolean is one of the accepted values.
    pub(crate) fn accepts(&self, value: Json<'_>) -> bool {
        match value {
            Json::Number(number) => self.numbers.contains(&number.canonical()),
            other => other
                .scalar_text()
                .is_some_and(|text| self.texts.contains(&*text)),
        }
    }
}
