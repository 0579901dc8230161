//! Counts what was answered, and reports it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use crate::class::Class;
use crate::configuration::Color;
use crate::oracle::{Finding, Got, Judged};
use crate::process::Log;
use crate::traffic::Request;

/// The number of broken promises that are shown.
const MAX_SHOWN: usize = 20;

/// Everything that was answered so far.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// The number of answers of each status and reason.
    answers: BTreeMap<Class, BTreeMap<String, u64>>,
    findings: BTreeMap<Finding, u64>,
    allowed: BTreeMap<&'static str, u64>,
    /// The number of requests that had to wait for a new key, by provider.
    waiting: BTreeMap<&'static str, u64>,
    /// The times of all answers, in microseconds.
    times: Vec<u32>,
    /// Of those, the times of valid tokens for which nothing had to be fetched.
    prompt: Vec<u32>,
    lost: u64,
    examples: Vec<String>,
}

impl Tally {
    /// Records the answer to a request.
    pub fn record(&self, request: &Request, got: &Got, color: Option<Color>) {
        let Judged {
            finding,
            expected,
            is_prompt,
        } = request.expected.judge(got, color);
        let took = got.answered.duration_since(got.sent).as_micros();
        let body = String::from_utf8_lossy(&got.body);
        let reason = serde_json::from_str::<Value>(&body).unwrap_or_default();
        let reason = reason["reason"].as_str().unwrap_or_default();
        let mut counts = self.counts();
        let answers = counts.answers.entry(request.class).or_default();
        let answer = format!("{} {reason}", got.status);
        *answers.entry(answer.trim_end().to_owned()).or_default() += 1;
        *counts.findings.entry(finding).or_default() += 1;
        if finding == Finding::Waiting {
            *counts.waiting.entry(request.provider).or_default() += 1;
        }
        if got.status == 200 {
            *counts.allowed.entry(request.provider).or_default() += 1;
        }
        let took = u32::try_from(took).unwrap_or(u32::MAX);
        counts.times.push(took);
        if is_prompt {
            counts.prompt.push(took);
        }
        let wrong = Finding::WRONG.iter().find(|(wrong, _)| *wrong == finding);
        if let Some((_, what)) = wrong {
            let (class, id) = (request.class.name(), got.id.as_deref().unwrap_or("none"));
            let key = request.expected.key.as_ref();
            let key = key.map(|key| format!("{} {:?}", key.signer.kid(), key.times()));
            counts.show(format!(
                "{what}: {class}, provider {}, request id {id}\n    expected {expected}\n    \
                 got {} {}\n    configuration {color:?}, key {}",
                request.provider,
                got.status,
                body.replace('\n', " "),
                key.unwrap_or_default(),
            ));
        }
    }

    /// Records a request that got no answer.
    pub fn lost(&self, request: &Request, why: &str) {
        let mut counts = self.counts();
        counts.lost += 1;
        counts.show(format!("no answer: {}: {why}", request.class.name()));
    }

    /// The number of answers, and how many broke a promise.
    pub fn progress(&self) -> (usize, u64) {
        let counts = self.counts();
        (counts.times.len(), counts.broken())
    }

    /// The number of prompt answers, and the percentiles of those from number `from` on.
    pub fn prompt(&self, from: usize) -> (usize, [f64; 2]) {
        let times = self
            .counts()
            .prompt
            .get(from..)
            .unwrap_or_default()
            .to_vec();
        (from + times.len(), percentiles(times))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap()
    }
}

/// The 50th and the 99th percentile of times in microseconds, in milliseconds.
fn percentiles(mut times: Vec<u32>) -> [f64; 2] {
    times.sort_unstable();
    [50, 99].map(|part| {
        let index = (times.len() * part / 100).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |time| f64::from(*time) / 1e3)
    })
}

impl Counts {
    fn show(&mut self, example: String) {
        if self.examples.len() < MAX_SHOWN {
            self.examples.push(example);
        }
    }

    fn broken(&self) -> u64 {
        let wrong = Finding::WRONG
            .iter()
            .filter_map(|(wrong, _)| self.findings.get(wrong));
        wrong.sum::<u64>() + self.lost
    }
}

/// Everything else that the report tells.
pub struct Circumstances {
    pub took: Duration,
    pub memory: Memory,
    pub fetches: Vec<(&'static str, u64)>,
    pub reloads: u64,
    pub rotations: u64,
    pub log: Log,
    /// Promises that no single request shows.
    pub broken: Vec<String>,
}

/// Resident memory, in MiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub start: f64,
    /// After the warm-up.
    pub warm: f64,
    pub peak: f64,
    pub end: f64,
}

