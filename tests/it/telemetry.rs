//! Spans and metrics reach a collector, and nothing else depends on it.

mod export;
mod metrics;
mod settings;
mod spans;

use claimgate::config::Config;
use claimgate::otlp::{Exports, Otlp, SettingsError};
use claimgate::telemetry::spans::Tracer;

use crate::support::gate::Gate;

/// What is exported with this configuration and these variables.
async fn prepare(
    yaml: &str,
    variables: &[(&str, &str)],
) -> Result<(Option<Tracer>, Otlp), SettingsError> {
    let config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}"));
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Otlp::prepare(&config.telemetry, variable).await
}

/// A gate whose spans and metrics are exported.
struct Exporting {
    gate: Gate,
    exports: Exports,
}

impl Exporting {
    async fn start(yaml: &str, variables: &[(&str, &str)]) -> Self {
        let (tracer, otlp) = prepare(yaml, variables).await.unwrap();
        let gate = Gate::start_traced(yaml, tracer).await;
        let exports = otlp.start(&gate.service.gate);
        Self { gate, exports }
    }

    /// Sends checks without a token.
    async fn check(&self, times: usize) {
        for _ in 0..times {
            assert_eq!(self.gate.check("").await.status(), 401);
        }
    }
}
