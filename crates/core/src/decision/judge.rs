//! Judges a request: finds its rule and applies it.

use std::sync::Arc;

use super::{Decision, Denial, Fault, Memory, Permit};
use crate::escaped::Escaped;
use crate::identity::{Bearer, KnownToken};
use crate::keyring::{Keyring, Keys};
use crate::policy::condition::{Condition, ConditionFailure};
use crate::policy::matcher::Target;
use crate::policy::requirement::{Access, Refusal, Requirement};
use crate::policy::rule::Rule;
use crate::policy::{CorsPreflight, Policy};
use crate::request::Request;
use crate::time::UnixTime;
use crate::token::Unverified;
use crate::token::bearer::{Credential, CredentialError, find_token};
use crate::trace::{Step, Trace};

/// How much work a judgement may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Any.
    Any,
    /// No signature check that is slow.
    Quick,
}

/// Why a request is not allowed.
#[derive(Debug)]
pub(super) enum Unjudged {
    Denied(Denial),
    /// Its token's signature takes too long to check here.
    Slow,
}

impl From<Denial> for Unjudged {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Fault> for Unjudged {
    fn from(fault: Fault) -> Self {
        Self::Denied(fault.into())
    }
}

pub(super) fn judge(
    policy: &Policy,
    keyring: &Keyring,
    memory: &impl Memory,
    request: &Request<'_>,
    now: UnixTime,
    effort: Effort,
    trace: &mut impl Trace,
) -> Result<Decision, Unjudged> {
    // First, because any later denial may only be reported, and then the header would arrive.
    let misleading = || policy.rules().misleading_headers(request);
    let spoofed =
        policy
            .upstream()
            .refused_header(policy.token_places(), misleading, &request.headers);
    if let Some(name) = spoofed {
        return Err(Fault::SpoofedHeader(Escaped::from(name)).into());
    }
    // Only the TCP filter and CONNECT send no path, and neither carries HTTP to an API.
    if request.path.is_empty() {
        return Err(Fault::NoPath.into());
    }
    if let Some(conflict) = request.conflict {
        return Err(Fault::Conflict(conflict).into());
    }
    let target = policy.rules().target(request).map_err(Fault::from)?;
    if let Some(resource) = policy.metadata_for(&target) {
        return Ok(Decision::Respond(Arc::clone(resource)));
    }
    let (id, selection) = policy.rules().select(&target).map_err(Fault::from)?;
    let rule = policy.rule(id).ok_or(Fault::Internal)?;
    trace.passed(Step::Rule {
        name: &rule.name,
        selection,
    });
    let case = Evaluation {
        policy,
        keyring,
        memory,
        target: &target,
        rule,
        now,
        effort,
    };
    match case.judge(trace) {
        Ok(bearer) => Ok(Decision::Allow(Permit {
            rule: Some(id),
            bearer,
            observed: None,
        })),
        Err(Unjudged::Denied(denial)) => Err(Unjudged::Denied(Denial {
            rule: Some(id),
            ..denial
        })),
        Err(Unjudged::Slow) => Err(Unjudged::Slow),
    }
}

/// A request, and the rule that applies to it.
struct Evaluation<'c, M> {
    policy: &'c Policy,
    keyring: &'c Keyring,
    memory: &'c M,
    target: &'c Target<'c>,
    rule: &'c Rule,
    now: UnixTime,
    effort: Effort,
}