/// The report as text, as JSON, and whether all promises were kept.
pub fn write(tally: &Tally, circumstances: &Circumstances) -> (String, Value, bool) {
    let Circumstances {
        took,
        memory,
        fetches,
        reloads,
        rotations,
        log,
        broken,
    } = circumstances;
    let counts = tally.counts();
    let [all, prompt] = [&counts.times, &counts.prompt].map(|times| percentiles(times.clone()));
    let count = counts.times.len();
    let rate = count as f64 / took.as_secs_f64();
    let mut text = format!("\n{count} requests in {} s, {rate:.0}/s\n", took.as_secs());
    let mut out = |line: String| writeln!(text, "{line}").unwrap();
    out("\nAnswers".to_owned());
    for (class, answers) in &counts.answers {
        for (answer, count) in answers {
            out(format!("  {:36} {answer:30} {count:>9}", class.name()));
        }
    }
    out("\nPromises".to_owned());
    for (finding, what) in Finding::WRONG {
        let count = counts.findings.get(&finding).unwrap_or(&0);
        out(format!("  {what:67} {count:>9}"));
    }
    out(format!(
        "  {:67} {:>9}",
        "requests without an answer", counts.lost
    ));
    out(
        "\nProviders: allowed tokens, 503 while a new key was not fetched yet, and fetches"
            .to_owned(),
    );
    for (provider, fetches) in fetches {
        let [allowed, waiting] =
            [&counts.allowed, &counts.waiting].map(|count| count.get(provider).unwrap_or(&0));
        out(format!(
            "  {provider:36} {allowed:>9} {waiting:>9} {fetches:>9}"
        ));
    }
    let Memory {
        start,
        warm,
        peak,
        end,
    } = memory;
    out(format!(
        "\nResident memory: start {start:.1} MiB, warm {warm:.1} MiB, peak {peak:.1} MiB, end {end:.1} MiB"
    ));
    for (what, [p50, p99]) in [
        ("All answers", all),
        ("Valid tokens whose key was known", prompt),
    ] {
        out(format!("{what}: p50 {p50:.2} ms, p99 {p99:.2} ms"));
    }
    out(format!(
        "Reloads: {reloads}, certificate rotations: {rotations}"
    ));
    out(format!("Log lines: {:?}", log.levels));
    for (message, count) in &log.complaints {
        out(format!("  {count:>6} × {message}"));
    }
    for example in counts.examples.iter().chain(broken) {
        out(format!("\nBROKEN: {example}"));
    }
    let is_complete = counts.answers.len() == Class::ALL.len()
        && fetches
            .iter()
            .all(|(provider, _)| counts.allowed.contains_key(provider));
    if !is_complete {
        out(
            "\nBROKEN: not every class was answered, or a provider's tokens were never allowed"
                .to_owned(),
        );
    }
    let is_kept = counts.broken() == 0 && broken.is_empty() && is_complete;
    out(match is_kept {
        true => "\nAll promises kept.".to_owned(),
        false => "\nPromises were broken.".to_owned(),
    });
    let json = counts.to_json(circumstances, [all, prompt], is_kept);
    (text, json, is_kept)
}

impl Counts {
    fn to_json(
        &self,
        circumstances: &Circumstances,
        [all, prompt]: [[f64; 2]; 2],
        is_kept: bool,
    ) -> Value {
        let Circumstances {
            took,
            memory,
            fetches,
            reloads,
            rotations,
            log,
            broken,
        } = circumstances;
        let Memory {
            start,
            warm,
            peak,
            end,
        } = memory;
        let answers = self.answers.iter();
        let answers = answers.map(|(class, answers)| (class.name(), answers));
        let findings = Finding::WRONG.map(|(finding, what)| (what, self.findings.get(&finding)));
        json!({
            "kept": is_kept,
            "requests": self.times.len(),
            "seconds": took.as_secs_f64(),
            "answers": answers.collect::<BTreeMap<_, _>>(),
            "broken": BTreeMap::from(findings.map(|(what, count)| (what, count.unwrap_or(&0)))),
            "lost": self.lost,
            "waiting": self.waiting,
            "allowed": self.allowed,
            "fetches": fetches.iter().copied().collect::<BTreeMap<_, _>>(),
            "resident_mib": {"start": start, "warm": warm, "peak": peak, "end": end},
            "milliseconds_p50_p99": {"all": all, "known_key": prompt},
            "reloads": reloads,
            "rotations": rotations,
            "log": log.levels,
            "complaints": log.complaints,
            "examples": self.examples.iter().chain(broken).collect::<Vec<_>>(),
        })
    }
}
