//! Judges the requests of a decision log anew: what would the new configuration decide?
//!
//! A prediction is never a guess. If a record does not hold what the new configuration asks for, the
//! outcome cannot be told, and the report counts why.

use std::borrow::Cow;

mod claims;
mod comparison;
mod facts;
mod lines;
mod needs;
mod ranges;
mod rebuilt;
mod report;
mod sequence;
mod terms;

pub use report::{Count, Predictions};

use super::judge::{Judge, Mint, Outcome, Verdict};
use super::knobs::Carried;
use super::request::TokenSpec;
use super::tokens::usual;
use super::{Error, Side};
use crate::gate::decision_log::record::{
    ConfigurationRecord, DecisionRecord, Line, TokenState, Verdict as Logged,
};
use crate::time::UnixTime;
use crate::token::source::TokenSource;
use comparison::Comparison;
use facts::{Facts, Listed, names};
use lines::Read;
use rebuilt::Rebuilt;
use report::Tally;
use sequence::{Place, Sequences};

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
pub struct Replay<'s> {
    compared: Comparison<'s>,
    old: Judge<'s>,
    new: Judge<'s>,
    mint: Mint,
    /// The hash of the old configuration.
    hash: String,
    /// The usual token of each provider, and its place on the new side.
    tokens: Vec<Option<TokenSpec>>,
    /// What the records of the old configuration hold, as far as lines have said it.
    listed: Option<Listed>,
    sequences: Sequences,
    tally: Tally,
    /// The time at which tokens are minted, so that one token serves many records.
    now: UnixTime,
}

