//! A wrong setting ends the start with an error that names it.

use super::prepare;
use crate::documents::PROVIDERS;
use crate::support::command::claimgate;

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");

#[tokio::test]
async fn each_wrong_setting_is_named() {
    let section = |fields: &str| format!("telemetry: {{ otlp: {{ {fields} }} }}");
    for (fields, variables, expected) in [
        (
            "",
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317")][..],
            "`OTEL_EXPORTER_OTLP_ENDPOINT`: `localhost:4317` has no scheme; write for example `http://localhost:4317`",
        ),
        (
            "",
            &[(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://localhost:4318/v1/traces",
            )],
            "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`: `http://localhost:4318/v1/traces` has a path, but gRPC uses none; remove it, or choose the protocol `http/protobuf` (`telemetry.otlp.protocol`, `OTEL_EXPORTER_OTLP_PROTOCOL`)",
        ),
        (
            "endpoint: 'http://localhost:4317/x'",
            &[],
            "`telemetry.otlp.endpoint`: `http://localhost:4317/x` has a path, but gRPC",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")],
            "`OTEL_EXPORTER_OTLP_PROTOCOL`: `http/json` is not supported; use `grpc` or `http/protobuf`",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "tcp")],
            "`OTEL_EXPORTER_OTLP_METRICS_PROTOCOL`: `tcp` is not supported",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "secret")],
            "`OTEL_EXPORTER_OTLP_HEADERS`: entry 1 is not `name=value`",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
            "`OTEL_EXPORTER_OTLP_TIMEOUT`: `10s` is not a whole number above 0",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")],
            "`OTEL_EXPORTER_OTLP_CERTIFICATE`: cannot use `/nowhere.pem`: No such file",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_TRACES_SAMPLER", "sometimes")],
            "`OTEL_TRACES_SAMPLER`: `sometimes` is not supported; use one of `always_on`, `always_off`, `traceidratio`, `parentbased_always_on`, `parentbased_always_off`, `parentbased_traceidratio`",
        ),
        (
            "",
            &[
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "10%"),
            ],
            "`OTEL_TRACES_SAMPLER_ARG`: `10%` is not a number from 0 to 1",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_BSP_MAX_QUEUE_SIZE", "0")],
            "`OTEL_BSP_MAX_QUEUE_SIZE`: `0` is not a whole number above 0",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096")],
            "`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`: `4096` is more than the queue holds; set `OTEL_BSP_MAX_QUEUE_SIZE` to at least that",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_METRIC_EXPORT_INTERVAL", "-1")],
            "`OTEL_METRIC_EXPORT_INTERVAL`: `-1` is not a whole number above 0",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "zipkin")],
            "`OTEL_TRACES_EXPORTER`: `zipkin` is not supported; use `otlp` or `none`",
        ),
        (
            "",
            &[("OTEL_SDK_DISABLED", "1")],
            "`OTEL_SDK_DISABLED`: `1` is neither `true` nor `false`",
        ),
        (
            "",
            &[ENDPOINT, ("OTEL_RESOURCE_ATTRIBUTES", "team")],
            "`OTEL_RESOURCE_ATTRIBUTES`: `team` is not `name=value`",
        ),
        (
            "headers_file: /nowhere.headers",
            &[],
            "`telemetry.otlp.headers_file`: cannot use `/nowhere.headers`: No such file",
        ),
        (
            "ca_file: Cargo.toml",
            &[],
            "`telemetry.otlp.ca_file`: cannot use `Cargo.toml`: it contains no PEM certificate",
        ),
    ] {
        let section = match fields {
            "" => String::new(),
            fields => section(fields),
        };
        let prepared = prepare(&section, variables).await;
        let error = prepared.map(|(tracer, _)| tracer).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{variables:?}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_variable_ends_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, PROVIDERS).unwrap();
    let mut serve = claimgate(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off"]);
    serve.arg("--config").arg(file.path());
    serve.env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
    let output = serve.output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    let expected = "cannot export spans and metrics: `OTEL_EXPORTER_OTLP_ENDPOINT`: `collector:4317` has no scheme";
    assert!(error.contains(expected), "{error}");
}
