//! Metrics as messages. Names and labels are those of `/metrics`.

use super::super::proto::common::v1::KeyValue;
use super::super::proto::common::v1::any_value::Value;
use super::super::proto::metrics::v1::metric::Data;
use super::super::proto::metrics::v1::number_data_point::Value as Number;
use super::super::proto::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use super::super::resource::{attribute, nanos};
use crate::telemetry::exposition::{Family, Sample, families};
use crate::time::UnixTime;

/// The times of a report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When counters began at 0.
    pub(super) start: UnixTime,
    pub(super) now: UnixTime,
}

/// The metrics in OpenMetrics text. Samples without a value (NaN) are left out.
pub(super) fn metrics(open_metrics: &str, times: Times) -> Vec<Metric> {
    let families = families(open_metrics);
    let metrics = families.iter().map(|family| metric(family, times));
    metrics.collect()
}

fn metric(family: &Family<'_>, times: Times) -> Metric {
    let Family {
        name,
        help,
        kind,
        samples,
    } = family;
    let samples = samples.iter().filter_map(|line| Sample::parse(line));
    let cumulative = AggregationTemporality::Cumulative.into();
    let (suffix, data) = match *kind {
        "counter" => {
            let sum = Sum {
                data_points: numbers(samples, times, times.start),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            };
            ("_total", Data::Sum(sum))
        }
        "histogram" => {
            let histogram = Histogram {
                data_points: histograms(samples, times),
                aggregation_temporality: cumulative,
            };
            ("", Data::Histogram(histogram))
        }
        kind => {
            let gauge = Gauge {
                data_points: numbers(samples, times, UnixTime::EPOCH),
            };
            (
                if kind == "info" { "_info" } else { "" },
                Data::Gauge(gauge),
            )
        }
    };
    Metric {
        name: format!("{name}{suffix}"),
        description: (*help).to_owned(),
        unit: unit(name).to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

/// The unit in UCUM, which the name says.
fn unit(name: &str) -> &'static str {
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn numbers<'t>(
    samples: impl Iterator<Item = Sample<'t>>,
    times: Times,
    start: UnixTime,
) -> Vec<NumberDataPoint> {
    let points = samples.filter_map(|sample| {
        // A number with a fraction is written with a point.
        let value = match sample.value.parse::<i64>() {
            Ok(number) => Number::AsInt(number),
            Err(_) => Number::AsDouble(value(&sample).filter(|value| !value.is_nan())?),
        };
        Some(NumberDataPoint {
            attributes: attributes(&sample),
            start_time_unix_nano: nanos(start),
            time_unix_nano: nanos(times.now),
            value: Some(value),
            ..NumberDataPoint::default()
        })
    });
    points.collect()
}

/// Histograms, whose buckets are cumulative in the text and are not in messages.
fn histograms<'t>(
    samples: impl Iterator<Item = Sample<'t>>,
    times: Times,
) -> Vec<HistogramDataPoint> {
    let mut points: Vec<HistogramDataPoint> = Vec::new();
    let mut below = 0;
    for mut sample in samples {
        let bound = sample.labels.iter().position(|(name, _)| *name == "le");
        let bound = bound.map(|index| sample.labels.remove(index).1);
        let attributes = attributes(&sample);
        let is_new = points
            .last()
            .is_none_or(|last| last.attributes != attributes);
        if is_new {
            below = 0;
            points.push(HistogramDataPoint {
                attributes,
                start_time_unix_nano: nanos(times.start),
                time_unix_nano: nanos(times.now),
                ..HistogramDataPoint::default()
            });
        }
        let (Some(point), Some(value)) = (points.last_mut(), value(&sample)) else {
            continue;
        };
        let count = sample.value.parse::<u64>().unwrap_or_default();
        match bound {
            Some(bound) => {
                point.bucket_counts.push(count.saturating_sub(below));
                below = count;
                let bound = bound.parse().ok().filter(|bound: &f64| bound.is_finite());
                point.explicit_bounds.extend(bound);
            }
            None if sample.name.ends_with("_sum") => point.sum = Some(value),
            None => point.count = count,
        }
    }
    points
}

fn value(sample: &Sample<'_>) -> Option<f64> {
    sample.value.parse().ok()
}

fn attributes(sample: &Sample<'_>) -> Vec<KeyValue> {
    let labels = sample.labels.iter();
    labels
        .map(|(name, value)| attribute(name, Value::StringValue(value.clone())))
        .collect()
}
