//! What may differ between Envoy's `jwt_authn` and claimgate with the imported configuration.

use std::fmt;

use serde_json::{Map, Value};

use super::requests::{Mark, Request};

/// What became of a request on one side.
#[derive(Clone, Debug)]
pub struct Seen {
    pub status: u16,
    pub passed: bool,
    /// The reason of a denial: claimgate's code, Envoy's text.
    pub reason: String,
    /// The headers that the upstream received.
    pub headers: Map<String, Value>,
    /// The path that the upstream received.
    pub path: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.passed {
            true => write!(
                f,
                "passes, {} {}",
                self.path,
                Value::Object(self.headers.clone())
            ),
            false => write!(f, "{} {}", self.status, self.reason),
        }
    }
}

/// The names of the differences, each with a row in `docs/migrate.md`.
pub const DIFFERENCES: [&str; 22] = [
    "left-out",
    "ambiguous-header",
    "ambiguous-host",
    "path-encoding",
    "host-port",
    "ambiguous-path",
    "several-tokens",
    "empty-token",
    "no-expiry",
    "kind-of-token",
    "audience-spelling",
    "scheme-case",
    "header-form",
    "query-escapes",
    "query-order",
    "other-place",
    "name-spelling",
    "lifetime",
    "issued-later",
    "claim-encoding",
    "token-removed",
    "header-removed",
];

/// What claimgate refuses and Envoy does not: the reason, what is unusual about such requests, the name.
const STRICTER: [(&str, Mark, &str); 13] = [
    ("access_denied", Mark::LeftOut, "left-out"),
    ("ambiguous_header", Mark::TwoValues, "ambiguous-header"),
    ("ambiguous_host", Mark::UpperCaseHost, "ambiguous-host"),
    ("ambiguous_path", Mark::AmbiguousPath, "ambiguous-path"),
    (
        "malformed_authorization",
        Mark::SeveralTokens,
        "several-tokens",
    ),
    ("malformed_authorization", Mark::EmptyToken, "empty-token"),
    ("missing_claim", Mark::NoExpiry, "no-expiry"),
    ("unsupported_type", Mark::IdToken, "kind-of-token"),
    ("wrong_audience", Mark::UrlAudience, "audience-spelling"),
    ("lifetime_too_long", Mark::LongLifetime, "lifetime"),
    ("not_yet_valid", Mark::FutureIssue, "issued-later"),
    (
        "malformed_authorization",
        Mark::EncodedQuery,
        "query-escapes",
    ),
    (
        "malformed_authorization",
        Mark::OtherSpelling,
        "name-spelling",
    ),
];

/// What the two read in another way, so that either may be the one that passes.
const EITHER: [(Mark, &str); 4] = [
    (Mark::SchemeInOtherCase, "scheme-case"),
    (Mark::LowerCaseEscape, "path-encoding"),
    (Mark::HostWithPort, "host-port"),
    (Mark::OddHeader, "header-form"),
];

/// Each difference between the two sides: its name, or what is not explained.
pub fn between(
    request: &Request,
    envoy: &Seen,
    claimgate: &Seen,
    promised: &[String],
) -> Vec<Result<&'static str, String>> {
    let has = |mark: Mark| request.marks.contains(&mark);
    match (envoy.passed, claimgate.passed) {
        (false, false) => Vec::new(),
        (true, false) => {
            let is_anonymous = promised
                .iter()
                .all(|name| !envoy.headers.contains_key(name));
            let by_place = (is_anonymous && has(Mark::PlaceOfOne)).then_some("other-place");
            let found = stricter(&has, &claimgate.reason).or(by_place);
            vec![found.ok_or_else(|| "only Envoy passes it".to_owned())]
        }
        (false, true) => vec![either(&has).ok_or_else(|| "only claimgate passes it".to_owned())],
        (true, true) => differing_headers(&has, envoy, claimgate, promised),
    }
}

/// Why claimgate refuses what Envoy passes.
fn stricter(has: &impl Fn(Mark) -> bool, reason: &str) -> Option<&'static str> {
    if let Some(name) = either(has) {
        return Some(name);
    }
    let mut listed = STRICTER.iter();
    let found = listed.find(|(code, mark, _)| *code == reason && has(*mark));
    found.map(|(_, _, name)| *name)
}

/// Where Envoy passes failed tokens, claimgate passes what it would refuse, too, but takes no claims from it.
fn lenient(has: &impl Fn(Mark) -> bool) -> Option<&'static str> {
    let mut of_tokens = STRICTER
        .iter()
        .filter(|(_, _, name)| !name.starts_with("ambiguous"));
    of_tokens
        .find(|(_, mark, _)| has(*mark))
        .map(|(_, _, name)| *name)
}

fn either(has: &impl Fn(Mark) -> bool) -> Option<&'static str> {
    let found = EITHER.iter().find(|(mark, _)| has(*mark));
    found.map(|(_, name)| *name)
}

/// The path and the parameters of its query, in alphabetical order.
fn parameters(path: &str) -> Vec<&str> {
    let mut parameters: Vec<&str> = path.split(['?', '&']).collect();
    parameters.sort_unstable();
    parameters
}

fn differing_headers(
    has: &impl Fn(Mark) -> bool,
    envoy: &Seen,
    claimgate: &Seen,
    promised: &[String],
) -> Vec<Result<&'static str, String>> {
    let mut differences = Vec::new();
    for name in promised {
        let (theirs, ours) = (envoy.headers.get(name), claimgate.headers.get(name));
        differences.extend(match (theirs, ours) {
            (theirs, ours) if theirs == ours => None,
            (Some(_), None) if has(Mark::Spoofed) => Some(Ok("header-removed")),
            (theirs, ours) if theirs.is_none() != ours.is_none() && either(has).is_some() => {
                either(has).map(Ok)
            }
            (Some(_), Some(_)) if has(Mark::OddClaims) => Some(Ok("claim-encoding")),
            (Some(_), None) if has(Mark::Lenient) => {
                Some(lenient(has).ok_or_else(|| format!("the header {name}")))
            }
            (theirs, ours) => Some(Err(format!("the header {name}: {theirs:?}, {ours:?}"))),
        });
    }
    for name in ["authorization", "x-machine-token", "cookie"] {
        let (theirs, ours) = (envoy.headers.get(name), claimgate.headers.get(name));
        differences.extend(match (theirs, ours) {
            (theirs, ours) if theirs == ours => None,
            (Some(_), None) if has(Mark::HasToken) => Some(Ok("token-removed")),
            (None, Some(_)) if either(has).is_some() => either(has).map(Ok),
            (None, Some(_)) if has(Mark::Lenient) => {
                Some(lenient(has).ok_or_else(|| format!("the header {name}")))
            }
            (theirs, ours) => Some(Err(format!("the header {name}: {theirs:?}, {ours:?}"))),
        });
    }
    if parameters(&envoy.path) == parameters(&claimgate.path) && envoy.path != claimgate.path {
        differences.push(Ok("query-order"));
    } else if envoy.path != claimgate.path {
        differences.push(
            match has(Mark::HasToken) && claimgate.path.len() < envoy.path.len() {
                true => Ok("token-removed"),
                false => Err(format!("the path: {}, {}", envoy.path, claimgate.path)),
            },
        );
    }
    differences
}
