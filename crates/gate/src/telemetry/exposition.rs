//! The two text formats that Prometheus reads, and the choice between them.

use std::fmt::Write as _;

mod sample;

pub use sample::Sample;

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4, which every scraper can read.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header (RFC 9110 §12.5.1) prefers by weight. Prometheus text if
    /// the header is absent, names neither format, or gives both the same weight.
    pub fn accepted(accept: &str) -> Self {
        let weight = |name: &str| {
            let ranges = accept.split(',').filter_map(media_range);
            let weights = ranges.filter(|(range, _)| range.eq_ignore_ascii_case(name));
            weights.map(|(_, weight)| weight).fold(0.0, f32::max)
        };
        match weight("application/openmetrics-text") > weight("text/plain") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The value of the `content-type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Converts OpenMetrics text to this format, with families sorted by name and series by labels.
    pub fn render(self, open_metrics: &str) -> String {
        let mut families = families(open_metrics);
        families.sort_by_key(|family| family.name);
        let mut text = String::with_capacity(open_metrics.len());
        for family in &mut families {
            // The sort is stable, so the buckets of a histogram keep their order.
            family.samples.sort_by_key(|sample| series(sample));
            family.render(self, &mut text);
        }
        if self == Self::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }
}

/// A media range without its parameters, and its weight. An invalid weight counts as 0.
fn media_range(text: &str) -> Option<(&str, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next()?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((
        range,
        weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)),
    ))
}

/// A metric family: its metadata and its samples.
#[derive(Debug)]
pub struct Family<'t> {
    /// The name, without the suffix of its samples.
    pub name: &'t str,
    /// What it counts.
    pub help: &'t str,
    /// Its type in OpenMetrics, such as `counter`.
    pub kind: &'t str,
    /// Its samples as lines of text. [`Sample::parse`] reads one.
    pub samples: Vec<&'t str>,
}

/// The families in OpenMetrics text.
pub fn families(open_metrics: &str) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for line in open_metrics.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            if let Some(family) = families.last_mut() {
                family.samples.push(line);
            }
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        let (keyword, name, rest) = (words.next(), words.next(), words.next());
        match (keyword, name) {
            (Some("HELP"), Some(name)) => families.push(Family {
                name,
                help: rest.unwrap_or_default(),
                kind: "unknown",
                samples: Vec::new(),
            }),
            (Some("TYPE"), _) => {
                if let Some(family) = families.last_mut() {
                    family.kind = rest.unwrap_or_default();
                }
            }
            // `UNIT` is part of the name, and `EOF` is written separately.
            _ => {}
        }
    }
    families
}

impl Family<'_> {
    fn render(&self, format: Format, text: &mut String) {
        let Self {
            name,
            help,
            kind,
            samples,
        } = self;
        // In Prometheus text, a family has the name of its samples, and there are fewer types.
        let (suffix, kind) = match (format, *kind) {
            (Format::Prometheus, "counter") => ("_total", "counter"),
            (Format::Prometheus, "info") => ("_info", "gauge"),
            (Format::Prometheus, "unknown") => ("", "untyped"),
            (_, kind) => ("", kind),
        };
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
        );
        for sample in samples {
            text.push_str(sample);
            text.push('\n');
        }
    }
}

/// The sort key of a series: its labels without the bucket.
fn series(sample: &str) -> &str {
    let labels = sample.find('{').and_then(|from| sample.get(from..));
    let labels = labels.unwrap_or_default();
    labels.split("le=\"").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        use Format::{OpenMetrics, Prometheus};
        for (accept, expected) in [
            ("", Prometheus),
            ("*/*", Prometheus),
            ("text/plain;version=0.0.4", Prometheus),
            ("text/html", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; version=1.0.0", OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;q=0.2, text/plain;q=0.3",
                Prometheus,
            ),
            ("application/openmetrics-text;q=0", Prometheus),
            ("application/openmetrics-text;q=x", Prometheus),
        ] {
            assert_eq!(Format::accepted(accept), expected, "{accept}");
        }
    }

    #[test]
    fn both_formats() {
        let open_metrics = "\
# HELP b Counts.
# TYPE b counter
b_total{x=\"2\"} 1
b_total{x=\"1\"} 3
# HELP a_seconds Takes.
# TYPE a_seconds histogram
# UNIT a_seconds seconds
a_seconds_sum 1.5
a_seconds_count 2
a_seconds_bucket{le=\"0.5\"} 1
a_seconds_bucket{le=\"+Inf\"} 2
# HELP build Version.
# TYPE build info
build_info{version=\"1\"} 1
# EOF
";
        let prometheus = "\
# HELP a_seconds Takes.
# TYPE a_seconds histogram
a_seconds_sum 1.5
a_seconds_count 2
a_seconds_bucket{le=\"0.5\"} 1
a_seconds_bucket{le=\"+Inf\"} 2
# HELP b_total Counts.
# TYPE b_total counter
b_total{x=\"1\"} 3
b_total{x=\"2\"} 1
# HELP build_info Version.
# TYPE build_info gauge
build_info{version=\"1\"} 1
";
        assert_eq!(Format::Prometheus.render(open_metrics), prometheus);
        let sorted = Format::OpenMetrics.render(open_metrics);
        assert!(
            sorted.ends_with("build_info{version=\"1\"} 1\n# EOF\n"),
            "{sorted}"
        );
        assert!(sorted.starts_with("# HELP a_seconds Takes.\n# TYPE a_seconds histogram\n"));
    }
}