impl<M: Memory> Evaluation<'_, M> {
    /// The bearer of the token; `None` if the request passes without one.
    fn judge(&self, trace: &mut impl Trace) -> Result<Option<Bearer>, Unjudged> {
        let request = self.target.request;
        let places = self.policy.token_places();
        match &self.rule.access {
            Access::Deny => Err(Fault::from(Refusal::Denied).into()),
            Access::Public => Ok(self.anonymous(trace)?),
            Access::Optional(_) | Access::Required(_) if self.is_free_preflight() => {
                Ok(self.anonymous_preflight(trace)?)
            }
            Access::Optional(requirement) => match find_token(places, request) {
                Ok(credential) => self.bearer(&credential, requirement, trace).map(Some),
                Err(CredentialError::Missing(_)) => Ok(self.anonymous(trace)?),
                Err(error) => Err(Fault::from(error).into()),
            },
            Access::Required(requirement) => {
                let credential = find_token(places, request).map_err(Fault::from)?;
                self.bearer(&credential, requirement, trace).map(Some)
            }
        }
    }

    fn is_free_preflight(&self) -> bool {
        self.policy.cors_preflight() == CorsPreflight::Allow
            && self.target.request.is_cors_preflight()
    }

    fn anonymous(&self, trace: &mut impl Trace) -> Result<Option<Bearer>, Denial> {
        self.check_condition(None, trace).map_err(Fault::from)?;
        Ok(None)
    }

    /// A preflight cannot carry a token, so the parts of a condition about tokens do not apply.
    fn anonymous_preflight(&self, trace: &mut impl Trace) -> Result<Option<Bearer>, Denial> {
        self.check_condition_by(trace, |condition| {
            condition.holds_for_preflight(self.target, self.now)
        })
        .map_err(Fault::from)?;
        Ok(None)
    }

    fn bearer(
        &self,
        credential: &Credential<'_>,
        requirement: &Requirement,
        trace: &mut impl Trace,
    ) -> Result<Bearer, Unjudged> {
        trace.passed(Step::Credential {
            source: credential.place,
        });
        let bearer = match self.recall(credential) {
            Some(known) => {
                trace.recalls();
                known
            }
            None => self.verify(credential, trace)?,
        };
        self.check(&bearer, requirement, trace)
            .map_err(|refusal| Denial {
                provider: Some(bearer.provider()),
                bearer: Some(bearer.clone()),
                ..Fault::from(refusal).into()
            })?;
        Ok(bearer)
    }

    /// The cached result for this token, if it still holds.
    fn recall(&self, credential: &Credential<'_>) -> Option<Bearer> {
        let known = self.memory.recall(&credential.token)?;
        match self.keyring.keys(known.provider) {
            Keys::Known(keys) if known.token.still_holds(keys, self.now) => {}
            Keys::Known(_) | Keys::Unavailable => {
                self.memory.forget(&credential.token);
                return None;
            }
        }
        let provider = self.policy.provider(known.provider)?;
        provider
            .token_from
            .contains(credential.place)
            .then(|| Bearer {
                known,
                place: Arc::clone(credential.place),
            })
    }

    fn verify(
        &self,
        credential: &Credential<'_>,
        trace: &mut impl Trace,
    ) -> Result<Bearer, Unjudged> {
        let max = self.policy.max_token_bytes();
        let token = Unverified::parse(&credential.token, max).map_err(Fault::from)?;
        trace.passed(Step::Form {
            alg: token.alg(),
            kid: token.kid(),
            typ: token.typ(),
        });

        let issuer = token.issuer().map_err(Fault::from)?;
        let (id, provider) = self
            .policy
            .by_issuer(issuer)
            .ok_or_else(|| Fault::UnknownIssuer(Escaped::from(issuer)))?;
        if !provider.token_from.contains(credential.place) {
            return Err(Fault::Misplaced {
                provider: provider.name.clone(),
                place: Arc::clone(credential.place),
            }
            .into());
        }
        trace.passed(Step::Issuer {
            issuer,
            provider: &provider.name,
        });

        let Keys::Known(keys) = self.keyring.keys(id) else {
            return Err(Denial::keys_unavailable(id).into());
        };
        if self.effort == Effort::Quick && token.is_slow_with(keys) {
            return Err(Unjudged::Slow);
        }
        trace.passed(Step::Keys { count: keys.len() });

        match token.verify(&provider.terms, keys, self.now, trace) {
            Ok(token) => {
                let known = Arc::new(KnownToken::new(id, token));
                self.memory.remember(&known);
                Ok(Bearer {
                    known,
                    place: Arc::clone(credential.place),
                })
            }
            Err(error) => Err(Denial {
                provider: Some(id),
                ..Fault::from(error).into()
            }
            .into()),
        }
    }

    fn check(
        &self,
        bearer: &Bearer,
        requirement: &Requirement,
        trace: &mut impl Trace,
    ) -> Result<(), Refusal> {
        let provider = self.policy.provider(bearer.provider());
        let skew = provider
            .map(|provider| provider.terms.clock_skew)
            .unwrap_or_default();
        requirement.check(bearer.provider(), bearer.token(), skew, self.now)?;
        if !requirement.is_empty() {
            trace.passed(Step::Requirement);
        }
        self.check_condition(Some(bearer), trace)
    }

    fn check_condition(
        &self,
        bearer: Option<&Bearer>,
        trace: &mut impl Trace,
    ) -> Result<(), Refusal> {
        let claims = bearer.map(|bearer| bearer.token().claims());
        self.check_condition_by(trace, |condition| {
            condition.holds(self.target, claims, self.now)
        })
    }

    fn check_condition_by(
        &self,
        trace: &mut impl Trace,
        holds: impl FnOnce(&Condition) -> Result<bool, ConditionFailure>,
    ) -> Result<(), Refusal> {
        let Some(condition) = &self.rule.condition else {
            return Ok(());
        };
        let text = condition.text().trim();
        match holds(condition) {
            Ok(true) => {
                trace.passed(Step::Condition { text });
                Ok(())
            }
            Ok(false) => Err(Refusal::Condition(Escaped::from(text))),
            Err(failure) => Err(Refusal::ConditionFailed {
                why: failure.to_string(),
                condition: Escaped::from(text),
            }),
        }
    }
}
