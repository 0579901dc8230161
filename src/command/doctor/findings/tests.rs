//! Recorded responses, and what follows from them.

mod instance;
mod mistakes;

use super::super::probe::ALL;
use super::recorded::{answer, ids};
use super::*;

/// What every gateway under test answers unless a case says otherwise.
#[derive(Clone, Copy)]
enum Reply {
    /// A denial by claimgate, with the probe's own id.
    Denied(u16, &'static str),
    /// The same, without the reason.
    Anonymous(u16, &'static str),
    /// A denial with an id that claimgate created.
    OwnId,
    /// A denial with an id that Envoy created.
    EnvoyId,
    /// The API answers, and describes no request.
    Passed(u16),
    /// The API answers with what it received: a path that begins with the probe's mark, and one header with it.
    Echo(&'static str, &'static str),
    Local(u16, &'static str),
    Redirect(&'static str),
    /// The API, or another Envoy, answers without a body.
    Forwarded(u16),
    Late,
    Broken,
}

const FORWARDED: (&str, &str) = ("x-envoy-upstream-service-time", "2");
const ENVOY: (&str, &str) = ("server", "envoy");

impl Reply {
    fn to(self, sent: &Ids) -> Result<Answer, SendError> {
        let denied = |status, reason: Option<&str>, challenge: &str, id: &str| {
            let mut body = serde_json::json!({"error": "e", "request_id": id});
            if let Some(reason) = reason {
                body["reason"] = reason.into();
            }
            let headers = [("x-request-id", id), ("www-authenticate", challenge), ENVOY];
            answer(status, &headers, &body.to_string())
        };
        let missing = |id| denied(401, Some("missing_token"), "Bearer", id);
        Ok(match self {
            Self::Denied(status, reason) => denied(status, Some(reason), "Bearer", &sent.request),
            Self::Anonymous(status, challenge) => denied(status, None, challenge, &sent.request),
            Self::OwnId => missing("0123456789abcdef0123456789abcdef"),
            Self::EnvoyId => missing("8e0b7c1e-5f4c-9d3a-b2c1-0a9e8d7c6b5a"),
            Self::Passed(status) => answer(status, &[FORWARDED, ENVOY], "hello"),
            Self::Echo(path, header) => {
                let path = format!("/{}{path}", sent.mark);
                let body = serde_json::json!({"path": path, "headers": {header: sent.mark}});
                answer(200, &[FORWARDED, ENVOY], &body.to_string())
            }
            Self::Local(status, body) => answer(status, &[ENVOY], body),
            Self::Redirect(location) => answer(302, &[("location", location), ENVOY], ""),
            Self::Forwarded(status) => answer(status, &[FORWARDED, ENVOY], ""),
            Self::Broken => return Err(SendError::Broken("reset".to_owned())),
            Self::Late => return Err(SendError::Late(Duration::from_secs(5))),
        })
    }
}

/// How the example answers, with a rule that uses paths, to a client without a token.
fn example(probe: Probe) -> Option<Reply> {
    Some(match probe {
        Probe::Token | Probe::LargeHeader | Probe::Page => return None,
        Probe::Garbage | Probe::GarbageAgain => Reply::Denied(401, "malformed_token"),
        Probe::TwoAuthorizations => Reply::Denied(401, "malformed_authorization"),
        Probe::SpoofedSpellings | Probe::LowerCaseMethod => Reply::Local(400, ""),
        Probe::PathParameter => Reply::Denied(400, "ambiguous_path"),
        _ => Reply::Denied(401, "missing_token"),
    })
}

/// The observations of the example, with these replies instead. No login is expected.
fn observed(instead: impl Fn(Probe) -> Option<Reply>) -> Observations {
    let probes = ALL.into_iter();
    observed_by(probes.filter(|probe| *probe != Probe::Page), instead)
}

/// The same by these probes.
fn observed_by(
    probes: impl Iterator<Item = Probe>,
    instead: impl Fn(Probe) -> Option<Reply>,
) -> Observations {
    let replies = probes.zip(1..);
    let probes = replies.filter_map(|(probe, number)| {
        let sent = ids(number);
        let reply = instead(probe).or_else(|| example(probe))?;
        Some(Observation {
            probe,
            outcome: reply.to(&sent),
            sent,
            elapsed: Duration::from_millis(3),
            record: None,
        })
    });
    Observations {
        probes: probes.collect(),
        instance: Instance::NotAsked,
        claim_headers: vec!["x-auth-subject".to_owned()],
        plain_port: 80,
    }
}

/// The findings that are neither fine nor unseen.
fn wrong(observations: &Observations) -> Vec<Finding> {
    let mut findings = diagnose(observations);
    findings.retain(|finding| finding.verdict > Verdict::Unseen);
    findings
}

fn settings(finding: &Finding) -> Vec<&'static str> {
    finding
        .changes
        .iter()
        .map(|change| change.setting)
        .collect()
}

fn only(probe: Probe, reply: Reply) -> impl Fn(Probe) -> Option<Reply> {
    move |found| (found == probe).then_some(reply)
}

fn all(reply: Reply) -> impl Fn(Probe) -> Option<Reply> {
    move |_| Some(reply)
}

#[test]
fn the_example_is_well() {
    let findings = diagnose(&observed(|_| None));
    let codes = |wanted| {
        let with = findings.iter().filter(|finding| finding.verdict == wanted);
        with.map(|finding| finding.code).collect::<Vec<_>>()
    };
    let well = [
        "asked",
        "asked_elsewhere",
        "authorization",
        "headers",
        "two_authorizations",
        "underscores",
        "paths",
        "methods",
        "preflight",
    ];
    assert_eq!(codes(Verdict::Well), well, "{findings:#?}");
    assert_eq!(codes(Verdict::Unseen), ["claim_headers", "failure_mode"]);
    assert_eq!(findings.len(), well.len() + 2);
}

/// Replies that look like mistakes, but are not.
#[test]
fn what_is_right_is_not_reported() {
    use Probe::*;
    for (what, probe, reply) in [
        // Envoy replaces the ids of clients outside.
        ("Envoy's id", NoToken, Reply::EnvoyId),
        ("cors_preflight: allow", Preflight, Reply::Passed(204)),
        (
            "without reasons",
            Garbage,
            Reply::Anonymous(401, "Bearer error=\"invalid_token\""),
        ),
        (
            "claim header set",
            SpoofedHeaders,
            Reply::Echo("/", "other"),
        ),
        (
            "underscores dropped",
            SpoofedSpellings,
            Reply::Echo("/", "other"),
        ),
        ("dots resolved", EncodedDots, Reply::Echo("/x", "x")),
        ("dots refused by Envoy", EncodedDots, Reply::Local(400, "")),
        ("token", Token, Reply::Passed(200)),
        (
            "large, refused by Envoy",
            LargeHeader,
            Reply::Local(431, ""),
        ),
        ("no route at the root", Elsewhere, Reply::Local(404, "")),
    ] {
        let findings = wrong(&observed(only(probe, reply)));
        assert!(findings.is_empty(), "{what}: {findings:#?}");
    }
}

/// Wherever claimgate is seen: nothing can be said about a path that it is not asked about.
#[test]
fn a_path_without_a_route_cannot_be_probed() {
    let local = Reply::Local(404, "");
    let findings = wrong(&observed(|probe| match probe {
        Probe::Elsewhere => None,
        _ => Some(local),
    }));
    let found: Vec<_> = findings.iter().map(|it| (it.verdict, it.code)).collect();
    assert_eq!(found, [(Verdict::CannotProbe, "no_route")]);
}

#[test]
fn the_header_of_failure_mode_allow_is_recognised() {
    let header = "x-envoy-auth-failure-mode-allowed";
    let findings = wrong(&observed(|probe| match probe {
        Probe::SpoofedHeaders => Some(Reply::Echo("/", header)),
        _ => Some(Reply::Passed(200)),
    }));
    assert_eq!(findings[0].code, "failure_mode_allow");
    assert_eq!(settings(&findings[0]), ["failure_mode_allow"]);
}

#[test]
fn a_public_path_is_no_open_gateway() {
    let public = Reply::Echo("/", "x");
    let findings = wrong(&observed(|probe| match probe {
        Probe::SpoofedSpellings => None,
        _ => Some(public),
    }));
    assert_eq!(findings[0].code, "public_path", "{findings:#?}");
    assert_eq!(findings[0].verdict, Verdict::CannotProbe);
    assert!(settings(&findings[0]).contains(&"claimgate.rule"));
}

/// What a browser and a program with an unreadable token get, if a login is expected.
#[test]
fn a_login_is_in_front_or_not() {
    let login = Reply::Redirect("https://idp.example.com/auth?client_id=app&response_type=code");
    let elsewhere = Reply::Redirect("https://api.example.com/orders?page=2");
    let refused = Reply::Local(401, "OAuth flow failed.");
    let judged = Reply::Denied(401, "malformed_token");
    for (page, program, expected) in [
        (login, judged, &[][..]),
        (elsewhere, judged, &[]),
        (
            Reply::Denied(401, "missing_token"),
            judged,
            &["login_order"],
        ),
        (Reply::Passed(200), judged, &["no_login"]),
        (refused, judged, &["login_refused"]),
        (login, login, &["bearer_ignored"]),
        (login, refused, &["bearer_ignored"]),
        (refused, refused, &["login_refused", "bearer_ignored"]),
        // Without the login, this is what is wrong.
        (elsewhere, elsewhere, &["redirect"]),
        (
            Reply::Local(503, ""),
            Reply::Local(503, ""),
            &["some_checks_fail"],
        ),
    ] {
        let observations = observed_by(ALL.into_iter(), |probe| match probe {
            Probe::Page => Some(page),
            Probe::NoToken => Some(program),
            _ => None,
        });
        let found: Vec<_> = wrong(&observations).iter().map(|it| it.code).collect();
        assert_eq!(found, expected);
    }
    let observations = observed_by(ALL.into_iter(), only(Probe::Page, login));
    let findings = diagnose(&observations);
    assert_eq!(
        (findings[0].verdict, findings[0].code),
        (Verdict::Well, "login")
    );
    assert!(
        findings[0]
            .seen
            .ends_with("`location: https://idp.example.com/auth`")
    );
}
