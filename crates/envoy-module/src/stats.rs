//! Shows claimgate's metrics as the host's, under the same names.
//!
//! The host's metrics must be defined before its configuration is complete, and its gauges are whole and
//! not negative. So the sum of a histogram, and what may be negative, are left out.

use std::collections::HashMap;

use claimgate_gate::telemetry::exposition::{Sample, families};

/// The host's metrics of one configuration.
pub trait StatsHost {
    /// A metric.
    type Id: Copy;

    /// Defines a metric with these labels. `None` if the host refuses.
    fn define(&mut self, kind: Kind, name: &str, labels: &[&str]) -> Option<Self::Id>;

    /// Adds to the counter with these values of its labels.
    fn add(&mut self, id: Self::Id, values: &[&str], increase: u64);

    /// Sets the gauge with these values of its labels.
    fn set(&mut self, id: Self::Id, values: &[&str], value: u64);
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Never decreases.
    Counter,
    /// Shows a current value.
    Gauge,
}

/// What the host knows by itself or has no use for: a process, and the connections of a service.
const NOT_SHOWN: [&str; 6] = [
    "process_",
    "claimgate_connections",
    "claimgate_bad_connections",
    "claimgate_unfinished_",
    "claimgate_spans_",
    // May be negative.
    "claimgate_clock_difference_",
];

/// The labels of metrics whose series may all be created later.
const LATER: [(&str, &[&str]); 3] = [
    ("claimgate_checks_total", &["decision", "rule", "provider"]),
    ("claimgate_denials_total", &["reason", "provider"]),
    (
        "claimgate_would_deny_total",
        &["reason", "rule", "provider"],
    ),
];

/// The metrics that are defined at a host.
#[derive(Debug)]
pub struct Stats<I>(HashMap<String, Defined<I>>);

#[derive(Debug)]
struct Defined<I> {
    kind: Kind,
    labels: Vec<String>,
    id: I,
}

/// What was shown last, by every configuration together: counters of one name are one counter in the host.
#[derive(Debug, Default)]
pub struct Shown {
    counters: HashMap<String, u64>,
    /// With the values of their labels.
    gauges: HashMap<String, (String, Vec<String>)>,
}

impl<I: Copy> Stats<I> {
    /// Defines all metrics of this OpenMetrics text.
    pub fn define(open_metrics: &str, host: &mut impl StatsHost<Id = I>) -> Self {
        let mut defined = HashMap::new();
        let mut define = |name: &str, kind, labels: &[&str]| {
            if !defined.contains_key(name)
                && let Some(id) = host.define(kind, name, labels)
            {
                let labels = labels.iter().map(|label| (*label).to_owned()).collect();
                defined.insert(name.to_owned(), Defined { kind, labels, id });
            }
        };
        for (kind, sample) in samples(open_metrics) {
            let labels: Vec<&str> = sample.labels.iter().map(|(name, _)| *name).collect();
            define(sample.name, kind, &labels);
        }
        for (name, labels) in LATER {
            define(name, Kind::Counter, labels);
        }
        Self(defined)
    }

    /// Brings the host's metrics up to date with this text.
    pub fn show(&self, open_metrics: &str, shown: &mut Shown, host: &mut impl StatsHost<Id = I>) {
        let mut gone = std::mem::take(&mut shown.gauges);
        for (_, sample) in samples(open_metrics) {
            let Some(Defined { kind, labels, id }) = self.0.get(sample.name) else {
                continue;
            };
            if !sample
                .labels
                .iter()
                .map(|(name, _)| *name)
                .eq(labels.iter())
            {
                continue;
            }
            let values: Vec<&str> = sample.labels.iter().map(|(_, value)| &**value).collect();
            let Some(value) = whole(sample.value) else {
                continue;
            };
            let series = format!("{} {values:?}", sample.name);
            match kind {
                Kind::Counter => {
                    let before = shown.counters.insert(series, value);
                    // A counter that begins again continues where it was.
                    let increase = value.checked_sub(before.unwrap_or(0)).unwrap_or(value);
                    // The first time even by 0, so that the series is there.
                    if increase > 0 || before.is_none() {
                        host.add(*id, &values, increase);
                    }
                }
                Kind::Gauge => {
                    host.set(*id, &values, value);
                    gone.remove(&series);
                    let values = values.into_iter().map(ToOwned::to_owned).collect();
                    shown
                        .gauges
                        .insert(series, (sample.name.to_owned(), values));
                }
            }
        }
        for (name, values) in gone.into_values() {
            if let Some(Defined { id, .. }) = self.0.get(&name) {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                host.set(*id, &values, 0);
            }
        }
    }
}

