//! Exports metrics at intervals: what `/metrics` shows, from the same text.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

mod message;

use super::client::Client;
use super::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use super::proto::metrics::v1::{ResourceMetrics, ScopeMetrics};
use super::proto::resource::v1::Resource;
use super::resource::scope;
use crate::gate::Gate;
use crate::telemetry::every_minute::EveryMinute;
use crate::time::UnixTime;

/// Reads the metrics and sends them.
pub(super) struct Exporter {
    pub(super) client: Client,
    pub(super) interval: Duration,
    pub(super) resource: Arc<Resource>,
    pub(super) gate: Gate,
    /// When counters began at 0.
    pub(super) started: UnixTime,
}

impl Exporter {
    /// Runs until `stop` closes. Then exports once more.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<()>) {
        let lines = EveryMinute::default();
        loop {
            let is_stopping = tokio::select! {
                _ = stop.changed() => true,
                () = sleep(self.interval) => false,
            };
            self.export(&lines).await;
            if is_stopping {
                return;
            }
        }
    }

    /// Metrics are cumulative, so a later export makes up for one that failed.
    async fn export(&mut self, lines: &EveryMinute) {
        let Some(message) = self.message().await else {
            tracing::error!("cannot write metrics");
            return;
        };
        let error = match self.client.export(message).await {
            Ok(None | Some((0, _))) => return,
            Ok(Some((rejected, why))) => format!("{rejected} data points were rejected: {why}"),
            Err(error) => error.why,
        };
        if let Some(times) = lines.due() {
            let endpoint = self.client.endpoint();
            tracing::warn!(%endpoint, times, error, "metrics were not exported");
        }
    }

    /// Runs on a blocking thread, because 10,000 series take milliseconds and would delay checks.
    async fn message(&self) -> Option<ExportMetricsServiceRequest> {
        self.gate.generation().observe();
        let (metrics, resource) = (Arc::clone(&self.gate.metrics), Arc::clone(&self.resource));
        let times = message::Times {
            start: self.started,
            now: self.gate.now(),
        };
        let encode = move || {
            let text = metrics.encode().ok()?;
            Some(ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    resource: Some(Resource::clone(&resource)),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(scope()),
                        metrics: message::metrics(&text, times),
                        schema_url: String::new(),
                    }],
                    schema_url: String::new(),
                }],
            })
        };
        spawn_blocking(encode).await.ok()?
    }
}
