//! Judges the request of a record anew.
//!
//! What the record leaves open is tried in every possible way. The outcome is told only if it is the
//! same in all of them.

use std::borrow::Cow;
use std::time::Duration;

use super::claims::Ways;
use super::comparison::Comparison;
use super::facts::Facts;
use super::rebuilt::Rebuilt;
use super::{Known, Told, logged};
use crate::diff::judge::{Judge, Mint, Verdict};
use crate::diff::knobs::Carried;
use crate::diff::request::TokenSpec;
use crate::diff::tokens::usual;
use crate::diff::{Error, Side};
use crate::gate::decision_log::record::{DecisionRecord, TokenState};
use crate::time::UnixTime;
use crate::token::source::TokenSource;

/// Both configurations, with keys that sign tokens like the logged ones.
#[derive(Debug)]
pub(super) struct Predictor<'s> {
    compared: Comparison<'s>,
    old: Judge<'s>,
    new: Judge<'s>,
    mint: Mint,
    /// The usual token of each provider, and its place on the new side.
    tokens: Vec<Option<TokenSpec>>,
    /// The time at which tokens are minted, so that one token serves many records.
    now: UnixTime,
}

/// Why there is no prediction.
#[derive(Debug)]
pub(super) enum Stop {
    /// The record does not hold what the outcome depends on.
    CannotTell(Cow<'static, str>),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Cow<'static, str>> for Stop {
    fn from(why: Cow<'static, str>) -> Self {
        Self::CannotTell(why)
    }
}

impl From<&'static str> for Stop {
    fn from(why: &'static str) -> Self {
        Self::CannotTell(why.into())
    }
}

/// Why a record is not judged although it seems to be complete.
pub(super) const DISAGREE: &str = "the log and OLD disagree about the request";

/// Why a record is not judged if OLD refuses every token that has what the record tells.
pub(super) const NO_SUCH_TOKEN: &str = "a token like the logged one cannot be made";

/// Why a record is not judged if NEW reads tokens elsewhere.
pub(super) const OTHER_PLACES: &str =
    "NEW also looks for tokens in other places, which are not logged";

/// Why a record is not judged if the settings that were compared are those of another provider.
pub(super) const OTHER_PROVIDER: &str = "another provider of NEW may accept the token's issuer";

const OPEN_CLAIMS: &str =
    "a claim is absent, and the log does not say what it would lie in, but a condition asks";

const OPEN_TIME: &str = "the decision depends on the moment at which it was made";

/// The maximum time that a decision whose moment matters may have taken. CEL's times are in seconds, so
/// within this time they change once at most.
const MAX_TIME_TAKEN: Duration = Duration::from_secs(1);

/// The rules of both sides for one request, and the provider of its token.
#[derive(Clone, Copy, Debug)]
struct Parties {
    old_rule: Option<usize>,
    new_rule: usize,
    pair: Option<usize>,
}

impl<'s> Predictor<'s> {
    pub(super) fn new(old: &'s Side<'s>, new: &'s Side<'s>, now: UnixTime) -> Result<Self, Error> {
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
        let [old, new] = judges;
        Ok(Self {
            compared,
            old,
            new,
            mint,
            tokens,
            now,
        })
    }

    pub(super) fn outcome(&mut self, facts: &Facts<'_>) -> Result<Told, Stop> {
        let record = facts.record;
        let logged = logged(record);
        // No configuration decides about these.
        if matches!(
            logged.reason.as_deref(),
            Some("check_too_large" | "check_unreadable" | "overloaded" | "internal")
        ) {
            return Ok(logged);
        }
        self.compared.can_be_selected(facts)?;
        let plain = Rebuilt::of(facts)?;
        let old = plain.judge(&self.old, None, self.now);
        let new = plain.judge(&self.new, None, self.now);
        let old_rule = old.rule.map(|id| id.0);
        let names_of_old = old_rule.and_then(|index| self.compared.rule_name(0, index));
        // Before any rule, the request alone decides.
        let is_alike = names_of_old == logged.rule.as_deref()
            && (old_rule.is_some() || is_logged(&old, record));
        if !is_alike {
            return Err(match record.withheld.is_empty() {
                true => DISAGREE.into(),
                false => "what OLD looked at is withheld".into(),
            });
        }
        let Some(new_rule) = new.rule.map(|id| id.0) else {
            // Refused before any rule, or answered with metadata.
            return Ok(self.told(&new, None));
        };
        let pair = record.provider.as_deref();
        let pair = pair.map(|name| self.compared.pair_of(name).ok_or(DISAGREE));
        let parties = Parties {
            old_rule,
            new_rule,
            pair: pair.transpose()?,
        };
        let is_token_same = match self.compared.is_token_judged_alike(facts, parties.pair) {
            Ok(same) => same,
            Err(why) if self.compared.reads_token(new_rule, record) => return Err(why.into()),
            Err(_) => false,
        };
        // The same requirement, of the same request and token.
        if is_token_same
            && self
                .compared
                .requires_the_same(record, old_rule, new_rule, parties.pair)
        {
            return Ok(Told {
                rule: self.compared.rule_name(1, new_rule).map(str::to_owned),
                ..logged
            });
        }
        self.judge_anew(facts, &plain, parties)
    }

