//! What to export, and where to. The configuration takes precedence over the environment.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::environment::{Environment, Signal, millis, specific, truth, whole};
use super::error::SettingsError;
use super::headers::{self, Header};
use super::proto::resource::v1::Resource;
use super::resource;
use crate::config::{Otlp, OtlpProtocol, Telemetry, values};
use crate::telemetry::spans::Sampler;

/// The samplers of OpenTelemetry that are supported.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Everything about exports.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<TracesSettings>,
    pub(super) metrics: Option<MetricsSettings>,
    pub(super) resource: Resource,
}

#[derive(Debug)]
pub(super) struct TracesSettings {
    pub(super) to: Destination,
    pub(super) sampler: Sampler,
    pub(super) batch: Batch,
}

#[derive(Debug)]
pub(super) struct MetricsSettings {
    pub(super) to: Destination,
    pub(super) interval: Duration,
}

/// Where one signal is sent.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// With HTTP, includes the path.
    pub(super) url: Url,
    pub(super) protocol: OtlpProtocol,
    pub(super) headers: Headers,
    /// The certificate authorities to trust instead of the system's, and the setting that names them.
    pub(super) ca_file: Option<(String, PathBuf)>,
    /// The time limit for one attempt.
    pub(super) timeout: Duration,
}

/// Headers to send along.
#[derive(Clone, Debug)]
pub(super) enum Headers {
    Fixed(Vec<Header>),
    /// In this file, which is read for each export.
    File(PathBuf),
}

/// How spans are grouped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) max_queued: usize,
    pub(super) max_spans: usize,
    /// How long the first span of a batch waits for others.
    pub(super) delay: Duration,
    /// The time limit for a batch, with all attempts.
    pub(super) timeout: Duration,
}

impl Settings {
    /// `None` if nothing is exported.
    pub(super) fn read(
        telemetry: &Telemetry,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let environment = &Environment(variable);
        if environment.parsed("OTEL_SDK_DISABLED", truth)? == Some(true) {
            return Ok(None);
        }
        let file = telemetry.otlp.as_ref();
        let traces = match is_wanted(file, environment, Signal::Traces)? {
            true => Some(traces(file, environment)?),
            false => None,
        };
        let metrics = match is_wanted(file, environment, Signal::Metrics)? {
            true => Some(metrics(file, environment)?),
            false => None,
        };
        if traces.is_none() && metrics.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            traces,
            metrics,
            resource: resource::read(environment)?,
        }))
    }
}

/// A signal is exported if the configuration has the section, or if a variable names a collector.
fn is_wanted(
    file: Option<&Otlp>,
    environment: &Environment<'_>,
    signal: Signal,
) -> Result<bool, SettingsError> {
    let written = file.and_then(|file| match signal {
        Signal::Traces => file.traces,
        Signal::Metrics => file.metrics,
    });
    if let Some(is_wanted) = written {
        return Ok(is_wanted);
    }
    let exporter = environment.exporter(signal)?;
    let is_named = || environment.of_exporter(signal, "ENDPOINT", |_| Ok(()));
    Ok(match exporter {
        Some(is_wanted) => is_wanted,
        None => file.is_some() || is_named()?.is_some(),
    })
}

fn traces(
    file: Option<&Otlp>,
    environment: &Environment<'_>,
) -> Result<TracesSettings, SettingsError> {
    let max_queued = environment.parsed("OTEL_BSP_MAX_QUEUE_SIZE", whole)?;
    let max_queued = max_queued.unwrap_or(2048);
    let name = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let max_spans = environment.parsed(name, |text| match whole(text)? {
        size if size > max_queued => Err(format!(
            "`{size}` is more than the queue holds; set `OTEL_BSP_MAX_QUEUE_SIZE` to at least that"
        )),
        size => Ok(size),
    })?;
    Ok(TracesSettings {
        to: destination(file, environment, Signal::Traces)?,
        sampler: sampler(file, environment)?,
        batch: Batch {
            max_queued,
            max_spans: max_spans.unwrap_or(512).min(max_queued),
            delay: environment.millis("OTEL_BSP_SCHEDULE_DELAY", 5_000)?,
            timeout: environment.millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000)?,
        },
    })
}

