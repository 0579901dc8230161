//! Whether claim headers of a client reach the API.

use super::advice::{ALLOWED_HEADERS, CACHE, CLAIM_HEADERS, MUTATION_IGNORED, UNDERSCORES};
use super::{Finding, Seen};
use crate::command::doctor::answer::{Local, Origin};
use crate::command::doctor::probe::{Probe, UNDERSCORED};
use crate::escaped::listed;

/// Whether spoofed claim headers reach the API.
pub(super) fn claim_headers(seen: &Seen<'_>) -> Finding {
    let code = "claim_headers";
    let Some(found) = spoofed(seen, Probe::SpoofedHeaders) else {
        let what = "whether claim headers of a client reach the API";
        return Finding::unseen(code, &format!("{what}: {}", why_unseen(seen)));
    };
    let names = listed(&seen.all.claim_headers, ", ");
    match found.is_empty() {
        true => Finding::well(
            code,
            "claim headers of a client do not reach the API",
            format!("it did not receive the probe's value in any of {names}"),
        ),
        false => Finding::problem(
            "claim_headers_spoofed",
            "the API gets claim headers that the client chose",
            format!("it received {}", listed(&found, ", ")),
        )
        .change(&[CLAIM_HEADERS, MUTATION_IGNORED]),
    }
}

/// Whether header names with `_` are refused, and claim headers in such a spelling removed.
pub(super) fn spellings(seen: &Seen<'_>) -> Finding {
    let code = "underscores";
    let Some(told) = seen.get(Probe::SpoofedSpellings) else {
        return Finding::unseen(code, "what becomes of header names with `_`");
    };
    if told.origin == Origin::Envoy(Local::Refused) {
        return Finding::well(
            code,
            "header names with `_` are refused",
            format!("{} by Envoy itself", told.answer.status),
        );
    }
    let shown = "Envoy does not refuse a request with such names";
    let allowed = || {
        Finding::warning(
            "underscores_allowed",
            "header names with `_` are not refused: some servers read `x_auth_subject` as `x-auth-subject`",
            shown.to_owned(),
        )
        .change(&[UNDERSCORES])
    };
    let Some(found) = spoofed(seen, Probe::SpoofedSpellings) else {
        return allowed();
    };
    let is_other = |name: &String| name != UNDERSCORED;
    if found.iter().any(is_other) {
        return Finding::problem(
            "spelling_spoofed",
            "the API gets claim headers that the client chose, in another spelling",
            format!("it received {}", listed(&found, ", ")),
        )
        .change(&[
            UNDERSCORES,
            ALLOWED_HEADERS,
            CLAIM_HEADERS,
            MUTATION_IGNORED,
            CACHE,
        ]);
    }
    match found.is_empty() {
        true => Finding::well(
            code,
            "headers whose names contain `_` do not reach the API",
            "it received none".to_owned(),
        ),
        false => allowed(),
    }
}

/// The names of the headers that reached the API with the probe's value. `None` if the API does not
/// show what it received.
pub(super) fn spoofed(seen: &Seen<'_>, probe: Probe) -> Option<Vec<String>> {
    let echo = seen.echo(probe)?;
    let mark = &seen.get(probe)?.observed.sent.mark;
    let found = echo.names_with(mark).into_iter();
    // A proxy may copy values into headers of its own.
    let found = found.filter(|name| is_ours(seen, name));
    Some(found.map(str::to_owned).collect())
}

fn is_ours(seen: &Seen<'_>, name: &str) -> bool {
    let plain = |name: &str| name.replace('_', "-");
    let mut headers = seen.all.claim_headers.iter();
    name == UNDERSCORED || headers.any(|header| plain(header) == plain(name))
}

fn why_unseen(seen: &Seen<'_>) -> &'static str {
    match seen.get(Probe::Token) {
        None => {
            "give a valid token with --token, and the URL of an API that echoes requests as JSON"
        }
        Some(told) if told.passed() => "the API does not echo requests as JSON",
        Some(_) => "the given token does not pass",
    }
}
