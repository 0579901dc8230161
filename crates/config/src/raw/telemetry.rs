//! Where spans and metrics are sent, as the operator writes it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::{self, Duration, OtlpEndpoint, Text};
use crate::document::Field;

/// Where spans and metrics are sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Telemetry {
    /// OpenTelemetry's protocol. The section turns it on. What it leaves out is as the variables
    /// `OTEL_…` say, else the default.
    pub otlp: Field<Otlp>,
}

/// Exports by OTLP. A change requires a restart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Otlp {
    /// The collector: `http://` or `https://`, host and port. With `http/protobuf`, `/v1/traces` and
    /// `/v1/metrics` are appended. Default: `http://localhost:4317`, or port 4318 with `http/protobuf`.
    #[schemars(with = "OtlpEndpoint")]
    pub endpoint: Field<String>,
    /// `grpc` (the default) or `http/protobuf`.
    #[schemars(with = "forms::OtlpProtocol")]
    pub protocol: Field<String>,
    /// A file with headers to send along, such as an API key: a line `name: value` for each. It is read
    /// for each export. Default: none.
    #[schemars(with = "Text")]
    pub headers_file: Field<String>,
    /// A file (PEM) with the certificate authorities to trust instead of the system's.
    #[schemars(with = "Text")]
    pub ca_file: Field<String>,
    /// Whether spans are sent. Default: `true`.
    pub traces: Field<bool>,
    /// The share of checks that are traced although their caller belongs to no trace, from 0 to 1. In a
    /// trace, the caller decides. Default: 1.
    #[schemars(range(min = 0, max = 1))]
    pub sample_ratio: Field<f64>,
    /// Whether metrics are sent, the same as on `/metrics`. Default: `true`.
    pub metrics: Field<bool>,
    /// The time between two exports of metrics. Default: `60s`, from `1s` to `1h`.
    #[schemars(with = "Duration")]
    pub metrics_interval: Field<String>,
}
