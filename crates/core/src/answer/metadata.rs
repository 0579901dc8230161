//! Facts for the proxy's other filters and its access log. Clients cannot set them.

pub mod encoding;

use crate::decision::Decision;
use crate::identity::Bearer;
use crate::policy::Policy;
use crate::token::VerifiedToken;
use crate::token::json::Json;

/// `decision` and, where known, `reason`, `would_deny`, `rule`, `provider`, `subject` and `claims`.
/// `would_deny` is the reason of a denial that is only observed.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a> {
    decision: &'static str,
    reason: Option<&'static str>,
    would_deny: Option<&'static str>,
    rule: Option<&'a str>,
    provider: Option<&'a str>,
    token: Option<&'a VerifiedToken>,
}

impl<'a> Metadata<'a> {
    /// The metadata of a decision, if the configuration enables it.
    pub fn of(decision: &'a Decision, policy: &'a Policy) -> Option<Self> {
        if !policy.upstream().dynamic_metadata {
            return None;
        }
        let rule = decision.rule().and_then(|id| policy.rule(id));
        let provider = decision.provider().and_then(|id| policy.provider(id));
        let known = Self {
            decision: "metadata",
            reason: None,
            would_deny: None,
            rule: rule.map(|rule| rule.name.as_str()),
            provider: provider.map(|provider| provider.name.as_str()),
            token: None,
        };
        Some(match decision {
            Decision::Allow(permit) => Self {
                decision: "allow",
                would_deny: permit.observed().map(|denial| denial.reason().code()),
                token: permit.bearer().map(Bearer::token),
                ..known
            },
            Decision::Deny(denial) => Self {
                decision: "deny",
                reason: Some(denial.reason().code()),
                token: denial.bearer.as_ref().map(Bearer::token),
                ..known
            },
            Decision::Respond(_) => known,
        })
    }

    /// The same without the rule.
    #[must_use]
    pub fn without_rule(self) -> Self {
        Self { rule: None, ..self }
    }

    /// The bytes of a `google.protobuf.Struct`. Those of [`Self::without_rule`], followed by those of
    /// [`Self::only_rule`], have the same meaning.
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(self.entries(), encoding::MAX_DEPTH)
    }

    /// The same with nothing but the rule. Empty if no rule was found.
    pub fn only_rule(&self) -> Vec<u8> {
        let rule = self.rule.map(|rule| ("rule", Json::String(rule)));
        encoding::encode(rule, encoding::MAX_DEPTH)
    }

    /// Each name with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Json<'a>)> {
        let subject = self.token.and_then(|token| token.claims().subject());
        let texts = [
            ("decision", Some(self.decision)),
            ("reason", self.reason),
            ("would_deny", self.would_deny),
            ("rule", self.rule),
            ("provider", self.provider),
            ("subject", subject),
        ];
        let texts = texts.map(|(name, text)| (name, text.map(Json::String)));
        let all = texts.into_iter().chain([("claims", self.claims())]);
        all.filter_map(|(name, value)| Some((name, value?)))
    }

    /// All claims of a valid token.
    fn claims(&self) -> Option<Json<'a>> {
        let claims = self.token?.claims();
        Some(Json::Object(claims.members()))
    }
}
