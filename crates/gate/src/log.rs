//! Logs and counts each decision once.

use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;

use super::{Gate, Generation, Judged};
use crate::jwks::Jwks;
use crate::telemetry::lines::Line;
use claimgate_core::advice::{self, Wait};
use claimgate_core::decision::{Decision, Denial, Fault, NoLookUp, Reason};
use claimgate_core::keyring::ProviderId;
use claimgate_core::request::Request;

/// Facts about a check besides its decision.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a, 'r> {
    /// The request; `None` if it could not be read.
    pub request: Option<&'a Request<'r>>,
    /// The time from its arrival to its answer.
    pub took: Duration,
    /// The maximum time that it could wait for keys.
    pub max_wait: Duration,
}

impl Gate {
    /// Counts and logs a decision.
    pub fn conclude(&self, judged: &Judged, circumstances: Circumstances<'_, '_>) {
        judged.generation().metrics.decided(judged.decision());
        self.metrics.answered(circumstances.took);
        self.log(judged, circumstances);
    }

    /// Counts and logs headers that are not set because their claims are too long. `names` is called
    /// only if a line is written.
    pub fn note_oversized(&self, count: usize, names: impl FnOnce() -> Vec<String>) {
        if count == 0 {
            return;
        }
        self.metrics.claims_dropped(count);
        if tracing::enabled!(Level::WARN) && self.may_write(Line::ClaimTooLong) {
            let headers = names().join(", ");
            tracing::warn!(%headers, "claims too long for a header");
        }
    }

    /// Writes one event. Client input appears only where the fault quotes it, escaped and cut.
    fn log(&self, judged: &Judged, circumstances: Circumstances<'_, '_>) {
        let generation = judged.generation();
        let policy = &generation.policy;
        let rule = |id| policy.rule(id).map(|rule| rule.name.as_str());
        let provider = |id| policy.provider(id).map(|provider| provider.name.as_str());
        match judged.decision() {
            Decision::Allow(permit) => tracing::debug!(
                rule = rule(permit.rule()),
                provider = permit
                    .bearer()
                    .and_then(|bearer| provider(bearer.provider())),
                subject = permit
                    .bearer()
                    .and_then(|bearer| bearer.token().claims().subject()),
                "allowed"
            ),
            Decision::Deny(denial) => {
                let line = Line::Denied(denial.reason());
                if tracing::enabled!(Level::INFO) && self.may_write(line) {
                    tracing::info!(
                        reason = denial.reason().code(),
                        rule = denial.rule.and_then(rule),
                        provider = denial.provider.and_then(provider),
                        keys_age_seconds = age_of_keys(generation, denial),
                        detail = %denial.fault,
                        hint = hint(generation, denial, circumstances),
                        see = advice::section(denial.reason()),
                        "denied"
                    );
                }
            }
            Decision::Respond(resource) => {
                tracing::debug!(url = resource.metadata_url(), "metadata served");
            }
        }
    }

    /// Whether another line of this kind may be written. At level `debug`, every line may.
    fn may_write(&self, line: Line) -> bool {
        tracing::enabled!(Level::DEBUG) || self.metrics.lines().may_write(line, Instant::now())
    }
}

/// The likely cause of a denial.
fn hint(
    generation: &Generation,
    denial: &Denial,
    circumstances: Circumstances<'_, '_>,
) -> Option<String> {
    let Circumstances {
        request,
        took,
        max_wait,
    } = circumstances;
    let Generation { policy, jwks, .. } = generation;
    let in_vain = || {
        let setting = jwks.unknown_key_wait(denial.provider?);
        Wait {
            took,
            most: max_wait,
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
        && let Some(error) = unusable_answer(jwks, denial.provider?)
    {
        return Some(error);
    }
    let unread = Request::default();
    let request = request.unwrap_or(&unread);
    advice::likely_cause(denial, policy, &jwks.snapshot(), request)
}

/// Why the last fetch failed, if the provider responded. Such an error says what is wrong.
fn unusable_answer(jwks: &Jwks, provider: ProviderId) -> Option<String> {
    let status = jwks.status(provider)?;
    let error = status.error.as_ref().filter(|error| !error.is_network())?;
    Some(error.to_string())
}

/// The age of the keys, for denials that newer keys might change.
fn age_of_keys(generation: &Generation, denial: &Denial) -> Option<u64> {
    match denial.reason() {
        Reason::UnknownKey | Reason::BadSignature => {
            Some(generation.jwks.age(denial.provider?)?.as_secs())
        }
        _ => None,
    }
}
