//! A judged request in words, for people and for scripts.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::ext_authz::proto::auth::CheckResponse;
use crate::ext_authz::proto::auth::check_response::HttpResponse;
use crate::ext_authz::proto::envoy::config::core::v3::HeaderValueOption;
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
        });
    }
}

/// What there is to be told.
pub(super) struct Report {
    pub(super) steps: Vec<(&'static str, String)>,
    /// The reason, and what is wrong in full.
    pub(super) failed: Option<(String, String)>,
    /// What people who have seen many such denials would say.
    pub(super) likely_cause: Option<String>,
    /// Why keys could not be had, if that is what decided.
    pub(super) unavailable: Option<String>,
    pub(super) response: CheckResponse,
}

impl Report {
    fn is_allow(&self) -> bool {
        self.response
            .status
            .as_ref()
            .is_none_or(|status| status.code == 0)
    }

    /// From 500 on it is not the request that is at fault.
    fn failed_at_our_end(&self) -> bool {
        match &self.response.http_response {
            Some(HttpResponse::DeniedResponse(denied)) => denied
                .status
                .as_ref()
                .is_some_and(|status| status.code >= 500),
            _ => false,
        }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match (self.is_allow(), self.failed_at_our_end()) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        })
    }

    pub(super) fn text(&self) -> String {
        let verdict = match (self.is_allow(), self.failed_at_our_end()) {
            (true, _) => "ALLOW",
            (false, true) => "CANNOT JUDGE",
            (false, false) => "DENY",
        };
        let mut lines = vec![verdict.to_owned()];
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
                if !ok.headers_to_remove.is_empty() {
                    lines.push(format!("  removed: {}", ok.headers_to_remove.join(", ")));
                }
            }
            Some(HttpResponse::DeniedResponse(denied)) => {
                let status = denied.status.as_ref().map_or(403, |status| status.code);
                lines.push(format!("the caller gets {status}"));
                lines.extend(
                    pairs(&denied.headers).map(|(name, value)| format!("  {name}: {value}")),
                );
                lines.push(format!("  {}", denied.body));
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
        let mut report = json!({
            "decision": if self.is_allow() { "allow" } else { "deny" },
            "passed": steps,
            "failed": self.failed.as_ref().map(|(reason, text)| json!({"reason": reason, "detail": text})),
            "likely_cause": self.likely_cause,
            "keys_unavailable": self.unavailable,
        });
        let answer = match &self.response.http_response {
            Some(HttpResponse::OkResponse(ok)) => json!({
                "headers": object(&ok.headers),
                "headers_to_remove": ok.headers_to_remove,
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
