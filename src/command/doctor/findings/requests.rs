//! Whether claimgate sees the whole request.

use super::advice::{
    ALLOWED_HEADERS, AUTHORIZATION_ALLOWED, DISABLED, ONE_AUTHORIZATION, PROXY_ID, REMOVED_BEFORE,
    SIZES, TOKEN_FROM, WHY,
};
use super::{Finding, Seen, Told};
use crate::command::doctor::answer::{Local, Origin};
use crate::command::doctor::probe::Probe;
use crate::escaped::Escaped;

/// Whether `authorization` arrives. claimgate says `missing_token` only if it does not.
pub(super) fn authorization(seen: &Seen<'_>) -> Option<Finding> {
    let denials = [Probe::Garbage, Probe::GarbageAgain];
    let (told, denial) = denials.into_iter().find_map(|probe| seen.denial(probe))?;
    // Without an `error`, no token was found (RFC 6750 §3.1).
    let is_missing = match &denial.reason {
        Some(reason) => reason == "missing_token",
        None => told.answer.status == 401 && denial.error.is_none(),
    };
    let shown = format!("an unreadable token gets {}", told.shown());
    Some(match is_missing {
        false => Finding::well("authorization", "`authorization` reaches claimgate", shown),
        true => Finding::problem(
            "authorization_missing",
            "`authorization` does not reach claimgate, so every token counts as missing",
            shown,
        )
        .change(&[REMOVED_BEFORE, AUTHORIZATION_ALLOWED, TOKEN_FROM]),
    })
}

/// Whether the other headers arrive. A denial has the `x-request-id` that claimgate saw.
pub(super) fn all_headers(seen: &Seen<'_>) -> Option<Finding> {
    let (told, denial) = seen.denial(Probe::NoToken)?;
    let has_trace = told.observed.record.as_ref().map(|record| record.has_trace);
    let is_hidden = match has_trace {
        Some(has_trace) => !has_trace && is_own(&denial.id),
        None => !told.observed.sent.are(&denial.id) && is_own(&denial.id),
    };
    let id = Escaped::from(denial.id.as_str());
    Some(match is_hidden {
        false => Finding::well(
            "headers",
            "headers other than `authorization` reach claimgate",
            format!("the denial has the request id `{id}`, which claimgate did not create"),
        ),
        true => Finding::problem(
            "headers_hidden",
            "claimgate does not see all headers: rules on headers and cookies do not work, and claim headers in other \
             spellings (`x_auth_subject`) are not removed",
            format!("claimgate created the request id `{id}`, although the request had one"),
        )
        .change(&[ALLOWED_HEADERS, PROXY_ID]),
    })
}

