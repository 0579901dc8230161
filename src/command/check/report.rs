//! A judged request in words, for people and for scripts.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::ext_authz::proto::auth::CheckResponse;
use crate::ext_authz::proto::auth::check_response::HttpResponse;
use crate::ext_authz::proto::envoy::config::core::v3::HeaderValueOption;
use crate::policy::rules::{DEFAULT, Selection};
use crate::trace::{Step, Trace};

/// Each check that held, in words.
#[derive(Default)]
pub(super) struct Steps(pub(super) Vec<(&'static str, String)>);

impl Trace for Steps {
    fn passed(&mut self, step: Step<'_>) {
        let shown = |text: Option<&str>| {
            text.map_or("none".to_owned(), |text| {
                format!("`{}`", text.escape_debug())
            })
        };
        self.0.push(match step {
            Step::Rule { name, selection } => {
                let how = match selection {
                    Selection::Named => "named by Envoy's route",
                    Selection::Matched if name == DEFAULT => "no other is about the request",
                    Selection::Matched => "the first that is about the request",
                };
                ("rule", format!("`{name}`: {how}"))
            }
            Step::Credential { source } => ("credential", format!("one token, in the {source}")),
            Step::Form { alg, kid, typ } => (
                "form",
                format!(
                    "signed JWT: alg {alg}, kid {}, typ {}",
                    shown(kid),
                    shown(typ)
                ),
            ),
            Step::Issuer { issuer, provider } => {
                ("issuer", format!("`{issuer}` is provider `{provider}`"))
            }
            Step::Keys { count } => ("keys", format!("{count} usable")),
            Step::Signature { kid, alg } => ("signature", format!("{alg} by key {}", shown(kid))),
            Step::Times { exp, now, skew: _ } => {
                let left = exp.saturating_since(now).as_secs();
                ("times", format!("expires at {exp}, in {left} s"))
            }
            Step::Audience { audience } => ("audience", format!("names `{audience}`")),
            Step::Requirement => ("required", "the token is what the rule requires".to_owned()),
            Step::Condition { text } => ("condition", format!("`{}`", text.trim())),
        });
    }
}

/// What there is to be told.
pub(super) struct Report {
    /// The rules that are not about the request, and why.
    pub(super) passed_over: Vec<(String, String)>,
    pub(super) steps: Vec<(&'static str, String)>,
    /// The reason, and what is wrong in full.
    pub(super) failed: Option<(String, String)>,
    /// What people who have seen many such denials would say.
    pub(super) likely_cause: Option<String>,
    /// Why keys could not be had, if that is what decided.
    pub(super) unavailable: Option<String>,
    pub(super) response: CheckResponse,
}

/// So many rules are listed for people; scripts get all.
const MOST_RULES: usize = 20;

enum Verdict {
    Allow,
    Deny,
    /// With the metadata of a resource.
    Answered,
    CannotJudge,
}

impl Verdict {
    const fn words(&self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Answered => "ANSWERED in the upstream's place",
            Self::CannotJudge => "CANNOT JUDGE",
        }
    }
}

impl Report {
    fn is_allow(&self) -> bool {
        self.response
            .status
            .as_ref()
            .is_none_or(|status| status.code == 0)
    }

    fn verdict(&self) -> Verdict {
        let status = match &self.response.http_response {
            Some(HttpResponse::DeniedResponse(denied)) => denied.status.as_ref(),
            _ => None,
        };
        match status.map_or(403, |status| status.code) {
            _ if self.is_allow() => Verdict::Allow,
            // From 500 on it is not the request that is at fault.
            500.. => Verdict::CannotJudge,
            ..300 => Verdict::Answered,
            _ => Verdict::Deny,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.verdict() {
            Verdict::Allow => 0,
            Verdict::Deny | Verdict::Answered => 1,
            Verdict::CannotJudge => 2,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.verdict().words().to_owned()];
        let shown = self.passed_over.iter().take(MOST_RULES);
        lines.extend(shown.map(|(name, why)| format!("  pass  rule        `{name}`: {why}")));
        if let Some(more) = self.passed_over.len().checked_sub(MOST_RULES + 1) {
            lines.push(format!("        … and {} more rules", more + 1));
        }
        lines.extend(
            self.steps
                .iter()
                .map(|(name, text)| format!("  ok    {name:<12}{text}")),
        );
        if let Some((reason, text)) = &self.failed {
            lines.push(format!("  FAIL  {reason}: {text}"));
        }
        if let Some(cause) = &self.likely_cause {
            lines.push(format!("  likely cause: {cause}"));
        }
        if let Some(why) = &self.unavailable {
            lines.push(format!("        {why}"));
        }
        match &self.response.http_response {
            Some(HttpResponse::OkResponse(ok)) => {
                lines.push("the upstream gets".to_owned());
                lines.extend(pairs(&ok.headers).map(|(name, value)| format!("  {name}: {value}")));
                let removed = ok.headers_to_remove.iter().cloned();
                let parameters = ok.query_parameters_to_remove.iter();
                let removed: Vec<String> = removed
                    .chain(parameters.map(|name| format!("query parameter {name}")))
                    .collect();
                if !removed.is_empty() {
                    lines.push(format!("  removed: {}", removed.join(", ")));
                }
                if !ok.response_headers_to_add.is_empty() {
                    lines.push("the caller gets, besides the upstream's answer".to_owned());
                    let added = pairs(&ok.response_headers_to_add);
                    lines.extend(added.map(|(name, value)| format!("  {name}: {value}")));
                }
            }
            Some(HttpResponse::DeniedResponse(denied)) => {
                let status = denied.status.as_ref().map_or(403, |status| status.code);
                lines.push(format!("the caller gets {status}"));
                lines.extend(
                    pairs(&denied.headers).map(|(name, value)| format!("  {name}: {value}")),
                );
                lines.extend(denied.body.lines().map(|line| format!("  {line}")));
            }
            None => {}
        }
        lines.join("\n")
    }

    pub(super) fn json(&self) -> Value {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|(name, text)| json!({"check": name, "detail": text}))
            .collect();
        let passed_over: Vec<_> = self
            .passed_over
            .iter()
            .map(|(name, why)| json!({"rule": name, "detail": why}))
            .collect();
        let decision = match self.verdict() {
            Verdict::Allow => "allow",
            Verdict::Answered => "metadata",
            Verdict::Deny | Verdict::CannotJudge => "deny",
        };
        let mut report = json!({
            "decision": decision,
            "rules_passed_over": passed_over,
            "passed": steps,
            "failed": self.failed.as_ref().map(|(reason, text)| json!({"reason": reason, "detail": text})),
            "likely_cause": self.likely_cause,
            "keys_unavailable": self.unavailable,
        });
        let answer = match &self.response.http_response {
            Some(HttpResponse::OkResponse(ok)) => json!({
                "headers": object(&ok.headers),
                "headers_to_remove": ok.headers_to_remove,
                "query_parameters_to_remove": ok.query_parameters_to_remove,
                "response_headers": object(&ok.response_headers_to_add),
            }),
            Some(HttpResponse::DeniedResponse(denied)) => json!({
                "status": denied.status.as_ref().map_or(403, |status| status.code),
                "headers": object(&denied.headers),
                "body": denied.body,
            }),
            None => Value::Null,
        };
        if let Some(members) = report.as_object_mut() {
            members.insert("response".to_owned(), answer);
        }
        report
    }
}

fn pairs(headers: &[HeaderValueOption]) -> impl Iterator<Item = (&str, &str)> {
    headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .map(|header| (header.key.as_str(), header.value.as_str()))
}

fn object(headers: &[HeaderValueOption]) -> Value {
    pairs(headers)
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
