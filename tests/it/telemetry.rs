//! Spans and metrics reach a collector, and nothing else depends on it.

mod export;
mod metrics;
mod settings;
mod spans;

use std::time::Duration;

use claimgate::config::Config;
use claimgate::keyring::Algorithm::Es256;
use claimgate::otlp::{Exports, Otlp, SettingsError};
use claimgate::telemetry::spans::Tracer;

use tokio::time::{sleep, timeout};

use crate::support::gate::Gate;
use crate::support::keys::signer;

/// What is exported with this section and these variables.
async fn prepare(
    section: &str,
    variables: &[(&str, &str)],
) -> Result<(Option<Tracer>, Otlp), SettingsError> {
    let config = Config::from_yaml(&(local() + section)).unwrap_or_else(|error| panic!("{error}"));
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Otlp::prepare(&config.telemetry, variable).await
}

/// A provider whose keys are not fetched, so that only checks have spans.
fn local() -> String {
    let key = signer(Es256, "real").jwk();
    format!(
        "providers: [{{ name: acme, issuer: https://idp.example.com, audiences: [api], \
         jwks: {{ inline: {{ keys: [{key}] }} }} }}]\n"
    )
}

/// A gate whose spans and metrics are exported.
struct Exporting {
    gate: Gate,
    exports: Exports,
}

impl Exporting {
    /// Starts with this section and these variables.
    async fn start(section: &str, variables: &[(&str, &str)]) -> Self {
        let (tracer, otlp) = prepare(section, variables).await.unwrap();
        let gate = Gate::start_traced(&(local() + section), tracer).await;
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

/// Waits in paused time for a condition.
async fn eventually(done: impl AsyncFn() -> bool) {
    let waited = timeout(Duration::from_mins(10), async {
        while !done().await {
            sleep(Duration::from_secs(1)).await;
        }
    });
    waited.await.expect("it happens");
}
