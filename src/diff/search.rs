//! Searches for requests that two configurations judge otherwise.
//!
//! First, requests without a token show which rule of each side decides which requests. Then, for each
//! pair of rules, tokens and what conditions ask for are varied. Last, so are the settings of providers
//! that differ.

mod entries;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::judge::{Judge, Mint, Outcome, Verdict, text_of, with_request};
use super::knobs::{Carried, Knob, Trial, knobs, set};
use super::positions::Positions;
use super::report::{Differences, Effect};
use super::request::{Bearer, Shape};
use super::shapes::shapes;
use super::structure::Structure;
use super::tokens::{Variant, usual, variants};
use super::{Error, Limits, Side, words};
use crate::decision::Reason;
use crate::policy::Policy;
use crate::policy::requirement::Access;
use crate::policy::rule::Rule;
use crate::policy::rules::RuleId;
use crate::time::UnixTime;
use crate::token::source::TokenSource;

/// The maximum number of requests without a token that stand for one pair of rules.
const MAX_SHAPES: usize = 6;

/// The minimum and maximum number of trials for one pair of rules.
const TRIALS: (usize, usize) = (64, 3000);

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
}

/// Settings for all rules that differ.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, whose members have names of their own"
)]
struct Globals {
    enforce: bool,
    preflight: bool,
    paths: bool,
    upstream: bool,
    resources: bool,
    denials: bool,
}

impl Globals {
    fn of(old: &Side<'_>, new: &Side<'_>) -> Self {
        let (before, after) = (old.policy, new.policy);
        let resources = |policy: &Policy| -> Vec<String> {
            let resources = policy.resources();
            resources
                .map(|resource| format!("{} {}", resource.metadata_url(), resource.document()))
                .collect()
        };
        Self {
            enforce: before.is_enforced() != after.is_enforced(),
            preflight: before.cors_preflight() != after.cors_preflight(),
            paths: before.rules().paths() != after.rules().paths(),
            upstream: format!("{:?}", before.upstream()) != format!("{:?}", after.upstream()),
            resources: resources(before) != resources(after),
            denials: format!("{:?}", old.denials) != format!("{:?}", new.denials),
        }
    }

