//! What HTTP/2 refuses by itself. No handler hears of it, and to Envoy each is an error: 403, or an
//! allow under `failure_mode_allow`.

use std::error::Error as _;

use h2::Reason;

use crate::telemetry::every_minute::EveryMinute;
use crate::telemetry::metrics::Http2Metrics;

/// Counts and logs what was refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    metrics: Http2Metrics,
    requests: EveryMinute,
    connections: EveryMinute,
    not_http2: EveryMinute,
}

impl Refused {
    pub(super) fn new(metrics: Http2Metrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// A request ends by this error code, sent by this end.
    pub(super) fn reset(&self, code: u32) {
        let reason = Reason::from(code);
        // Other codes are those of requests that a handler had.
        let is_unseen = [
            Reason::PROTOCOL_ERROR,
            Reason::FLOW_CONTROL_ERROR,
            Reason::FRAME_SIZE_ERROR,
            Reason::REFUSED_STREAM,
        ]
        .contains(&reason);
        if !is_unseen {
            return;
        }
        self.metrics.requests.inc();
        if let Some(times) = self.requests.due() {
            tracing::warn!(
                times,
                code = reason.description(),
                "HTTP/2 refuses requests before they can be judged, which Envoy takes for an \
                 outage of claimgate. The usual cause is an `:authority` that is not one, as Envoy \
                 sends the cluster's name, and that has `|`, `/`, `%` or two colons in it: set \
                 `authority: claimgate` in `envoy_grpc` and in `grpc_health_check`"
            );
        }
    }

    /// A connection ends by this error. `has_begun` says whether it began with HTTP/2.
    pub(super) fn connection(&self, error: &hyper::Error, has_begun: bool) {
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        // Other errors mean that the client has gone.
        let Some(error) = cause.filter(|cause: &&h2::Error| cause.is_library()) else {
            return;
        };
        if !has_begun {
            return self.not_http2();
        }
        self.metrics.connections.inc();
        if let Some(times) = self.connections.due() {
            tracing::warn!(times, %error, "a connection breaks HTTP/2, and is closed");
        }
    }

    fn not_http2(&self) {
        self.metrics.not_http2.inc();
        if let Some(times) = self.not_http2.due() {
            tracing::warn!(
                times,
                "a connection does not begin with HTTP/2 in plain text. In Envoy, the cluster needs \
                 `http2_protocol_options` (`explicit_http_config`), and no TLS"
            );
        }
    }
}
