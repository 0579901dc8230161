//! What was measured, as a table.

use std::fmt::Write as _;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PERFORMANCE.md");

/// A figure, measured several times.
#[derive(Clone, Debug)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// So often each figure is measured.
    const TIMES: usize = 5;

    /// What this measures.
    pub fn of(mut measure: impl FnMut() -> f64) -> Self {
        let mut values: Vec<f64> = (0..Self::TIMES).map(|_| measure()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn least(&self) -> f64 {
        self.0[0]
    }

    fn most(&self) -> f64 {
        self.0[self.0.len() - 1]
    }
}

/// How far a figure may go.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub sample: Sample,
    pub unit: &'static str,
    pub bar: Bar,
}

impl Row {
    /// Whether the bar lies within what was measured, or on the right side of it.
    pub fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtLeast(bar) => self.sample.most() >= bar,
            Bar::AtMost(bar) => self.sample.least() <= bar,
        }
    }
}

/// The rows in Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = "| what | median | least – most | bar |\n|---|---|---|---|\n".to_owned();
    for row in rows {
        let Row {
            what,
            sample,
            unit,
            bar,
        } = row;
        let bar = match bar {
            Bar::AtLeast(bar) => format!("≥ {bar}"),
            Bar::AtMost(bar) => format!("≤ {bar}"),
        };
        let (median, least, most) = (sample.median(), sample.least(), sample.most());
        writeln!(
            table,
            "| {what} | {median:.2} {unit} | {least:.2} – {most:.2} | {bar} |"
        )
        .unwrap();
    }
    table
}

/// Writes `docs/PERFORMANCE.md`.
pub fn write(table: &str) {
    let rust = Command::new("rustc").arg("--version").output().unwrap();
    let rust = String::from_utf8(rust.stdout).unwrap();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().unwrap();
    let text = format!(
        "{}\n{table}\nMeasured on {cores} cores ({model}), with {}, by claimgate {}.\n",
        include_str!("performance.md"),
        rust.trim(),
        env!("CARGO_PKG_VERSION"),
    );
    std::fs::write(FILE, text).unwrap();
}
