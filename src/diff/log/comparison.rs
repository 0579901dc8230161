//! What differs between OLD and NEW as far as logged requests show it, and what a record must hold
//! so that NEW can judge it.

use std::collections::BTreeSet;

use super::facts::Facts;
use super::needs::Needs;
use super::predictor::{DISAGREE, OTHER_PLACES};
use super::{Known, terms};
use crate::decision::Reason;
use crate::diff::Side;
use crate::diff::structure::{ProviderPair, Structure};
use crate::gate::decision_log::record::{DecisionRecord, TokenState};
use crate::identity::{Spoofed, Upstream};
use crate::keyring::ProviderId;
use crate::policy::condition::Uses;
use crate::policy::rules::RULE_EXTENSION;
use crate::request::Request;

/// Both configurations beside each other.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one setting differs"
)]
pub(super) struct Comparison<'s> {
    pub(super) old: &'s Side<'s>,
    pub(super) new: &'s Side<'s>,
    pub(super) structure: Structure,
    /// What the rules of each side ask for, by position.
    pub(super) needs: [Vec<Needs>; 2],
    /// Headers that rules of the new side match on.
    matched_headers: Vec<String>,
    /// Why no record can be judged, if a setting that is about unlogged headers differs.
    obstacle: Option<&'static str>,
    pub(super) terms: Vec<terms::Change>,
    global_terms: bool,
    pub(super) new_places: bool,
    same_enforcement: bool,
    same_preflight: bool,
    /// Whether conditions see paths alike.
    same_paths: bool,
    old_context: bool,
    old_source: bool,
}

