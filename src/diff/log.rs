//! Judges the requests of a decision log anew: what would the new configuration decide?
//!
//! A prediction is never a guess. If a record does not hold what the new configuration asks for, the
//! outcome cannot be told, and the report counts why.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

mod needs;
mod report;
mod sequence;
mod terms;

pub use report::{Count, Predictions};

use super::judge::{Judge, Mint, Outcome, Verdict};
use super::knobs::Carried;
use super::request::TokenSpec;
use super::structure::{ProviderPair, Structure};
use super::tokens::usual;
use super::{Error, Side};
use crate::decision::{Decision, Reason};
use crate::explain::place::put;
use crate::gate::decision_log::record::{
    ConfigurationRecord, DecisionRecord, HeaderValue, Line, Part, PathBytes, TokenState,
    Verdict as Logged,
};
use crate::identity::Spoofed;
use crate::policy::condition::Uses;
use crate::request::pseudo::Conflict;
use crate::request::{Peer, Request};
use crate::time::UnixTime;
use crate::token::source::TokenSource;
use needs::Needs;
use report::Tally;
use sequence::Sequences;

/// What the new configuration decides about a logged request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// This.
    Told(Told),
    /// The record does not hold what the answer depends on.
    CannotTell(Cow<'static, str>),
}

/// A decision in the words of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happens.
    pub outcome: Outcome,
    /// The reason code of a denial, enforced or not.
    pub reason: Option<String>,
    /// The rule that decides, if one was found.
    pub rule: Option<String>,
}

/// Reads decision logs line by line. The memory does not grow with the log.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says whether one setting differs"
)]
pub struct Replay<'s> {
    new_side: &'s Side<'s>,
    structure: Structure,
    old: Judge<'s>,
    new: Judge<'s>,
    mint: Mint,
    /// The hash of the old configuration.
    hash: String,
    /// What the rules of each side ask for, by position.
    needs: [Vec<Needs>; 2],
    /// The usual token of each provider, and its place on the new side.
    tokens: Vec<Option<TokenSpec>>,
    /// Headers that rules of the new side match on.
    matched_headers: Vec<String>,
    /// Why no record can be judged, if a setting that is about unlogged headers differs.
    obstacle: Option<&'static str>,
    terms: Vec<terms::Change>,
    global_terms: bool,
    new_places: bool,
    same_enforcement: bool,
    same_preflight: bool,
    old_context: bool,
    old_source: bool,
    configurations: HashMap<String, Listed>,
    sequences: Sequences,
    tally: Tally,
    /// The time at which tokens are minted, so that one token serves many records.
    now: UnixTime,
}

/// What the records of a configuration hold.
#[derive(Clone, Debug, Default)]
struct Listed {
    claims: Vec<Vec<String>>,
    headers: Vec<String>,
}

/// The maximum number of configurations whose lists are remembered.
const MAX_CONFIGURATIONS: usize = 64;

type Known<T> = Result<T, Cow<'static, str>>;

