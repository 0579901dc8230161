//! The variables of OpenTelemetry ("Environment Variable Specification"). An empty one counts as absent.

use std::time::Duration;

use super::error::SettingsError;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// The signal in the names of variables.
    const fn infix(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// The path of the signal over HTTP.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }
}

/// Reads variables.
pub(super) struct Environment<'e>(pub(super) &'e dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    /// The value of a variable, if it is set.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let value = parse(text.trim()).map_err(|why| SettingsError::new(name, why))?;
        Ok(Some(value))
    }

    /// The value of `OTEL_EXPORTER_OTLP_TRACES_…` or `…_METRICS_…`, else that of `OTEL_EXPORTER_OTLP_…`.
    pub(super) fn of_exporter<T>(
        &self,
        signal: Signal,
        suffix: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        match self.parsed(&specific(signal, suffix), &parse)? {
            Some(value) => Ok(Some(value)),
            None => self.parsed(&format!("OTEL_EXPORTER_OTLP_{suffix}"), &parse),
        }
    }

    /// A duration in milliseconds; at least 1.
    pub(super) fn millis(&self, name: &str, default: u64) -> Result<Duration, SettingsError> {
        let millis = self.parsed(name, millis)?;
        Ok(millis.unwrap_or(Duration::from_millis(default)))
    }

    /// Whether `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` asks for the signal. `None` if it is
    /// not set.
    pub(super) fn exporter(&self, signal: Signal) -> Result<Option<bool>, SettingsError> {
        let name = format!("OTEL_{}_EXPORTER", signal.infix());
        self.parsed(&name, |text| match text {
            "otlp" => Ok(true),
            "none" => Ok(false),
            other => Err(format!("`{other}` is not supported; use `otlp` or `none`")),
        })
    }
}

/// The variable of one signal.
pub(super) fn specific(signal: Signal, suffix: &str) -> String {
    format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.infix())
}

/// A duration in milliseconds; at least 1.
pub(super) fn millis(text: &str) -> Result<Duration, String> {
    whole(text).map(|millis| Duration::from_millis(millis as u64))
}

/// A whole number from 1 to 2,147,483,647.
pub(super) fn whole(text: &str) -> Result<usize, String> {
    let number = text.parse::<i32>().ok();
    number
        .filter(|number| *number > 0)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| format!("`{text}` is not a whole number above 0"))
}

/// `true` or `false`.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}
