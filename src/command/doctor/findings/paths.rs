//! Whether two servers could read a path differently.

use super::advice::{MERGE_SLASHES, NORMALIZE, PATHS};
use super::{Finding, Seen};
use crate::command::doctor::answer::{Local, Origin};
use crate::command::doctor::probe::Probe;
use crate::escaped::Escaped;

/// Whether two servers could read a path differently.
pub(super) fn paths(seen: &Seen<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match raw(seen, Probe::EncodedDots, "/%2e%2e") {
        Some(true) => Finding::problem(
            "paths_not_normalized",
            "Envoy does not normalize paths: its routes and the API may read `/%2e%2e/` differently",
            shown(seen, Probe::EncodedDots),
        )
        .change(&[NORMALIZE, PATHS]),
        Some(false) => Finding::well(
            "paths",
            "Envoy resolves `/%2e%2e/` before claimgate and the API see it",
            shown(seen, Probe::EncodedDots),
        ),
        None => Finding::unseen(
            "paths",
            "whether Envoy normalizes paths: no rule seems to use paths, and the API does not show them",
        )
        .change(&[NORMALIZE]),
    });
    if raw(seen, Probe::DoubleSlash, "//x") == Some(true) {
        findings.push(
            Finding::warning(
                "slashes_not_merged",
                "Envoy does not merge `//`: claimgate refuses such paths if rules use paths, otherwise the API gets them",
                shown(seen, Probe::DoubleSlash),
            )
            .change(&[MERGE_SLASHES]),
        );
    }
    if seen.echo(Probe::DotsWithSemicolon).is_some()
        && raw(seen, Probe::DotsWithSemicolon, "/..;") == Some(true)
    {
        findings.push(
            Finding::warning(
                "path_parameters_pass",
                "the API gets `/..;/`, which some servers (Tomcat) read as `/../`",
                shown(seen, Probe::DotsWithSemicolon),
            )
            .change(&[PATHS]),
        );
    }
    findings
}

/// Whether claimgate or the API got the part after the mark as it was sent. claimgate refuses such paths if rules use
/// paths; that takes precedence over the token. `None` if neither shows it.
fn raw(seen: &Seen<'_>, probe: Probe, part: &str) -> Option<bool> {
    let told = seen.get(probe)?;
    match &told.origin {
        Origin::Claimgate(denial) => match (told.answer.status, denial.reason.as_deref()) {
            (400, Some("ambiguous_path") | None) => Some(true),
            // A rule uses paths: the other path was refused, this one was not.
            (401 | 403, _) => uses_paths(seen).then_some(false),
            _ => None,
        },
        Origin::Upstream(Some(echo)) => {
            let path = echo.path.as_ref()?;
            Some(path.contains(&format!("{}{part}", told.observed.sent.mark)))
        }
        Origin::Envoy(Local::Refused) => Some(false),
        Origin::Upstream(None) | Origin::Envoy(_) | Origin::Unknown => None,
    }
}

/// Whether a rule uses paths. If so, claimgate refuses `;`, which Envoy leaves alone.
fn uses_paths(seen: &Seen<'_>) -> bool {
    let denied = seen.denial(Probe::PathParameter);
    denied.is_some_and(|(told, _)| told.answer.status == 400)
}

fn shown(seen: &Seen<'_>, probe: Probe) -> String {
    match (seen.get(probe), seen.echo(probe)) {
        (_, Some(echo)) => format!(
            "the API received `{}`",
            Escaped::from(echo.path.as_deref().unwrap_or_default())
        ),
        (Some(told), None) => format!("the answer is {}", told.shown()),
        (None, None) => String::new(),
    }
}
