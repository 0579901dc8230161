//! Metrics of the process, under the names that Prometheus' client libraries give them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Exports what `/proc` says about the process. What it does not say is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let system = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let stat = Stat::parse(&stat);
        let boot = boot_time(&system);
        let ticks_per_second = clock_ticks_per_second();
        let seconds = |ticks| as_float(ticks) / as_float(ticks_per_second);
        if let Some(Stat { cpu_ticks, .. }) = stat {
            let help = "CPU time of the process, in user and system mode";
            let metric = ("process_cpu_seconds", help, None, MetricType::Counter);
            let encoder = encoder.encode_descriptor(metric.0, metric.1, metric.2, metric.3)?;
            ConstCounter::new(seconds(cpu_ticks)).encode(encoder)?;
        }
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                stat.map(|stat| as_float(stat.resident_pages) * as_float(page_size() as u64)),
            ),
            (
                "process_start_time_seconds",
                "Start of the process, in seconds since 1970",
                stat.zip(boot)
                    .map(|(stat, boot)| as_float(boot) + seconds(stat.start_ticks)),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                // Not counting the one that reads the directory.
                std::fs::read_dir("/proc/self/fd")
                    .ok()
                    .map(|open| as_float(open.count().saturating_sub(1) as u64)),
            ),
            (
                "process_max_fds",
                "The limit of open file descriptors",
                Some(
                    getrlimit(Resource::Nofile)
                        .current
                        .map_or(f64::INFINITY, as_float),
                ),
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(gauge)?;
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers"
)]
fn as_float(number: u64) -> f64 {
    number as f64
}

/// Fields of `/proc/self/stat`, in `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// `utime` and `stime`.
    cpu_ticks: u64,
    /// `starttime`: ticks from the boot of the machine to the start of the process.
    start_ticks: u64,
    /// `rss`.
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may contain anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of these is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            start_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine was booted, in seconds since 1970: `btime` in `/proc/stat`.
fn boot_time(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = "7 (a) 1 (b c) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 4 0 98765 9 321 1 2";
        let expected = Stat {
            cpu_ticks: 175,
            start_ticks: 98_765,
            resident_pages: 321,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
        assert_eq!(
            boot_time("cpu 1 2\nbtime 1790000000\nctxt 5\n"),
            Some(1_790_000_000)
        );
    }
}