    /// Whether verdicts or what upstreams receive may differ for every rule.
    fn any(self) -> bool {
        let Self {
            enforce,
            preflight,
            paths,
            upstream,
            resources,
            denials: _,
        } = self;
        enforce || preflight || paths || upstream || resources
    }
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
                of_settings.extend(own.into_iter().map(|variant| (index, variant)));
            }
        }
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

    /// The pairs of rules that decide some request, each with its smallest requests.
    fn classes(&mut self) -> Vec<(Rules, Vec<Shape>)> {
        let [old, new] = self.sides;
        let structure = &self.structure;
        let any = self.globals.any();
        let found = shapes(
            [old.policy, new.policy],
            |side, index| any || structure.is_changed(side, index),
            self.limits.shapes,
        );
        self.is_complete &= found.is_complete;
        let mut classes: BTreeMap<Rules, Vec<Shape>> = BTreeMap::new();
        for shape in found.all {
            let trial = Trial {
                shape,
                bearer: Bearer::None,
                now: self.now.as_secs(),
            };
            let verdicts = self.judge(&trial, None);
            self.note(&trial, &verdicts, None);
            let [old, new] = &verdicts.0;
            let rules = [old, new].map(|verdict| verdict.rule.map(|id| id.0));
            let shapes = classes.entry(rules).or_default();
            if shapes.len() < MAX_SHAPES {
                shapes.push(trial.shape);
            } else if let Some(largest) = shapes.iter_mut().max_by_key(|shape| shape.weight())
                && trial.shape.weight() < largest.weight()
            {
                *largest = trial.shape;
            }
        }
        let mut classes: Vec<(Rules, Vec<Shape>)> = classes.into_iter().collect();
        for (_, shapes) in &mut classes {
            shapes.sort_by_key(Shape::weight);
        }
        // Pairs that differ come first: the work is bounded.
        classes.sort_by_key(|([old, new], _)| {
            let is_changed = |side: usize, rule: &Option<usize>| {
                rule.is_some_and(|index| self.structure.is_changed(side, index))
            };
            !(is_changed(0, old) || is_changed(1, new))
        });
        classes
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
        for ([old, new], shapes) in relevant {
            let rules = [self.rule(0, *old), self.rule(1, *new)];
            let knobs = knobs(rules, carried.to_vec(), self.now.as_secs());
            let weighted = shapes.len().max(1);
            for (index, shape) in shapes.iter().enumerate() {
                // The first request gets most of the work; the others differ in what conditions see.
                let part = match index {
                    0 => each / 2,
                    _ => each / 2 / weighted,
                };
                if !self.turn(&knobs, shape, part.max(16), None)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Tries combinations of the knobs' values. False if the limit of all work is reached.
    fn turn(
        &mut self,
        knobs: &[Knob],
        shape: &Shape,
        max: usize,
        variant: Option<(usize, &'static str)>,
    ) -> Result<bool, Error> {
        let mut tried: HashSet<Vec<usize>> = HashSet::new();
        for positions in Positions::new(knobs, max) {
            // Without a token, its claims do not count.
            let positions = without_idle(knobs, positions);
            if !tried.insert(positions.clone()) {
                continue;
            }
            if self.trials >= self.limits.trials || self.mint.signatures >= self.limits.tokens {
                self.is_complete = false;
                return Ok(false);
            }
            self.trials += 1;
            let trial = set(knobs, &positions, shape, self.now.as_secs());
            let token = self.token(&trial)?;
            let verdicts = self.judge(&trial, token.as_ref());
            self.note(&trial, &verdicts, variant);
        }
        Ok(true)
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
        for (index, variant) in of_settings {
            for ([old, new], shapes) in relevant.iter().take(MAX_CLASSES) {
                let rules = [self.rule(0, *old), self.rule(1, *new)];
                let carried = vec![variant.token.clone()];
                let knobs = knobs(rules, carried, self.now.as_secs());
                let Some(shape) = shapes.first() else {
                    continue;
                };
                let hint = Some((*index, variant.setting));
                if !self.turn(&knobs, shape, TRIALS.0, hint)? {
                    return Ok(());
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

    /// What the difference is, and what causes it. `None` if there is none.
    fn key(
        &self,
        trial: &Trial,
        judged: &Judged,
        variant: Option<(usize, &'static str)>,
    ) -> Option<Key> {
        let Judged([old, new], same_changes) = judged;
        let effect = match (old.outcome, new.outcome) {
            (Outcome::Allow, Outcome::Allow) if old.reason != new.reason => Effect::Answer,
            (Outcome::Allow, Outcome::Allow) if !same_changes => Effect::Identity,
            (Outcome::Allow, Outcome::Allow) | (Outcome::Respond, Outcome::Respond) => {
                return None;
            }
            (Outcome::Respond, _) | (_, Outcome::Respond) => Effect::Answer,
            (_, Outcome::Allow) => Effect::Widened,
            (Outcome::Allow, _) => Effect::Narrowed,
            _ if old.outcome != new.outcome || old.reason != new.reason => Effect::Answer,
            _ => return None,
        };
        Some((self.cause(trial, [old, new], effect, variant), effect))
    }

    fn cause(
        &self,
        trial: &Trial,
        [old, new]: [&Verdict; 2],
        effect: Effect,
        variant: Option<(usize, &'static str)>,
    ) -> Cause {
        let rules = [old, new].map(|verdict| verdict.rule.map(|id| id.0));
        let same_requirement = {
            let [old, new] = rules;
            self.structure.require_the_same(old, new)
        };
        let reasons = [old.reason, new.reason];
        if old.outcome == Outcome::Respond || new.outcome == Outcome::Respond {
            return Cause::Setting("protected_resources");
        }
        if reasons.contains(&Some(Reason::SpoofedHeader)) {
            return Cause::Setting("upstream");
        }
        for (reason, part) in [
            (Reason::AmbiguousPath, "path"),
            (Reason::AmbiguousMethod, "method"),
            (Reason::AmbiguousHost, "host"),
            (Reason::AmbiguousHeader, "header"),
        ] {
            if reasons.contains(&Some(reason)) {
                return match self.globals.paths && part == "path" {
                    true => Cause::Setting("paths"),
                    false => Cause::Form(part),
                };
            }
        }
        if old.reason == new.reason && old.reason.is_some() && self.globals.enforce {
            return Cause::Setting("enforce");
        }
        let is_about_token = old.is_token_refused != new.is_token_refused
            || (old.is_token_refused && new.is_token_refused)
            || (variant.is_some() && old.provider.is_some() != new.provider.is_some());
        if let Bearer::Token(spec) = &trial.bearer
            && is_about_token
            && self.both_read(rules)
        {
            let found = self.structure.providers.iter();
            let mut found = found
                .enumerate()
                .filter(|(_, pair)| pair.name == spec.provider);
            let own = variant.or_else(|| found.next().map(|(index, _)| (index, "")));
            if let Some((index, setting)) = own {
                return Cause::Provider(index, setting);
            }
        }
        if let (Some((index, setting)), true) = (variant, same_requirement) {
            return Cause::Provider(index, setting);
        }
        let [before, after] = self.sides.map(|side| side.policy.cors_preflight());
        let is_preflight = trial.shape.method == "OPTIONS"
            && trial.shape.headers.iter().any(|(name, _)| name == "origin");
        if is_preflight && before != after && same_requirement {
            return Cause::Setting("cors_preflight");
        }
        if effect == Effect::Identity && self.globals.upstream && old.has_bearer == new.has_bearer {
            return Cause::Setting("upstream");
        }
        let [old, new] = rules;
        Cause::Rules(old, new)
    }

    /// Whether both rules look at tokens.
    fn both_read(&self, [old, new]: Rules) -> bool {
        [self.rule(0, old), self.rule(1, new)].iter().all(|rule| {
            rule.is_some_and(|rule| {
                matches!(rule.access, Access::Optional(_) | Access::Required(_))
            })
        })
    }

    /// Takes away what the examples do not need.
    fn minimise(&mut self) -> Result<(), Error> {
        let keys: Vec<Key> = self.found.keys().copied().collect();
        for key in keys {
            while let Some(found) = self.found.get(&key) {
                let (cause, _) = key;
                let variant = match cause {
                    Cause::Provider(index, setting) => Some((index, setting)),
                    Cause::Setting(_) | Cause::Form(_) | Cause::Rules(..) => None,
                };
                let weight = found.trial.weight();
                let mut is_smaller = false;
                for smaller in smaller(&found.trial) {
                    let token = self.token(&smaller)?;
                    let judged = self.judge(&smaller, token.as_ref());
                    if self.key(&smaller, &judged, variant) == Some(key)
                        && smaller.weight() < weight
                    {
                        self.note(&smaller, &judged, variant);
                        is_smaller = true;
                        break;
                    }
                }
                if !is_smaller {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The positions with those of the token's parts at their first value, unless there is a token.
fn without_idle(knobs: &[Knob], mut positions: Vec<usize>) -> Vec<usize> {
    let mut both = knobs.iter().zip(&positions);
    let carried = both.find_map(|(knob, position)| match knob {
        Knob::Bearer(values) => values.get(*position),
        _ => None,
    });
    if !matches!(carried, Some(Carried::Token(..))) {
        for (knob, position) in knobs.iter().zip(&mut positions) {
            if knob.is_of_token() {
                *position = 0;
            }
        }
    }
    positions
}

/// The verdicts, and whether both upstreams receive the same.
struct Judged([Verdict; 2], bool);

/// The trial without one of its parts, or with one of them in the usual form.
fn smaller(trial: &Trial) -> Vec<Trial> {
    let mut all = Vec::new();
    for position in 0..trial.shape.headers.len() {
        let mut less = trial.clone();
        less.shape.headers.remove(position);
        all.push(less);
    }
    for position in 0..trial.shape.context.len() {
        let mut less = trial.clone();
        less.shape.context.remove(position);
        all.push(less);
    }
    if let Some((path, _)) = trial.shape.path.split_once('?') {
        let mut less = trial.clone();
        path.clone_into(&mut less.shape.path);
        all.push(less);
    }
    let plain = Shape::plain("", "", "");
    if trial.shape.address != plain.address || !trial.shape.principal.is_empty() {
        let mut less = trial.clone();
        less.shape.address.clone_from(&plain.address);
        all.push(less.clone());
        less.shape.principal.clear();
        all.push(less);
    }
    if let Bearer::Token(spec) = &trial.bearer {
        let with = |change: &dyn Fn(&mut super::request::TokenSpec)| {
            let mut less = trial.clone();
            let mut spec = spec.clone();
            change(&mut spec);
            less.bearer = Bearer::Token(spec);
            less
        };
        let mut nothing = trial.clone();
        nothing.bearer = Bearer::None;
        all.push(nothing);
        for (name, value) in &spec.claims {
            all.push(with(&|spec| {
                spec.claims.remove(name);
            }));
            let words: Vec<&str> = value.as_str().unwrap_or_default().split(' ').collect();
            if words.len() > 1 {
                for position in 0..words.len() {
                    let mut others = words.clone();
                    others.remove(position);
                    all.push(with(&|spec| {
                        spec.claims.insert(name.clone(), others.join(" ").into());
                    }));
                }
            }
        }
        if spec.auth_time.is_some() {
            all.push(with(&|spec| {
                spec.auth_time = None;
                spec.noteworthy.retain(|name| *name != "auth_time");
            }));
        }
    }
    all
}