    /// Judges with a token like the logged one.
    fn judge_anew(
        &mut self,
        facts: &Facts<'_>,
        plain: &Rebuilt<'_>,
        parties: Parties,
    ) -> Result<Told, Stop> {
        let record = facts.record;
        let rule = parties.new_rule;
        if !self.compared.reads_token(rule, record) {
            return self.judge_without_token(facts, plain, rule);
        }
        match (record.token, parties.pair) {
            (TokenState::Unread, _) => Err("the token was not read, so it is not known".into()),
            (TokenState::Absent, _) if self.compared.new_places => Err(OTHER_PLACES.into()),
            (TokenState::Absent, _) => self.judge_without_token(facts, plain, rule),
            (TokenState::Rejected | TokenState::Unverified, pair) => {
                self.judge_rejected(record, plain, pair)
            }
            (TokenState::Valid, Some(pair)) => self.judge_valid(facts, plain, parties, pair),
            (TokenState::Valid, None) => Err(DISAGREE.into()),
        }
    }

    fn judge_without_token(
        &self,
        facts: &Facts<'_>,
        plain: &Rebuilt<'_>,
        rule: usize,
    ) -> Result<Told, Stop> {
        self.compared.knows(facts, 1, rule, None)?;
        let is_timed = self.compared.is_about_time(1, rule);
        let mut all = Agreement::default();
        for now in self.moments(facts.record, is_timed)? {
            let verdict = plain.judge(&self.new, None, now);
            all.add(self.told(&verdict, None), OPEN_TIME)?;
        }
        all.told.ok_or_else(|| DISAGREE.into())
    }

    fn judge_valid(
        &mut self,
        facts: &Facts<'_>,
        plain: &Rebuilt<'_>,
        parties: Parties,
        pair: usize,
    ) -> Result<Told, Stop> {
        let Parties {
            old_rule, new_rule, ..
        } = parties;
        self.compared.knows(facts, 1, new_rule, Some(pair))?;
        let change = self.compared.terms.get(pair).ok_or(DISAGREE)?;
        let (keeps_valid, asks_times) = (change.keeps_valid(), change.asks_times());
        let is_timed = asks_times || self.compared.is_about_time(1, new_rule);
        // The old configuration must say what the log says, as far as the record tells.
        let known_rule = old_rule.filter(|rule| {
            (is_timed || !self.compared.is_about_time(0, *rule))
                && self.compared.knows(facts, 0, *rule, Some(pair)).is_ok()
        });
        let spec = self.spec(facts, [old_rule, Some(new_rule)], pair)?;
        let seen = |side: usize, rule: Option<usize>| {
            let needs = rule.and_then(|rule| self.compared.needs.get(side)?.get(rule));
            needs.into_iter().flat_map(|needs| &needs.seen_claims)
        };
        let both = Ways::of(facts, seen(1, Some(new_rule)).chain(seen(0, known_rule)));
        // Without the old rule's claims, there may be few enough ways.
        let (ways, known_rule) = match both {
            Ok(ways) => (ways, known_rule),
            Err(_) => (Ways::of(facts, seen(1, Some(new_rule)))?, None),
        };
        let [old_provider, new_provider] = [0, 1].map(|side| self.compared.provider(side, pair));
        let (mut all, mut is_accepted) = (Agreement::default(), false);
        for spec in ways.tokens(&spec) {
            for now in self.moments(facts.record, is_timed)? {
                let token = self.mint.token(&spec, now)?;
                let token = (token.as_str(), &spec.place);
                let before = plain.judge(&self.old, Some(token), now);
                if before.is_token_refused || before.provider != old_provider {
                    continue;
                }
                is_accepted = true;
                if known_rule.is_some() && !is_logged(&before, facts.record) {
                    continue;
                }
                let verdict = plain.judge(&self.new, Some(token), now);
                if verdict.provider.is_some() && verdict.provider != new_provider {
                    return Err(OTHER_PROVIDER.into());
                }
                if verdict.is_token_refused && keeps_valid {
                    return Err(NO_SUCH_TOKEN.into());
                }
                all.add(
                    self.told(&verdict, None),
                    match ways.is_only_one() {
                        true => OPEN_TIME,
                        false => OPEN_CLAIMS,
                    },
                )?;
            }
        }
        let why = match is_accepted {
            true => DISAGREE,
            false => NO_SUCH_TOKEN,
        };
        all.told.ok_or_else(|| why.into())
    }

