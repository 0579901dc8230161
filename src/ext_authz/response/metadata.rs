//! What other filters of Envoy and its access log may know (`dynamic_metadata`): unlike a header,
//! no client can send it.

use prost::Message as _;
use prost_types::Struct;

use super::structs::{Lengths, entry_len, measure, put_entry};
use crate::decision::{Decision, Denial, Permit};
use crate::policy::Policy;
use crate::token::VerifiedToken;
use crate::token::json::Json;

/// How deep claims may be nested, themselves included, and still be passed on as they are. Envoy reads messages of a
/// hundred levels at most, of which each level of JSON takes three; what it cannot read is an
/// error to it, which `failure_mode_allow` would turn into an allow.
const DEPTH: usize = 17;

/// `decision`, and as far as they are known `reason`, `rule`, `provider`, `subject` and `claims`.
/// Numbers are doubles, as a `Struct` has no others, and text where a double would be taken for
/// another whole number; what is nested too deep is JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metadata<'a> {
    decision: &'static str,
    reason: Option<&'static str>,
    rule: Option<&'a str>,
    provider: Option<&'a str>,
    token: Option<&'a VerifiedToken>,
}

impl<'a> Metadata<'a> {
    pub(super) fn of(decision: &'a Decision, policy: &'a Policy) -> Self {
        let rule = decision.rule().and_then(|id| policy.rule(id));
        let provider = decision.provider().and_then(|id| policy.provider(id));
        let known = Self {
            decision: "metadata",
            reason: None,
            rule: rule.map(|rule| rule.name.as_str()),
            provider: provider.map(|provider| provider.name.as_str()),
            token: None,
        };
        match decision {
            Decision::Allow(Permit { bearer, .. }) => Self {
                decision: "allow",
                token: bearer.as_ref().map(|bearer| &*bearer.token),
                ..known
            },
            Decision::Deny(denial @ Denial { token, .. }) => Self {
                decision: "deny",
                reason: Some(denial.reason().code()),
                token: token.as_deref(),
                ..known
            },
            Decision::Metadata(_) => known,
        }
    }

    /// The same as a message.
    pub(super) fn to_struct(self) -> Struct {
        let mut bytes = Vec::new();
        self.put(&self.measure(), &mut bytes);
        // What was just written can be read.
        Struct::decode(&*bytes).unwrap_or_default()
    }

    /// Measures what is inside the claims.
    pub(super) fn measure(&self) -> Lengths {
        let claims = self.claims();
        claims.map_or_else(Lengths::default, |claims| measure(claims, DEPTH))
    }

    /// How many bytes it is as a message, by what was measured.
    pub(super) fn len(&self, lengths: &[u32]) -> usize {
        let entries = self.entries();
        entries
            .map(|(name, value)| entry_len(name, value, DEPTH, lengths))
            .sum()
    }

    /// Writes the message.
    pub(super) fn put(&self, lengths: &[u32], into: &mut Vec<u8>) {
        for (name, value) in self.entries() {
            put_entry(name, value, DEPTH, lengths, into);
        }
    }

    fn entries(&self) -> impl Iterator<Item = (&'static str, Json<'a>)> {
        let subject = self.token.and_then(|token| token.claims().subject());
        let texts = [
            ("decision", Some(self.decision)),
            ("reason", self.reason),
            ("rule", self.rule),
            ("provider", self.provider),
            ("subject", subject),
        ];
        let texts = texts.map(|(name, text)| (name, text.map(Json::String)));
        let all = texts.into_iter().chain([("claims", self.claims())]);
        all.filter_map(|(name, value)| Some((name, value?)))
    }

    fn claims(&self) -> Option<Json<'a>> {
        let claims = self.token?.claims();
        Some(Json::Object(claims.members()))
    }
}
