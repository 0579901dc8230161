//! Bearer tokens, from the text of a client to a [`VerifiedToken`], the evidence.
//!
//! The stages are types. [`Unverified`] is a well-formed token that must not be trusted. Only
//! [`Unverified::verify`] creates a [`VerifiedToken`].

use std::collections::HashSet;
use std::fmt;

pub mod bearer;
pub mod claims;
mod error;
mod hashed;
pub mod issuer;
pub mod json;
mod jws;
mod kind;
mod media_type;
pub mod scopes;
pub mod source;
mod terms;

pub use error::{OtherKind, TokenError};
pub use hashed::HashedToken;
pub use jws::{MAX_TOKEN_BYTES, Unverified};
pub use kind::Kind;
pub use terms::{Audiences, RequiredClaim, Tenants, Terms};

use crate::escaped::{Escaped, MAX_LISTED};
use crate::keyring::{Fingerprint, Key, KeySet, NoKey};
use crate::time::UnixTime;
use crate::trace::{Step, Trace};
use claims::{Claims, NumericDate};
use hashed::SignatureDigest;
use json::Json;
use media_type::same_media_type;

/// Evidence: a token whose signature, issuer, audience and times have been checked.
///
/// INVARIANT: it has no signature, so nobody who reads this memory can use the token.
pub struct VerifiedToken {
    /// Header and payload, as the client sent them.
    signed: Box<str>,
    signature: SignatureDigest,
    claims: Claims,
    scopes: Box<str>,
    /// The key set that verified it. The verdict holds from `from` until before `until`.
    keys: Fingerprint,
    from: UnixTime,
    until: UnixTime,
}

impl VerifiedToken {
    /// What the provider says about the bearer.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What recognises the token when a client sends it again.
    pub fn hashed(&self) -> HashedToken<'_> {
        HashedToken {
            signed: &self.signed,
            signature: self.signature,
        }
    }

    /// The claims as the provider encoded them: base64url of JSON, unpadded.
    pub fn payload(&self) -> &str {
        let parts = self.signed.split_once('.');
        parts.map(|(_, payload)| payload).unwrap_or_default()
    }

    /// The scopes, each once.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.split_ascii_whitespace()
    }

    /// The approximate memory of its parts, in bytes.
    pub fn bytes(&self) -> usize {
        self.signed.len() + self.claims.bytes() + self.scopes.len()
    }

    /// Whether these keys would verify the token again at this time. False if any key of the set
    /// has changed.
    pub fn still_holds(&self, keys: &KeySet, now: UnixTime) -> bool {
        self.keys == keys.fingerprint() && self.from <= now && now < self.until
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Unverified<'_> {
    /// Verifies the signature, and only then checks the claims.
    ///
    /// # Errors
    ///
    /// Returns the first failure. A token is expired from `now = exp + skew` on (RFC 7519 §4.1.4).
    pub fn verify(
        self,
        terms: &Terms,
        keys: &KeySet,
        now: UnixTime,
        trace: &mut impl Trace,
    ) -> Result<VerifiedToken, TokenError> {
        jws::check_length(self.text(), terms.max_token_bytes)?;
        let issuer = self.issuer()?;
        if !terms.accepts_issuer(issuer) {
            return Err(TokenError::ForeignIssuer(Escaped::from(issuer)));
        }
        let key = self.check_signature(terms, keys, issuer, trace)?;
        key.last_use().record(now);
        trace.passed(Step::Signature {
            kid: key.kid(),
            alg: self.alg(),
        });
        self.check_type(terms)?;
        let claims = self.claims();
        terms.check_issuer_claims(issuer, key, claims)?;
        let (from, until) = check_times(claims, terms, now, trace)?;
        check_audience(claims, terms, trace)?;
        check_sender_constraint(claims)?;
        check_required(claims, &terms.required_claims)?;
        let HashedToken { signed, signature } = HashedToken::of(self.text());
        Ok(VerifiedToken {
            scopes: scopes::scopes(claims, &terms.scope_claims),
            signed: signed.into(),
            signature,
            claims: self.into_claims(),
            keys: keys.fingerprint(),
            from,
            until,
        })
    }

    /// Whether the check of the signature with these keys is slow.
    pub fn is_slow_with(&self, keys: &KeySet) -> bool {
        let candidates = keys.candidates(self.kid(), self.alg());
        candidates.is_ok_and(|candidates| candidates.iter().any(|key| key.is_slow()))
    }

    /// Uses only keys of the token's issuer, each only for its own algorithms (RFC 8725 §3.1,
    /// §3.8).
    fn check_signature<'k>(
        &self,
        terms: &Terms,
        keys: &'k KeySet,
        issuer: &str,
        trace: &mut impl Trace,
    ) -> Result<&'k Key, TokenError> {
        let alg = self.alg();
        if !terms.algorithms.contains(alg) {
            return Err(TokenError::AlgorithmNotAccepted {
                alg,
                accepted: terms.algorithms,
            });
        }
        let named = || self.kid().map(Escaped::from);
        let unknown = |why| TokenError::UnknownKey { kid: named(), why };
        let candidates = keys.candidates(self.kid(), alg).map_err(unknown)?;
        let mut foreign = None;
        let mut tried = false;
        for key in candidates {
            if let Some(other) = key.issuer()
                && !terms.key_is_for(other, issuer)
            {
                foreign = Some(Escaped::from(other));
                continue;
            }
            trace.tries_key();
            if key.accepts(alg, self.signed(), self.signature()) {
                return Ok(key);
            }
            tried = true;
        }
        match foreign {
            Some(other) if !tried => Err(unknown(NoKey::OtherIssuer(other))),
            _ => Err(TokenError::BadSignature { kid: named() }),
        }
    }

    fn check_type(&self, terms: &Terms) -> Result<(), TokenError> {
        let accepted = &terms.token_types;
        let found = self.typ().unwrap_or_default();
        if !accepted.is_empty() && !accepted.iter().any(|typ| same_media_type(typ, found)) {
            return Err(OtherKind::NotAccepted {
                found: Escaped::from(found),
                accepted: accepted.clone(),
            }
            .into());
        }
        match Kind::named(found) {
            Some(kind) if !terms.also_accept.contains(&kind) => {
                let typ = Escaped::from(found);
                return Err(OtherKind::Typed { typ, kind }.into());
            }
            None if accepted.is_empty() && media_type::names_another_jwt(found) => {
                return Err(OtherKind::Unlisted(Escaped::from(found)).into());
            }
            Some(_) | None => {}
        }
        match kind::kind(self.typ(), self.claims()) {
            (Kind::AccessToken, _) => Ok(()),
            (kind, _) if terms.also_accept.contains(&kind) => Ok(()),
            (kind, claim) => {
                let claim = Escaped::from(claim);
                Err(OtherKind::Revealed { kind, claim }.into())
            }
        }
    }
}

