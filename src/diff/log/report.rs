//! Counts what would be judged otherwise: by rule, client and reason.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sequence::Missing;
use super::{Prediction, Told, logged};
use crate::diff::judge::Outcome;
use crate::escaped::Escaped;
use crate::gate::decision_log::record::{ConfigurationRecord, DecisionRecord, TokenState};

/// The maximum number of rows of one table. Further ones are counted together.
const MAX_ROWS: usize = 1000;

/// The maximum number of rows that are shown to people.
const MAX_SHOWN: usize = 10;

/// The row for what exceeds [`MAX_ROWS`].
const OTHERS: &str = "(others)";

/// The claims that name the client, as providers call them.
const CLIENT_CLAIMS: [&str; 4] = ["client_id", "azp", "cid", "appid"];

/// Rows with their counts.
type Table = BTreeMap<String, Count>;

/// How many requests of a row are judged otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Denied before, allowed now.
    pub widened: u64,
    /// Allowed before, denied now.
    pub narrowed: u64,
    /// The same decision for another reason.
    pub other: u64,
}

impl Count {
    /// All of them.
    pub fn all(self) -> u64 {
        let Self {
            widened,
            narrowed,
            other,
        } = self;
        widened + narrowed + other
    }

    fn add(&mut self, more: Self) {
        self.widened += more.widened;
        self.narrowed += more.narrowed;
        self.other += more.other;
    }

    fn json(self) -> Value {
        let Self {
            widened,
            narrowed,
            other,
        } = self;
        json!({"widened": widened, "narrowed": narrowed, "other_answer": other})
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: u64,
    otherwise: Count,
    rules: Table,
    clients: Table,
    reasons: Table,
    cannot_tell: BTreeMap<String, u64>,
    /// Requests that pass and are not all logged, if the log says so.
    is_partial: bool,
    names_client: bool,
}

/// What a log says about the difference of two configurations.
#[derive(Debug)]
pub struct Predictions {
    /// The number of decisions that were read.
    pub requests: u64,
    /// Those that would be judged otherwise.
    pub otherwise: Count,
    /// The number of those that cannot be told.
    pub unknown: u64,
    rules: Table,
    clients: Table,
    reasons: Table,
    cannot_tell: BTreeMap<String, u64>,
    missing: Missing,
    is_partial: bool,
    names_client: bool,
}

impl Tally {
    pub(super) fn configuration(&mut self, record: &ConfigurationRecord) {
        self.is_partial |= record.allow != "all";
        let mut claims = record.claims.iter();
        self.names_client |= claims.any(|name| CLIENT_CLAIMS.contains(&name.as_str()));
    }

    pub(super) fn add(&mut self, record: &DecisionRecord<'_>, prediction: &Prediction) {
        let told = match prediction {
            Prediction::Told(told) => told,
            Prediction::CannotTell(why) => return self.cannot_tell(why),
        };
        self.requests += 1;
        let before = logged(record);
        let mut count = Count::default();
        match (before.outcome, told.outcome) {
            (Outcome::Allow, Outcome::Deny) => count.narrowed = 1,
            (Outcome::Deny, Outcome::Allow) => count.widened = 1,
            (one, other) if one != other || before.reason != told.reason => count.other = 1,
            _ => return,
        }
        self.otherwise.add(count);
        let rule = |rule: &Option<String>| match rule {
            Some(rule) => format!("`{}`", Escaped::from(rule.as_str())),
            None => "(no rule)".to_owned(),
        };
        let (old, new) = (rule(&before.rule), rule(&told.rule));
        add(
            &mut self.rules,
            match old == new {
                true => old,
                false => format!("{old} → {new}"),
            },
            count,
        );
        let reason = |told: &Told| match (told.outcome, &told.reason) {
            (Outcome::Allow, Some(reason)) => {
                format!("allow (not enforced: {})", Escaped::from(reason.as_str()))
            }
            (Outcome::Deny, Some(reason)) => Escaped::from(reason.as_str()).to_string(),
            (outcome, _) => outcome.name().to_owned(),
        };
        let (before, after) = (reason(&before), reason(told));
        add(&mut self.reasons, format!("{before} → {after}"), count);
        add(&mut self.clients, client(record), count);
    }

