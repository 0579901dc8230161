//! Gateways that answer before claimgate does, or because it does not.

use std::time::Duration;

use super::advice::{
    ADDRESS, ADMIN_PORT, AUTHORITY, CLUSTER_TLS, Change, FAILURE_MODE, FILTER_ORDER,
    GATEWAY_BACKEND, HTTP2, INSTANCE, ISTIO_CUSTOM, ISTIO_EGRESS, ISTIO_PROVIDER, MUTATION, RBAC,
    REAL_GATEWAY, ROUTE, SCHEME, TIMEOUT,
};
use super::{Finding, Instance, Seen, Told, Verdict};
use crate::command::doctor::answer::{Local, Origin};
use crate::command::doctor::client::SendError;
use crate::command::doctor::probe::Probe;
use crate::escaped::Escaped;

/// The finding that makes all others pointless, if there is one.
pub(super) fn unusable(seen: &Seen<'_>) -> Option<Finding> {
    // A single failure has its own finding: `some_checks`.
    let is_claimgate_seen = is_claimgate_seen(seen);
    let Some(told) = seen.get(Probe::NoToken) else {
        return (!is_claimgate_seen).then(|| silent(seen));
    };
    let status = told.answer.status;
    let cannot = |code, what, seen| Finding::new(Verdict::CannotProbe, code, what, seen);
    match told.origin {
        Origin::Claimgate(_) | Origin::Upstream(_) | Origin::Envoy(Local::ApiDown) => None,
        Origin::Envoy(Local::CheckFailed) if is_claimgate_seen => None,
        Origin::Envoy(Local::CheckFailed) => Some(all_checks(seen, status)),
        Origin::Envoy(Local::Rbac) => Some(
            Finding::problem(
                "rbac",
                "Envoy refuses everybody without asking claimgate",
                format!("{status} `RBAC: access denied`"),
            )
            .change(&[ISTIO_PROVIDER, ISTIO_CUSTOM, RBAC]),
        ),
        Origin::Envoy(Local::ServerError) => Some(
            Finding::problem(
                "server_error",
                "Envoy answers every request with an error of its own",
                format!("{status} without a body"),
            )
            .change(&[MUTATION, GATEWAY_BACKEND]),
        ),
        Origin::Envoy(Local::NoRoute) => Some(
            cannot(
                "no_route",
                "the gateway has no route for this URL, and asks claimgate only about requests that have one",
                format!("{status} without a body"),
            )
            .change(&[ROUTE]),
        ),
        Origin::Envoy(Local::Redirect) => {
            let location = Escaped::from(told.answer.header("location").unwrap_or_default());
            let seen = format!("{status} with `location: {location}`");
            let what = "the gateway redirects this URL before it asks claimgate";
            Some(cannot("redirect", what, seen).change(&[SCHEME, FILTER_ORDER]))
        }
        Origin::Envoy(Local::Filter(name)) => Some(
            Finding::problem(
                "other_filter",
                "another filter answers before claimgate is asked",
                format!("{status}, as {name} answers"),
            )
            .change(&[FILTER_ORDER]),
        ),
        Origin::Envoy(Local::Refused) | Origin::Unknown => {
            let server = Escaped::from(told.answer.header("server").unwrap_or_default());
            let seen = format!("{status} with `server: {server}`");
            let what = "the answer is neither claimgate's nor one that Envoy is known to give";
            Some(cannot("not_envoy", what, seen).change(&[REAL_GATEWAY]))
        }
    }
}

/// There is no answer to the first probe.
fn silent(seen: &Seen<'_>) -> Finding {
    let first = seen.all.probes.first();
    let error = first.and_then(|observed| observed.outcome.as_ref().err());
    let shown = error.map_or_else(String::new, ToString::to_string);
    match error {
        Some(SendError::Late(_)) => Finding::problem(
            "no_answer",
            "the gateway does not answer: claimgate or the API does not respond, and Envoy waits",
            shown,
        )
        .change(&[TIMEOUT, ADDRESS]),
        _ => Finding::new(
            Verdict::CannotProbe,
            "unreachable",
            "the gateway cannot be reached",
            shown,
        )
        .change(&[REAL_GATEWAY]),
    }
}