/// The samples that a host can show.
fn samples(open_metrics: &str) -> impl Iterator<Item = (Kind, Sample<'_>)> {
    let shown = families(open_metrics).into_iter().filter(|family| {
        !NOT_SHOWN
            .iter()
            .any(|prefix| family.name.starts_with(prefix))
    });
    shown.flat_map(|family| {
        let kind = match family.kind {
            "counter" | "histogram" => Kind::Counter,
            _ => Kind::Gauge,
        };
        let samples = family.samples.into_iter().filter_map(Sample::parse);
        let is_sum = family.kind == "histogram";
        samples
            .filter(move |sample| !(is_sum && sample.name.ends_with("_sum")))
            .map(move |sample| (kind, sample))
    })
}

/// The value without its fraction. `None` if it is negative or not known.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "in range, and the fraction is cut on purpose"
)]
fn whole(value: &str) -> Option<u64> {
    let value: f64 = value.parse().ok()?;
    (0.0..9e15).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Host {
        defined: Vec<(Kind, String, Vec<String>)>,
        values: HashMap<String, u64>,
    }

    impl Host {
        fn series(&self, id: usize, values: &[&str]) -> String {
            let (_, name, labels) = &self.defined[id];
            assert_eq!(labels.len(), values.len());
            format!("{name}{values:?}")
        }
    }

    impl StatsHost for Host {
        type Id = usize;

        fn define(&mut self, kind: Kind, name: &str, labels: &[&str]) -> Option<usize> {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            self.defined.push((kind, name.to_owned(), labels));
            Some(self.defined.len() - 1)
        }

        fn add(&mut self, id: usize, values: &[&str], increase: u64) {
            assert_eq!(self.defined[id].0, Kind::Counter);
            *self.values.entry(self.series(id, values)).or_default() += increase;
        }

        fn set(&mut self, id: usize, values: &[&str], value: u64) {
            assert_eq!(self.defined[id].0, Kind::Gauge);
            self.values.insert(self.series(id, values), value);
        }
    }

    fn text(checks: u64, hash: &str, age: &str) -> String {
        format!(
            "# HELP claimgate_checks x\n# TYPE claimgate_checks counter\n\
             claimgate_checks_total{{decision=\"allow\",rule=\"a\",provider=\"p\"}} {checks}\n\
             # HELP claimgate_config x\n# TYPE claimgate_config info\n\
             claimgate_config_info{{hash=\"{hash}\"}} 1\n\
             # HELP claimgate_age_seconds x\n# TYPE claimgate_age_seconds gauge\n\
             claimgate_age_seconds {age}\n\
             # HELP claimgate_took_seconds x\n# TYPE claimgate_took_seconds histogram\n\
             claimgate_took_seconds_sum 0.5\nclaimgate_took_seconds_count 3\n\
             claimgate_took_seconds_bucket{{le=\"0.1\"}} 2\n\
             # HELP process_open_fds x\n# TYPE process_open_fds gauge\nprocess_open_fds 7\n# EOF\n"
        )
    }

    #[test]
    fn values_follow() {
        let mut host = Host::default();
        let mut shown = Shown::default();
        let stats = Stats::define(&text(0, "x", "NaN"), &mut host);
        let mut names: Vec<_> = host
            .defined
            .iter()
            .map(|(_, name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "claimgate_age_seconds",
                "claimgate_checks_total",
                "claimgate_config_info",
                "claimgate_denials_total",
                "claimgate_took_seconds_bucket",
                "claimgate_took_seconds_count",
                "claimgate_would_deny_total",
            ]
        );
        let mut step = |checks, hash, age, expected: &[(&str, u64)]| {
            stats.show(&text(checks, hash, age), &mut shown, &mut host);
            for (series, value) in expected {
                assert_eq!(host.values.get(*series), Some(value), "{series}");
            }
        };
        let checks = r#"claimgate_checks_total["allow", "a", "p"]"#;
        step(
            2,
            "x",
            "1.9",
            &[
                (checks, 2),
                (r#"claimgate_config_info["x"]"#, 1),
                ("claimgate_age_seconds[]", 1),
                ("claimgate_took_seconds_count[]", 3),
                (r#"claimgate_took_seconds_bucket["0.1"]"#, 2),
            ],
        );
        let reloaded = [
            (checks, 5),
            (r#"claimgate_config_info["x"]"#, 0),
            (r#"claimgate_config_info["y"]"#, 1),
            ("claimgate_took_seconds_count[]", 3),
        ];
        step(5, "y", "2", &reloaded);
        step(1, "y", "2", &[(checks, 6)]);
    }
}
