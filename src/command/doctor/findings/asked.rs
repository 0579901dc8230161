//! Whether claimgate is asked at all.

use super::advice::{
    ADDRESS, ADMIN, ADMIN_PORT, CACHE, CONTEXT, CONTOUR_AUTHORIZATION, CONTOUR_TLS, Change,
    DISABLED, ENFORCE, FAILURE_MODE_AND_ADDRESS, FILTER, FILTER_ENABLED, GATEWAY_POLICY, HTTP2,
    ISTIO_SELECTOR, LATE_ROUTE, OPEN_CONNECTIONS, PLAIN_PORT, PROTECTED_PATH, SHADOW, TIMEOUT,
};
use super::headers::spoofed;
use super::{Finding, Instance, Seen, Told, Verdict};
use crate::command::doctor::answer::Origin;
use crate::command::doctor::probe::{Credential, Probe};
use crate::escaped::{Escaped, listed};

/// What Envoy adds for the API if `failure_mode_allow_header_add` is set.
const FAILURE_MODE_HEADER: &str = "x-envoy-auth-failure-mode-allowed";

/// What became of a request without a token.
pub(super) fn without_token(seen: &Seen<'_>) -> Finding {
    if let Some((told, denial)) = seen.denial(Probe::NoToken) {
        return Finding::well(
            "asked",
            match seen.get(Probe::Page) {
                None => "claimgate is asked, and denies a request without a token",
                Some(_) => "claimgate is asked, and denies a request with an unreadable token",
            },
            format!(
                "{}, request id `{}`",
                told.shown(),
                Escaped::from(denial.id.as_str())
            ),
        );
    }
    match seen.get(Probe::NoToken).filter(|told| told.passed()) {
        Some(told) => passed(seen, told),
        None => Finding::unseen("asked", "what becomes of a request without a token"),
    }
}

fn passed(seen: &Seen<'_>, told: &Told<'_>) -> Finding {
    let status = told.answer.status;
    let answer = format!("a request without a token passed the gateway, the answer is {status}");
    if let Some(record) = &told.observed.record {
        let seen = format!(
            "{answer}, and claimgate has recorded `{}` for it",
            record.reason
        );
        return match record.enforced {
            true => Finding::problem(
                "shadow_mode",
                "claimgate is asked and denies, but Envoy does not act on it: everybody passes, with claim headers \
                 of their own choice",
                seen,
            )
            .change(&[SHADOW]),
            false => Finding::warning(
                "not_enforced",
                "claimgate would deny the request, but lets it pass because of `enforce: false`",
                seen,
            )
            .change(&[ENFORCE]),
        };
    }
    let echo = seen.echo(Probe::SpoofedHeaders);
    if echo.is_some_and(|echo| echo.has(FAILURE_MODE_HEADER)) {
        return Finding::problem(
            "failure_mode_allow",
            "claimgate cannot be reached, and Envoy lets everybody pass, with claim headers of their own choice",
            format!("{answer}, and the API received `{FAILURE_MODE_HEADER}`"),
        )
        .change(&[FAILURE_MODE_AND_ADDRESS]);
    }
    let spoofed = spoofed(seen, Probe::SpoofedHeaders);
    if spoofed.as_ref().is_some_and(Vec::is_empty) {
        return Finding::new(
            Verdict::CannotProbe,
            "public_path",
            "this path requires no token: a rule of claimgate lets the request pass, or the check is off and Envoy \
             itself removes claim headers",
            format!("{answer}, and the spoofed claim headers did not reach the API"),
        )
        .change(&[PROTECTED_PATH, DISABLED, CONTEXT]);
    }
    if let Some((garbage, _)) = seen.denial(Probe::Garbage) {
        return Finding::warning(
            "optional_path",
            "claimgate is asked about requests with a token, but those without one pass: a rule with `access: \
             optional`, or a route that is checked only if there is `authorization`",
            format!("{answer}; an unreadable token gets {}", garbage.shown()),
        )
        .change(&[PROTECTED_PATH, DISABLED, CONTEXT]);
    }
    if matches!(status, 403 | 503) && told.answer.body.is_empty() {
        return Finding::problem(
            "refused_behind",
            "the request is refused behind this gateway: by a second Envoy (a sidecar) whose check fails, or by the \
             API itself, and then claimgate is not asked",
            format!("{status} without a body, which this gateway passed on"),
        )
        .change(&[ADDRESS, HTTP2, TIMEOUT])
        .change(&causes(seen));
    }
    let answer = match spoofed {
        Some(spoofed) => format!(
            "{answer}, and the API received spoofed claim headers: {}",
            listed(&spoofed, ", ")
        ),
        None => answer,
    };
    Finding::problem(
        "not_asked",
        "requests pass without a check: the API gets requests without a token, with claim headers that the client \
         chose",
        answer,
    )
    .change(&causes(seen))
}