/// The form of the ids that claimgate creates. Those of Envoy are UUIDs.
fn is_own(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn two_authorizations(seen: &Seen<'_>) -> Option<Finding> {
    // Otherwise every token passes here.
    seen.denial(Probe::Garbage)?;
    let told = seen.get(Probe::TwoAuthorizations)?;
    let code = "two_authorizations";
    match &told.origin {
        Origin::Upstream(_) => Some(
            Finding::problem(
                code,
                "a request with two `authorization` lines reaches the API: claimgate and the API may read different \
                 tokens",
                format!("the answer is {}", told.answer.status),
            )
            .change(&[ONE_AUTHORIZATION, ALLOWED_HEADERS]),
        ),
        Origin::Claimgate(denial) => match denial.reason.as_deref() {
            Some("malformed_token") => Some(
                Finding::warning(
                    code,
                    "of two `authorization` lines, claimgate sees only one",
                    format!("the answer is {}", told.shown()),
                )
                .change(&[ONE_AUTHORIZATION]),
            ),
            _ => Some(Finding::well(
                code,
                "two `authorization` lines are refused",
                told.shown(),
            )),
        },
        Origin::Envoy(Local::Refused) => Some(Finding::well(
            code,
            "two `authorization` lines are refused",
            format!("{} by Envoy itself", told.answer.status),
        )),
        Origin::Envoy(_) | Origin::Unknown => None,
    }
}

/// What the operator's token is good for.
pub(super) fn token(seen: &Seen<'_>) -> Option<Finding> {
    let told = seen.get(Probe::Token)?;
    match &told.origin {
        Origin::Claimgate(denial) => Some(
            Finding::warning(
                "token_denied",
                "claimgate denies the given token, so these probes show less",
                format!(
                    "{}, request id `{}`",
                    told.shown(),
                    Escaped::from(denial.id.as_str())
                ),
            )
            .change(&[WHY]),
        ),
        Origin::Upstream(_) | Origin::Envoy(Local::ApiDown) => Some(Finding::well(
            "token",
            "the given token passes",
            format!("the answer is {}", told.answer.status),
        )),
        Origin::Envoy(_) | Origin::Unknown => None,
    }
}

/// Whether a method that some servers read as another one passes.
pub(super) fn methods(seen: &Seen<'_>) -> Finding {
    let code = "methods";
    let probes = [Probe::LowerCaseMethod, Probe::LowerCaseMethodHttp2];
    let told: Vec<&Told<'_>> = probes.iter().filter_map(|probe| seen.get(*probe)).collect();
    let is_checked = seen.denial(Probe::Elsewhere).is_some();
    if let Some(told) = told.iter().find(|told| told.passed())
        && is_checked
    {
        return Finding::problem(
            "method_passes",
            "the method `delete` passes without a token, although GET does not: some servers read it as DELETE",
            format!("the answer is {}", told.answer.status),
        )
        .change(&[DISABLED]);
    }
    let refused = told.iter().filter(|told| {
        matches!(
            told.origin,
            Origin::Claimgate(_) | Origin::Envoy(Local::Refused)
        )
    });
    let refused: Vec<String> = refused.map(|told| told.shown()).collect();
    match refused.is_empty() || told.iter().any(|told| told.passed()) {
        false => Finding::well(
            code,
            "a method in lower case is refused",
            refused.join(", "),
        ),
        true => Finding::unseen(code, "what becomes of methods in lower case"),
    }
}

/// Who answers CORS preflights. Each answer may be right.
pub(super) fn preflight(seen: &Seen<'_>) -> Finding {
    let code = "preflight";
    let Some(told) = seen.get(Probe::Preflight) else {
        return Finding::unseen(code, "who answers CORS preflights");
    };
    let what = match &told.origin {
        Origin::Claimgate(_) => "CORS preflights need a token (`cors_preflight: judge`)",
        Origin::Upstream(_) if told.answer.header("access-control-allow-origin").is_some() => {
            "CORS preflights are answered by Envoy's `cors` filter or by the API"
        }
        Origin::Upstream(_) | Origin::Envoy(Local::ApiDown) => "CORS preflights reach the API",
        Origin::Envoy(_) | Origin::Unknown => {
            return Finding::unseen(code, "who answers CORS preflights");
        }
    };
    Finding::well(code, what, told.shown())
}

pub(super) fn large_header(seen: &Seen<'_>) -> Option<Finding> {
    let told = seen.get(Probe::LargeHeader)?;
    let code = "large_header";
    let shown = format!("56 KiB of headers get {}", told.shown());
    Some(match told.origin {
        Origin::Claimgate(_) => Finding::well(code, "claimgate judges large requests", shown),
        Origin::Envoy(Local::Refused) => {
            Finding::well(code, "Envoy itself refuses large requests", shown)
        }
        Origin::Envoy(Local::CheckFailed | Local::ServerError) => Finding::problem(
            "large_header_fails",
            "the check of a large request fails",
            shown,
        )
        .change(&[SIZES]),
        Origin::Upstream(_) | Origin::Envoy(_) | Origin::Unknown => return None,
    })
}