fn metrics(
    file: Option<&Otlp>,
    environment: &Environment<'_>,
) -> Result<MetricsSettings, SettingsError> {
    let interval = match file.and_then(|file| file.metrics_interval) {
        Some(interval) => interval,
        None => environment.millis("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?,
    };
    let mut to = destination(file, environment, Signal::Metrics)?;
    let timeout = environment.millis("OTEL_METRIC_EXPORT_TIMEOUT", 30_000)?;
    to.timeout = to.timeout.min(timeout);
    Ok(MetricsSettings { to, interval })
}

fn destination(
    file: Option<&Otlp>,
    environment: &Environment<'_>,
    signal: Signal,
) -> Result<Destination, SettingsError> {
    let protocol = match file.and_then(|file| file.protocol) {
        Some(protocol) => protocol,
        None => environment
            .of_exporter(signal, "PROTOCOL", protocol)?
            .unwrap_or_default(),
    };
    let headers = match file.and_then(|file| file.headers_file.clone()) {
        Some(file) => Headers::File(file),
        None => {
            let given = environment.of_exporter(signal, "HEADERS", headers::listed)?;
            Headers::Fixed(given.unwrap_or_default())
        }
    };
    let path = |text: &str| Ok(PathBuf::from(text));
    let ca_file = match file.and_then(|file| file.ca_file.clone()) {
        Some(file) => Some(("telemetry.otlp.ca_file".to_owned(), file)),
        None => {
            let given = environment.of_exporter(signal, "CERTIFICATE", path)?;
            given.map(|file| ("OTEL_EXPORTER_OTLP_CERTIFICATE".to_owned(), file))
        }
    };
    let timeout = environment.of_exporter(signal, "TIMEOUT", millis)?;
    Ok(Destination {
        url: url(file, environment, signal, protocol)?,
        protocol,
        headers,
        ca_file,
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
    })
}

/// Where a signal is sent. Only the variable of one signal includes its path.
fn url(
    file: Option<&Otlp>,
    environment: &Environment<'_>,
    signal: Signal,
    protocol: OtlpProtocol,
) -> Result<Url, SettingsError> {
    let general = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let (name, url, is_whole) = match file.and_then(|file| file.endpoint.clone()) {
        Some(url) => ("telemetry.otlp.endpoint".to_owned(), url, false),
        None => {
            let own = specific(signal, "ENDPOINT");
            match environment.parsed(&own, values::otlp_endpoint)? {
                Some(url) => (own, url, true),
                None => {
                    let url = environment.parsed(general, values::otlp_endpoint)?;
                    let url = url.or_else(|| default_url(protocol));
                    let url = url.ok_or_else(|| SettingsError::new(general, "not set"))?;
                    (general.to_owned(), url, false)
                }
            }
        }
    };
    let has_path = url.path() != "/";
    match protocol {
        OtlpProtocol::Grpc if has_path => Err(SettingsError::new(
            name,
            format!(
                "`{url}` has a path, but gRPC uses none; remove it, or choose the protocol \
                 `http/protobuf` (`telemetry.otlp.protocol`, `OTEL_EXPORTER_OTLP_PROTOCOL`)"
            ),
        )),
        OtlpProtocol::HttpProtobuf if !is_whole => {
            let mut below = url.clone();
            let base = url.path().trim_end_matches('/');
            below.set_path(&format!("{base}/{}", signal.path()));
            Ok(below)
        }
        OtlpProtocol::Grpc | OtlpProtocol::HttpProtobuf => Ok(url),
    }
}

/// The collector on this machine.
fn default_url(protocol: OtlpProtocol) -> Option<Url> {
    let url = match protocol {
        OtlpProtocol::Grpc => "http://localhost:4317",
        OtlpProtocol::HttpProtobuf => "http://localhost:4318",
    };
    Url::parse(url).ok()
}

fn protocol(text: &str) -> Result<OtlpProtocol, String> {
    let all = OtlpProtocol::ALL;
    let found = all.into_iter().find(|protocol| protocol.name() == text);
    found.ok_or_else(|| {
        let names = all.map(OtlpProtocol::name).join("` or `");
        format!("`{text}` is not supported; use `{names}`")
    })
}

fn sampler(file: Option<&Otlp>, environment: &Environment<'_>) -> Result<Sampler, SettingsError> {
    if let Some(ratio) = file.and_then(|file| file.sample_ratio) {
        return Ok(Sampler {
            follows_caller: true,
            ratio,
        });
    }
    let name = "OTEL_TRACES_SAMPLER";
    let given = environment.parsed(name, |text| match SAMPLERS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is not supported; use one of `{}`",
            SAMPLERS.join("`, `")
        )),
    })?;
    let given = given.as_deref().unwrap_or("parentbased_always_on");
    let (follows_caller, kind) = match given.strip_prefix("parentbased_") {
        Some(kind) => (true, kind),
        None => (false, given),
    };
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        _ => {
            let ratio = environment.parsed("OTEL_TRACES_SAMPLER_ARG", share)?;
            ratio.unwrap_or(1.0)
        }
    };
    Ok(Sampler {
        follows_caller,
        ratio,
    })
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("`{text}` is not a number from 0 to 1"))
}

#[cfg(test)]
mod tests;
