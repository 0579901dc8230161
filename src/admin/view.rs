//! What the page shows, as text: once as HTML and then, each second, as JSON.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::Admin;
use crate::gate::Generation;
use crate::gate::denials::DenialRecord;
use crate::guide;
use crate::telemetry::metrics::{Outcomes, Totals};
use crate::telemetry::recent::RecentBadConnection;

/// The number of denials on the page.
const MAX_DENIALS: usize = 30;

/// The number of rules on the page. Each takes about 250 bytes.
const MAX_RULES: usize = 1000;

/// A denial in a list.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DenialRow {
    pub(super) time: String,
    pub(super) request: String,
    /// Who sent it and which parts of the configuration apply.
    pub(super) who: String,
    pub(super) reason: &'static str,
    /// The hint, or what was wrong.
    pub(super) text: String,
    pub(super) id: String,
    /// The address of the page with this denial.
    pub(super) link: String,
}

/// The last denials, newest first, each with its hint if one is known.
pub(super) fn denials(admin: &Admin) -> Vec<DenialRow> {
    let denials = &admin.gate.denials;
    let newest = denials.newest().take(MAX_DENIALS);
    let rows = newest.map(|record| DenialRow::of(&record, denials.hint(&record)));
    rows.collect()
}

impl DenialRow {
    fn of(record: &DenialRecord, hint: Option<String>) -> Self {
        let who = [
            ("from", record.source.as_deref()),
            ("rule", record.rule.as_deref()),
            ("provider", record.provider.as_deref()),
            ("subject", record.subject.as_deref()),
            ("client", record.client.as_deref()),
        ];
        let who: Vec<String> = who
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} {}", value?)))
            .collect();
        let id = utf8_percent_encode(&record.request_id, NON_ALPHANUMERIC);
        let text = hint.unwrap_or_else(|| record.detail.clone());
        Self {
            time: record.time.clone(),
            request: request(record),
            who: who.join(", "),
            reason: record.reason,
            text: match record.enforced {
                true => text,
                false => format!("passed (enforce: false): {text}"),
            },
            link: format!("/?id={id}#denials"),
            id: record.request_id.clone(),
        }
    }
}

fn request(record: &DenialRecord) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    let (method, host, path) = (&record.method, &record.host, &record.path);
    format!("{} {}{}", text(method), text(host), text(path))
}

/// A denial with all that is known about it: names and values.
pub(super) fn facts(record: &DenialRecord) -> Vec<(&'static str, String)> {
    let age = record.keys_age_seconds.map(|age| format!("{age} s"));
    let when = match record.enforced {
        true => "Denied at",
        false => "Passed (not enforced) at",
    };
    let facts = [
        (when, Some(record.time.clone())),
        ("Request id", Some(record.request_id.clone())),
        ("Trace id", record.trace_id.clone()),
        ("Request", Some(request(record))),
        ("Source", record.source.clone()),
        ("Reason", Some(record.reason.to_owned())),
        ("Rule", record.rule.clone()),
        ("Provider", record.provider.clone()),
        ("Subject", record.subject.clone()),
        ("Client", record.client.clone()),
        ("Age of the keys", age),
        ("Detail", Some(record.detail.clone())),
        ("Hint", record.hint.clone()),
        ("See", Some(record.see.clone())),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name, fact?)));
    let points = guide::points(record.reason).into_iter();
    known
        .chain(points.map(|point| (point.name, point.text)))
        .collect()
}

/// What needs an operator's attention, beginning with why the service is not ready.
pub(super) fn problems(
    admin: &Admin,
    generation: &Generation,
    not_ready: &[String],
) -> Vec<String> {
    let mut problems: Vec<String> = not_ready
        .iter()
        .map(|reason| format!("Not ready: {reason}"))
        .collect();
    if let Some(rejected) = &*admin.file.rejected.load() {
        problems.push(format!(
            "The configuration file is rejected, so the previous configuration is in force:\n{rejected}"
        ));
    }
    let restart = admin.file.restart_needed();
    problems.extend(restart.map(|restart| format!("Restart needed: {restart}")));
    let bad = admin.gate.metrics.bad_connections().recent().all();
    problems.extend(bad.iter().map(bad_connection));
    for (id, provider) in generation.policy.providers() {
        let status = generation.jwks.status(id);
        // Otherwise the service is not ready because of it.
        let name = &provider.name;
        let clock = status
            .as_ref()
            .and_then(|status| status.large_clock_difference());
        problems.extend(clock.map(|clock| format!("Provider `{name}`: {clock}")));
        let is_exempt = generation.jwks.exemption(id).is_some();
        let Some(status) = status.filter(|status| is_exempt || status.had_keys()) else {
            continue;
        };
        if let Some(error) = &status.error {
            problems.push(match status.fetched {
                Some(_) => format!("The keys of `{name}` cannot be fetched: {error}"),
                None => format!("There are no keys of `{name}`: {}", status.why_no_keys()),
            });
        }
    }
    let warnings = generation.warnings.iter();
    problems.extend(warnings.map(|warning| format!("The configuration: {warning}")));
    problems
}

fn bad_connection(bad: &RecentBadConnection) -> String {
    let RecentBadConnection {
        kind,
        times,
        ago,
        client,
        cause,
        advice,
    } = bad;
    let from = client.map(|client| format!(" from {client}"));
    let (from, ago) = (from.unwrap_or_default(), ago.as_secs());
    format!(
        "Bad connections: {times} of kind `{kind}`, the last {ago} s ago{from}: {cause}. What to change: \
         {advice}"
    )
}

/// The rules to show, and the number of those left out.
pub(super) fn rules(totals: &Totals) -> (&[(String, Outcomes)], usize) {
    let rules = &totals.rules;
    let shown = rules.get(..MAX_RULES).unwrap_or(rules);
    (shown, rules.len() - shown.len())
}
