//! Judges one request by both configurations, with the same `decide` as the service.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Error;
use super::request::{Bearer, Shape, TokenSpec};
use crate::answer::Answer;
use crate::answer::denials::Denials;
use crate::decision::{Decision, Fault, Memory, Reason, decide};
use crate::dev::signer::Signer;
use crate::explain::place::put;
use crate::identity::KnownToken;
use crate::keyring::{Algorithm, KeySet, Keyring, Keys, ProviderId};
use crate::policy::Policy;
use crate::policy::rules::RuleId;
use crate::request::{Peer, Request};
use crate::time::UnixTime;
use crate::token::HashedToken;
use crate::token::source::TokenSource;

/// How one configuration judges a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What happens.
    pub outcome: Outcome,
    /// The rule that decides, if one was found.
    pub rule: Option<RuleId>,
    /// The provider of the token.
    pub provider: Option<ProviderId>,
    /// Why the request is denied, or would be if denials took effect.
    pub reason: Option<Reason>,
    /// Whether the token itself was refused, whatever the rule requires.
    pub is_token_refused: bool,
    /// Whether the upstream learns who sent the request.
    pub has_bearer: bool,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It passes.
    Allow,
    /// It is denied.
    Deny,
    /// claimgate answers it with the metadata of a resource.
    Respond,
}

impl Outcome {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Respond => "metadata",
        }
    }
}

impl Verdict {
    pub(super) fn of(decision: &Decision) -> Self {
        let denial = decision.denial();
        let is_token_refused = denial.is_some_and(|denial| {
            matches!(
                denial.fault,
                Fault::Token(_) | Fault::UnknownIssuer(_) | Fault::Misplaced { .. }
            )
        });
        Self {
            outcome: match decision {
                Decision::Allow(_) => Outcome::Allow,
                Decision::Deny(_) => Outcome::Deny,
                Decision::Respond(_) => Outcome::Respond,
            },
            rule: decision.rule(),
            provider: decision.provider(),
            reason: denial.map(crate::decision::Denial::reason),
            is_token_refused,
            has_bearer: match decision {
                Decision::Allow(permit) => permit.bearer().is_some(),
                Decision::Deny(_) | Decision::Respond(_) => false,
            },
        }
    }
}

/// One configuration, with the keys that sign every token here.
#[derive(Debug)]
pub(super) struct Judge<'c> {
    pub(super) policy: &'c Policy,
    pub(super) denials: &'c Denials,
    keyring: Keyring,
    known: KnownTokens,
}

impl<'c> Judge<'c> {
    pub(super) fn new(policy: &'c Policy, denials: &'c Denials) -> Self {
        Self {
            policy,
            denials,
            keyring: Keyring::empty(policy.providers().count()),
            known: KnownTokens::default(),
        }
    }

    /// From now on, every provider publishes these keys.
    pub(super) fn trust(&mut self, keys: &Arc<KeySet>) {
        for (id, _) in self.policy.providers() {
            self.keyring = self.keyring.with(id, Keys::Known(Arc::clone(keys)));
        }
    }

    pub(super) fn decide(&self, request: &Request<'_>, now: UnixTime) -> Decision {
        let outcome = decide(
            self.policy,
            &self.keyring,
            &self.known,
            request,
            now,
            &mut (),
        );
        outcome.by_what_is_known()
    }

    /// What the upstream receives: each header that is set or removed, and the caller's response
    /// headers.
    pub(super) fn changes(&self, decision: &Decision, request: &Request<'_>) -> Vec<String> {
        let Answer::Pass(pass) = Answer::to(decision, self.policy, self.denials, request, None)
        else {
            return Vec::new();
        };
        let changes = pass.changes();
        let set = changes.set.iter();
        let set = set.map(|(name, value)| format!("sets `{name}: {value}`"));
        let removed = changes.remove.iter();
        let removed = removed.map(|name| format!("removes `{name}`"));
        let query = changes.remove_query.iter();
        let query = query.map(|name| format!("removes the query parameter `{name}`"));
        let response = changes.response.iter();
        let response =
            response.map(|(name, value)| format!("sets `{name}: {value}` on the response"));
        let mut all: Vec<String> = set.chain(removed).chain(query).chain(response).collect();
        all.sort();
        all
    }

