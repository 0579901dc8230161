//! The explanation of a decision, for people and for scripts.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::advice;
use crate::decision::Reason;
use crate::escaped::listed;
use crate::ext_authz::proto::auth::check_response::HttpResponse;
use crate::ext_authz::proto::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use crate::ext_authz::proto::envoy::config::core::v3::HeaderValueOption;
use crate::jwks::KeysError;
use crate::policy::rules::DEFAULT;
use crate::telemetry::spans::Progress;
use crate::trace::{Selection, Step, Trace};

/// Each check that held, described in words.
#[derive(Default)]
pub(crate) struct Steps(pub(crate) Vec<(&'static str, String)>);

impl Trace for Steps {
    fn passed(&mut self, step: Step<'_>) {
        // A request that waited for keys is judged again, from its rule on.
        if let Step::Rule { .. } = step {
            self.0.clear();
        }
        let shown = |text: Option<&str>| {
            text.map_or("none".to_owned(), |text| {
                format!("`{}`", text.escape_debug())
            })
        };
        self.0.push(match step {
            Step::Rule { name, selection } => {
                let how = match selection {
                    Selection::Named => "named by Envoy's route",
                    Selection::Matched if name == DEFAULT => "no other rule matches the request",
                    Selection::Matched => "the first rule that matches the request",
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
            Step::Requirement => (
                "required",
                "the token meets the rule's requirement".to_owned(),
            ),
            Step::Condition { text } => ("condition", format!("`{}`", text.trim())),
        });
    }
}

impl Progress for Steps {}

/// Everything to report about one decision.
pub(crate) struct Report {
    /// The rules that do not match the request, and why.
    pub(crate) passed_over: Vec<(String, String)>,
    /// The later rules that match the request too, without more general ones.
    pub(crate) also_matching: Vec<String>,
    pub(crate) steps: Vec<(&'static str, String)>,
    /// The reason code and the complete error message, of a denial that may be only observed.
    pub(crate) failed: Option<(String, String)>,
    /// A guess at the cause of the denial.
    pub(crate) likely_cause: Option<String>,
    /// Why keys are unavailable, if that decided.
    pub(crate) unavailable: Option<String>,
    /// Headers that are not set because their claim is too long.
    pub(crate) too_long: Vec<String>,
    pub(crate) response: CheckResponse,
}

/// The maximum number of skipped rules in the text report. The JSON report has all of them.
const MAX_RULES: usize = 20;

enum Verdict {
    Allow,
    /// Allowed because the denial is not enforced.
    Observe,
    Deny,
    /// Answered with the metadata of a resource.
    Answered,
    CannotJudge,
}

impl Verdict {
    const fn words(&self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Observe => "ALLOW, because the denial is not enforced",
            Self::Deny => "DENY",
            Self::Answered => "ANSWERED in place of the upstream",
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

    /// That later rules match too, which shows a wrong order of rules.
    pub(crate) fn note_on_rules(&self) -> Option<String> {
        let later = &self.also_matching;
        (!later.is_empty()).then(|| {
            format!(
                "the first rule that matches decides; later ones that match too: {}",
                listed(later, ", ")
            )
        })
    }

    /// Says why the keys could not be fetched, if that decided. The error itself says what to do, so a
    /// guess adds nothing.
    pub(crate) fn say_why_no_keys(&mut self, error: &KeysError) {
        if self.reason() == Some(Reason::KeysUnavailable.code()) {
            self.likely_cause = None;
            self.unavailable = Some(error.to_string());
        }
    }

    /// Adds the age of the keys to the report, if the decision got that far.
    pub(crate) fn say_how_old_keys_are(&mut self, age: &str) {
        for (name, text) in &mut self.steps {
            if *name == "keys" {
                *text = format!("{text}, {age}");
            }
        }
    }

    /// The decision as a word: `allow`, `deny` or `metadata`.
    pub(crate) fn decision(&self) -> &'static str {
        match self.verdict() {
            Verdict::Allow | Verdict::Observe => "allow",
            Verdict::Answered => "metadata",
            Verdict::Deny | Verdict::CannotJudge => "deny",
        }
    }

    /// The verdict in words.
    pub(crate) fn verdict_words(&self) -> &'static str {
        self.verdict().words()
    }

    /// The reason code of a denial, enforced or observed.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.failed.as_ref().map(|(reason, _)| reason.as_str())
    }

    /// The section about that reason. `None` if a server hides that reason from callers.
    pub(crate) fn see(&self) -> Option<String> {
        let code = self.reason()?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.code() == code);
        reason.map(advice::section)
    }

    /// The response that the caller gets in place of the upstream's.
    fn denied(&self) -> Option<&DeniedHttpResponse> {
        match &self.response.http_response {
            Some(HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied)) => {
                Some(denied)
            }
            Some(HttpResponse::OkResponse(_)) | None => None,
        }
    }

    fn allowed(&self) -> Option<&OkHttpResponse> {
        match &self.response.http_response {
            Some(HttpResponse::OkResponse(allowed)) => Some(allowed),
            Some(HttpResponse::DeniedResponse(_) | HttpResponse::ErrorResponse(_)) | None => None,
        }
    }

    /// The HTTP status of that response.
    pub(crate) fn status(&self) -> Option<i32> {
        Some(status(self.denied()?))
    }

    /// The body of that response.
    pub(crate) fn body(&self) -> Option<&str> {
        Some(&self.denied()?.body)
    }

    /// A header that the upstream receives, or that the caller receives in place of the upstream's.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let allowed = self.allowed().map(|allowed| &allowed.headers);
        find(
            allowed.or(self.denied().map(|denied| &denied.headers))?,
            name,
        )
    }

    /// A header that is set on the upstream's response.
    pub(crate) fn response_header(&self, name: &str) -> Option<&str> {
        find(&self.allowed()?.response_headers_to_add, name)
    }

    /// Whether a header is removed from the request.
    pub(crate) fn removes(&self, name: &str) -> bool {
        let removed = self.allowed().map(|allowed| &allowed.headers_to_remove);
        removed.into_iter().flatten().any(|removed| removed == name)
    }

    fn verdict(&self) -> Verdict {
        match self.status().unwrap_or(403) {
            _ if self.is_allow() && self.failed.is_some() => Verdict::Observe,
            _ if self.is_allow() => Verdict::Allow,
            // From 500 on, the request is not at fault.
            500.. => Verdict::CannotJudge,
            ..300 => Verdict::Answered,
            _ => Verdict::Deny,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.verdict() {
            Verdict::Allow | Verdict::Observe => 0,
            Verdict::Deny | Verdict::Answered => 1,
            Verdict::CannotJudge => 2,
        })
    }

    /// 0 if the outcome is this one: a decision, or the reason of a denial that is enforced.
    pub(crate) fn exit_code_if(&self, outcome: &str) -> ExitCode {
        let is_reason = self.decision() == "deny" && self.reason() == Some(outcome);
        ExitCode::from(match self.verdict() {
            _ if is_reason => 0,
            Verdict::CannotJudge => 2,
            _ if self.decision() == outcome => 0,
            Verdict::Allow | Verdict::Observe | Verdict::Deny | Verdict::Answered => 1,
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut lines = vec![self.verdict().words().to_owned()];
        let shown = self.passed_over.iter().take(MAX_RULES);
        lines.extend(shown.map(|(name, why)| format!("  skip  rule        `{name}`: {why}")));
        if let Some(more) = self.passed_over.len().checked_sub(MAX_RULES + 1) {
            lines.push(format!("        … and {} more rules", more + 1));
        }
        lines.extend(
            self.steps
                .iter()
                .map(|(name, text)| format!("  ok    {name:<12}{text}")),
        );
        if let Some(note) = self.note_on_rules() {
            lines.push(format!("  note  rule        {note}"));
        }
        if let Some((reason, text)) = &self.failed {
            lines.push(format!("  FAIL  {reason}: {text}"));
        }
        if let Some(cause) = &self.likely_cause {
            lines.push(format!("  likely cause: {cause}"));
        }
        if let Some(why) = &self.unavailable {
            lines.push(format!("        {why}"));
        }
        if let Some(section) = self.see() {
            lines.push(format!("  see: {section}"));
        }
        let too_long = self.too_long.iter();
        lines.extend(too_long.map(|text| format!("  note  header      {text}")));
        for (receiver, received) in self.received() {
            lines.push(receiver);
            lines.extend(received.iter().map(|line| format!("  {line}")));
        }
        lines.join("\n")
    }

    /// Who receives what, one line for each header and each line of the body.
    pub(crate) fn received(&self) -> Vec<(String, Vec<String>)> {
        let line = |(name, value): (&str, &str)| format!("{name}: {value}");
        match &self.response.http_response {
            Some(HttpResponse::OkResponse(ok)) => {
                let mut upstream: Vec<String> = pairs(&ok.headers).map(line).collect();
                let removed = ok.headers_to_remove.iter().cloned();
                let parameters = ok.query_parameters_to_remove.iter();
                let removed: Vec<String> = removed
                    .chain(parameters.map(|name| format!("query parameter {name}")))
                    .collect();
                if !removed.is_empty() {
                    upstream.push(format!("removed: {}", removed.join(", ")));
                }
                let title = match upstream.is_empty() {
                    true => "the upstream gets the request unchanged",
                    false => "the upstream gets",
                };
                let mut received = vec![(title.to_owned(), upstream)];
                if !ok.response_headers_to_add.is_empty() {
                    let added = pairs(&ok.response_headers_to_add).map(line).collect();
                    received.push(("the caller also gets".to_owned(), added));
                }
                received
            }
            Some(HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied)) => {
                let body = denied.body.lines().map(str::to_owned);
                let lines = pairs(&denied.headers).map(line).chain(body).collect();
                vec![(format!("the caller gets {}", status(denied)), lines)]
            }
            None => Vec::new(),
        }
    }

    pub(crate) fn json(&self) -> Value {
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
        let mut report = json!({
            "decision": self.decision(),
            "enforced": self.failed.is_none() || !self.is_allow(),
            "rules_passed_over": passed_over,
            "rules_also_matching": self.also_matching,
            "passed": steps,
            "failed": self.failed.as_ref().map(|(reason, text)| json!({"reason": reason, "detail": text})),
            "likely_cause": self.likely_cause,
            "keys_unavailable": self.unavailable,
            "see": self.see(),
            "headers_too_long": self.too_long,
        });
        let answer = match &self.response.http_response {
            Some(HttpResponse::OkResponse(ok)) => json!({
                "headers": object(&ok.headers),
                "headers_to_remove": ok.headers_to_remove,
                "query_parameters_to_remove": ok.query_parameters_to_remove,
                "response_headers": object(&ok.response_headers_to_add),
            }),
            Some(HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied)) => {
                json!({
                    "status": status(denied),
                    "headers": object(&denied.headers),
                    "body": denied.body,
                })
            }
            None => Value::Null,
        };
        if let Some(members) = report.as_object_mut() {
            members.insert("response".to_owned(), answer);
        }
        report
    }
}

/// The HTTP status: 403 if the response has none, as in Envoy.
fn status(denied: &DeniedHttpResponse) -> i32 {
    denied.status.as_ref().map_or(403, |status| status.code)
}

fn pairs(headers: &[HeaderValueOption]) -> impl Iterator<Item = (&str, &str)> {
    headers
        .iter()
        .filter_map(|option| option.header.as_ref())
        .map(|header| (header.key.as_str(), header.value.as_str()))
}

fn find<'h>(headers: &'h [HeaderValueOption], name: &str) -> Option<&'h str> {
    pairs(headers)
        .find(|(other, _)| *other == name)
        .map(|(_, value)| value)
}

fn object(headers: &[HeaderValueOption]) -> Value {
    pairs(headers)
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
