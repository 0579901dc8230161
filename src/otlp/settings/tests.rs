//! Which setting decides.

use super::*;
use crate::config::Config;

/// Where spans and metrics go with this section and these variables, by whom they are sampled and
/// how often metrics are sent.
fn shown(section: &str, variables: &[(&str, &str)]) -> String {
    let provider = "providers: [{ issuer: https://idp.example.com, audiences: [a] }]";
    let config = Config::from_yaml(&format!("{provider}\n{section}")).unwrap();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let settings = Settings::read(&config.telemetry, &variable).unwrap();
    let settings = settings.expect("something is exported");
    let to = |to: &Destination| format!("{} {} {:?}", to.protocol.name(), to.url, to.timeout);
    let traces = settings.traces.map(|it| {
        let (follows, ratio) = (it.sampler.follows_caller, it.sampler.ratio);
        format!("{} {follows} {ratio}", to(&it.to))
    });
    let metrics = settings
        .metrics
        .map(|it| format!("{} {:?}", to(&it.to), it.interval));
    [traces, metrics].map(Option::unwrap_or_default).join(" | ")
}

#[test]
fn the_configuration_takes_precedence_over_variables() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:1");
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let no_metrics = ("OTEL_METRICS_EXPORTER", "none");
    let no_traces = ("OTEL_TRACES_EXPORTER", "none");
    for (section, variables, expected) in [
        (
            "telemetry: { otlp: {} }",
            &[][..],
            "grpc http://localhost:4317/ 10s true 1 | grpc http://localhost:4317/ 10s 60s",
        ),
        (
            "",
            &[("OTEL_TRACES_EXPORTER", "otlp"), http],
            "http/protobuf http://localhost:4318/v1/traces 10s true 1 | ",
        ),
        (
            "",
            &[general, http],
            "http/protobuf http://general:1/v1/traces 10s true 1 | \
             http/protobuf http://general:1/v1/metrics 10s 60s",
        ),
        (
            "",
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:1/base/"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:2/own"),
                http,
                ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "250"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ],
            "http/protobuf http://traces:2/own 10s true 1 | \
             http/protobuf http://general:1/base/v1/metrics 250ms 5s",
        ),
        (
            "",
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://metrics:3")],
            " | grpc http://metrics:3/ 10s 60s",
        ),
        (
            "telemetry: { otlp: { endpoint: 'http://file:4', protocol: grpc, sample_ratio: 0.5, \
             metrics_interval: 1m } }",
            &[
                general,
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:2"),
                http,
                ("OTEL_TRACES_SAMPLER", "always_off"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ],
            "grpc http://file:4/ 10s true 0.5 | grpc http://file:4/ 10s 60s",
        ),
        (
            "telemetry: { otlp: { metrics: true } }",
            &[general, no_metrics, no_traces],
            " | grpc http://general:1/ 10s 60s",
        ),
        (
            "",
            &[general, no_metrics, ("OTEL_TRACES_SAMPLER", "always_off")],
            "grpc http://general:1/ 10s false 0 | ",
        ),
        (
            "",
            &[
                general,
                no_metrics,
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ],
            "grpc http://general:1/ 10s true 0.25 | ",
        ),
        (
            "",
            &[general, no_traces, ("OTEL_METRIC_EXPORT_TIMEOUT", "1000")],
            " | grpc http://general:1/ 1s 60s",
        ),
    ] {
        assert_eq!(
            shown(section, variables),
            expected,
            "{section} {variables:?}"
        );
    }
}
