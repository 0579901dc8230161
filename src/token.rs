//! Bearer tokens: from the text a client sent to [`VerifiedToken`], the evidence that it may be
//! believed.
//!
//! The stages are types. [`Unverified`] is a well-formed token that nobody should believe; only
//! [`Unverified::verify`] makes a [`VerifiedToken`].

use std::time::Duration;

pub mod bearer;
pub mod claims;
mod error;
mod json;
mod jws;

pub use error::TokenError;
pub use jws::Unverified;

use crate::keyring::{AlgorithmSet, Key, KeySet};
use crate::shown::Shown;
use crate::time::UnixTime;
use crate::trace::{Step, Trace};
use claims::{ClaimPath, Claims, NumericDate};

/// What a provider's tokens must be, besides signed by it.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The exact `iss` (RFC 7519 §4.1.1): compared byte by byte, never normalised.
    pub issuer: String,
    /// Other exact `iss` values of the same provider.
    pub issuer_aliases: Vec<String>,
    /// Whom the token must be meant for.
    pub audiences: Audiences,
    /// The claim that says whom the token is meant for; `aud` but for providers of their own mind.
    pub audience_claim: ClaimPath,
    /// The accepted signature algorithms (RFC 8725 §3.1).
    pub algorithms: AlgorithmSet,
    /// The accepted `typ` values; empty: any that is not known to be another kind of token.
    pub token_types: Vec<String>,
    /// How far the provider's clock may be off.
    pub clock_skew: Duration,
    /// The longest time from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
    /// Claims that must be there, each with one of these values.
    pub required_claims: Vec<RequiredClaim>,
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
    /// The values, as text: `true` is the boolean as well as the string, since providers differ.
    pub any_of: Vec<String>,
}

/// Evidence: a token whose signature, issuer, audience and times have been checked.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    claims: Claims,
    payload: Box<str>,
    kid: Option<Box<str>>,
}

impl VerifiedToken {
    /// What the provider says about the bearer.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims as the provider encoded them: base64url of JSON, unpadded.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The id of the key that verified it.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

impl Unverified<'_> {
    /// Checks the signature, and only then everything that the claims must be.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong. A token is expired from the instant `now = exp + skew` on
    /// (RFC 7519 §4.1.4).
    pub fn verify(
        self,
        terms: &Terms,
        keys: &KeySet,
        now: UnixTime,
        trace: &mut impl Trace,
    ) -> Result<VerifiedToken, TokenError> {
        let key = self.check_signature(terms, keys)?;
        trace.passed(Step::Signature {
            kid: key.kid(),
            alg: self.alg(),
        });
        let kid = key.kid().map(Into::into);
        self.check_type(terms)?;
        let claims = self.claims();
        check_times(claims, terms, now, trace)?;
        check_audience(claims, terms, trace)?;
        check_sender_constraint(claims)?;
        check_required(claims, &terms.required_claims)?;
        let payload = self.payload().into();
        Ok(VerifiedToken {
            claims: self.into_claims(),
            payload,
            kid,
        })
    }

    /// Takes keys of the token's issuer only, each for its own algorithms only (RFC 8725 §3.1,
    /// §3.8).
    fn check_signature<'k>(&self, terms: &Terms, keys: &'k KeySet) -> Result<&'k Key, TokenError> {
        let alg = self.alg();
        if !terms.algorithms.contains(alg) {
            return Err(TokenError::AlgorithmNotAccepted {
                alg,
                accepted: terms.algorithms,
            });
        }
        let named = || self.kid().map(Shown::from);
        keys.candidates(self.kid(), alg)
            .map_err(|why| TokenError::UnknownKey { kid: named(), why })?
            .into_iter()
            .find(|key| key.accepts(alg, self.signed(), self.signature()))
            .ok_or_else(|| TokenError::BadSignature { kid: named() })
    }

    fn check_type(&self, terms: &Terms) -> Result<(), TokenError> {
        let accepted = &terms.token_types;
        let found = self.typ().unwrap_or_default();
        if accepted.is_empty() || accepted.iter().any(|typ| jws::same_media_type(typ, found)) {
            return Ok(());
        }
        Err(TokenError::UnsupportedType(format!(
            "its `typ` is `{}`, accepted: `{}`",
            Shown::from(found),
            accepted.join("`, `")
        )))
    }
}

fn check_times(
    claims: &Claims,
    terms: &Terms,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Result<(), TokenError> {
    let skew = terms.clock_skew;
    let exp = claims
        .date(NumericDate::Exp)?
        .ok_or_else(|| TokenError::MissingClaim("exp".to_owned()))?;
    if now >= exp.saturating_add(skew) {
        return Err(TokenError::Expired { exp, now, skew });
    }
    for date in [NumericDate::Nbf, NumericDate::Iat] {
        match claims.date(date)? {
            Some(start) if now.saturating_add(skew) < start => {
                return Err(TokenError::NotYetValid {
                    date,
                    start,
                    now,
                    skew,
                });
            }
            _ => {}
        }
    }
    if let Some(most) = terms.max_lifetime {
        let issued = claims
            .date(NumericDate::Iat)?
            .ok_or_else(|| TokenError::MissingClaim("iat".to_owned()))?;
        let lifetime = exp.saturating_since(issued);
        if lifetime > most {
            return Err(TokenError::LifetimeTooLong { lifetime, most });
        }
    }
    trace.passed(Step::Times { exp, now, skew });
    Ok(())
}

fn check_audience(
    claims: &Claims,
    terms: &Terms,
    trace: &mut impl Trace,
) -> Result<(), TokenError> {
    let Audiences::AnyOf(accepted) = &terms.audiences else {
        return Ok(());
    };
    let claim = &terms.audience_claim;
    let found = claims
        .audience(claim)?
        .ok_or_else(|| TokenError::MissingClaim(claim.to_string()))?;
    let Some(audience) = accepted
        .iter()
        .find(|audience| found.contains(&audience.as_str()))
    else {
        return Err(TokenError::WrongAudience {
            found: found.into_iter().map(Shown::from).collect(),
            accepted: accepted.clone(),
        });
    };
    trace.passed(Step::Audience { audience });
    Ok(())
}

/// A token that is bound to its sender's key (RFC 7800 §3.1) is no bearer token: whoever shows it
/// must prove possession (RFC 8705 §3, RFC 9449 §7.2), which cannot be checked here.
fn check_sender_constraint(claims: &Claims) -> Result<(), TokenError> {
    match claims.as_object().get("cnf") {
        None => Ok(()),
        Some(_) => Err(TokenError::SenderConstraintUnmet),
    }
}

fn check_required(claims: &Claims, required: &[RequiredClaim]) -> Result<(), TokenError> {
    for RequiredClaim { path, any_of } in required {
        let found = claims
            .at(path)
            .ok_or_else(|| TokenError::MissingClaim(path.to_string()))?;
        let text = claims::scalar_text(found).unwrap_or_else(|| found.to_string());
        if found.is_object() || found.is_array() || !any_of.contains(&text) {
            return Err(TokenError::ClaimMismatch {
                claim: path.to_string(),
                found: Shown::from(text.as_str()),
                expected: any_of.clone(),
            });
        }
    }
    Ok(())
}
