//! From what was observed to what is right or wrong. Pure, and the same for recorded responses.

use std::time::Duration;

mod advice;
mod asked;
mod failing;
mod headers;
mod login;
mod paths;
#[cfg(test)]
pub(super) mod recorded;
mod requests;
#[cfg(test)]
mod tests;

use super::admin::{Counts, Record};
use super::answer::{Answer, Denial, Echo, Local, Origin};
use super::client::SendError;
use super::probe::{Ids, Probe};
use crate::escaped::Escaped;
use advice::Change;

/// A probe and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub probe: Probe,
    pub sent: Ids,
    pub outcome: Result<Answer, SendError>,
    pub elapsed: Duration,
    /// The denial in the instance's list.
    pub record: Option<Record>,
}

/// The instance, asked through `--admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instance {
    NotAsked,
    /// With the error.
    Unreachable(String),
    /// With what was counted during the probes.
    Asked(Counts),
}

/// Everything that was observed.
#[derive(Clone, Debug)]
pub(super) struct Observations {
    pub probes: Vec<Observation>,
    pub instance: Instance,
    /// The claim headers that were spoofed.
    pub claim_headers: Vec<String>,
    /// The port that was asked without TLS.
    pub plain_port: u16,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Well,
    /// The probes do not show it.
    Unseen,
    Warning,
    /// Nothing can be said about the gateway.
    CannotProbe,
    Problem,
}

/// One result.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub verdict: Verdict,
    /// A stable name.
    pub code: &'static str,
    /// In plain words.
    pub what: String,
    /// How it was recognised.
    pub seen: String,
    /// The likeliest change first.
    pub changes: Vec<Change>,
}

impl Finding {
    fn new(verdict: Verdict, code: &'static str, what: &str, seen: String) -> Self {
        Self {
            verdict,
            code,
            what: what.to_owned(),
            seen,
            changes: Vec::new(),
        }
    }

    fn well(code: &'static str, what: &str, seen: String) -> Self {
        Self::new(Verdict::Well, code, what, seen)
    }

    fn unseen(code: &'static str, what: &str) -> Self {
        Self::new(Verdict::Unseen, code, what, String::new())
    }

    fn problem(code: &'static str, what: &str, seen: String) -> Self {
        Self::new(Verdict::Problem, code, what, seen)
    }

    fn warning(code: &'static str, what: &str, seen: String) -> Self {
        Self::new(Verdict::Warning, code, what, seen)
    }

    fn change(mut self, changes: &[Change]) -> Self {
        self.changes.extend_from_slice(changes);
        self
    }
}

/// All results. If the gateway itself does not answer as it should, later results would only repeat
/// that, so they are left out.
pub(super) fn diagnose(observations: &Observations) -> Vec<Finding> {
    let seen = Seen::of(observations);
    if let Some(findings) = login::hidden(&seen) {
        return findings;
    }
    if let Some(finding) = failing::unusable(&seen) {
        return vec![finding];
    }
    let asked = asked::without_token(&seen);
    // Then everything passes, claim headers included.
    let is_open = asked.verdict == Verdict::Problem;
    let mut findings = Vec::new();
    findings.extend(login::page(&seen));
    findings.extend(failing::some_checks(&seen));
    findings.push(asked);
    findings.extend(asked::again(&seen));
    findings.extend(asked::plain_port(&seen));
    findings.extend(asked::elsewhere(&seen));
    findings.extend(asked::instance(&seen));
    findings.extend(asked::remembered(&seen));
    if !is_open {
        findings.extend(requests::authorization(&seen));
        findings.extend(requests::all_headers(&seen));
        findings.extend(requests::two_authorizations(&seen));
        findings.extend(requests::token(&seen));
        findings.push(headers::claim_headers(&seen));
        findings.push(headers::spellings(&seen));
    }
    findings.extend(paths::paths(&seen));
    findings.push(requests::methods(&seen));
    findings.push(requests::preflight(&seen));
    findings.extend(requests::large_header(&seen));
    if !is_open {
        findings.push(failing::failure_mode());
    }
    findings
}

/// An observation together with who answered.
struct Told<'a> {
    observed: &'a Observation,
    answer: &'a Answer,
    origin: Origin,
}

impl Told<'_> {
    /// Whether the request reached the API, or would have if the API were there.
    fn passed(&self) -> bool {
        matches!(
            self.origin,
            Origin::Upstream(_) | Origin::Envoy(Local::ApiDown)
        )
    }

    /// The denial as evidence.
    fn shown(&self) -> String {
        let status = self.answer.status;
        let reason = match &self.origin {
            Origin::Claimgate(denial) => denial.reason.as_deref(),
            _ => None,
        };
        match reason {
            Some(reason) => format!("{status} `{}`", Escaped::from(reason)),
            None => format!("{status}"),
        }
    }
}

/// The observations, by probe.
struct Seen<'a> {
    told: Vec<Told<'a>>,
    all: &'a Observations,
}

impl<'a> Seen<'a> {
    fn of(all: &'a Observations) -> Self {
        let told = all.probes.iter().filter_map(|observed| {
            let answer = observed.outcome.as_ref().ok()?;
            let origin = answer.origin(&observed.sent);
            Some(Told {
                observed,
                answer,
                origin,
            })
        });
        Self {
            told: told.collect(),
            all,
        }
    }

    fn get(&self, probe: Probe) -> Option<&Told<'a>> {
        self.told.iter().find(|told| told.observed.probe == probe)
    }

    fn denial(&self, probe: Probe) -> Option<(&Told<'a>, &Denial)> {
        let told = self.get(probe)?;
        match &told.origin {
            Origin::Claimgate(denial) => Some((told, denial)),
            _ => None,
        }
    }

    fn echo(&self, probe: Probe) -> Option<&Echo> {
        match &self.get(probe)?.origin {
            Origin::Upstream(echo) => echo.as_ref(),
            _ => None,
        }
    }

    fn counts(&self) -> Counts {
        match self.all.instance {
            Instance::Asked(counts) => counts,
            _ => Counts::default(),
        }
    }
}
