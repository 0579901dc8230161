//! Metrics of the token cache.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of the token cache.
#[derive(Clone, Debug, Default)]
pub struct TokenCacheMetrics {
    /// Tokens found in the cache.
    pub hits: Counter,
    /// Tokens not found, valid and invalid.
    pub misses: Counter,
    /// Entries removed to make room.
    pub evictions: Counter,
    /// Entries now.
    pub entries: Gauge,
}

impl TokenCacheMetrics {
    /// All of these metrics at zero, registered.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            (
                "token_cache_hits",
                "Tokens found in the cache",
                &metrics.hits,
            ),
            (
                "token_cache_misses",
                "Tokens not found in the cache, valid and invalid",
                &metrics.misses,
            ),
            (
                "token_cache_evictions",
                "Tokens removed from the cache to make room",
                &metrics.evictions,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "token_cache_entries",
            "Tokens in the cache",
            metrics.entries.clone(),
        );
        metrics
    }
}
