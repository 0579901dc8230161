//! Judges a request as the service would, and records each step.

pub(crate) mod place;
mod report;

pub(crate) use report::{Report, Steps};

use crate::answer::denials::Denials;
use crate::answer::{Answer, Metadata};
use crate::decision::{Decision, Denial, Fault, decide};
use crate::escaped::listed;
use crate::ext_authz::response::{self, Rendered};
#[cfg(feature = "dev")]
use crate::gate::{Judged, hints};
use crate::keyring::Keyring;
use crate::policy::Policy;
use crate::request::Request;
use crate::time::UnixTime;
use crate::trace::Selection;

/// A decision and its explanation.
pub(crate) struct Explained {
    /// The name of the rule, if the decision got that far.
    pub(crate) rule: Option<String>,
    /// The name of the provider, if the decision got that far.
    pub(crate) provider: Option<String>,
    pub(crate) report: Report,
}

/// The token in a text that a person has copied, perhaps with the scheme in front.
pub(crate) fn bare_token(text: &str) -> &str {
    let token = text.trim();
    match token.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start(),
        _ => token,
    }
}

/// Judges a request with these keys. `likely_cause` finds the hint for a denial.
pub(crate) fn explain(
    policy: &Policy,
    denials: &Denials,
    keyring: &Keyring,
    request: &Request<'_>,
    now: UnixTime,
    likely_cause: impl FnOnce(&Denial) -> Option<String>,
) -> Explained {
    let mut steps = Steps::default();
    let decision = decide(policy, keyring, &(), request, now, &mut steps).by_what_is_known();
    let rendered = response::render(
        Answer::to(&decision, policy, denials, request, request.id()),
        Metadata::of(&decision, policy),
    );
    let hint = decision.denial().and_then(likely_cause);
    put_together(policy, request, &decision, rendered, steps, hint)
}

/// Explains a decision of the running service, with the steps on the way to it.
#[cfg(feature = "dev")]
pub(crate) fn explain_judged(judged: &Judged, request: &Request<'_>, steps: Steps) -> Explained {
    let rendered = response::render(judged.answer(request), judged.metadata());
    let (generation, decision) = (judged.generation(), judged.decision());
    let denial = decision.denial();
    let hint = denial.and_then(|denial| hints::likely_cause(generation, denial, request));
    put_together(&generation.policy, request, decision, rendered, steps, hint)
}

fn put_together(
    policy: &Policy,
    request: &Request<'_>,
    decision: &Decision,
    rendered: Rendered<'_>,
    steps: Steps,
    likely_cause: Option<String>,
) -> Explained {
    let Rendered {
        response,
        oversized,
    } = rendered;
    let max = policy.upstream().max_header_bytes;
    let too_long = oversized.iter().map(|oversized| {
        format!(
            "`{}` is not set: its claim takes {}; `upstream.max_header_bytes` is {max}",
            oversized.header,
            oversized.length()
        )
    });
    let OtherRules {
        passed_over,
        also_matching,
    } = OtherRules::of(policy, request, decision);
    let failed = decision.denial().map(|denial| {
        let reason = denial.reason().code().to_owned();
        (reason, failure(denial, policy))
    });
    let report = Report {
        passed_over,
        also_matching,
        steps: steps.0,
        failed,
        likely_cause,
        unavailable: None,
        too_long: too_long.collect(),
        response,
    };
    let rule = decision.rule().and_then(|id| policy.rule(id));
    let provider = decision.provider().and_then(|id| policy.provider(id));
    Explained {
        rule: rule.map(|rule| rule.name.clone()),
        provider: provider.map(|provider| provider.name.clone()),
        report,
    }
}

/// The complete error message.
fn failure(denial: &Denial, policy: &Policy) -> String {
    let known = match denial.fault {
        Fault::UnknownIssuer(_) => policy.providers(),
        _ => return denial.fault.to_string(),
    };
    let known: Vec<_> = known
        .map(|(_, provider)| provider.terms.issuer.as_str())
        .collect();
    format!("{}; configured: {}", denial.fault, listed(&known, ", "))
}

/// The rules that do not decide, if rules were compared with the request.
#[derive(Default)]
struct OtherRules {
    /// The rules before the selected one, and why each does not match.
    passed_over: Vec<(String, String)>,
    /// The rules after it that match too, without more general ones.
    also_matching: Vec<String>,
}

impl OtherRules {
    fn of(policy: &Policy, request: &Request<'_>, decision: &Decision) -> Self {
        let rules = policy.rules();
        let (Some(rule), Ok(target)) = (decision.rule(), rules.target(request)) else {
            return Self::default();
        };
        match rules.select(&target) {
            Ok((_, Selection::Matched)) => Self {
                passed_over: rules
                    .passed_over(&target, rule)
                    .into_iter()
                    .map(|(name, why)| (name.to_owned(), why.to_string()))
                    .collect(),
                also_matching: rules
                    .also_matching(&target, rule)
                    .map(str::to_owned)
                    .collect(),
            },
            // The route named the rule, so no other rule was compared.
            Ok((_, Selection::Named)) | Err(_) => Self::default(),
        }
    }
}