/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

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
        let compared = Comparison::of(old, new);
        let mut mint = Mint::default();
        let tokens: Vec<Option<TokenSpec>> = compared
            .structure
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
        Ok(Self {
            compared,
            old: old_judge,
            new: new_judge,
            mint,
            hash,
            tokens,
            listed: None,
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
    pub fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        match lines::read(line) {
            Read::Unreadable => self.sequences.unreadable(),
            Read::NoInstance => self.sequences.unknown_configuration(),
            Read::NewerKind => self.sequences.unknown_kind(),
            Read::Line(Line::Configuration(record)) => {
                self.sequences.configuration(&record);
                self.tally.configuration(&record);
                self.remember(record);
            }
            Read::Line(Line::Lost(record)) => self.sequences.lost(record.n, record.count),
            Read::Line(Line::Stopped(record)) => self.sequences.stopped(record.n),
            Read::NewerDecision { n } => match self.sequences.decision(n) {
                Place::New => self.tally.cannot_tell(NEWER),
                Place::Unknown => self.tally.cannot_tell(HEADLESS),
                Place::ReadBefore => {}
            },
            Read::Line(Line::Decision(record)) => match self.sequences.decision(record.n) {
                Place::New => {
                    let prediction = self.predict(&record)?;
                    self.tally.add(&record, &prediction);
                }
                Place::Unknown => self.tally.cannot_tell(HEADLESS),
                Place::ReadBefore => {}
            },
        }
        Ok(())
    }

    /// The report on everything that was read.
    pub fn finish(self) -> Predictions {
        self.tally.finish(self.sequences.finish())
    }

    fn remember(&mut self, record: ConfigurationRecord) {
        if record.configuration != self.hash {
            return;
        }
        let paths = record.claims.iter();
        self.listed = Some(Listed {
            claims: paths.filter_map(|path| names(path)).collect(),
            headers: record.headers,
        });
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
        let Some(listed) = self.listed.clone() else {
            return Ok(Prediction::CannotTell(UNLISTED.into()));
        };
        Ok(match self.outcome(record, &listed)? {
            Ok(told) => Prediction::Told(told),
            Err(why) => Prediction::CannotTell(why),
        })
    }

    fn outcome(
        &mut self,
        record: &DecisionRecord<'_>,
        listed: &Listed,
    ) -> Result<Known<Told>, Error> {
        let logged = logged(record);
        // No rule decides about these.
        if matches!(
            logged.reason.as_deref(),
            Some("check_too_large" | "check_unreadable" | "overloaded" | "internal")
        ) {
            return Ok(Ok(logged));
        }
        let facts = Facts { record, listed };
        if let Err(why) = self.compared.can_be_selected(&facts) {
            return Ok(Err(why));
        }
        let plain = match Rebuilt::of(record) {
            Ok(plain) => plain,
            Err(why) => return Ok(Err(why)),
        };
        let old = plain.judge(&self.old, None, self.now);
        let new = plain.judge(&self.new, None, self.now);
        let old_rule = old.rule.map(|id| id.0);
        let names_of_old = old_rule.and_then(|index| self.compared.rule_name(0, index));
        if names_of_old != logged.rule.as_deref() {
            return Ok(Err(match record.withheld.is_empty() {
                true => DISAGREE.into(),
                false => "what OLD looked at is withheld".into(),
            }));
        }
        let Some(new_rule) = new.rule.map(|id| id.0) else {
            // Refused before any rule, or answered with metadata.
            return Ok(Ok(self.told(&new, None)));
        };
        let pair = record
            .provider
            .as_deref()
            .map(|name| self.compared.pair_of(name));
        let pair = match pair {
            Some(None) => return Ok(Err(DISAGREE.into())),
            Some(Some(index)) => Some(index),
            None => None,
        };
        let is_token_same = match self.compared.is_token_judged_alike(&facts, pair) {
            Ok(same) => same,
            Err(why) if self.compared.reads_token(1, new_rule, record) => return Ok(Err(why)),
            Err(_) => false,
        };
        // The same requirement, of the same request and token.
        let is_enforced_alike = pair.is_none_or(|pair| {
            let change = self.compared.terms.get(pair);
            change.is_some_and(terms::Change::is_enforced_alike)
        });
        let is_rule_same = self
            .compared
            .structure
            .require_the_same(old_rule, Some(new_rule))
            && self.compared.same_enforcement
            && is_enforced_alike
            && (self.compared.same_preflight || !record.preflight);
        if is_rule_same && is_token_same {
            return Ok(Ok(Told {
                rule: self.compared.rule_name(1, new_rule).map(str::to_owned),
                ..logged
            }));
        }
        self.judge_anew(facts, &plain, [old_rule, Some(new_rule)], pair)
    }

    /// Judges with a token like the logged one.
    fn judge_anew(
        &mut self,
        facts: Facts<'_>,
        plain: &Rebuilt<'_>,
        [old_rule, new_rule]: [Option<usize>; 2],
        pair: Option<usize>,
    ) -> Result<Known<Told>, Error> {
        let record = facts.record;
        let index = new_rule.unwrap_or(0);
        if !self.compared.reads_token(1, index, record) {
            // The answer does not depend on a token.
            if let Err(why) = self.compared.knows(&facts, 1, index, None) {
                return Ok(Err(why));
            }
            let now = match self.compared.is_about_time(1, index) {
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
            TokenState::Absent if self.compared.new_places => {
                let why = "NEW also looks for tokens in other places, which are not logged";
                return Ok(Err(why.into()));
            }
            TokenState::Absent => {
                if let Err(why) = self.compared.knows(&facts, 1, index, None) {
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
        if let Err(why) = self.compared.knows(&facts, 1, index, Some(pair)) {
            return Ok(Err(why));
        }
        let asks_times = self
            .compared
            .terms
            .get(pair)
            .is_some_and(terms::Change::asks_times);
        let now = match asks_times {
            true => time(record).unwrap_or(self.now),
            false => self.now_for(record, 1, index),
        };
        let spec = match self.spec(&facts, [old_rule, new_rule], pair) {
            Ok(spec) => spec,
            Err(why) => return Ok(Err(why)),
        };
        let token = self.mint.token(&spec, now)?;
        let token = (token.as_str(), &spec.place);
        // The old configuration must say what the log says, as far as the record tells.
        if let Some(old_rule) = old_rule
            && self.compared.knows(&facts, 0, old_rule, Some(pair)).is_ok()
            && self.compared.is_about_time(0, old_rule) == self.compared.is_about_time(1, index)
        {
            let verdict = plain.judge(&self.old, Some(token), now);
            let reason = verdict.reason.map(|reason| reason.code().to_owned());
            let logged = logged(record);
            if verdict.outcome != logged.outcome || reason != logged.reason {
                return Ok(Err(DISAGREE.into()));
            }
        }
        let verdict = plain.judge(&self.new, Some(token), now);
        if verdict.is_token_refused
            && self
                .compared
                .terms
                .get(pair)
                .is_some_and(terms::Change::keeps_valid)
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
                let place = self.compared.new.policy.token_places().first();
                let place =
                    place.map_or_else(TokenSource::authorization, |place| (**place).clone());
                plain.judge(&self.new, Some(("garbage", &place)), self.now)
            }
        };
        let reason = logged(record).reason;
        Ok(Ok(self.told(&verdict, reason)))
    }

    fn now_for(&self, record: &DecisionRecord<'_>, side: usize, rule: usize) -> UnixTime {
        match self.compared.is_about_time(side, rule) {
            true => time(record).unwrap_or(self.now),
            false => self.now,
        }
    }

    /// A token with the logged claims that the rules ask for.
    fn spec(&self, facts: &Facts<'_>, rules: [Option<usize>; 2], pair: usize) -> Known<TokenSpec> {
        let record = facts.record;
        let mut spec = self.tokens.get(pair).cloned().flatten().ok_or(DISAGREE)?;
        if let Some(place) = &record.token_from {
            let places = self.compared.old.policy.token_places().all();
            let found = places.iter().find(|own| own.to_string() == **place);
            spec.place = (**found.ok_or(DISAGREE)?).clone();
        } else {
            spec.place = TokenSource::authorization();
        }
        let mut paths: Vec<Vec<String>> = Vec::new();
        for (side, rule) in rules.into_iter().enumerate() {
            let Some(needs) = rule.and_then(|rule| self.compared.needs.get(side)?.get(rule)) else {
                continue;
            };
            paths.extend(needs.all_named_claims().cloned());
            if needs.scopes {
                paths.extend(self.compared.scope_claims(side, pair));
            }
        }
        if let Some(change) = self.compared.terms.get(pair) {
            paths.extend(change.asked().iter().cloned());
        }
        for own in &facts.listed.claims {
            let is_asked = paths
                .iter()
                .any(|path| path.starts_with(own) || own.starts_with(path));
            if is_asked {
                spec.add_logged(record, own)?;
            }
        }
        Ok(spec)
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
                .and_then(|id| self.compared.rule_name(1, id.0))
                .map(str::to_owned),
        }
    }
}

/// Why a decision before a file's first `configuration` line is not judged: it may be one that another
/// file has too.
const HEADLESS: &str =
    "the file's `configuration` line is missing: give the file from its beginning";

/// Why a decision is not judged if the `configuration` line of OLD was not read before it.
const UNLISTED: &str =
    "no `configuration` line before it is about OLD: give the earlier file, and give it first";

/// Why a decision with an unknown value is not judged.
const NEWER: &str = "a newer version of claimgate wrote it: compare with that version";

/// Why a record is not judged although it seems to be complete.
const DISAGREE: &str = "the log and OLD disagree about the request";

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
