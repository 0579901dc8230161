//! Which part of the configurations makes a difference.

use super::{Cause, Judged, Key, Rules, Search};
use crate::decision::Reason;
use crate::diff::judge::{Outcome, Verdict};
use crate::diff::knobs::Trial;
use crate::diff::report::Effect;
use crate::diff::request::Bearer;
use crate::policy::requirement::Access;

impl Search<'_> {
    /// What the difference is, and what causes it. `None` if both judge alike.
    pub(super) fn key(
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
}
