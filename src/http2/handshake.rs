//! The part of a connection's life before HTTP/2: the TLS handshake.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use super::Admitted;

/// The time limit for a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Why a handshake fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The client has disconnected without giving a reason.
    Left,
    /// One side refuses the other.
    Refused {
        /// What happened.
        cause: String,
        /// What to change.
        advice: &'static str,
    },
}

impl Admitted {
    /// Waits for a handshake, within the time limit. `None` if there is no
    /// connection to serve: the handshake failed, `stop` completed, or the connection must make
    /// room for another.
    pub async fn handshake<T>(
        &self,
        handshake: impl Future<Output = Result<T, HandshakeError>>,
        stop: impl Future<Output = ()>,
    ) -> Option<T> {
        let result = tokio::select! {
            result = handshake => result,
            () = sleep(HANDSHAKE) => Err(HandshakeError::Refused {
                cause: format!("it took longer than {} s", HANDSHAKE.as_secs()),
                advice: "the client must speak TLS: in Envoy, set `transport_socket` with an \
                         `UpstreamTlsContext` in the cluster",
            }),
            () = stop => return None,
            () = self.lease.evicted() => return None,
        };
        match result {
            Ok(connection) => Some(connection),
            Err(HandshakeError::Left) => None,
            Err(HandshakeError::Refused { cause, advice }) => {
                self.shared.bad.tls_handshake(self.client, &cause, advice);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::http2::Shared;
    use crate::telemetry::metrics::{
        BadConnection, BadConnectionMetrics, BudgetMetrics, ConnectionMetrics,
    };

    #[tokio::test(start_paused = true)]
    async fn each_way_to_end() {
        let metrics = BadConnectionMetrics::default();
        let failed = || metrics.of(BadConnection::TlsHandshake).get();
        let shared = Shared::new(
            1,
            None,
            ConnectionMetrics::default(),
            BudgetMetrics::default(),
            metrics.clone(),
        );
        let admitted = shared.admit(None).await;
        let begin = Instant::now();
        let never = || pending::<Result<(), HandshakeError>>();

        let done = async { Ok(()) };
        assert_eq!(admitted.handshake(done, pending()).await, Some(()));
        assert_eq!(admitted.handshake(never(), async {}).await, None);
        let left = async { Err::<(), _>(HandshakeError::Left) };
        assert_eq!(admitted.handshake(left, pending()).await, None);
        assert_eq!((begin.elapsed(), failed()), (Duration::ZERO, 0));

        let late = admitted.handshake(never(), pending()).await;
        assert_eq!((late, begin.elapsed()), (None, HANDSHAKE));
        assert_eq!(failed(), 1);

        let evicted = admitted.handshake(never(), pending());
        let (evicted, ()) = tokio::join!(evicted, async {
            let mut next = Box::pin(shared.admit(None));
            let waiting = next.as_mut().now_or_never();
            assert!(waiting.is_none(), "the first connection is not closed yet");
        });
        assert_eq!((evicted, begin.elapsed()), (None, HANDSHAKE));
        assert_eq!(failed(), 1);
    }
}
