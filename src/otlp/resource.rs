//! What says which process sends (OpenTelemetry, "Resource semantic conventions").

use percent_encoding::percent_decode_str;

use super::environment::Environment;
use super::error::SettingsError;
use super::proto::common::v1::any_value::Value;
use super::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use super::proto::resource::v1::Resource;
use crate::time::UnixTime;
use crate::version::VERSION;

/// The attributes of this process. `OTEL_SERVICE_NAME` takes precedence over
/// `OTEL_RESOURCE_ATTRIBUTES`, and both over the defaults.
pub(super) fn read(environment: &Environment<'_>) -> Result<Resource, SettingsError> {
    let given = environment.parsed("OTEL_RESOURCE_ATTRIBUTES", pairs)?;
    let name = environment.parsed("OTEL_SERVICE_NAME", |name| Ok(name.to_owned()))?;
    let mut attributes: Vec<(String, String)> = Vec::new();
    let mut add = |name: String, value: String| {
        if !attributes.iter().any(|(known, _)| *known == name) {
            attributes.push((name, value));
        }
    };
    if let Some(name) = name {
        add("service.name".to_owned(), name);
    }
    for (name, value) in given.unwrap_or_default() {
        add(name, value);
    }
    for (name, value) in [
        ("service.name", "claimgate".to_owned()),
        ("service.version", VERSION.to_owned()),
        ("service.instance.id", random_uuid()),
    ] {
        add(name.to_owned(), value);
    }
    let attributes = attributes.into_iter();
    Ok(Resource {
        attributes: attributes
            .map(|(name, value)| attribute(&name, Value::StringValue(value)))
            .collect(),
        ..Resource::default()
    })
}

/// Reads `name=value,name=value` with percent-encoded values.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let entries = text.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let read = entries.map(|entry| {
        let pair = entry
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty());
        let (name, value) = pair.ok_or_else(|| format!("`{entry}` is not `name=value`"))?;
        let value = percent_decode_str(value.trim()).decode_utf8();
        let value = value.map_err(|_| format!("the value of `{entry}` is not UTF-8"))?;
        Ok((name.trim().to_owned(), value.into_owned()))
    });
    read.collect()
}

/// A random UUID (RFC 9562 §5.4).
fn random_uuid() -> String {
    let random = fastrand::u128(..);
    let version = random & !(0xf << 76) | 4 << 76;
    let variant = version & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{variant:032x}");
    let lengths = [8, 4, 4, 4, 12];
    let mut rest = hex.as_str();
    let groups = lengths.map(|length| {
        let (group, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        group
    });
    groups.join("-")
}

/// An attribute as a message.
pub(super) fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

/// What makes spans and metrics.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "claimgate".to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(time: UnixTime) -> u64 {
    let since_epoch = time.saturating_since(UnixTime::EPOCH);
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
