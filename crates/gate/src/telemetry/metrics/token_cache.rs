//! The memory of verified tokens, counted.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is counted of the memory of verified tokens.
#[derive(Clone, Debug, Default)]
pub struct TokenCacheMetrics {
    /// Tokens that were found.
    pub hits: Counter,
    /// Tokens that were not, good and bad.
    pub misses: Counter,
    /// Tokens that had to make room.
    pub evictions: Counter,
    /// Tokens in it now.
    pub entries: Gauge,
}

impl TokenCacheMetrics {
    /// All of it at zero, and registered.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            (
                "token_cache_hits",
                "Tokens that had been verified before",
                &metrics.hits,
            ),
            (
                "token_cache_misses",
                "Tokens that were not remembered, good and bad",
                &metrics.misses,
            ),
            (
                "token_cache_evictions",
                "Tokens forgotten to make room for others",
                &metrics.evictions,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "token_cache_entries",
            "Tokens remembered",
            metrics.entries.clone(),
        );
        metrics
    }
}
