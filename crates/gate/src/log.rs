//! Logs and counts each decision once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;

use super::{Gate, Generation, Judged};
use crate::denials::DenialRecord;
use crate::hints;
use crate::telemetry::lines::Line;
use claimgate_core::advice::{self, Wait};
use claimgate_core::decision::{Decision, Denial, Reason};
use claimgate_core::request::Request;
use claimgate_core::secrets::without_jwts;
use claimgate_core::time::UnixTime;
use claimgate_core::token::claims::Claims;

/// Writes the line of a denial.
macro_rules! line {
    ($level:expr, $record:ident, $message:literal) => {
        tracing::event!(
            $level,
            request_id = $record.request_id,
            trace_id = $record.trace_id,
            method = $record.method,
            host = $record.host,
            path = $record.path,
            source = $record.source,
            reason = $record.reason,
            rule = $record.rule,
            provider = $record.provider,
            subject = $record.subject,
            client = $record.client,
            keys_age_seconds = $record.keys_age_seconds,
            detail = $record.detail,
            hint = $record.hint,
            see = $record.see,
            $message
        )
    };
}

/// Facts about a check besides its decision.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a, 'r> {
    /// The request; `None` if it could not be read.
    pub request: Option<&'a Request<'r>>,
    /// The time from its arrival to its answer.
    pub took: Duration,
    /// The maximum time that it could wait for keys.
    pub max_wait: Duration,
    /// The trace of its span. `None` if it has none.
    pub trace_id: Option<u128>,
}

impl Gate {
    /// Counts and logs a decision.
    pub fn conclude(&self, judged: &Judged, circumstances: Circumstances<'_, '_>) {
        judged.generation().metrics.decided(judged.decision());
        self.metrics.answered(circumstances.took);
        if let Some(recorder) = &judged.generation().recorder {
            recorder.record(judged, circumstances, self.time());
        }
        self.log(judged, circumstances);
    }

    /// The current time. `None` if the clock fails: what made a decision fail must not hide it.
    fn time(&self) -> Option<UnixTime> {
        catch_unwind(AssertUnwindSafe(|| self.clock.now())).ok()
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

    /// Writes one event, and records denials. Client input appears escaped and cut, and never
    /// includes a token.
    fn log(&self, judged: &Judged, circumstances: Circumstances<'_, '_>) {
        let generation = judged.generation();
        let policy = &generation.policy;
        let rule = |id| policy.rule(id).map(|rule| rule.name.as_str());
        let provider = |id| policy.provider(id).map(|provider| provider.name.as_str());
        let decision = judged.decision();
        if let Some(denial) = decision.denial() {
            self.denied(judged, denial, circumstances);
        }
        match decision {
            Decision::Allow(permit) => tracing::debug!(
                request_id = circumstances.request.and_then(Request::id),
                rule = permit.rule().and_then(rule),
                provider = permit
                    .bearer()
                    .and_then(|bearer| provider(bearer.provider())),
                subject = permit
                    .bearer()
                    .and_then(|bearer| bearer.token().claims().subject())
                    .and_then(|subject| generation.subjects.shown(subject)),
                "allowed"
            ),
            Decision::Deny(_) => {}
            Decision::Respond(resource) => {
                tracing::debug!(url = resource.metadata_url(), "metadata served");
            }
        }
    }

    fn denied(&self, judged: &Judged, denial: &Denial, circumstances: Circumstances<'_, '_>) {
        let reason = denial.reason();
        let is_alarming = matches!(
            reason,
            Reason::UnknownRule | Reason::Internal | Reason::KeysUnavailable
        );
        let is_enabled = match is_alarming {
            true => tracing::enabled!(Level::WARN),
            false => tracing::enabled!(Level::INFO),
        };
        let line = Line::Denied(reason);
        let is_within_limit = match is_enabled {
            true => self.may_write(line),
            false => self.metrics.lines().is_within_limit(line, Instant::now()),
        };
        let record = self.record(judged, denial, circumstances, is_within_limit);
        if is_enabled && is_within_limit {
            match (is_alarming, record.enforced) {
                (true, true) => line!(Level::WARN, record, "denied"),
                (true, false) => line!(Level::WARN, record, "would be denied"),
                (false, true) => line!(Level::INFO, record, "denied"),
                (false, false) => line!(Level::INFO, record, "would be denied"),
            }
        }
        self.denials.add(record);
    }

    /// What an operator may know of a denial. The hint costs more than the decision, so a flood of
    /// denials goes without.
    fn record(
        &self,
        judged: &Judged,
        denial: &Denial,
        circumstances: Circumstances<'_, '_>,
        with_hint: bool,
    ) -> DenialRecord {
        let generation = judged.generation();
        let policy = &generation.policy;
        let now = self.time();
        let bearer = denial.bearer.as_ref();
        let claims = bearer.map(|bearer| bearer.token().claims());
        let shown = |text: &str| generation.subjects.shown(text);
        let request = circumstances.request.map(DenialRecord::of);
        let request = request.unwrap_or_default();
        let trace_id = circumstances.trace_id.map(|id| format!("{id:032x}"));
        let rule = denial.rule.and_then(|id| policy.rule(id));
        let provider = denial.provider.and_then(|id| policy.provider(id));
        DenialRecord {
            time: now.map(|now| now.to_string()).unwrap_or_default(),
            request_id: judged.id().unwrap_or_default().to_owned(),
            enforced: matches!(judged.decision(), Decision::Deny(_)),
            reason: denial.reason().code(),
            rule: rule.map(|rule| rule.name.clone()),
            provider: provider.map(|provider| provider.name.clone()),
            subject: claims.and_then(Claims::subject).and_then(shown),
            client: claims.and_then(Claims::client).and_then(shown),
            keys_age_seconds: age_of_keys(generation, denial),
            detail: without_jwts(&denial.fault.to_string()).into_owned(),
            hint: with_hint
                .then(|| hint(generation, denial, circumstances))
                .flatten(),
            see: advice::section(denial.reason()),
            trace_id: trace_id.or(request.trace_id),
            ..request
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
        trace_id: _,
    } = circumstances;
    let in_vain = || {
        let provider = denial.provider?;
        // The error says more than that the request waited.
        if generation.jwks.status(provider)?.error.is_some() {
            return None;
        }
        let setting = generation.jwks.unknown_key_wait(provider);
        Wait {
            took,
            max: max_wait,
            setting,
        }
        .in_vain()
    };
    if denial.reason() == Reason::KeysUnavailable
        && let Some(hint) = in_vain()
    {
        return Some(hint);
    }
    let unread = Request::default();
    hints::likely_cause(generation, denial, request.unwrap_or(&unread))
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