    /// Counts a decision that cannot be told.
    pub(super) fn cannot_tell(&mut self, why: &str) {
        self.requests += 1;
        let is_new = !self.cannot_tell.contains_key(why);
        let why = match is_new && self.cannot_tell.len() >= MAX_ROWS {
            true => OTHERS,
            false => why,
        };
        *self.cannot_tell.entry(why.to_owned()).or_default() += 1;
    }

    pub(super) fn finish(self, missing: Missing) -> Predictions {
        let Self {
            requests,
            otherwise,
            rules,
            clients,
            reasons,
            cannot_tell,
            is_partial,
            names_client,
        } = self;
        Predictions {
            requests,
            otherwise,
            unknown: cannot_tell.values().sum(),
            rules,
            clients,
            reasons,
            cannot_tell,
            missing,
            is_partial,
            names_client,
        }
    }
}

/// Adds to a row, or to the row of all others if there are too many.
fn add(table: &mut Table, row: String, count: Count) {
    let row = match table.contains_key(&row) || table.len() < MAX_ROWS {
        true => row,
        false => OTHERS.to_owned(),
    };
    table.entry(row).or_default().add(count);
}

/// Who sent the request, as far as the log names clients.
fn client(record: &DecisionRecord<'_>) -> String {
    let claim = |name: &&str| record.claims.get(*name).map(ToString::to_string);
    let named = CLIENT_CLAIMS.iter().find_map(claim);
    match (named, record.token) {
        (Some(name), _) => name.trim_matches('"').to_owned(),
        (None, TokenState::Valid) => "(not named in the log)".to_owned(),
        (None, TokenState::Rejected | TokenState::Unverified) => "(a refused token)".to_owned(),
        (None, TokenState::Absent | TokenState::Unread) => "(no token)".to_owned(),
    }
}

/// A number with separators for thousands: 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Predictions {
    /// The report for people.
    pub fn text(&self) -> String {
        let Self {
            requests,
            otherwise,
            unknown,
            rules,
            clients,
            reasons,
            cannot_tell,
            missing,
            is_partial,
            names_client,
        } = self;
        let mut lines = vec![format!(
            "{} of {} logged requests would be judged otherwise: {} newly allowed, {} newly denied, {} \
             with another reason",
            grouped(otherwise.all()),
            grouped(*requests),
            grouped(otherwise.widened),
            grouped(otherwise.narrowed),
            grouped(otherwise.other),
        )];
        for (title, table) in [
            ("by rule", rules),
            ("by client", clients),
            ("by reason", reasons),
        ] {
            lines.extend(rows(title, table));
        }
        if *unknown > 0 {
            lines.push(String::new());
            lines.push(format!(
                "{} cannot be told ({:.2} %), because",
                grouped(*unknown),
                percent(*unknown, *requests)
            ));
            let mut causes: Vec<(&String, &u64)> = cannot_tell.iter().collect();
            causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (why, count) in causes.into_iter().take(MAX_SHOWN) {
                lines.push(format!("  {:>12}  {why}", grouped(*count)));
            }
        }
        let mut notes = notes(missing);
        if *is_partial {
            notes.push(
                "the log does not have all requests that passed (`decision_log.allow`)".to_owned(),
            );
        }
        if !names_client && otherwise.all() > 0 {
            notes.push(
                "to see clients, add `azp` or `client_id` to `decision_log.claims`".to_owned(),
            );
        }
        if !notes.is_empty() {
            lines.push(String::new());
            lines.extend(notes);
        }
        lines.join("\n")
    }

