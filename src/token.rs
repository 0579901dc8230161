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

pub use error::{Shown, TokenError};
pub use jws::Unverified;

use crate::keyring::{AlgorithmSet, Key, KeySet};
use crate::time::UnixTime;
use crate::trace::{Step, Trace};
use claims::{Claims, NumericDate};

/// What a provider's tokens must be, besides signed by it.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The exact `iss` (RFC 7519 §4.1.1): compared byte by byte, never normalised.
    pub issuer: String,
    /// Whom the token must be meant for.
    pub audiences: Audiences,
    /// The accepted signature algorithms (RFC 8725 §3.1).
    pub algorithms: AlgorithmSet,
    /// The accepted `typ` values; empty: any that is not known to be another kind of token.
    pub token_types: Vec<String>,
    /// How far the provider's clock may be off.
    pub clock_skew: Duration,
}

/// Whom a token must be meant for (RFC 7519 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audiences {
    /// The token must name at least one of these.
    AnyOf(Vec<String>),
    /// Anyone: the operator's explicit opt-out.
    Any,
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
        check_times(claims, terms.clock_skew, now, trace)?;
        check_audience(claims, &terms.audiences, trace)?;
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
    skew: Duration,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Result<(), TokenError> {
    let exp = claims
        .date(NumericDate::Exp)?
        .ok_or(TokenError::MissingClaim("exp"))?;
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
    trace.passed(Step::Times { exp, now, skew });
    Ok(())
}

fn check_audience(
    claims: &Claims,
    accepted: &Audiences,
    trace: &mut impl Trace,
) -> Result<(), TokenError> {
    let Audiences::AnyOf(accepted) = accepted else {
        return Ok(());
    };
    let found = claims.audience()?.ok_or(TokenError::MissingClaim("aud"))?;
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
