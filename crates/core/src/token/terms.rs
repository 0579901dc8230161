//! What an operator requires of one provider's tokens.

use std::collections::HashSet;
use std::time::Duration;

use super::claims::ClaimPath;
use super::json::{Decimal, Json};
use super::kind::Kind;
use crate::keyring::AlgorithmSet;

/// What a provider's tokens must be, besides signed by it.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The exact `iss` (RFC 7519 §4.1.1): compared byte by byte, never normalised. `{tenantid}` in
    /// it stands for one of `tenants`; `spiffe://…` for the tokens of a SPIFFE trust domain.
    pub issuer: String,
    /// Other exact `iss` values of the same provider, of the same forms.
    pub issuer_aliases: Vec<String>,
    /// Whose tokens of an issuer with many tenants are accepted.
    pub tenants: Tenants,
    /// Whom the token must be meant for.
    pub audiences: Audiences,
    /// The claim that says whom the token is meant for; `aud` but for providers of their own mind.
    pub audience_claim: ClaimPath,
    /// The longest token, in bytes.
    pub max_token_bytes: usize,
    /// The accepted signature algorithms (RFC 8725 §3.1).
    pub algorithms: AlgorithmSet,
    /// The accepted `typ` values; empty: any but a `…+jwt` other than `at+jwt`,
    /// which says that the token is of another kind.
    pub token_types: Vec<String>,
    /// The kinds of token that are accepted besides access tokens.
    pub also_accept: Vec<Kind>,
    /// How far the provider's clock may be off.
    pub clock_skew: Duration,
    /// The longest time from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
    /// Claims that must be there, each with one of these values.
    pub required_claims: Vec<RequiredClaim>,
    /// Where scopes are: the first of these claims that is there.
    pub scope_claims: Vec<ClaimPath>,
}

/// Whose tokens are accepted of an issuer that has many tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tenants {
    /// It has none.
    #[default]
    None,
    /// Those of these tenants: GUIDs in lower case.
    AnyOf(Vec<String>),
    /// Those of anyone who ever opened an account: the operator's explicit opt-out.
    Any,
}

/// Whom a token must be meant for (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// The token must name at least one of these.
    AnyOf(Vec<String>),
    /// Anyone: the operator's explicit opt-out.
    Any,
}

/// A claim that must have one of certain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// Which.
    pub path: ClaimPath,
    /// The values, as text: `true` is the boolean as well as the string, since providers differ, and
    /// `1000` is the number in every spelling.
    pub any_of: Vec<String>,
    /// The same, to look up.
    texts: HashSet<String>,
    numbers: HashSet<String>,
}

impl RequiredClaim {
    /// A claim that must have one of these values.
    pub fn new(path: ClaimPath, any_of: Vec<String>) -> Self {
        let numbers = any_of.iter().filter_map(|text| Decimal::parse(text));
        Self {
            path,
            texts: any_of.iter().cloned().collect(),
            numbers: numbers.map(|number| number.canonical()).collect(),
            any_of,
        }
    }

    /// Whether a value is one of those: a text, a number or a boolean.
    pub(crate) fn accepts(&self, value: Json<'_>) -> bool {
        match value {
            Json::Number(number) => self.numbers.contains(&number.canonical()),
            other => other
                .scalar_text()
                .is_some_and(|text| self.texts.contains(&*text)),
        }
    }
}
