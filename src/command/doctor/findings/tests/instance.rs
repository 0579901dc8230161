//! What an instance adds.

use super::super::super::admin::{Counts, Record};
use super::super::super::probe::Probe;
use super::super::{Instance, Observations};
use super::{Reply, observed, only, settings, wrong};

const QUIET: Counts = Counts {
    http1: 0,
    tls: 0,
    reset: 0,
    admin_port: 0,
    allowed: 0,
};
const HTTP1: Counts = Counts { http1: 3, ..QUIET };
const TLS: Counts = Counts { tls: 3, ..QUIET };
const RESET: Counts = Counts { reset: 3, ..QUIET };
const ADMIN_PORT: Counts = Counts {
    admin_port: 3,
    ..QUIET
};

const OPEN: Option<Reply> = Some(Reply::Passed(200));
const FAILED: Option<Reply> = Some(Reply::Local(503, ""));

/// What the instance counted (`None`: it is unreachable), the reply to all probes (`None`: the example's),
/// whether their denials are enforced (`None`: the list has none), the findings, and the settings that the first
/// names first.
type Case = (
    &'static str,
    Option<Counts>,
    Option<Reply>,
    Option<bool>,
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: [Case; 14] = [
    (
        "shadow",
        Some(QUIET),
        OPEN,
        Some(true),
        &["shadow_mode"],
        &["shadow_mode"],
    ),
    (
        "observed",
        Some(QUIET),
        OPEN,
        Some(false),
        &["not_enforced", "underscores_allowed"],
        &["enforce"],
    ),
    (
        "not asked",
        Some(QUIET),
        OPEN,
        None,
        &["not_asked"],
        &["http_filters"],
    ),
    (
        "open by HTTP/1",
        Some(HTTP1),
        OPEN,
        None,
        &["not_asked"],
        &["failure_mode_allow", "http2_protocol_options"],
    ),
    (
        "down",
        None,
        OPEN,
        None,
        &["not_asked", "admin_unreachable"],
        &["failure_mode_allow"],
    ),
    (
        "too late",
        Some(QUIET),
        FAILED,
        Some(true),
        &["timeout_too_short"],
        &["timeout"],
    ),
    (
        "HTTP/1",
        Some(HTTP1),
        FAILED,
        None,
        &["checks_fail"],
        &["http2_protocol_options"],
    ),
    (
        "TLS",
        Some(TLS),
        FAILED,
        None,
        &["checks_fail"],
        &["transport_socket"],
    ),
    (
        "reset",
        Some(RESET),
        FAILED,
        None,
        &["checks_fail"],
        &["authority"],
    ),
    (
        "admin port",
        Some(ADMIN_PORT),
        FAILED,
        None,
        &["checks_fail"],
        &["load_assignment"],
    ),
    (
        "open by the admin port",
        Some(ADMIN_PORT),
        OPEN,
        None,
        &["not_asked"],
        &["failure_mode_allow", "load_assignment"],
    ),
    (
        "port",
        Some(QUIET),
        FAILED,
        None,
        &["checks_fail"],
        &["load_assignment", "timeout", "Sidecar"],
    ),
    (
        "other instance",
        Some(QUIET),
        None,
        None,
        &["other_instance"],
        &["--admin"],
    ),
    ("well", Some(QUIET), None, Some(true), &[], &[]),
];

#[test]
fn the_instance_knows_the_cause() {
    for (what, counts, reply, enforced, codes, expected) in CASES {
        let mut observations = observed(|_| reply);
        observations.instance = match counts {
            Some(counts) => Instance::Asked(counts),
            None => Instance::Unreachable("refused".to_owned()),
        };
        for observation in &mut observations.probes {
            observation.record = enforced.map(|enforced| record(enforced, true));
        }
        let findings = wrong(&observations);
        assert_eq!(found(&observations), codes, "{what}: {findings:#?}");
        let named = findings.first().map(settings).unwrap_or_default();
        assert_eq!(named.get(..expected.len()), Some(expected), "{what}");
    }
}

/// Fewer requests were judged than have passed with the token.
#[test]
fn the_instance_knows_that_the_gateway_remembers() {
    let token = |probe| match probe {
        Probe::Token | Probe::SpoofedHeaders => Some(Reply::Passed(200)),
        _ => None,
    };
    for (allowed, known, codes) in [
        (2, true, &[][..]),
        (3, true, &[]),
        (1, true, &["remembered"]),
        // Another instance may have judged it.
        (1, false, &["other_instance"]),
    ] {
        let mut observations = observed(token);
        observations.instance = Instance::Asked(Counts { allowed, ..QUIET });
        for observation in &mut observations.probes {
            observation.record = known.then(|| record(true, true));
        }
        assert_eq!(found(&observations), codes, "{allowed} {known}");
    }
}

/// The list shows whether claimgate saw `traceparent`.
#[test]
fn the_instance_knows_which_headers_it_saw() {
    for (has_trace, codes) in [(true, &[][..]), (false, &["headers_hidden"])] {
        let mut observations = observed(only(Probe::NoToken, Reply::OwnId));
        observations.instance = Instance::Asked(QUIET);
        observations.probes[0].record = Some(record(true, has_trace));
        assert_eq!(found(&observations), codes, "{has_trace}");
    }
}

fn record(enforced: bool, has_trace: bool) -> Record {
    Record {
        reason: "missing_token".to_owned(),
        enforced,
        has_trace,
    }
}

fn found(observations: &Observations) -> Vec<&'static str> {
    wrong(observations)
        .iter()
        .map(|finding| finding.code)
        .collect()
}
