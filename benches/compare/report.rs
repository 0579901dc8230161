//! Formats the results as tables.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// The directory for the results.
pub const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");

/// A figure, measured several times.
#[derive(Clone, Debug)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// How many times each figure is measured.
    pub const TIMES: usize = 5;

    /// Measures a figure.
    pub fn of(mut measure: impl FnMut() -> f64) -> Self {
        (0..Self::TIMES).map(|_| measure()).collect()
    }

    /// Compares two figures, measured alternately. Takes the minimum of each, because disturbances
    /// only make a measurement longer.
    pub fn of_least(mut measure: impl FnMut() -> [f64; 2]) -> f64 {
        let mut least = [f64::INFINITY; 2];
        for _ in 0..4 {
            let found = measure();
            for (least, found) in least.iter_mut().zip(found) {
                *least = least.min(found);
            }
        }
        least[0] / least[1]
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

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// The bar that a figure must meet.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Row {
    pub what: String,
    pub sample: Sample,
    pub unit: &'static str,
    pub bar: Option<Bar>,
}

impl Row {
    /// Whether more than one of the measurements meets the bar.
    pub fn is_met(&self) -> bool {
        let [_, next_to_least, .., next_to_most, _] = self.sample.0.as_slice() else {
            panic!("measured too seldom")
        };
        match self.bar {
            Some(Bar::AtLeast(bar)) => *next_to_most >= bar,
            Some(Bar::AtMost(bar)) => *next_to_least <= bar,
            None => true,
        }
    }
}

/// The rows as a Markdown table.
pub fn table(rows: &[Row]) -> String {
    let has_bars = rows.iter().any(|row| row.bar.is_some());
    let (head, line) = match has_bars {
        true => (" bar |", "---|"),
        false => ("", ""),
    };
    let mut table = format!("| what | median | least – most |{head}\n|---|---|---|{line}\n");
    for row in rows {
        let Row {
            what,
            sample,
            unit,
            bar,
        } = row;
        let bar = match bar {
            Some(Bar::AtLeast(bar)) => format!(" ≥ {bar} |"),
            Some(Bar::AtMost(bar)) => format!(" ≤ {bar} |"),
            None => String::new(),
        };
        let (median, least, most) = (sample.median(), sample.least(), sample.most());
        writeln!(
            table,
            "| {what} | {median:.2} {unit} | {least:.2} – {most:.2} |{bar}"
        )
        .unwrap();
    }
    table
}

/// Criterion's results for these pieces, as multiples of the first.
pub fn pieces(names: &[(String, String)], directory: &Path) -> String {
    let nanoseconds = |(group, name): &(String, String)| {
        let file = directory.join(group).join(name).join("new/estimates.json");
        let json =
            std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["median"]["point_estimate"].as_f64().unwrap()
    };
    let mut table = "| what | time | against the first |\n|---|---|---|\n".to_owned();
    let first = nanoseconds(&names[0]);
    for piece in names {
        let time = nanoseconds(piece);
        let (group, name) = piece;
        let (micros, ratio) = (time / 1e3, time / first);
        writeln!(table, "| {group}: {name} | {micros:.2} µs | {ratio:.3} × |").unwrap();
    }
    table
}

/// Fills in `performance.md` and writes it to `docs/PERFORMANCE.md`.
pub fn write(parts: &[(&str, &str)]) {
    let mut text = include_str!("performance.md").to_owned();
    let machine = machine();
    for (name, part) in parts.iter().chain(&[("machine", machine.as_str())]) {
        let place = format!("{{{name}}}");
        assert!(text.contains(&place), "performance.md has no {place}");
        text = text.replace(&place, part.trim_end());
    }
    std::fs::write(format!("{DOCS}/PERFORMANCE.md"), text).unwrap();
}

fn machine() -> String {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("")
            .trim()
            .to_owned()
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let cores = std::thread::available_parallelism().unwrap();
    let envoy = said(crate::process::envoy().to_str().unwrap(), "--version");
    let envoy = envoy.rsplit("version: ").next().unwrap_or_default();
    let envoy = envoy.split('/').nth(1).unwrap_or_default();
    format!(
        "{cores} cores ({model}), Linux {}, {}, Envoy {envoy}, claimgate {}",
        said("uname", "-r"),
        said("rustc", "--version"),
        env!("CARGO_PKG_VERSION"),
    )
}
