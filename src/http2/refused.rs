//! Counts what HTTP/2 or TLS refuses before a handler sees it. Envoy treats each refusal as an error: 403,
//! or an allow under `failure_mode_allow`.

use std::error::Error as _;
use std::net::SocketAddr;

use h2::Reason;

use crate::telemetry::every_minute::EveryMinute;
use crate::telemetry::metrics::Http2Metrics;

/// Counts and logs refusals.
#[derive(Debug, Default)]
pub(super) struct Refused {
    metrics: Http2Metrics,
    requests: EveryMinute,
    connections: EveryMinute,
    not_http2: EveryMinute,
    tls_handshakes: EveryMinute,
}

impl Refused {
    pub(super) fn new(metrics: Http2Metrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// The server resets a request with this error code.
    pub(super) fn reset(&self, code: u32) {
        let reason = Reason::from(code);
        // Other codes are for requests that reached a handler.
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
                "HTTP/2 refuses requests before they can be judged, which Envoy treats as an \
                 outage of claimgate. The usual cause is an invalid `:authority`: Envoy sends the \
                 cluster's name, which must not contain `|`, `/`, `%` or two colons. Set \
                 `authority: claimgate` in `envoy_grpc` and in `grpc_health_check`"
            );
        }
    }

    /// A connection ends with this error. `has_begun` says whether it began with HTTP/2.
    pub(super) fn connection(&self, error: &hyper::Error, has_begun: bool) {
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        // Other errors mean that the client has disconnected.
        let Some(error) = cause.filter(|cause: &&h2::Error| cause.is_library()) else {
            return;
        };
        if !has_begun {
            return self.not_http2();
        }
        self.metrics.connections.inc();
        if let Some(times) = self.connections.due() {
            tracing::warn!(times, %error, "closing a connection that violates HTTP/2");
        }
    }

    fn not_http2(&self) {
        self.metrics.not_http2.inc();
        if let Some(times) = self.not_http2.due() {
            tracing::warn!(
                times,
                "a connection does not begin with HTTP/2. In Envoy, the cluster needs \
                 `http2_protocol_options` (`explicit_http_config`), and must use TLS if and only if \
                 `server.tls` is set"
            );
        }
    }

    /// A TLS handshake with this client fails.
    pub(super) fn tls_handshake(&self, client: Option<SocketAddr>, cause: &str, advice: &str) {
        self.metrics.tls_handshakes.inc();
        if let Some(times) = self.tls_handshakes.due() {
            let client = client.map(tracing::field::display);
            tracing::warn!(times, client, cause, advice, "a TLS handshake failed");
        }
    }
}
