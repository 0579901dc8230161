//! Reports whether the service is ready: to gRPC health checks, and to systemd.

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::ext_authz::SERVICE_NAME;
use crate::gate::Gate;
use crate::lifecycle::Phase;
use crate::lifecycle::systemd::Systemd;

/// Reports each change until the future is dropped. The service is ready while every awaited provider
/// has keys and it is not shutting down.
pub(super) async fn report(
    reporter: HealthReporter,
    gate: Gate,
    mut phase: watch::Receiver<Phase>,
    systemd: Systemd,
) {
    let mut changed = gate.changed();
    let mut reported = None;
    loop {
        let now = state(&gate, *phase.borrow_and_update());
        if reported.as_ref() != Some(&now) {
            let status = match now {
                State::Ready => ServingStatus::Serving,
                State::WithoutKeysOf(_) | State::Stopping => ServingStatus::NotServing,
            };
            reporter.set_service_status("", status).await;
            reporter.set_service_status(SERVICE_NAME, status).await;
            systemd.status(&now.to_string());
            reported = Some(now);
        }
        let more = tokio::select! {
            more = changed.changed() => more,
            more = phase.changed() => more,
        };
        if more.is_err() {
            return;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// The names of providers.
    WithoutKeysOf(Vec<String>),
    Stopping,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::WithoutKeysOf(providers) => {
                write!(f, "not ready: no keys of {}", providers.join(", "))
            }
            Self::Stopping => f.write_str("shutting down"),
        }
    }
}

fn state(gate: &Gate, phase: Phase) -> State {
    if phase != Phase::Serving {
        return State::Stopping;
    }
    let generation = gate.generation();
    let awaited = generation.jwks.awaited();
    if awaited.is_empty() {
        return State::Ready;
    }
    let providers = awaited.into_iter();
    let names = providers.filter_map(|id| Some(generation.policy.provider(id)?.name.clone()));
    State::WithoutKeysOf(names.collect())
}