    /// The report for scripts.
    pub fn json(&self) -> Value {
        let Self {
            requests,
            otherwise,
            unknown,
            rules,
            clients,
            reasons,
            cannot_tell,
            missing,
            is_partial,
            names_client: _,
        } = self;
        let table = |table: &Table| -> Value {
            let rows = table.iter();
            let rows = rows.map(|(row, count)| (row.clone(), count.json()));
            Value::Object(rows.collect())
        };
        let Missing {
            lost,
            gaps,
            late_instances,
            earlier,
            unreadable,
            unclean_ends,
            read_before,
            unknown_kinds,
            is_unchecked,
        } = missing;
        json!({
            "requests": requests,
            "otherwise": otherwise.all(),
            "widened": otherwise.widened,
            "narrowed": otherwise.narrowed,
            "other_answer": otherwise.other,
            "by_rule": table(rules),
            "by_client": table(clients),
            "by_reason": table(reasons),
            "cannot_tell": {"requests": unknown, "because": cannot_tell},
            "missing": {
                "lost": lost,
                "gaps": gaps,
                "unreadable_lines": unreadable,
                "unclean_ends": unclean_ends,
                "begins_later": {"instances": late_instances, "decisions": earlier},
            },
            "read_before": read_before,
            "unknown_kinds": unknown_kinds,
            "all_numbers_are_checked": !is_unchecked,
            "all_allows_are_logged": !is_partial,
        })
    }
}

/// What is missing in the log, in words.
fn notes(missing: &Missing) -> Vec<String> {
    let Missing {
        lost,
        gaps,
        late_instances,
        earlier,
        unreadable,
        unclean_ends,
        read_before,
        unknown_kinds,
        is_unchecked,
    } = *missing;
    let counted = |count: u64, what: &str| {
        let text = format!("{} {what}", grouped(count));
        (count > 0).then_some(text)
    };
    let begins = match late_instances {
        0 => None,
        1 => Some(format!(
            "the log begins at decision {} of an instance: the {} before are not in these files",
            grouped(earlier.saturating_add(1)),
            grouped(earlier),
        )),
        several => Some(format!(
            "of {} instances, the log has no first decisions: {} are not in these files",
            grouped(several),
            grouped(earlier),
        )),
    };
    let notes = [
        counted(
            read_before,
            "decisions were read twice, and counted once: files are the same or overlap",
        ),
        counted(lost, "decisions are missing, as the log itself says"),
        counted(
            gaps,
            "decisions are missing without a word: were all files given?",
        ),
        begins,
        counted(unreadable, "lines cannot be read"),
        counted(
            unknown_kinds,
            "lines are of kinds that only newer versions know",
        ),
        counted(
            unclean_ends,
            "times an instance ended without its last word, so its last decisions may be missing",
        ),
        is_unchecked.then(|| {
            "there are too many instances or gaps to find every decision that was read twice"
                .to_owned()
        }),
    ];
    notes.into_iter().flatten().collect()
}

fn percent(part: u64, all: u64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share with two digits after the point"
    )]
    let (part, all) = (part as f64, all.max(1) as f64);
    100.0 * part / all
}

fn rows(title: &str, table: &Table) -> Vec<String> {
    if table.is_empty() {
        return Vec::new();
    }
    let mut rows: Vec<(&String, &Count)> = table.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(count.all()));
    let mut lines = vec![String::new(), title.to_owned()];
    for (row, count) in rows.iter().take(MAX_SHOWN) {
        let parts = [
            (count.widened, "newly allowed"),
            (count.narrowed, "newly denied"),
            (count.other, "another reason"),
        ];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, what)| format!("{} {what}", grouped(count)))
            .collect();
        lines.push(format!(
            "  {:>12}  {row} ({})",
            grouped(count.all()),
            parts.join(", ")
        ));
    }
    let others: u64 = rows
        .iter()
        .skip(MAX_SHOWN)
        .map(|(_, count)| count.all())
        .sum();
    if others > 0 {
        lines.push(format!("  {:>12}  (others)", grouped(others)));
    }
    lines
}