fn is_claimgate_seen(seen: &Seen<'_>) -> bool {
    let mut told = seen.told.iter();
    told.any(|told| matches!(told.origin, Origin::Claimgate(_)))
}

/// The probes whose check failed.
fn failed<'s, 'a>(seen: &'s Seen<'a>) -> impl Iterator<Item = &'s Told<'a>> {
    let told = seen.told.iter();
    told.filter(|told| told.origin == Origin::Envoy(Local::CheckFailed))
}

/// Whether claimgate recorded a denial that the client did not receive.
fn was_too_late(seen: &Seen<'_>) -> bool {
    failed(seen).any(|told| told.observed.record.is_some())
}

fn all_checks(seen: &Seen<'_>, status: u16) -> Finding {
    let slowest = failed(seen).map(|told| told.observed.elapsed).max();
    let slowest = slowest.unwrap_or(Duration::ZERO).as_millis();
    let evidence = format!("{status} without a body from Envoy itself, after at most {slowest} ms");
    if was_too_late(seen) {
        return Finding::problem(
            "timeout_too_short",
            "claimgate is asked, but Envoy does not wait for its answer, so nobody gets in",
            format!("{evidence}; claimgate has denials of these requests in its list"),
        )
        .change(&[TIMEOUT]);
    }
    Finding::problem(
        "checks_fail",
        "every check fails, so nobody gets in: Envoy cannot reach claimgate, or gets no answer in time",
        evidence,
    )
    .change(&causes(seen))
}

/// Why checks fail, the likeliest first.
fn causes(seen: &Seen<'_>) -> Vec<Change> {
    let counts = seen.counts();
    let counted = [
        (counts.admin_port, ADMIN_PORT),
        (counts.http1, HTTP2),
        (counts.tls, CLUSTER_TLS),
        (counts.reset, AUTHORITY),
    ];
    let found = counted.into_iter().filter(|(count, _)| *count > 0);
    let found: Vec<Change> = found.map(|(_, change)| change).collect();
    match seen.all.instance {
        _ if !found.is_empty() => found,
        // It would have counted other mistakes.
        Instance::Asked(_) => vec![ADDRESS, TIMEOUT, ISTIO_EGRESS],
        _ => vec![
            ADDRESS,
            HTTP2,
            TIMEOUT,
            AUTHORITY,
            CLUSTER_TLS,
            ISTIO_EGRESS,
        ],
    }
}

/// Whether some checks fail although claimgate answers others.
pub(super) fn some_checks(seen: &Seen<'_>) -> Option<Finding> {
    // The other probes may break the connection, or have their own finding.
    let is_plain = |probe| {
        let others = [
            Probe::LargeHeader,
            Probe::LowerCaseMethod,
            Probe::LowerCaseMethodHttp2,
        ];
        !others.contains(&probe)
    };
    let failures = failed(seen).filter(|told| is_plain(told.observed.probe));
    let silent = seen.all.probes.iter();
    let silent = silent.filter(|it| it.outcome.is_err() && is_plain(it.probe));
    let (failures, of) = (failures.count() + silent.count(), seen.all.probes.len());
    if failures == 0 {
        return None;
    }
    let changes = match was_too_late(seen) {
        true => vec![TIMEOUT],
        false => vec![TIMEOUT, INSTANCE, ADDRESS],
    };
    Some(
        Finding::problem(
            "some_checks_fail",
            "some checks fail although claimgate answers others",
            format!("{failures} of {of} probes got an error from Envoy itself, or no answer"),
        )
        .change(&changes),
    )
}

/// What shows only while claimgate is down.
pub(super) fn failure_mode() -> Finding {
    Finding::unseen(
        "failure_mode",
        "what Envoy does while claimgate does not answer, because it answers",
    )
    .change(&[FAILURE_MODE, TIMEOUT])
}