    /// A refused token is refused again for the same reason. Whether that takes effect is decided with
    /// another token of the same provider that is refused.
    fn judge_rejected(
        &mut self,
        record: &DecisionRecord<'_>,
        plain: &Rebuilt<'_>,
        pair: Option<usize>,
    ) -> Result<Told, Stop> {
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
        let provider = pair.and_then(|pair| self.compared.provider(1, pair));
        if !verdict.is_token_refused || verdict.provider != provider {
            return Err(NO_SUCH_TOKEN.into());
        }
        let reason = logged(record).reason;
        Ok(self.told(&verdict, reason))
    }

    /// The first and the last moment at which the decision may have been made. Any moment, if none
    /// matters.
    fn moments(&self, record: &DecisionRecord<'_>, is_timed: bool) -> Known<Vec<UnixTime>> {
        if !is_timed {
            return Ok(vec![self.now]);
        }
        let answered = time(record).ok_or("the time of the decision cannot be read")?;
        let taken = Duration::from_micros(record.took_us);
        if taken > MAX_TIME_TAKEN {
            return Err(OPEN_TIME.into());
        }
        // Records have milliseconds.
        let last = answered.saturating_add(Duration::from_millis(1));
        Ok(vec![answered.saturating_sub(taken), last])
    }

    /// A token with the logged claims that the rules ask for.
    fn spec(&self, facts: &Facts<'_>, rules: [Option<usize>; 2], pair: usize) -> Known<TokenSpec> {
        let mut spec = self.tokens.get(pair).cloned().flatten().ok_or(DISAGREE)?;
        if let Some(place) = &facts.record.token_from {
            let places = self.compared.old.policy.token_places().all();
            let found = places.iter().find(|own| own.to_string() == **place);
            spec.place = (**found.ok_or(DISAGREE)?).clone();
        } else {
            spec.place = TokenSource::authorization();
        }
        let mut paths: Vec<Vec<String>> = Vec::new();
        for (side, rule) in rules.into_iter().enumerate() {
            let needs = rule.and_then(|rule| self.compared.needs.get(side)?.get(rule));
            let Some(needs) = needs else {
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
        spec.add_logged(facts, &paths)?;
        Ok(spec)
    }

    /// The verdict in the words of the log, with another reason if one is given.
    fn told(&self, verdict: &Verdict, reason: Option<String>) -> Told {
        let own = verdict.reason.map(|reason| reason.code().to_owned());
        let reason = match (own, reason) {
            (Some(_), Some(other)) => Some(other),
            (own, _) => own,
        };
        let rule = verdict.rule;
        Told {
            outcome: verdict.outcome,
            reason,
            rule: rule
                .and_then(|id| self.compared.rule_name(1, id.0))
                .map(str::to_owned),
        }
    }
}

/// What all ways lead to.
#[derive(Debug, Default)]
struct Agreement {
    told: Option<Told>,
}

impl Agreement {
    /// Adds what one way leads to. Fails with `why` if another one led elsewhere.
    fn add(&mut self, told: Told, why: &'static str) -> Known<()> {
        match &self.told {
            Some(other) if *other != told => Err(why.into()),
            _ => {
                self.told = Some(told);
                Ok(())
            }
        }
    }
}

/// Whether the verdict is what the record tells.
fn is_logged(verdict: &Verdict, record: &DecisionRecord<'_>) -> bool {
    let reason = verdict.reason.map(|reason| reason.code().to_owned());
    let logged = logged(record);
    verdict.outcome == logged.outcome && reason == logged.reason
}

fn time(record: &DecisionRecord<'_>) -> Option<UnixTime> {
    let time = humantime::parse_rfc3339(&record.time).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(UnixTime::from_duration(since))
}
