//! The `Check` path, on one screen.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Response, Status};
use tracing::Level;

use super::proto::auth::authorization_server::Authorization;
use super::proto::auth::{CheckRequest, CheckResponse};
use super::response::encoded::PREFIX_BYTES;
use super::response::{self, encoded};
use super::{request, wire};
use crate::advice::{self, Wait};
use crate::answer::DirectResponse;
use crate::answer::denials::Denials;
use crate::config::Config;
use crate::decision::{Decision, Denial, Fault, KeyDoubt, NoLookUp, Reason, decide};
use crate::jwks::Jwks;
use crate::keyring::ProviderId;
use crate::policy::Policy;
use crate::request::Request;
use crate::telemetry::lines::Line;
use crate::telemetry::metrics::{Metrics, UnknownKeyOutcome};
use crate::time::Clock;
use crate::token_cache::TokenCache;

/// Answers `Check`.
#[derive(Clone)]
pub struct Service {
    /// What is required.
    pub policy: Arc<Policy>,
    /// What a refused caller reads.
    pub denials: Denials,
    /// Whom we trust.
    pub jwks: Arc<Jwks>,
    /// Who was here before.
    pub token_cache: Arc<TokenCache>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// For callers in the same process: tests above all. The bytes of the message take the way that
/// they take from the network.
#[tonic::async_trait]
impl Authorization for Service {
    async fn check(
        &self,
        check: tonic::Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let patience = request::timeout(check.metadata().as_ref()).unwrap_or(Duration::MAX);
        let message = check.into_inner().encode_to_vec();
        let answer = self.answer(Ok(&message), patience).await;
        let message = answer.get(PREFIX_BYTES..).unwrap_or_default();
        CheckResponse::decode(message)
            .map(Response::new)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Service {
    /// The answer to the bytes of a `CheckRequest`, or to what there is instead: those of a
    /// `CheckResponse` with the prefix that gRPC wants. Whatever goes wrong is a denial.
    pub async fn answer(&self, check: Result<&[u8], &Fault>, patience: Duration) -> Bytes {
        let arrived = Instant::now();
        let answered = AssertUnwindSafe(async {
            let check = check.map_err(Clone::clone);
            let request = check.and_then(|check| wire::read(check).map_err(Fault::CheckUnreadable));
            let request = match request {
                Ok(request) => request,
                Err(fault) => return self.unread(fault),
            };
            // Half of it is for the way to and fro: an answer that comes too late is an error.
            let decision = AssertUnwindSafe(self.judge(&request, patience / 2))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Decision::Deny(Denial::internal()));
            (self.render(&decision, &request), decision)
        });
        let (answer, decision) = match answered.catch_unwind().await {
            Ok(answered) => answered,
            Err(_) => {
                tracing::error!("a check could not be handled, and is denied; this is a bug");
                self.unread(Fault::Internal)
            }
        };
        // What is written about it changes nothing about the answer, be it a panic.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let took = arrived.elapsed();
            self.metrics.checked(&decision, took);
            self.log(&decision, check.ok(), took, patience / 2);
        }));
        answer
    }

    /// The answer when it is not known what was asked about.
    fn unread(&self, fault: Fault) -> (Bytes, Decision) {
        let denial = Denial::from(fault);
        let request = Request::default();
        let direct = DirectResponse::denial(&denial, None, &self.denials, &request);
        let answer = encoded::message(&response::direct(direct));
        (answer, Decision::Deny(denial))
    }

    /// A service that judges as `config` says, and starts to fetch keys. Where it listens is not
    /// its affair.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Self {
        let Config {
            server: _,
            admin: _,
            policy,
            keys,
            token_cache,
            denials,
            warnings: _,
        } = config;
        let metrics = Arc::new(Metrics::new(&policy));
        let token_cache = TokenCache::new(&token_cache, metrics.token_cache().clone());
        Self {
            policy,
            denials,
            jwks: Arc::new(Jwks::start(keys, Arc::clone(&clock), Arc::clone(&metrics)).await),
            token_cache: Arc::new(token_cache),
            clock,
            metrics,
        }
    }

    async fn judge(&self, request: &Request<'_>, patience: Duration) -> Decision {
        let decision = self.decide(request);
        match decision.in_doubt() {
            Some(_) => self.judge_by_newer_keys(request, patience, decision).await,
            None => decision,
        }
    }

    fn decide(&self, request: &Request<'_>) -> Decision {
        decide(
            &self.policy,
            &self.jwks.snapshot(),
            &*self.token_cache,
            request,
            self.clock.now(),
            &mut (),
        )
    }

    /// The provider may have newer keys: asks for them, and judges once more; twice when a fetch
    /// was under way already, as that may have begun before the key was published.
    async fn judge_by_newer_keys(
        &self,
        request: &Request<'_>,
        patience: Duration,
        mut decision: Decision,
    ) -> Decision {
        let mut deadline = None;
        for _ in 0..2 {
            let Some((provider, doubt)) = decision.in_doubt() else {
                return decision;
            };
            let wait = self.jwks.unknown_key_wait(provider).min(patience);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            let look_up = self.jwks.look_up(provider, doubt, deadline).await;
            let Some(look_up) = look_up else {
                return decision;
            };
            let key_is_known = matches!(doubt, KeyDoubt::Replaced);
            let why = match look_up.outcome {
                UnknownKeyOutcome::Absent => return decision,
                UnknownKeyOutcome::Refreshed => return self.decide(request),
                UnknownKeyOutcome::Joined => {
                    decision = self.decide(request);
                    continue;
                }
                // The keys that are known have given their verdict.
                _ if key_is_known => return decision,
                UnknownKeyOutcome::CoolingDown => NoLookUp::UsedUp,
                UnknownKeyOutcome::Failed => NoLookUp::Failed,
                UnknownKeyOutcome::TimedOut => NoLookUp::TimedOut,
                UnknownKeyOutcome::TurnedAway => NoLookUp::TurnedAway,
            };
            return decision.without_verdict(why, look_up.retry_after);
        }
        decision
    }

    fn render(&self, decision: &Decision, request: &Request<'_>) -> Bytes {
        let (answer, oversized) = encoded::encode(decision, &self.policy, &self.denials, request);
        if oversized > 0 {
            self.metrics.claims_dropped(oversized);
            if tracing::enabled!(Level::WARN) && self.may_write(Line::ClaimTooLong) {
                let rendered = response::render(decision, &self.policy, &self.denials, request);
                let oversized = rendered.oversized.iter();
                let headers: Vec<_> = oversized.map(ToString::to_string).collect();
                let headers = headers.join(", ");
                tracing::warn!(%headers, "claims too long for a header");
            }
        }
        answer
    }

    /// One event per decision. What the client sent appears only as far as the fault quotes it,
    /// escaped and cut.
    fn log(&self, decision: &Decision, check: Option<&[u8]>, took: Duration, most: Duration) {
        let rule = |id| self.policy.rule(id).map(|rule| rule.name.as_str());
        let provider = |id| {
            let provider = self.policy.provider(id);
            provider.map(|provider| provider.name.as_str())
        };
        match decision {
            Decision::Allow(permit) => tracing::debug!(
                rule = rule(permit.rule()),
                provider = permit.bearer().and_then(|bearer| provider(bearer.provider)),
                subject = permit
                    .bearer()
                    .and_then(|bearer| bearer.token.claims().subject()),
                "allowed"
            ),
            Decision::Deny(denial) => {
                let line = Line::Denied(denial.reason());
                if tracing::enabled!(Level::INFO) && self.may_write(line) {
                    tracing::info!(
                        reason = denial.reason().code(),
                        rule = denial.rule.and_then(rule),
                        provider = denial.provider.and_then(provider),
                        keys_age_seconds = self.age_of_keys(denial),
                        detail = %denial.fault,
                        hint = self.hint(denial, check, took, most),
                        "denied"
                    );
                }
            }
            Decision::Metadata(resource) => {
                tracing::debug!(url = resource.metadata_url(), "metadata answered");
            }
        }
    }

    /// Whether one more line of this kind may be written. At level `debug` all are.
    fn may_write(&self, line: Line) -> bool {
        tracing::enabled!(Level::DEBUG) || self.metrics.lines().may_write(line, Instant::now())
    }

    /// The likely cause of a denial that took so long, of a check that could have waited for keys
    /// for at most `most`. The check is read again: few lines are written, and many checks answered.
    fn hint(
        &self,
        denial: &Denial,
        check: Option<&[u8]>,
        took: Duration,
        most: Duration,
    ) -> Option<String> {
        let in_vain = || {
            let setting = self.jwks.unknown_key_wait(denial.provider?);
            Wait {
                took,
                most,
                setting,
            }
            .in_vain()
        };
        if denial.reason() == Reason::KeysUnavailable
            && let Some(hint) = in_vain()
        {
            return Some(hint);
        }
        if let Fault::KeysUnavailable
        | Fault::KeyNotLookedUp {
            why: NoLookUp::Failed,
            ..
        } = denial.fault
            && let Some(error) = self.unusable_answer(denial.provider?)
        {
            return Some(error);
        }
        let request = check.and_then(|check| wire::read(check).ok());
        let request = request.unwrap_or_default();
        advice::likely_cause(denial, &self.policy, &self.jwks.snapshot(), &request)
    }

    /// Why the last fetch failed, if the provider answered: that says itself what is wrong.
    fn unusable_answer(&self, provider: ProviderId) -> Option<String> {
        let status = self.jwks.status(provider)?;
        let error = status.error.as_ref().filter(|error| !error.is_network())?;
        Some(error.to_string())
    }

    /// Where it matters how old they are: newer ones might verify the token.
    fn age_of_keys(&self, denial: &Denial) -> Option<u64> {
        match denial.reason() {
            Reason::UnknownKey | Reason::BadSignature => {
                Some(self.jwks.age(denial.provider?)?.as_secs())
            }
            _ => None,
        }
    }
}
