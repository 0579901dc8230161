//! Fetches through the clusters of a proxy that runs claimgate inside.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use http::{Request, Response};

/// The clusters of a proxy.
pub trait Clusters: Debug + Send + Sync {
    /// Sends a request through the cluster of this name. Its URI is absolute. The response does not arrive
    /// later than `max_wait`.
    ///
    /// # Errors
    ///
    /// Says why there is no response.
    fn send(&self, cluster: &str, request: Request<()>, max_wait: Duration) -> Sending;
}

/// A request under way.
pub type Sending = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, String>> + Send>>;

/// A process has one proxy at most.
static CLUSTERS: OnceLock<&'static dyn Clusters> = OnceLock::new();

/// Makes the clusters of the proxy known, for all configurations of the process. Only the first call has
/// an effect.
pub fn provide(clusters: &'static dyn Clusters) {
    let _ = CLUSTERS.set(clusters);
}

/// The clusters of the proxy. `None` outside a proxy.
pub(crate) fn provided() -> Option<&'static dyn Clusters> {
    CLUSTERS.get().copied()
}