/// Why nobody asks, the likeliest first.
fn causes(seen: &Seen<'_>) -> Vec<Change> {
    let off = [
        FILTER,
        DISABLED,
        FILTER_ENABLED,
        ISTIO_SELECTOR,
        GATEWAY_POLICY,
        CONTOUR_AUTHORIZATION,
        CONTOUR_TLS,
        LATE_ROUTE,
    ];
    let mut causes = Vec::new();
    match &seen.all.instance {
        Instance::Asked(counts) if counts.admin_port > 0 => {
            causes.extend([FAILURE_MODE_AND_ADDRESS, ADMIN_PORT]);
        }
        Instance::Asked(counts) if counts.http1 > 0 => {
            causes.extend([FAILURE_MODE_AND_ADDRESS, HTTP2]);
        }
        // An instance that was asked would have recorded a denial.
        Instance::Asked(_) => {
            causes.extend(off);
            causes.extend([FAILURE_MODE_AND_ADDRESS, OPEN_CONNECTIONS]);
        }
        Instance::Unreachable(_) => {
            causes.push(FAILURE_MODE_AND_ADDRESS);
            causes.extend(off);
        }
        Instance::NotAsked => {
            causes.extend(off);
            causes.extend([FAILURE_MODE_AND_ADDRESS, SHADOW, OPEN_CONNECTIONS]);
        }
    }
    causes
}

/// Whether the second request of a connection passes although the first does not.
pub(super) fn again(seen: &Seen<'_>) -> Option<Finding> {
    seen.denial(Probe::NoToken)?;
    let told = seen.get(Probe::Kept).filter(|told| told.passed())?;
    let finding = Finding::problem(
        "kept_connection",
        "only the first request of a connection is checked",
        format!(
            "the same request, sent again on its connection, got {}",
            told.answer.status
        ),
    );
    Some(finding.change(&[FILTER_ENABLED, OPEN_CONNECTIONS]))
}

/// Whether requests pass without TLS.
pub(super) fn plain_port(seen: &Seen<'_>) -> Option<Finding> {
    seen.denial(Probe::NoToken)?;
    let told = seen.get(Probe::PlainPort).filter(|told| told.passed())?;
    let finding = Finding::problem(
        "plain_port",
        "the port without TLS lets requests pass without a check, with claim headers that the client chose",
        format!(
            "a request without a token and without TLS got {} from port {}; if that is another server, name the \
             gateway's own by --plain-port",
            told.answer.status, seen.all.plain_port
        ),
    );
    Some(finding.change(&[PLAIN_PORT, DISABLED]))
}

/// Whether the gateway lets requests pass by answers that it remembers. Reliable only if this instance
/// answers all checks.
pub(super) fn remembered(seen: &Seen<'_>) -> Option<Finding> {
    let Instance::Asked(counts) = &seen.all.instance else {
        return None;
    };
    let mut denied = seen
        .told
        .iter()
        .filter(|told| matches!(told.origin, Origin::Claimgate(_)));
    let is_asked_alone = denied.all(|told| told.observed.record.is_some());
    let has_token = |told: &&Told<'_>| told.observed.probe.credential() == Credential::Token;
    let passed = seen
        .told
        .iter()
        .filter(has_token)
        .filter(|told| told.passed())
        .count();
    seen.denial(Probe::NoToken)?;
    let judged = usize::try_from(counts.allowed).unwrap_or(usize::MAX);
    (is_asked_alone && judged < passed).then(|| {
        let finding = Finding::problem(
            "remembered",
            "the gateway lets requests pass by an answer that it remembers, without asking claimgate",
            format!("{passed} probes with the token reached the API, and claimgate has allowed {judged} requests since"),
        );
        finding.change(&[CACHE])
    })
}

/// Whether the root of the gateway is protected, too.
pub(super) fn elsewhere(seen: &Seen<'_>) -> Option<Finding> {
    seen.denial(Probe::NoToken)?;
    let told = seen.get(Probe::Elsewhere)?;
    Some(match told.origin {
        Origin::Claimgate(_) => Finding::well(
            "asked_elsewhere",
            "claimgate is asked about other paths, too",
            format!("{} for a path that does not exist", told.shown()),
        ),
        Origin::Upstream(_) => Finding::warning(
            "passes_elsewhere",
            "other paths pass without a token: a rule of claimgate makes them public, or their route is not checked",
            format!(
                "a request for `/.well-known/claimgate-doctor/…` reached the API, which answered {}",
                told.answer.status
            ),
        )
        .change(&[DISABLED, ISTIO_SELECTOR, GATEWAY_POLICY, CONTEXT]),
        Origin::Envoy(_) | Origin::Unknown => Finding::unseen(
            "asked_elsewhere",
            "whether claimgate is asked about other paths: the gateway itself answers for \
             `/.well-known/claimgate-doctor/…`",
        ),
    })
}

/// Whether the instance at --admin is the one that the gateway asks.
pub(super) fn instance(seen: &Seen<'_>) -> Option<Finding> {
    let told = seen.told.iter();
    let mut denied = told.filter(|told| matches!(told.origin, Origin::Claimgate(_)));
    match &seen.all.instance {
        Instance::NotAsked => None,
        Instance::Unreachable(error) => Some(
            Finding::warning(
                "admin_unreachable",
                "the instance at --admin cannot be asked about the probes",
                error.clone(),
            )
            .change(&[ADMIN]),
        ),
        Instance::Asked(_) => {
            let first = denied.next()?;
            let is_known = first.observed.record.is_some()
                || denied.any(|told| told.observed.record.is_some());
            Some(match is_known {
                true => Finding::well(
                    "instance",
                    "the instance at --admin is the one that is asked",
                    "it has the denials in its list".to_owned(),
                ),
                false => Finding::warning(
                    "other_instance",
                    "another instance of claimgate is asked, not the one at --admin",
                    "the instance at --admin has none of the denials in its list".to_owned(),
                )
                .change(&[ADMIN]),
            })
        }
    }
}
