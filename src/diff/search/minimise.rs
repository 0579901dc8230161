//! Makes examples smaller: what a person has to read should be what matters.

use super::{Cause, Key, Search};
use crate::diff::Error;
use crate::diff::knobs::Trial;
use crate::diff::request::{Bearer, Shape, TokenSpec};

impl Search<'_> {
    /// Takes away what the examples do not need.
    pub(super) fn minimise(&mut self) -> Result<(), Error> {
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
        let with = |change: &dyn Fn(&mut TokenSpec)| {
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
