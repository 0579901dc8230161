//! Runs the cases of a suite.

use std::sync::Arc;

use super::cases::{Case, Expect, Suite, Token};
use crate::advice;
use crate::command::Failure;
use crate::config::{Config, KeySource};
use crate::decision::Denial;
use crate::dev::mint::Mint;
use crate::explain::place::{place_of, put};
use crate::explain::{Explained, explain};
use crate::jwks;
use crate::keyring::{Keyring, Keys};
use crate::request::pseudo::PseudoHeaders;
use crate::request::{Headers, Peer, Request};
use crate::token::source::TokenSource;

/// The result of a case.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) line: u64,
    /// The differences from what is expected.
    pub(super) differences: Vec<Difference>,
    /// The decision and its explanation.
    pub(super) explanation: String,
}

pub(super) struct Difference {
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) found: String,
}

impl Outcome {
    pub(super) fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

pub(super) async fn run(suite: &Suite) -> Result<Vec<Outcome>, Failure> {
    let mut mint = Mint::new(Arc::clone(&suite.config.policy));
    let own_keys = own_keys(&suite.config).await;
    let mut outcomes = Vec::new();
    for case in &suite.cases {
        let token = match &case.token {
            None => None,
            Some(Token::Raw(token)) => Some((token.clone(), None)),
            Some(Token::Minted {
                provider,
                claims,
                header,
            }) => {
                let token = mint.token(*provider, claims, header, suite.now)?;
                Some((token, Some(*provider)))
            }
        };
        let place = place_of(&suite.config.policy, token.as_ref().and_then(|(_, id)| *id));
        let (keyring, token) = match &token {
            Some((token, None)) => (&own_keys, Some(token.as_str())),
            Some((token, Some(_))) => (mint.keyring(), Some(token.as_str())),
            None => (mint.keyring(), None),
        };
        outcomes.push(outcome(suite, case, keyring, token, &place));
    }
    Ok(outcomes)
}

/// The keys in the configuration and in files on this machine. Nothing is fetched.
async fn own_keys(config: &Config) -> Keyring {
    let mut keyring = Keyring::empty(config.keys.len());
    for ((id, _), settings) in config.policy.providers().zip(&config.keys) {
        match settings.source {
            KeySource::File(_) | KeySource::Inline(_) => {
                if let Ok(keys) = jwks::fetch_once(settings).await {
                    keyring = keyring.with(id, Keys::Known(keys));
                }
            }
            KeySource::Discovery { .. } | KeySource::Uri(_) => {}
        }
    }
    keyring
}

fn outcome(
    suite: &Suite,
    case: &Case,
    keyring: &Keyring,
    token: Option<&str>,
    place: &TokenSource,
) -> Outcome {
    let asked = &case.request;
    let mut path = asked.path.clone();
    let mut lines = asked.headers.clone();
    if let Some(token) = token {
        put(token, place, &mut path, &mut lines);
    }
    let headers: Headers<'_> = lines.iter().collect();
    let conflict = PseudoHeaders::of(&headers).conflict(&asked.method, &asked.host, &path);
    let request = Request {
        method: &asked.method,
        host: &asked.host,
        path: &path,
        path_bytes: Some(path.as_bytes()),
        headers,
        source: Peer {
            address: &asked.address,
            principal: &asked.principal,
            certificate: &asked.certificate,
        },
        context: asked
            .context
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        conflict,
    };
    let explained = {
        let Config {
            policy, denials, ..
        } = &suite.config;
        let likely_cause =
            |denial: &Denial| advice::likely_cause(denial, policy, keyring, &request);
        explain(policy, denials, keyring, &request, suite.now, likely_cause)
    };
    Outcome {
        name: case.name.clone(),
        line: case.line,
        differences: compare(&case.expect, &explained),
        explanation: explained.report.text(),
    }
}

fn compare(expect: &Expect, explained: &Explained) -> Vec<Difference> {
    let Expect {
        decision,
        reason,
        rule,
        provider,
        status,
        headers,
        removed,
        response_headers,
        body,
    } = expect;
    let report = &explained.report;
    let mut differences = Vec::new();
    let mut same = |what: &str, expected: Option<&str>, found: Option<&str>| {
        if expected.is_some() && expected != found {
            differences.push(Difference {
                what: what.to_owned(),
                expected: expected.unwrap_or_default().to_owned(),
                found: found.unwrap_or("(none)").to_owned(),
            });
        }
    };
    same("decision", Some(decision), Some(report.decision()));
    same("reason", reason.as_deref(), report.reason());
    same("rule", rule.as_deref(), explained.rule.as_deref());
    same(
        "provider",
        provider.as_deref(),
        explained.provider.as_deref(),
    );
    let (wanted, found) = (status.map(|code| code.to_string()), report.status());
    same(
        "status",
        wanted.as_deref(),
        found.map(|code| code.to_string()).as_deref(),
    );
    for (name, value) in headers {
        let what = format!("header `{name}`");
        same(&what, Some(value), report.header(name));
    }
    for name in removed {
        let found = report.removes(name).then_some("removed");
        same(
            &format!("header `{name}`"),
            Some("removed"),
            found.or(Some("not removed")),
        );
    }
    for (name, value) in response_headers {
        let what = format!("header `{name}` of the response");
        same(&what, Some(value), report.response_header(name));
    }
    same("body", body.as_deref(), report.body());
    differences
}