impl<'s> Comparison<'s> {
    pub(super) fn of(old: &'s Side<'s>, new: &'s Side<'s>) -> Self {
        let structure = Structure::of(old, new);
        let needs = [old, new].map(|side| side.policy.rules().all().map(Needs::of).collect());
        let rules = new.policy.rules().all();
        let matchers = rules.filter_map(|rule| rule.matcher.as_ref());
        let mut matched_headers: Vec<String> = matchers
            .flat_map(|matcher| {
                let names = matcher.headers.iter();
                let names = names.map(|header| header.name().to_owned());
                let of_calls = ["mcp-method", "mcp-name", "mcp-protocol-version"];
                let of_calls = of_calls.map(str::to_owned);
                names.chain(matcher.mcp.iter().flat_map(move |_| of_calls.clone()))
            })
            .collect();
        matched_headers.sort();
        matched_headers.dedup();
        let terms: Vec<terms::Change> = structure
            .providers
            .iter()
            .map(|pair| terms::Change::of(pair, old, new))
            .collect();
        let places = |side: &Side<'_>| -> Vec<String> {
            let all = side.policy.token_places().all();
            all.iter().map(ToString::to_string).collect()
        };
        let (old_places, new_places) = (places(old), places(new));
        let uses = |of: fn(Uses) -> bool| {
            let rules = old.policy.rules().all();
            let mut conditions = rules.filter_map(|rule| rule.condition.as_ref());
            conditions.any(|condition| of(condition.uses()))
        };
        Self {
            global_terms: structure.providers.iter().any(terms::affects_others),
            new_places: new_places.iter().any(|place| !old_places.contains(place)),
            same_enforcement: old.policy.is_enforced() == new.policy.is_enforced(),
            same_preflight: old.policy.cors_preflight() == new.policy.cors_preflight(),
            same_paths: old.policy.rules().paths() == new.policy.rules().paths(),
            old_context: uses(|uses| uses.context),
            old_source: uses(|uses| uses.source),
            obstacle: obstacle(old, new),
            old,
            new,
            structure,
            needs,
            matched_headers,
            terms,
        }
    }

    /// Whether the record holds what selects a rule of the new configuration.
    pub(super) fn can_be_selected(&self, facts: &Facts<'_>) -> Known<()> {
        if let Some(why) = self.obstacle {
            return Err(why.into());
        }
        if facts.record.reason.as_deref() == Some(Reason::SpoofedHeader.code()) {
            return Err("the header that must not reach the upstream is not logged".into());
        }
        if facts.record.path_cut {
            return Err("the path is cut".into());
        }
        facts.part("host")?;
        facts.part("method")?;
        facts.context(RULE_EXTENSION)?;
        for name in &self.matched_headers {
            facts.header(name)?;
        }
        Ok(())
    }

    /// Whether the record holds what a rule asks for.
    pub(super) fn knows(
        &self,
        facts: &Facts<'_>,
        side: usize,
        rule: usize,
        pair: Option<usize>,
    ) -> Known<()> {
        let Some(needs) = self.needs.get(side).and_then(|rules| rules.get(rule)) else {
            return Ok(());
        };
        if needs.query && facts.record.query {
            return Err("a condition uses the query, which is never logged".into());
        }
        // A present certificate is named as withheld, but only if a rule of OLD looks at the sender.
        let certificate = facts.part("source.certificate");
        if needs.certificate && (certificate.is_err() || !self.old_source) {
            return Err("a condition uses the certificate, which is never logged".into());
        }
        // The name of a rule is always logged.
        let mut others = needs.context.iter().filter(|name| *name != RULE_EXTENSION);
        if !self.old_context && (needs.all_context || others.next().is_some()) {
            let why =
                "a condition uses `context`, which is not logged, because no rule of OLD does";
            return Err(why.into());
        }
        if needs.all_context {
            facts.all_context()?;
        }
        for name in &needs.context {
            facts.context(name)?;
        }
        if needs.all_headers {
            return Err("a condition uses headers that it does not name".into());
        }
        for name in &needs.headers {
            facts.header(name)?;
        }
        if needs.address {
            facts.part("source.address")?;
        }
        if needs.principal {
            facts.part("source.principal")?;
        }
        let Some(pair) = pair else {
            return Ok(());
        };
        if needs.all_claims {
            return Err("a condition counts or goes through all claims".into());
        }
        for path in needs.all_named_claims() {
            facts.claim(path)?;
        }
        if needs.scopes {
            // The first one that is present counts.
            for path in self.scope_claims(side, pair) {
                facts.claim(&path)?;
                if facts.value(&path).is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) fn scope_claims(&self, side: usize, pair: usize) -> Vec<Vec<String>> {
        let Some(pair) = self.structure.providers.get(pair) else {
            return Vec::new();
        };
        let provider = match side {
            0 => pair.old.and_then(|id| self.old.policy.provider(id)),
            _ => pair.new.and_then(|id| self.new.policy.provider(id)),
        };
        let claims = provider.map(|provider| provider.terms.scope_claims.as_slice());
        let claims = claims.unwrap_or_default().iter();
        claims.map(|path| path.names().to_vec()).collect()
    }

    /// Whether the token is accepted or refused as before.
    pub(super) fn is_token_judged_alike(
        &self,
        facts: &Facts<'_>,
        pair: Option<usize>,
    ) -> Known<bool> {
        match facts.record.token {
            TokenState::Absent => match self.new_places {
                true => Err(OTHER_PLACES.into()),
                false => Ok(true),
            },
            // The rule did not look at it, and neither does the same rule now.
            TokenState::Unread => Ok(true),
            TokenState::Valid => {
                let change = pair.and_then(|pair| self.terms.get(pair));
                let change = change.ok_or(DISAGREE)?;
                if self.new_places {
                    return Err(OTHER_PLACES.into());
                }
                change.of_valid(|path| facts.claim(path).map(drop))
            }
            TokenState::Rejected | TokenState::Unverified => {
                let reason = facts
                    .record
                    .reason
                    .as_deref()
                    .or(facts.record.would_be.as_deref());
                let is_same = !self.global_terms
                    && pair.is_none_or(|pair| {
                        let change = self.terms.get(pair);
                        change.is_some_and(|change| change.refuses_again(reason))
                    });
                match is_same {
                    true => Ok(true),
                    false => Err(
                        "settings of providers differ, and the refused token is not logged".into(),
                    ),
                }
            }
        }
    }

    /// Whether a rule of NEW requires of a request what a rule of OLD did, and the refusals of both
    /// take effect alike.
    pub(super) fn requires_the_same(
        &self,
        record: &DecisionRecord<'_>,
        old_rule: Option<usize>,
        new_rule: usize,
        pair: Option<usize>,
    ) -> bool {
        let is_enforced_alike = pair.is_none_or(|pair| {
            let change = self.terms.get(pair);
            change.is_some_and(terms::Change::is_enforced_alike)
        });
        let needs = self.needs.get(1).and_then(|rules| rules.get(new_rule));
        let reads_path = needs.is_none_or(|needs| needs.path);
        let same_rule = self.structure.require_the_same(old_rule, Some(new_rule));
        same_rule
            && self.same_enforcement
            && is_enforced_alike
            && (self.same_preflight || !record.preflight)
            && (self.same_paths || !reads_path)
    }

    /// The provider of a pair on one side.
    pub(super) fn provider(&self, side: usize, pair: usize) -> Option<ProviderId> {
        let pair = self.structure.providers.get(pair)?;
        match side {
            0 => pair.old,
            _ => pair.new,
        }
    }

    /// Whether a rule of NEW looks at the token of this request.
    pub(super) fn reads_token(&self, rule: usize, record: &DecisionRecord<'_>) -> bool {
        let needs = self.needs.get(1).and_then(|rules| rules.get(rule));
        let is_free = record.preflight
            && self.new.policy.cors_preflight() == crate::policy::CorsPreflight::Allow;
        needs.is_some_and(|needs| needs.token) && !is_free
    }

    pub(super) fn is_about_time(&self, side: usize, rule: usize) -> bool {
        let needs = self.needs.get(side).and_then(|rules| rules.get(rule));
        needs.is_some_and(|needs| needs.time)
    }

    pub(super) fn pair_of(&self, name: &str) -> Option<usize> {
        let is_it = |pair: &ProviderPair| pair.old.is_some() && pair.name == name;
        self.structure.providers.iter().position(is_it)
    }

    pub(super) fn rule_name(&self, side: usize, index: usize) -> Option<&str> {
        let rule = self.structure.rules.get(side)?.get(index)?;
        Some(&rule.name)
    }
}

/// Why no record can be judged: NEW refuses requests with headers that are not logged, and OLD does not
/// refuse all of these.
fn obstacle(old: &Side<'_>, new: &Side<'_>) -> Option<&'static str> {
    let refuses = |side: &Side<'_>| side.policy.upstream().spoofed == Spoofed::Refuse;
    let managed = |side: &Side<'_>| -> BTreeSet<String> {
        let Upstream {
            claim_headers,
            scope_header,
            payload_header,
            ..
        } = side.policy.upstream();
        let names = claim_headers.iter().map(|(name, _)| name);
        let names = names.chain(scope_header).chain(payload_header);
        names
            .map(|name| name.as_str().to_ascii_lowercase())
            .collect()
    };
    let carriers = |side: &Side<'_>| -> BTreeSet<String> {
        let places = side.policy.token_places().all().iter();
        places
            .filter_map(|place| place.header().map(str::to_owned))
            .collect()
    };
    // If the proxy's route names a rule, both refuse these.
    let misleading = |side: &Side<'_>| {
        let headers = side.policy.rules().misleading_headers(&Request::default());
        !headers.is_empty()
    };
    let refused_before = refuses(old)
        && managed(new).is_subset(&managed(old))
        && carriers(new).is_subset(&carriers(old))
        && (misleading(old) || !misleading(new));
    (refuses(new) && !refused_before)
        .then_some("NEW refuses requests with certain headers, which are not logged")
}