    /// The status that the caller reads in place of the upstream's.
    pub(super) fn status(&self, decision: &Decision, request: &Request<'_>) -> Option<u16> {
        match Answer::to(decision, self.policy, self.denials, request, None) {
            Answer::Pass(_) => None,
            Answer::Direct(direct) => Some(direct.status),
        }
    }
}

/// Verified tokens, so that a token costs one signature check for all requests that carry it.
#[derive(Debug, Default)]
struct KnownTokens {
    by_hash: RefCell<HashMap<u64, Arc<KnownToken>>>,
    hasher: RandomState,
}

/// The maximum number of tokens that are remembered.
const MAX_KNOWN: usize = 10_000;

impl Memory for KnownTokens {
    fn recall(&self, token: &str) -> Option<Arc<KnownToken>> {
        let token = HashedToken::of(token);
        let known = self.by_hash.borrow();
        let found = known.get(&self.hasher.hash_one(token))?;
        (found.token.hashed() == token).then(|| Arc::clone(found))
    }

    fn remember(&self, token: &Arc<KnownToken>) {
        let mut known = self.by_hash.borrow_mut();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(
            self.hasher.hash_one(token.token.hashed()),
            Arc::clone(token),
        );
    }

    fn forget(&self, token: &str) {
        let hash = self.hasher.hash_one(HashedToken::of(token));
        self.by_hash.borrow_mut().remove(&hash);
    }
}

/// Signs tokens with one key for each algorithm.
#[derive(Debug, Default)]
pub(super) struct Mint {
    signers: HashMap<&'static str, Signer>,
    minted: HashMap<(String, String), String>,
    /// The number of signatures so far.
    pub(super) signatures: usize,
}

impl Mint {
    /// A key for each of these algorithms.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no randomness.
    pub(super) fn prepare(
        &mut self,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Result<Option<Arc<KeySet>>, Error> {
        for alg in algorithms {
            if !self.signers.contains_key(alg.name()) {
                let signer = Signer::generate(alg, &format!("diff-{alg}"))?;
                self.signers.insert(alg.name(), signer);
            }
        }
        if self.signers.is_empty() {
            return Ok(None);
        }
        let keys: Vec<_> = self.signers.values().map(Signer::jwk).collect();
        let keys = KeySet::from_json(json!({"keys": keys}).to_string().as_bytes())?;
        Ok(Some(Arc::new(keys)))
    }

    /// The signed token, as it is at this time.
    pub(super) fn token(&mut self, spec: &TokenSpec, now: UnixTime) -> Result<String, Error> {
        let header = spec.header(&format!("diff-{}", spec.alg)).to_string();
        let payload = Value::Object(spec.claims_at(now.as_secs())).to_string();
        let key = (header, payload);
        if let Some(token) = self.minted.get(&key) {
            return Ok(token.clone());
        }
        let (header, payload) = &key;
        let signer = self.signers.get(spec.alg.name()).ok_or(Error::NoKey)?;
        let token = signer.sign(header, payload)?;
        self.signatures += 1;
        if self.minted.len() >= MAX_KNOWN {
            self.minted.clear();
        }
        self.minted.insert(key, token.clone());
        Ok(token)
    }
}

/// Calls `judge` with the request as Envoy would describe it.
pub(super) fn with_request<T>(
    shape: &Shape,
    token: Option<(&str, &TokenSource)>,
    judge: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let mut path = shape.path.clone();
    let mut lines = shape.headers.clone();
    if let Some((token, place)) = token {
        put(token, place, &mut path, &mut lines);
    }
    let contexts = shape.context.iter();
    judge(&Request {
        method: &shape.method,
        host: &shape.host,
        path: &path,
        path_bytes: Some(path.as_bytes()),
        headers: lines.iter().collect(),
        source: Peer {
            address: &shape.address,
            principal: &shape.principal,
            certificate: "",
        },
        context: contexts
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        conflict: None,
    })
}

/// The text of a bearer, and where the request carries it.
pub(super) fn text_of(
    bearer: &Bearer,
    place: &TokenSource,
    mint: &mut Mint,
    now: UnixTime,
) -> Result<Option<(String, TokenSource)>, Error> {
    Ok(match bearer {
        Bearer::None => None,
        Bearer::Garbage => Some(("garbage".to_owned(), place.clone())),
        Bearer::Token(spec) => Some((mint.token(spec, now)?, spec.place.clone())),
    })
}
