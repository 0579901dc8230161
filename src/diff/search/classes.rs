//! Which pairs of rules decide requests, and which requests stand for each pair.

use std::collections::BTreeMap;

use super::{Rules, Search};
use crate::decision::Reason;
use crate::diff::knobs::Trial;
use crate::diff::request::{Bearer, Shape};
use crate::diff::shapes::{Pairs, shapes};
use crate::diff::structure::Structure;

/// The maximum number of requests without a token that stand for one pair of rules.
const MAX_SHAPES: usize = 6;

/// Requests without a token are alike if the same rules decide them, and if the same reason about
/// their form refuses them.
type Class = (Rules, [Option<Reason>; 2]);

impl Search<'_> {
    /// The pairs of rules that decide some request, each with its smallest requests.
    pub(super) fn classes(&mut self) -> Vec<(Rules, Vec<Shape>)> {
        let [old, new] = self.sides;
        let pairs = ChangedRules {
            structure: &self.structure,
            all: self.globals.any(),
        };
        let found = shapes([old.policy, new.policy], &pairs, self.limits.shapes);
        self.is_complete &= found.is_complete;
        self.covered.cut_patterns = found.cut;
        let mut classes: BTreeMap<Class, Vec<Shape>> = BTreeMap::new();
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
            let about_form =
                [old, new].map(|verdict| verdict.reason.filter(|reason| is_about_form(*reason)));
            self.covered.classes.insert(rules);
            let shapes = classes.entry((rules, about_form)).or_default();
            if shapes.len() < MAX_SHAPES {
                shapes.push(trial.shape);
            } else if let Some(largest) = shapes.iter_mut().max_by_key(|shape| shape.weight())
                && trial.shape.weight() < largest.weight()
            {
                *largest = trial.shape;
            }
        }
        let mut classes: Vec<(Rules, Vec<Shape>)> = classes
            .into_iter()
            .map(|((rules, _), shapes)| (rules, shapes))
            .collect();
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
}

/// The rules for which the search tries most.
struct ChangedRules<'s> {
    structure: &'s Structure,
    /// Whether a setting for all rules differs.
    all: bool,
}

impl Pairs for ChangedRules<'_> {
    fn is_changed(&self, side: usize, index: usize) -> bool {
        self.all || self.structure.is_changed(side, index)
    }

    fn other(&self, side: usize, index: usize) -> Option<usize> {
        self.structure.rules.get(side)?.get(index)?.other
    }
}

fn is_about_form(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AmbiguousPath
            | Reason::AmbiguousMethod
            | Reason::AmbiguousHost
            | Reason::AmbiguousHeader
            | Reason::SpoofedHeader
    )
}
