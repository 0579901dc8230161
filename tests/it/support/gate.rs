//! The service without a network in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use claimgate::config::Config;
use claimgate::dev::signer::Signer;
use claimgate::ext_authz::proto::auth::authorization_server::Authorization as _;
use claimgate::ext_authz::service::Service;
use claimgate::telemetry::spans::Tracer;
use claimgate::time::{Clock, UnixTime};
use serde_json::json;

use super::call::{Answer, bearer};
use super::issuer::Issuer;

/// The time of every decision.
pub const NOW: u64 = 1_767_225_600;

/// A clock that stands still at a given time.
pub struct Still(AtomicU64);

impl Default for Still {
    fn default() -> Self {
        Self(AtomicU64::new(NOW))
    }
}

impl Still {
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl Clock for Still {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::Relaxed))
    }
}

pub struct Gate {
    pub service: Service,
    pub clock: Arc<Still>,
}

impl Gate {
    pub async fn start(yaml: &str) -> Self {
        Self::start_at(yaml, NOW).await
    }

    /// Starts at another time.
    pub async fn start_at(yaml: &str, now: u64) -> Self {
        let config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}"));
        let clock = Arc::<Still>::default();
        clock.set(now);
        let dynamic: Arc<dyn Clock> = Arc::<Still>::clone(&clock);
        Self {
            service: Service {
                gate: claimgate::gate::Gate::start(config, dynamic).await,
            },
            clock,
        }
    }

    /// Starts with a tracer.
    pub async fn start_traced(yaml: &str, tracer: Option<Tracer>) -> Self {
        let config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}"));
        let clock = Arc::<Still>::default();
        let dynamic: Arc<dyn Clock> = Arc::<Still>::clone(&clock);
        let gate = claimgate::gate::Gate::start_traced(config, dynamic, tracer);
        Self {
            service: Service { gate: gate.await },
            clock,
        }
    }

    /// Trusts one issuer; `more` goes into its provider.
    pub async fn trusting(issuer: &Issuer, more: &str) -> Self {
        let gate = Self::start(&provider(issuer, "acme", more)).await;
        gate.service.gate.generation().jwks.all_known().await;
        gate
    }

    /// Decides by another configuration from now on.
    pub async fn reload(&self, yaml: &str) {
        let config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}"));
        self.service.gate.reload(config).await;
    }

    pub async fn check(&self, token: &str) -> Answer {
        let answer = self.service.check(tonic::Request::new(bearer(token))).await;
        Answer::read(answer.unwrap().into_inner())
    }

    /// The error of the first provider's last fetch, if it failed.
    pub fn error(&self) -> Option<String> {
        let (id, _) = self
            .service
            .gate
            .generation()
            .policy
            .providers()
            .next()
            .unwrap();
        let status = self.service.gate.generation().jwks.status(id).unwrap();
        status.error.as_ref().map(ToString::to_string)
    }

    /// The value of a metric's series, found by the beginning of its line.
    pub fn metric(&self, series: &str) -> String {
        self.service.gate.generation().observe();
        let text = self.service.gate.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with(series));
        let line = line.unwrap_or_else(|| panic!("no `{series}` in\n{text}"));
        line.rsplit_once(' ').unwrap().1.to_owned()
    }
}

/// A configuration that trusts one issuer.
pub fn provider(issuer: &Issuer, name: &str, more: &str) -> String {
    let url = issuer.url();
    format!(
        "providers:\n  - {{ name: {name}, issuer: \"{url}\", audiences: [orders-api], {more} }}\n"
    )
}

/// A good token.
pub fn token(issuer: &Issuer, key: &Signer) -> String {
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "sub": "alice", "exp": NOW + 60});
    key.token(&claims).unwrap()
}
