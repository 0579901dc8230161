//! Sends spans and metrics to a collector by OTLP.
//!
//! INVARIANT: no check waits for this. Spans come through a bounded queue, and metrics are read when they
//! are due.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

mod client;
mod environment;
mod error;
mod export;
mod headers;
mod metrics;
pub mod proto;
mod resource;
mod settings;
mod spans;
mod trust;

pub use error::SettingsError;
use settings::{Batch, MetricsSettings, Settings, TracesSettings};

use crate::config::Telemetry;
use crate::gate::Gate;
use crate::telemetry::spans::{Span, Tracer};
use client::Client;
use proto::resource::v1::Resource;

/// How long the last export may take when the service stops.
const MAX_FLUSH: Duration = Duration::from_secs(3);

/// What is to be exported, before the service runs.
#[derive(Debug, Default)]
pub struct Otlp {
    traces: Option<(Client, Batch, mpsc::Receiver<Span>)>,
    metrics: Option<(Client, MetricsSettings)>,
    resource: Resource,
}

/// The running exports.
#[derive(Debug)]
pub struct Exports {
    stop: watch::Sender<()>,
    tasks: JoinSet<()>,
}

impl Otlp {
    /// What the configuration and the environment want, and the tracer whose spans are exported. `None`
    /// if no spans are. Contacts no collector.
    ///
    /// # Errors
    ///
    /// Fails if a setting or a variable is wrong, or if a file cannot be used.
    pub async fn prepare(
        telemetry: &Telemetry,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Option<Tracer>, Self), SettingsError> {
        let Some(settings) = Settings::read(telemetry, &variable)? else {
            return Ok((None, Self::default()));
        };
        let Settings {
            traces,
            metrics,
            resource,
        } = settings;
        let mut tracer = None;
        let traces = match traces {
            Some(TracesSettings { to, sampler, batch }) => {
                let (new, finished) = Tracer::new(sampler, batch.max_queued);
                tracer = Some(new);
                Some((Client::new(to).await?, batch, finished))
            }
            None => None,
        };
        let metrics = match metrics {
            Some(MetricsSettings { to, interval }) => {
                let client = Client::new(to.clone()).await?;
                Some((client, MetricsSettings { to, interval }))
            }
            None => None,
        };
        let exports = Self {
            traces,
            metrics,
            resource,
        };
        Ok((tracer, exports))
    }

    /// Starts to export what `gate` does.
    pub fn start(self, gate: &Gate) -> Exports {
        let Self {
            traces,
            metrics,
            resource,
        } = self;
        let (stop, stopped) = watch::channel(());
        let mut tasks = JoinSet::new();
        let resource = Arc::new(resource);
        if let Some((client, batch, finished)) = traces {
            tracing::info!(endpoint = %client.endpoint(), "exporting spans");
            let exporter = spans::Exporter {
                client,
                batch,
                resource: Arc::clone(&resource),
                metrics: Arc::clone(&gate.metrics),
            };
            tasks.spawn(exporter.run(finished, stopped.clone()));
        }
        if let Some((client, settings)) = metrics {
            tracing::info!(endpoint = %client.endpoint(), "exporting metrics");
            let exporter = metrics::Exporter {
                client,
                interval: settings.interval,
                resource,
                gate: gate.clone(),
                started: gate.now(),
            };
            tasks.spawn(exporter.run(stopped));
        }
        Exports { stop, tasks }
    }
}

impl Exports {
    /// Exports what is left, for at most [`MAX_FLUSH`].
    pub async fn flush(self) {
        let Self { stop, mut tasks } = self;
        drop(stop);
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(MAX_FLUSH, all_ended).await.is_err() {
            tracing::warn!("the collector did not take the last spans and metrics in time");
        }
    }
}