impl<'s> Replay<'s> {
    /// Predicts what `new` decides about requests that `old` has decided. `hash` is that of `old`.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn new(
        old: &'s Side<'s>,
        new: &'s Side<'s>,
        hash: String,
        now: UnixTime,
    ) -> Result<Self, Error> {
        let structure = Structure::of(old, new);
        let mut mint = Mint::default();
        let tokens: Vec<Option<TokenSpec>> = structure
            .providers
            .iter()
            .map(|pair| {
                let before = pair.old.and_then(|id| old.policy.provider(id))?;
                let after = pair.new.and_then(|id| new.policy.provider(id));
                let sides: Vec<_> = [before].into_iter().chain(after).collect();
                match usual(&pair.name, &sides) {
                    Carried::Token(spec, _) => Some(*spec),
                    Carried::Nothing | Carried::Garbage => None,
                }
            })
            .collect();
        let mut judges = [old, new].map(|side| Judge::new(side.policy, side.denials));
        let algorithms = tokens.iter().flatten().map(|spec| spec.alg);
        if let Some(keys) = mint.prepare(algorithms)? {
            for judge in &mut judges {
                judge.trust(&keys);
            }
        }
        let [old_judge, new_judge] = judges;
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
        Ok(Self {
            global_terms: structure.providers.iter().any(terms::affects_others),
            new_places: new_places.iter().any(|place| !old_places.contains(place)),
            same_enforcement: old.policy.is_enforced() == new.policy.is_enforced(),
            same_preflight: old.policy.cors_preflight() == new.policy.cors_preflight(),
            old_context: uses(|uses| uses.context),
            old_source: uses(|uses| uses.source),
            obstacle: obstacle(old, new),
            new_side: new,
            structure,
            old: old_judge,
            new: new_judge,
            mint,
            hash,
            needs,
            tokens,
            matched_headers,
            terms,
            configurations: HashMap::new(),
            sequences: Sequences::default(),
            tally: Tally::default(),
            now,
        })
    }

    /// Begins a file: its first line says what the others mean.
    pub fn begin_file(&mut self) {
        self.sequences.begin_file();
    }

    /// Reads a line of the current file.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A line that is none of the log's is counted.
    pub fn line(&mut self, text: &str) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        match Line::read(text) {
            Err(_) => self.sequences.unreadable(),
            Ok(Line::Configuration(record)) => {
                self.sequences.configuration(&record);
                self.tally.configuration(&record);
                self.remember(record);
            }
            Ok(Line::Lost(record)) => self.sequences.lost(record.n, record.count),
            Ok(Line::Stopped(record)) => self.sequences.stopped(record.n),
            Ok(Line::Decision(record)) => {
                self.sequences.decision(record.n);
                let prediction = self.predict(&record)?;
                self.tally.add(&record, &prediction);
            }
        }
        Ok(())
    }

    /// The report on everything that was read.
    pub fn finish(self) -> Predictions {
        self.tally.finish(self.sequences.finish())
    }

    fn remember(&mut self, record: ConfigurationRecord) {
        if self.configurations.len() >= MAX_CONFIGURATIONS {
            self.configurations.clear();
        }
        let paths = record.claims.iter();
        let listed = Listed {
            claims: paths.filter_map(|path| names(path)).collect(),
            headers: record.headers,
        };
        self.configurations.insert(record.configuration, listed);
    }

    /// What the new configuration decides about the request of a record.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn predict(&mut self, record: &DecisionRecord<'_>) -> Result<Prediction, Error> {
        if record.configuration != self.hash {
            let why = format!(
                "it was decided by the configuration {}, not by OLD ({})",
                record.configuration, self.hash
            );
            return Ok(Prediction::CannotTell(why.into()));
        }
        Ok(match self.outcome(record)? {
            Ok(told) => Prediction::Told(told),
            Err(why) => Prediction::CannotTell(why),
        })
    }

    fn outcome(&mut self, record: &DecisionRecord<'_>) -> Result<Known<Told>, Error> {
        let logged = logged(record);
        // No rule decides about these.
        if matches!(
            logged.reason.as_deref(),
            Some("check_too_large" | "check_unreadable" | "overloaded" | "internal")
        ) {
            return Ok(Ok(logged));
        }
        let listed = self.configurations.get(&*record.configuration);
        let listed = listed.cloned().unwrap_or_default();
        if let Err(why) = self.can_be_selected(record, &listed) {
            return Ok(Err(why));
        }
        let plain = match Rebuilt::of(record) {
            Ok(plain) => plain,
            Err(why) => return Ok(Err(why)),
        };
        let old = plain.judge(&self.old, None, self.now);
        let new = plain.judge(&self.new, None, self.now);
        let old_rule = old.rule.map(|id| id.0);
        let names_of_old = old_rule.and_then(|index| self.rule_name(0, index));
        if names_of_old != logged.rule.as_deref() {
            return Ok(Err(DISAGREE.into()));
        }
        let Some(new_rule) = new.rule.map(|id| id.0) else {
            // Refused before any rule, or answered with metadata.
            return Ok(Ok(self.told(&new, None)));
        };
        let pair = record.provider.as_deref().map(|name| self.pair_of(name));
        let pair = match pair {
            Some(None) => return Ok(Err(DISAGREE.into())),
            Some(Some(index)) => Some(index),
            None => None,
        };
        let is_token_same = match self.is_token_judged_alike(record, pair, &listed) {
            Ok(same) => same,
            Err(why) if self.reads_token(1, new_rule, record) => return Ok(Err(why)),
            Err(_) => false,
        };
        // The same requirement, of the same request and token.
        let is_enforced_alike = pair.is_none_or(|pair| {
            let change = self.terms.get(pair);
            change.is_some_and(terms::Change::is_enforced_alike)
        });
        let is_rule_same = self.structure.require_the_same(old_rule, Some(new_rule))
            && self.same_enforcement
            && is_enforced_alike
            && (self.same_preflight || !record.preflight);
        if is_rule_same && is_token_same {
            return Ok(Ok(Told {
                rule: self.rule_name(1, new_rule).map(str::to_owned),
                ..logged
            }));
        }
        self.judge_anew(record, &plain, [old_rule, Some(new_rule)], pair, &listed)
    }

    /// Judges with a token like the logged one.
    fn judge_anew(
        &mut self,
        record: &DecisionRecord<'_>,
        plain: &Rebuilt<'_>,
        [old_rule, new_rule]: [Option<usize>; 2],
        pair: Option<usize>,
        listed: &Listed,
    ) -> Result<Known<Told>, Error> {
        let index = new_rule.unwrap_or(0);
        if !self.reads_token(1, index, record) {
            // The answer does not depend on a token.
            if let Err(why) = self.knows(record, 1, index, None, listed) {
                return Ok(Err(why));
            }
            let now = match self.is_about_time(1, index) {
                true => time(record).unwrap_or(self.now),
                false => self.now,
            };
            let verdict = plain.judge(&self.new, None, now);
            return Ok(Ok(self.told(&verdict, None)));
        }
        match record.token {
            TokenState::Unread => {
                return Ok(Err("the token was not read, so it is not known".into()));
            }
            TokenState::Absent if self.new_places => {
                let why = "NEW also looks for tokens in other places, which are not logged";
                return Ok(Err(why.into()));
            }
            TokenState::Absent => {
                if let Err(why) = self.knows(record, 1, index, None, listed) {
                    return Ok(Err(why));
                }
                let verdict = plain.judge(&self.new, None, self.now_for(record, 1, index));
                return Ok(Ok(self.told(&verdict, None)));
            }
            TokenState::Rejected | TokenState::Unverified => {
                return self.judge_rejected(record, plain, pair);
            }
            TokenState::Valid => {}
        }
        let Some(pair) = pair else {
            return Ok(Err(DISAGREE.into()));
        };
        if let Err(why) = self.knows(record, 1, index, Some(pair), listed) {
            return Ok(Err(why));
        }
        let asks_times = self.terms.get(pair).is_some_and(terms::Change::asks_times);
        let now = match asks_times {
            true => time(record).unwrap_or(self.now),
            false => self.now_for(record, 1, index),
        };
        let spec = match self.spec(record, [old_rule, new_rule], pair, listed) {
            Ok(spec) => spec,
            Err(why) => return Ok(Err(why)),
        };
        let token = self.mint.token(&spec, now)?;
        let token = (token.as_str(), &spec.place);
        // The old configuration must say what the log says, as far as the record tells.
        if let Some(old_rule) = old_rule
            && self.knows(record, 0, old_rule, Some(pair), listed).is_ok()
            && self.is_about_time(0, old_rule) == self.is_about_time(1, index)
        {
            let verdict = plain.judge(&self.old, Some(token), now);
            let reason = verdict.reason.map(|reason| reason.code().to_owned());
            let logged = logged(record);
            if verdict.outcome != logged.outcome || reason != logged.reason {
                return Ok(Err(DISAGREE.into()));
            }
        }
        let verdict = plain.judge(&self.new, Some(token), now);
        if verdict.is_token_refused && self.terms.get(pair).is_some_and(terms::Change::keeps_valid)
        {
            return Ok(Err("a token like the logged one cannot be made".into()));
        }
        Ok(Ok(self.told(&verdict, None)))
    }

    /// A refused token is refused again for the same reason. Whether that takes effect is decided with
    /// another token of the same provider that is refused.
    fn judge_rejected(
        &mut self,
        record: &DecisionRecord<'_>,
        plain: &Rebuilt<'_>,
        pair: Option<usize>,
    ) -> Result<Known<Told>, Error> {
        let verdict = match pair.and_then(|pair| self.tokens.get(pair).cloned().flatten()) {
            Some(mut spec) => {
                spec.iat = Some(-200_000);
                spec.exp = Some(-100_000);
                let token = self.mint.token(&spec, self.now)?;
                plain.judge(&self.new, Some((&token, &spec.place)), self.now)
            }
            None => {
                let place = self.new_side.policy.token_places().first();
                let place =
                    place.map_or_else(TokenSource::authorization, |place| (**place).clone());
                plain.judge(&self.new, Some(("garbage", &place)), self.now)
            }
        };
        let reason = logged(record).reason;
        Ok(Ok(self.told(&verdict, reason)))
    }

    fn now_for(&self, record: &DecisionRecord<'_>, side: usize, rule: usize) -> UnixTime {
        match self.is_about_time(side, rule) {
            true => time(record).unwrap_or(self.now),
            false => self.now,
        }
    }

    fn is_about_time(&self, side: usize, rule: usize) -> bool {
        let needs = self.needs.get(side).and_then(|rules| rules.get(rule));
        needs.is_some_and(|needs| needs.time)
    }

    /// Whether a rule looks at the token of this request.
    fn reads_token(&self, side: usize, rule: usize, record: &DecisionRecord<'_>) -> bool {
        let needs = self.needs.get(side).and_then(|rules| rules.get(rule));
        let is_free = record.preflight
            && self.new_side.policy.cors_preflight() == crate::policy::CorsPreflight::Allow;
        needs.is_some_and(|needs| needs.token) && !is_free
    }

    /// Whether the record holds what selects a rule of the new configuration.
    fn can_be_selected(&self, record: &DecisionRecord<'_>, listed: &Listed) -> Known<()> {
        if let Some(why) = self.obstacle {
            return Err(why.into());
        }
        if record.reason.as_deref() == Some(Reason::SpoofedHeader.code()) {
            return Err("the header that must not reach the upstream is not logged".into());
        }
        if record.path_cut {
            return Err("the path is cut".into());
        }
        for part in ["host", "method"] {
            if record.withheld.iter().any(|withheld| withheld == part) {
                return Err(format!("the {part} is withheld").into());
            }
        }
        for name in &self.matched_headers {
            self.has_header(record, listed, name)?;
        }
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as the other questions do")]
    fn has_header(&self, record: &DecisionRecord<'_>, listed: &Listed, name: &str) -> Known<()> {
        if !listed.headers.iter().any(|own| own == name) {
            let why = format!("the header `{name}` is not logged, because no rule of OLD uses it");
            return Err(why.into());
        }
        match record.withheld.iter().any(|withheld| withheld == name) {
            true => Err(format!("the header `{name}` is withheld").into()),
            false => Ok(()),
        }
    }

    /// Whether the record holds what a rule asks for.
    fn knows(
        &self,
        record: &DecisionRecord<'_>,
        side: usize,
        rule: usize,
        pair: Option<usize>,
        listed: &Listed,
    ) -> Known<()> {
        let Some(needs) = self.needs.get(side).and_then(|rules| rules.get(rule)) else {
            return Ok(());
        };
        let withheld = |part: &str| record.withheld.iter().any(|withheld| withheld == part);
        if needs.query && record.query {
            return Err("a condition uses the query, which is never logged".into());
        }
        // A present certificate is named as withheld, but only if a rule of OLD looks at the sender.
        if needs.certificate && (withheld("source.certificate") || !self.old_source) {
            return Err("a condition uses the certificate, which is never logged".into());
        }
        if needs.context && !self.old_context {
            let why =
                "a condition uses `context`, which is not logged, because no rule of OLD does";
            return Err(why.into());
        }
        if needs.all_headers {
            return Err("a condition uses headers that it does not name".into());
        }
        for name in &needs.headers {
            self.has_header(record, listed, name)?;
        }
        for part in ["source.address", "source.principal"] {
            if withheld(part) {
                return Err(format!("`{part}` is withheld").into());
            }
        }
        let Some(pair) = pair else {
            return Ok(());
        };
        if needs.all_claims {
            return Err("a condition counts or goes through all claims".into());
        }
        for path in &needs.claims {
            claim_is_listed(record, listed, path)?;
        }
        if needs.scopes {
            // The first one that is present counts.
            for path in self.scope_claims(side, pair) {
                claim_is_listed(record, listed, &path)?;
                if has_claim(record, &path) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn scope_claims(&self, side: usize, pair: usize) -> Vec<Vec<String>> {
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
    fn is_token_judged_alike(
        &self,
        record: &DecisionRecord<'_>,
        pair: Option<usize>,
        listed: &Listed,
    ) -> Known<bool> {
        match record.token {
            TokenState::Absent => match self.new_places {
                true => {
                    Err("NEW also looks for tokens in other places, which are not logged".into())
                }
                false => Ok(true),
            },
            // The rule did not look at it, and neither does the same rule now.
            TokenState::Unread => Ok(true),
            TokenState::Valid => {
                let change = pair.and_then(|pair| self.terms.get(pair));
                let change = change.ok_or(DISAGREE)?;
                if self.new_places {
                    let why = "NEW also looks for tokens in other places, which are not logged";
                    return Err(why.into());
                }
                change.of_valid(|path| claim_is_listed(record, listed, path))
            }
            TokenState::Rejected | TokenState::Unverified => {
                let reason = record.reason.as_deref().or(record.would_be.as_deref());
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

    /// A token with the logged claims that the rules ask for.
    fn spec(
        &self,
        record: &DecisionRecord<'_>,
        rules: [Option<usize>; 2],
        pair: usize,
        listed: &Listed,
    ) -> Known<TokenSpec> {
        let mut spec = self.tokens.get(pair).cloned().flatten().ok_or(DISAGREE)?;
        if let Some(place) = &record.token_from {
            let places = self.old.policy.token_places().all();
            let found = places.iter().find(|own| own.to_string() == **place);
            spec.place = (**found.ok_or(DISAGREE)?).clone();
        } else {
            spec.place = TokenSource::authorization();
        }
        let mut paths: Vec<Vec<String>> = Vec::new();
        for (side, rule) in rules.into_iter().enumerate() {
            let Some(needs) = rule.and_then(|rule| self.needs.get(side)?.get(rule)) else {
                continue;
            };
            paths.extend(needs.claims.iter().cloned());
            if needs.scopes {
                paths.extend(self.scope_claims(side, pair));
            }
        }
        if let Some(change) = self.terms.get(pair) {
            paths.extend(change.asked().iter().cloned());
        }
        for own in &listed.claims {
            let is_asked = paths
                .iter()
                .any(|path| path.starts_with(own) || own.starts_with(path));
            if is_asked {
                spec.add_logged(record, own)?;
            }
        }
        Ok(spec)
    }

    fn pair_of(&self, name: &str) -> Option<usize> {
        let is_it = |pair: &ProviderPair| pair.old.is_some() && pair.name == name;
        self.structure.providers.iter().position(is_it)
    }

    fn rule_name(&self, side: usize, index: usize) -> Option<&str> {
        let rule = self.structure.rules.get(side)?.get(index)?;
        Some(&rule.name)
    }

    /// The verdict in the words of the log, with another reason if one is given.
    fn told(&self, verdict: &Verdict, reason: Option<String>) -> Told {
        let own = verdict.reason.map(|reason| reason.code().to_owned());
        let reason = match (own, reason) {
            (Some(_), Some(other)) => Some(other),
            (own, _) => own,
        };
        Told {
            outcome: verdict.outcome,
            reason,
            rule: verdict
                .rule
                .and_then(|id| self.rule_name(1, id.0))
                .map(str::to_owned),
        }
    }
}

/// Why a record is not judged although it seems to be complete.
const DISAGREE: &str = "the log and OLD disagree about the request";

/// Settings that depend on headers that are not logged, if they differ.
fn obstacle(old: &Side<'_>, new: &Side<'_>) -> Option<&'static str> {
    let refuses = |side: &Side<'_>| side.policy.upstream().spoofed == Spoofed::Refuse;
    let managed = |side: &Side<'_>| format!("{:?}", side.policy.upstream().claim_headers);
    let differs = managed(old) != managed(new) || !refuses(old);
    (refuses(new) && differs)
        .then_some("NEW refuses requests with certain headers, which are not logged")
}

/// The decision that a record tells.
fn logged(record: &DecisionRecord<'_>) -> Told {
    let reason = record.reason.as_deref().or(record.would_be.as_deref());
    Told {
        outcome: match record.decision {
            Logged::Allow => Outcome::Allow,
            Logged::Deny => Outcome::Deny,
            Logged::Respond => Outcome::Respond,
        },
        reason: reason.map(str::to_owned),
        rule: record.rule.as_deref().map(str::to_owned),
    }
}

fn time(record: &DecisionRecord<'_>) -> Option<UnixTime> {
    let time = humantime::parse_rfc3339(&record.time).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UnixTime::from_duration(since))
}

/// The names on the way to a claim.
fn names(path: &str) -> Option<Vec<String>> {
    let path: crate::token::claims::ClaimPath = path.parse().ok()?;
    Some(path.names().to_vec())
}

/// Whether records hold a claim: it is listed, or lies in one that is.
fn claim_is_listed(record: &DecisionRecord<'_>, listed: &Listed, path: &[String]) -> Known<()> {
    let shown = path.join(".");
    if !listed.claims.iter().any(|own| path.starts_with(own)) {
        let why = format!("the claim `{shown}` is not logged: add it to `decision_log.claims`");
        return Err(why.into());
    }
    let withheld = format!("claims.{shown}");
    match record
        .withheld
        .iter()
        .any(|part| withheld.starts_with(&**part))
    {
        true => Err(format!("the claim `{shown}` is withheld").into()),
        false => Ok(()),
    }
}

/// Whether the token had a claim that is listed by itself.
fn has_claim(record: &DecisionRecord<'_>, path: &[String]) -> bool {
    let mut listed = record.claims.keys().filter_map(|name| names(name));
    listed.any(|own| own == path)
}

impl TokenSpec {
    /// Adds a logged claim. It is absent if the record does not have it.
    fn add_logged(&mut self, record: &DecisionRecord<'_>, path: &[String]) -> Known<()> {
        let found = record.claims.iter();
        let mut found = found.filter(|(name, _)| names(name).is_some_and(|own| own == path));
        let found = found.next();
        if let [only] = path {
            match only.as_str() {
                "exp" => self.exp = None,
                "iat" => self.iat = None,
                "nbf" => self.nbf = None,
                "auth_time" => self.auth_time = None,
                _ => {}
            }
        }
        let Some((name, value)) = found else {
            remove(&mut self.usual, path);
            return Ok(());
        };
        let text = value.to_string();
        let value: Value = serde_json::from_str(&text)
            .map_err(|_| Cow::from(format!("the claim `{name}` is not JSON")))?;
        // A number with more digits than fit would become another one.
        let again = value.to_string();
        if again != text {
            return Err(format!("the claim `{name}` has a number that is not exact here").into());
        }
        insert(&mut self.claims, path, value);
        Ok(())
    }
}

fn insert(claims: &mut serde_json::Map<String, Value>, path: &[String], value: Value) {
    let Some((last, outer)) = path.split_last() else {
        return;
    };
    let mut members = claims;
    for name in outer {
        let inner = members
            .entry(name.as_str())
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        match inner.as_object_mut() {
            Some(inner) => members = inner,
            None => return,
        }
    }
    members.insert(last.clone(), value);
}

fn remove(claims: &mut serde_json::Map<String, Value>, path: &[String]) {
    if let [only] = path {
        claims.remove(only);
    }
}

/// A logged request without its token.
struct Rebuilt<'r> {
    record: &'r DecisionRecord<'r>,
    path: String,
    lines: Vec<(String, Vec<u8>)>,
}

impl<'r> Rebuilt<'r> {
    fn of(record: &'r DecisionRecord<'_>) -> Known<Self> {
        let record: &'r DecisionRecord<'r> = record;
        let mut lines = Vec::new();
        for (name, values) in &record.headers {
            for value in values {
                let bytes = match value {
                    HeaderValue::Text(text) => text.as_bytes().to_vec(),
                    HeaderValue::Bytes { base64 } => BASE64_STANDARD
                        .decode(base64.as_bytes())
                        .map_err(|_| Cow::from(format!("the header `{name}` is not Base64")))?,
                };
                lines.push((name.to_string(), bytes));
            }
        }
        // Whether it was a preflight is known, but its headers may not be.
        if record.preflight {
            for name in ["origin", "access-control-request-method"] {
                if !record.headers.contains_key(name) {
                    lines.push((name.to_owned(), b"x".to_vec()));
                }
            }
        }
        Ok(Self {
            record,
            // The query itself is not known, but whether there was one is.
            path: match record.query {
                true => format!("{}?", record.path),
                false => record.path.to_string(),
            },
            lines,
        })
    }

    fn judge(
        &self,
        judge: &Judge<'_>,
        token: Option<(&str, &TokenSource)>,
        now: UnixTime,
    ) -> Verdict {
        let record = self.record;
        let mut path = self.path.clone();
        let mut own = Vec::new();
        if let Some((token, place)) = token {
            put(token, place, &mut path, &mut own);
        }
        let lines = self.lines.iter();
        let lines = lines.map(|(name, value)| (name.as_str(), value.as_slice()));
        let own = own.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut replaced = path.clone().into_bytes();
        let path_bytes = match record.path_bytes {
            PathBytes::Usual if record.path.contains('!') => None,
            PathBytes::Usual | PathBytes::Same => Some(path.as_bytes()),
            PathBytes::Replaced => {
                replaced.insert(0, 0xff);
                Some(replaced.as_slice())
            }
            PathBytes::QueryReplaced => {
                replaced.push(0xff);
                Some(replaced.as_slice())
            }
        };
        let context = record.context.iter();
        let request = Request {
            method: &record.method,
            host: &record.host,
            path: &path,
            path_bytes,
            headers: lines.chain(own).collect(),
            source: Peer {
                address: record.source.as_deref().unwrap_or_default(),
                principal: record.source_principal.as_deref().unwrap_or_default(),
                certificate: "",
            },
            context: context.map(|(name, value)| (&**name, &**value)).collect(),
            conflict: record.conflict.map(|part| match part {
                Part::Method => Conflict::Method,
                Part::Host => Conflict::Host,
                Part::Path => Conflict::Path,
                Part::Query => Conflict::Query,
            }),
        };
        let decision: Decision = judge.decide(&request, now);
        Verdict::of(&decision)
    }
}
