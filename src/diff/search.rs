//! Searches for requests that two configurations judge otherwise.
//!
//! First, requests without a token show which rule of each side decides which requests. Then, for each
//! pair of rules, tokens and what conditions ask for are varied. Last, so are the settings of providers
//! that differ.

mod causes;
mod classes;
mod entries;
mod globals;
mod minimise;
mod unproven;

use globals::Globals;

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{Judge, Mint, Outcome, Verdict, text_of, with_request};
use super::knobs::{Carried, Knobs, Trial, knobs, set};
use super::positions::Positions;
use super::report::{Differences, Effect};
use super::request::{Bearer, Shape};
use super::structure::Structure;
use super::tokens::{Variant, usual, variants};
use super::{Error, Limits, Side, words};
use crate::policy::requirement::Access;
use crate::policy::rule::Rule;
use crate::policy::rules::RuleId;
use crate::time::UnixTime;
use crate::token::source::TokenSource;

/// The minimum and maximum number of trials for one pair of rules.
const TRIALS: (usize, usize) = (64, 3000);

/// The number of tokens that each pair of rules may cost, however many pairs there are.
const MIN_TOKENS: usize = 32;

/// The maximum number of pairs of rules for which the settings of one provider are varied.
const MAX_CLASSES: usize = 40;

/// The maximum number of rules that an example names as affected.
pub(super) const MAX_RULES: usize = 8;

/// The rules that decide, by their positions.
type Rules = [Option<usize>; 2];

