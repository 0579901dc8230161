//! The first line of the report, and what it says about the search.

use super::{Differences, Effect, Entry, Subject};

impl Differences {
    /// The first line.
    pub fn summary(&self) -> String {
        if self.is_equal {
            return match self.entries.is_empty() {
                true => "no difference: providers, rules and all other settings are the same",
                false => {
                    "every request is judged alike; only settings that no decision uses differ"
                }
            }
            .to_owned();
        }
        let mut parts = Vec::new();
        for effect in Effect::ALL {
            let has = |entry: &&Entry| entry.examples.iter().any(|own| own.effect == effect);
            let with: Vec<&Entry> = self.entries.iter().filter(has).collect();
            parts.extend(counted(effect.name(), &with));
        }
        if parts.is_empty() {
            parts.push(
                "the configurations differ, but no request was found that they judge otherwise"
                    .to_owned(),
            );
        }
        let unproven = |entry: &&Entry| !entry.unproven.is_empty();
        let with: Vec<&Entry> = self.entries.iter().filter(unproven).collect();
        parts.extend(counted("unproven", &with));
        parts.join("; ")
    }

    pub(super) fn limits(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{} requests were judged by both configurations.",
            self.requests
        )];
        if !self.is_complete {
            lines.push(
                "The search left something out: further differences are possible.".to_owned(),
            );
        }
        if self.examples().next().is_none() {
            lines.push(
                "That none is judged otherwise is no proof that the configurations are equal."
                    .to_owned(),
            );
        }
        if self.is_unproven() {
            lines.push("Review each unproven change: it may widen what is allowed.".to_owned());
        }
        lines
    }
}

/// How many entries of each kind are so: `widened: 2 rules`.
fn counted(what: &str, entries: &[&Entry]) -> Option<String> {
    let count = |is: fn(&Subject) -> bool, one: &str, many: &str| {
        let count = entries.iter().filter(|entry| is(&entry.subject)).count();
        match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {many}")),
        }
    };
    let counts = [
        count(
            |it| matches!(it, Subject::Rule(_) | Subject::RemovedRule(_)),
            "rule",
            "rules",
        ),
        count(
            |it| matches!(it, Subject::Provider(_)),
            "provider",
            "providers",
        ),
        count(
            |it| matches!(it, Subject::Setting(_) | Subject::Form(_)),
            "other setting",
            "other settings",
        ),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    (!counts.is_empty()).then(|| format!("{what}: {}", counts.join(", ")))
}