/// The interval in which the times of the token are valid.
fn check_times(
    claims: &Claims,
    terms: &Terms,
    now: UnixTime,
    trace: &mut impl Trace,
) -> Result<(UnixTime, UnixTime), TokenError> {
    let skew = terms.clock_skew;
    let exp = claims
        .date(NumericDate::Exp)?
        .ok_or_else(|| TokenError::MissingClaim("exp".to_owned()))?;
    let until = exp.saturating_add(skew);
    if now >= until {
        return Err(TokenError::Expired { exp, now, skew });
    }
    let mut from = UnixTime::EPOCH;
    for date in [NumericDate::Nbf, NumericDate::Iat] {
        let Some(start) = claims.date(date)? else {
            continue;
        };
        let earliest = start.saturating_sub(skew);
        if now < earliest {
            return Err(TokenError::NotYetValid {
                date,
                start,
                now,
                skew,
            });
        }
        from = from.max(earliest);
    }
    if let Some(max) = terms.max_lifetime {
        let issued = claims
            .date(NumericDate::Iat)?
            .ok_or_else(|| TokenError::MissingClaim("iat".to_owned()))?;
        let lifetime = exp.saturating_since(issued);
        if lifetime > max {
            return Err(TokenError::LifetimeTooLong { lifetime, max });
        }
    }
    trace.passed(Step::Times { exp, now, skew });
    Ok((from, until))
}

/// Up to this number of audiences, a linear search is faster than a hash set.
const FEW_AUDIENCES: usize = 8;

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
    // The token decides how long `found` is, so the search must not be quadratic.
    let lookup: HashSet<&str> = match accepted.len() > FEW_AUDIENCES {
        true => found.iter().copied().collect(),
        false => HashSet::new(),
    };
    let is_found = |audience: &&String| match lookup.is_empty() {
        true => found.contains(&audience.as_str()),
        false => lookup.contains(audience.as_str()),
    };
    let Some(audience) = accepted.iter().find(is_found) else {
        let shown = found.iter().take(MAX_LISTED);
        return Err(TokenError::WrongAudience {
            found: shown.map(|audience| Escaped::from(*audience)).collect(),
            accepted: accepted.clone(),
        });
    };
    trace.passed(Step::Audience { audience });
    Ok(())
}

/// A token that is bound to its sender's key (RFC 7800 §3.1) is not a bearer token. Its sender must
/// prove possession (RFC 8705 §3, RFC 9449 §7.2), which cannot be checked here.
fn check_sender_constraint(claims: &Claims) -> Result<(), TokenError> {
    match claims.members().get("cnf") {
        None | Some(Json::Null) => Ok(()),
        Some(_) => Err(TokenError::SenderConstraintUnmet),
    }
}

fn check_required(claims: &Claims, required: &[RequiredClaim]) -> Result<(), TokenError> {
    for claim in required {
        let RequiredClaim { path, any_of, .. } = claim;
        let found = claims
            .at(path)
            .ok_or_else(|| TokenError::MissingClaim(path.to_string()))?;
        if !claim.accepts(found) {
            let text = found.scalar_text();
            let text = text.unwrap_or_else(|| found.to_string().into());
            return Err(TokenError::ClaimMismatch {
                claim: path.to_string(),
                found: Escaped::from(&*text),
                expected: any_of.clone(),
            });
        }
    }
    Ok(())
}
