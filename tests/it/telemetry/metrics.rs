//! A collector gets the same metrics as a scraper.

use std::collections::{BTreeMap, BTreeSet};

use claimgate::otlp::proto::common::v1::KeyValue;
use claimgate::otlp::proto::metrics::v1::AggregationTemporality::Cumulative;
use claimgate::otlp::proto::metrics::v1::Metric;
use claimgate::otlp::proto::metrics::v1::metric::Data;
use claimgate::otlp::proto::metrics::v1::number_data_point::Value as Number;
use claimgate::telemetry::exposition::{Format, Sample};

use super::Exporting;
use crate::support::collector::{Collector, texts};
use crate::support::gate::NOW;

/// Values by name and labels.
type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

fn labels(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let texts = texts(attributes).into_iter();
    texts
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "the counts of a test are small")]
fn float(number: u64) -> f64 {
    number as f64
}

/// The series of a metric, as a scraper would see them.
fn series(metric: &Metric, all: &mut Series) {
    let start = NOW * 1_000_000_000;
    let mut put = |suffix: &str, labels: BTreeMap<String, String>, value: f64| {
        all.insert((format!("{}{suffix}", metric.name), labels), value);
    };
    let number = |value: &Option<Number>| match value.unwrap() {
        Number::AsInt(number) => float(number.try_into().unwrap()),
        Number::AsDouble(number) => number,
    };
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => {
            for point in &gauge.data_points {
                put("", labels(&point.attributes), number(&point.value));
            }
        }
        Data::Sum(sum) => {
            assert!(sum.is_monotonic);
            assert_eq!(sum.aggregation_temporality(), Cumulative);
            for point in &sum.data_points {
                assert_eq!(point.start_time_unix_nano, start);
                put("", labels(&point.attributes), number(&point.value));
            }
        }
        Data::Histogram(histogram) => {
            assert_eq!(histogram.aggregation_temporality(), Cumulative);
            for point in &histogram.data_points {
                assert_eq!(point.start_time_unix_nano, start);
                let bounds = point.explicit_bounds.iter().map(f64::to_string);
                let bounds: Vec<_> = bounds.chain(["+Inf".to_owned()]).collect();
                assert_eq!(bounds.len(), point.bucket_counts.len());
                let mut below = 0;
                for (bound, count) in bounds.into_iter().zip(&point.bucket_counts) {
                    below += count;
                    let mut labels = labels(&point.attributes);
                    labels.insert("le".to_owned(), bound);
                    put("_bucket", labels, float(below));
                }
                put("_count", labels(&point.attributes), float(point.count));
                put("_sum", labels(&point.attributes), point.sum.unwrap());
            }
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn metrics_are_those_of_the_page() {
    let collector = Collector::start().await;
    let section = collector.section("traces: false, metrics_interval: 1h");
    let exporting = Exporting::start(&section, &[]).await;
    exporting.check(3).await;
    let Exporting { gate, exports } = exporting;
    exports.flush().await;
    let received = collector.received();
    assert!(received.traces.is_empty());
    let mut exported = Series::new();
    for metric in received.last_metrics() {
        assert!(!metric.description.is_empty(), "{}", metric.name);
        series(metric, &mut exported);
    }

    let page = Format::Prometheus.render(&gate.service.gate.metrics.encode().unwrap());
    let mut scraped = Series::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Sample {
            name,
            labels,
            value,
        } = Sample::parse(line).unwrap();
        let labels = labels.into_iter().map(|(name, value)| {
            // Numbers have several spellings.
            let value = match name {
                "le" if value != "+Inf" => value.parse::<f64>().unwrap().to_string(),
                _ => value,
            };
            (name.to_owned(), value)
        });
        let value: f64 = value.parse().unwrap();
        if !value.is_nan() {
            scraped.insert((name.to_owned(), labels.collect()), value);
        }
    }
    assert!(scraped.len() > 100, "{}", scraped.len());
    let names = |series: &Series| series.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&exported), names(&scraped));
    for (key, value) in &scraped {
        // What changes by itself between two looks.
        let moves = ["process_", "claimgate_jwks_"]
            .iter()
            .any(|prefix| key.0.starts_with(prefix));
        assert!(
            moves || exported[key].to_bits() == value.to_bits(),
            "{key:?}: {value}"
        );
    }
    let denied = (
        "claimgate_denials_total".to_owned(),
        BTreeMap::from(
            [("reason", "malformed_authorization"), ("provider", "none")]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
    );
    assert_eq!(exported.get(&denied), Some(&3.0), "{exported:#?}");
}
