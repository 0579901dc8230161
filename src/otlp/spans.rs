//! Exports spans in batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

mod message;

use super::client::Client;
use super::export::ExportError;
use super::proto::collector::trace::v1::ExportTraceServiceRequest;
use super::proto::resource::v1::Resource;
use super::settings::Batch;
use crate::telemetry::every_minute::EveryMinute;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::spans::Span;

/// The pause before the second attempt. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Takes spans out of the queue and sends them.
pub(super) struct Exporter {
    pub(super) client: Client,
    pub(super) batch: Batch,
    pub(super) resource: Arc<Resource>,
    pub(super) metrics: Arc<Metrics>,
}

impl Exporter {
    /// Runs until `stop` closes and the queue is empty.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Span>,
        mut stop: watch::Receiver<()>,
    ) {
        let mut log = Log::default();
        let mut spans = Vec::new();
        loop {
            let is_stopping = self.collect(&mut queue, &mut stop, &mut spans).await;
            if is_stopping {
                queue.close();
            }
            if !spans.is_empty() {
                self.export(std::mem::take(&mut spans), &mut stop, &mut log)
                    .await;
            } else if is_stopping {
                return;
            }
        }
    }

    /// Waits until a batch is full, its first span has waited long enough, or the service stops.
    /// Returns whether it stops.
    async fn collect(
        &self,
        queue: &mut mpsc::Receiver<Span>,
        stop: &mut watch::Receiver<()>,
        spans: &mut Vec<Span>,
    ) -> bool {
        let mut due = None;
        while let Some(left) = self.batch.max_spans.checked_sub(spans.len())
            && left > 0
        {
            let waited_enough = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                count = queue.recv_many(spans, left) => match count {
                    0 => return true,
                    _ => due = due.or_else(|| Some(Instant::now() + self.batch.delay)),
                },
                _ = stop.changed() => return true,
                () = waited_enough => return false,
            }
        }
        false
    }

    async fn export(&mut self, spans: Vec<Span>, stop: &mut watch::Receiver<()>, log: &mut Log) {
        let count = spans.len() as u64;
        let message = message::request(&self.resource, spans);
        let lost = match self.attempts(message, stop).await {
            Ok(None) => None,
            Ok(Some((rejected, why))) => Some((u64::try_from(rejected).unwrap_or(0), why)),
            Err(error) => Some((count, error.why)),
        };
        let dropped = self.metrics.spans();
        if let Some((lost, _)) = &lost {
            dropped.export_failed.inc_by(*lost);
        }
        let endpoint = self.client.endpoint().to_string();
        log.report(&endpoint, dropped.total(), lost.map(|(_, why)| why));
    }

    /// Sends a batch, several times if it may help and there is time.
    async fn attempts(
        &mut self,
        message: ExportTraceServiceRequest,
        stop: &mut watch::Receiver<()>,
    ) -> Result<Option<(i64, String)>, ExportError> {
        let until = Instant::now() + self.batch.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = timeout_at(until, self.client.export(message.clone())).await;
            let error = match sent {
                Ok(Err(error)) if error.is_temporary => error,
                Ok(done) => return done,
                Err(_) => return Err(ExportError::late(self.batch.timeout)),
            };
            let again = Instant::now() + pause;
            if again >= until {
                return Err(error);
            }
            pause = pause.saturating_mul(2);
            tokio::select! {
                biased;
                _ = stop.changed() => return Err(error),
                () = sleep_until(again) => {}
            }
        }
    }
}

/// Reports lost spans, at most once a minute.
#[derive(Default)]
struct Log {
    lines: EveryMinute,
    /// The number of lost spans that were reported.
    reported: u64,
}

impl Log {
    /// `lost` spans are lost so far; `why` is the last error of the collector.
    fn report(&mut self, endpoint: &str, lost: u64, why: Option<String>) {
        let new = lost.saturating_sub(self.reported);
        if new == 0 || self.lines.due().is_none() {
            return;
        }
        self.reported = lost;
        match why {
            Some(error) => tracing::warn!(endpoint, spans = new, error, "spans were lost"),
            None => tracing::warn!(
                endpoint,
                spans = new,
                "spans were lost because the collector takes them too slowly; raise \
                 `OTEL_BSP_MAX_QUEUE_SIZE` or lower `telemetry.otlp.sample_ratio`"
            ),
        }
    }
}