/// The part of the configuration that makes the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Provider(usize, &'static str),
    Setting(&'static str),
    /// Which parts of a request rules look at, and therefore refuse if they have two readings.
    Form(&'static str),
    Rules(Option<usize>, Option<usize>),
}

/// The smallest request found for a cause.
#[derive(Debug)]
struct Found {
    trial: Trial,
    verdicts: [Verdict; 2],
    /// The rules that decide on the new side, or else on the old one.
    rules: BTreeSet<String>,
}

type Key = (Cause, Effect);

struct Search<'s> {
    sides: [&'s Side<'s>; 2],
    structure: Structure,
    judges: [Judge<'s>; 2],
    mint: Mint,
    /// The place of a text that is no token.
    place: TokenSource,
    limits: Limits,
    /// Whether settings differ that may affect every request.
    globals: Globals,
    now: UnixTime,
    requests: usize,
    trials: usize,
    is_complete: bool,
    found: BTreeMap<Key, Found>,
    covered: Covered,
}

/// What the search has reached, and what it had to leave out.
#[derive(Debug, Default)]
struct Covered {
    /// The pairs of rules that decide some request.
    classes: BTreeSet<Rules>,
    /// The pairs of rules for which not every value was tried.
    cut: BTreeSet<Rules>,
    /// The changed rules, by side and position, for which not every pattern was tried.
    cut_patterns: BTreeSet<(usize, usize)>,
    /// The settings of providers that some request showed to matter.
    shown: BTreeSet<(usize, &'static str)>,
    /// The settings of providers of which not every value was tried.
    cut_settings: BTreeSet<(usize, &'static str)>,
}

pub(super) fn compare<'s>(
    old: &'s Side<'s>,
    new: &'s Side<'s>,
    now: UnixTime,
    limits: Limits,
) -> Result<Differences, Error> {
    let globals = Globals::of(old, new);
    let place = old.policy.token_places().first();
    let mut search = Search {
        sides: [old, new],
        structure: Structure::of(old, new),
        judges: [old, new].map(|side| Judge::new(side.policy, side.denials)),
        mint: Mint::default(),
        place: place.map_or_else(TokenSource::authorization, |place| (**place).clone()),
        limits,
        globals,
        now,
        requests: 0,
        trials: 0,
        is_complete: true,
        found: BTreeMap::new(),
        covered: Covered::default(),
    };
    let is_equal = search.structure.is_same() && !globals.any() && !globals.denials;
    if !is_equal {
        search.run()?;
    }
    search.differences(is_equal)
}

impl<'s> Search<'s> {
    fn run(&mut self) -> Result<(), Error> {
        let providers = self.structure.providers.clone();
        let mut carried = vec![Carried::Nothing, Carried::Garbage];
        for pair in &providers {
            let [old, new] = self.providers_of(pair);
            if let (Some(old), Some(new)) = (old, new) {
                carried.push(usual(&pair.name, &[old, new]));
            }
        }
        let mut of_settings: Vec<(usize, Variant)> = Vec::new();
        for (index, pair) in providers.iter().enumerate() {
            let [old, new] = self.providers_of(pair);
            let is_alone = old.is_none() || new.is_none();
            if is_alone || !pair.differing.is_empty() {
                let own = variants(&pair.name, old, new, &pair.differing);
                let cut = own.cut.into_iter().map(|setting| (index, setting));
                self.covered.cut_settings.extend(cut);
                of_settings.extend(own.found.into_iter().map(|variant| (index, variant)));
            }
        }
        self.is_complete &= self.covered.cut_settings.is_empty() && !self.has_unsearchable();
        self.prepare_keys(&carried, &of_settings)?;
        let classes = self.classes();
        self.vary_rules(&classes, &carried)?;
        self.vary_providers(&classes, &of_settings)?;
        self.minimise()
    }

    fn providers_of(
        &self,
        pair: &super::structure::ProviderPair,
    ) -> [Option<&'s crate::policy::Provider>; 2] {
        let [old, new] = self.sides;
        [
            pair.old.and_then(|id| old.policy.provider(id)),
            pair.new.and_then(|id| new.policy.provider(id)),
        ]
    }

    fn prepare_keys(
        &mut self,
        carried: &[Carried],
        of_settings: &[(usize, Variant)],
    ) -> Result<(), Error> {
        let others = of_settings.iter().map(|(_, variant)| &variant.token);
        let algorithms = carried
            .iter()
            .chain(others)
            .filter_map(|carried| match carried {
                Carried::Token(spec, _) => Some(spec.alg),
                Carried::Nothing | Carried::Garbage => None,
            });
        if let Some(keys) = self.mint.prepare(algorithms)? {
            for judge in &mut self.judges {
                judge.trust(&keys);
            }
        }
        Ok(())
    }

    fn rule(&self, side: usize, index: Option<usize>) -> Option<&'s Rule> {
        let side = self.sides.get(side)?;
        side.policy.rule(RuleId(index?))
    }

    fn vary_rules(
        &mut self,
        classes: &[(Rules, Vec<Shape>)],
        carried: &[Carried],
    ) -> Result<(), Error> {
        let is_relevant = |[old, new]: Rules, globals: Globals, structure: &Structure| {
            globals.any() || !structure.require_the_same(old, new)
        };
        let relevant: Vec<&(Rules, Vec<Shape>)> = classes
            .iter()
            .filter(|(rules, _)| is_relevant(*rules, self.globals, &self.structure))
            .collect();
        let each = self.limits.trials / relevant.len().max(1);
        let each = each.clamp(TRIALS.0, TRIALS.1);
        let tokens = (self.limits.tokens / relevant.len().max(1)).max(MIN_TOKENS);
        let around = self.surroundings();
        for ([old, new], shapes) in relevant {
            let rules = [self.rule(0, *old), self.rule(1, *new)];
            let knobs = knobs(rules, carried.to_vec(), &around);
            let weighted = shapes.len().max(1);
            let last = self.mint.signatures.saturating_add(tokens);
            for (index, shape) in shapes.iter().enumerate() {
                // The first request gets most of the work; the others differ in what conditions see.
                let part = match index {
                    0 => each / 2,
                    _ => each / 2 / weighted,
                };
                let is_first = index == 0;
                let is_complete = self.turn(&knobs, shape, [part.max(16), last], None)?;
                if is_first && !is_complete {
                    self.is_complete = false;
                    self.covered.cut.insert([*old, *new]);
                }
            }
        }
        Ok(())
    }

    /// Whether the limit of all work is reached.
    fn is_spent(&self) -> bool {
        self.trials >= self.limits.trials || self.mint.signatures >= self.limits.tokens
    }

    /// Tries combinations of the knobs' values, within the limits of requests and signatures. False if
    /// some value was left out.
    fn turn(
        &mut self,
        knobs: &Knobs,
        shape: &Shape,
        [max, last]: [usize; 2],
        variant: Option<(usize, &'static str)>,
    ) -> Result<bool, Error> {
        if self.is_spent() {
            return Ok(false);
        }
        let positions = Positions::new(&knobs.list, max);
        let essential = positions.essential;
        let mut tried = 0;
        for positions in positions {
            if self.is_spent() || self.mint.signatures >= last {
                break;
            }
            tried += 1;
            self.trials += 1;
            let trial = set(&knobs.list, &positions, shape, self.now.as_secs());
            let token = self.token(&trial)?;
            let verdicts = self.judge(&trial, token.as_ref());
            self.note(&trial, &verdicts, variant);
        }
        self.is_complete &= !self.is_spent();
        Ok(knobs.is_complete && tried >= essential)
    }

    fn vary_providers(
        &mut self,
        classes: &[(Rules, Vec<Shape>)],
        of_settings: &[(usize, Variant)],
    ) -> Result<(), Error> {
        let reads_tokens = |rule: Option<&Rule>| {
            rule.is_some_and(|rule| {
                matches!(rule.access, Access::Optional(_) | Access::Required(_))
            })
        };
        let mut relevant: Vec<&(Rules, Vec<Shape>)> = classes
            .iter()
            .filter(|([old, new], _)| {
                reads_tokens(self.rule(0, *old)) && reads_tokens(self.rule(1, *new))
            })
            .collect();
        // What is asked for by fewer words gives the smaller example.
        relevant.sort_by_key(|([old, new], _)| {
            let words = |side: usize, index: Option<usize>| {
                let rule = index.and_then(|index| self.structure.rules.get(side)?.get(index));
                rule.map_or(0, |rule| words::summary(&rule.requirement).len())
            };
            words(0, *old) + words(1, *new)
        });
        if relevant.len() > MAX_CLASSES && !of_settings.is_empty() {
            self.is_complete = false;
        }
        let around = self.surroundings();
        for (index, variant) in of_settings {
            for ([old, new], shapes) in relevant.iter().take(MAX_CLASSES) {
                let rules = [self.rule(0, *old), self.rule(1, *new)];
                let carried = vec![variant.token.clone()];
                let knobs = knobs(rules, carried, &around);
                let Some(shape) = shapes.first() else {
                    continue;
                };
                let hint = Some((*index, variant.setting));
                self.turn(&knobs, shape, [TRIALS.0, usize::MAX], hint)?;
                if self.is_spent() {
                    self.covered.cut_settings.extend(hint);
                }
            }
        }
        Ok(())
    }

    fn token(&mut self, trial: &Trial) -> Result<Option<(String, TokenSource)>, Error> {
        let place = match &trial.bearer {
            Bearer::Token(spec) => spec.place.clone(),
            Bearer::None | Bearer::Garbage => self.place.clone(),
        };
        let now = UnixTime::from_secs(trial.now);
        text_of(&trial.bearer, &place, &mut self.mint, now)
    }

    fn judge(&mut self, trial: &Trial, token: Option<&(String, TokenSource)>) -> Judged {
        self.requests += 1;
        let now = UnixTime::from_secs(trial.now);
        let [old, new] = &self.judges;
        let token = token.map(|(token, place)| (token.as_str(), place));
        with_request(&trial.shape, token, |request| {
            let (before, after) = (old.decide(request, now), new.decide(request, now));
            let verdicts = [Verdict::of(&before), Verdict::of(&after)];
            let [one, other] = &verdicts;
            let may_differ = self.globals.upstream || one.has_bearer != other.has_bearer;
            let both_pass = one.outcome == Outcome::Allow && other.outcome == Outcome::Allow;
            let same = !(both_pass && may_differ)
                || old.changes(&before, request) == new.changes(&after, request);
            Judged(verdicts, same)
        })
    }

    /// Keeps the trial if both sides judge it otherwise, and no smaller one shows the same.
    fn note(&mut self, trial: &Trial, judged: &Judged, variant: Option<(usize, &'static str)>) {
        let Some(key) = self.key(trial, judged, variant) else {
            return;
        };
        self.covered.shown.extend(variant);
        let Judged(verdicts, _) = judged;
        let [old, new] = verdicts;
        let name = |side: usize, verdict: &Verdict| {
            let index = verdict.rule?.0;
            let rule = self.structure.rules.get(side)?.get(index)?;
            Some(rule.name.clone())
        };
        let rule = name(1, new).or_else(|| name(0, old));
        match self.found.get_mut(&key) {
            Some(found) => {
                if found.rules.len() <= MAX_RULES {
                    found.rules.extend(rule);
                }
                if trial.weight() < found.trial.weight() {
                    found.trial = trial.clone();
                    found.verdicts.clone_from(verdicts);
                }
            }
            None => {
                let found = Found {
                    trial: trial.clone(),
                    verdicts: verdicts.clone(),
                    rules: rule.into_iter().collect(),
                };
                self.found.insert(key, found);
            }
        }
    }
}

/// The verdicts, and whether both upstreams receive the same.
struct Judged([Verdict; 2], bool);
