//! Caches verified tokens. Most requests carry a token that was seen before, and verifying its
//! signature is the most expensive part of a check.
//!
//! Only verified tokens are stored, so a flood of bad ones evicts nothing. A token is found by its
//! whole text, whose signature is stored only as a digest ([`HashedToken`]). A cache belongs to one
//! policy: a new configuration has a new, empty one.
//!
//! INVARIANT: no request waits here. If another request holds a lock, the token is not found or not
//! stored, and is verified.

use std::hash::{Hash, Hasher, RandomState};
use std::sync::Arc;

use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, Weighter};

use crate::telemetry::metrics::TokenCacheMetrics;
use claimgate_config::TokenCache as Settings;
use claimgate_core::decision::Memory;
use claimgate_core::identity::KnownToken;
use claimgate_core::token::HashedToken;

/// A cache of verified tokens, bounded by entries and by bytes. The least used are evicted first.
#[derive(Debug)]
pub struct TokenCache {
    /// `None` if the cache is disabled.
    entries: Option<Cache<Key, Entry, ByWeight, RandomState, CountEvictions>>,
    /// The minimum weight of an entry, in bytes. It bounds the number of entries.
    least_weight: u64,
    metrics: TokenCacheMetrics,
}

#[derive(Debug)]
struct Key(Arc<KnownToken>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.token.hashed().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.token.hashed() == other.0.token.hashed()
    }
}

impl Eq for Key {}

impl Equivalent<Key> for HashedToken<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.0.token.hashed()
    }
}

#[derive(Clone, Debug)]
struct Entry {
    known: Arc<KnownToken>,
    weight: u64,
}

#[derive(Clone, Debug)]
struct ByWeight;

impl Weighter<Key, Entry> for ByWeight {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        entry.weight
    }
}

#[derive(Clone, Debug)]
struct CountEvictions(TokenCacheMetrics);

impl Lifecycle<Key, Entry> for CountEvictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Entry) {
        self.0.evictions.inc();
    }
}

/// The memory of an entry besides its token, in bytes: the slot, and its share of the table.
const OVERHEAD: u64 = 128;

impl TokenCache {
    /// An empty cache with these limits.
    pub fn new(settings: &Settings, metrics: TokenCacheMetrics) -> Self {
        let Settings {
            max_entries,
            max_bytes,
        } = settings;
        let entries = (*max_entries > 0).then(|| {
            Cache::with(
                usize::try_from(*max_entries).unwrap_or(usize::MAX),
                *max_bytes as u64,
                ByWeight,
                RandomState::new(),
                CountEvictions(metrics.clone()),
            )
        });
        Self {
            entries,
            least_weight: (*max_bytes as u64).div_ceil(u64::from(*max_entries).max(1)),
            metrics,
        }
    }

    /// Updates the gauges.
    pub fn observe(&self) {
        let count = self.entries.as_ref().map_or(0, Cache::len);
        self.metrics
            .entries
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Memory for TokenCache {
    fn recall(&self, token: &str) -> Option<Arc<KnownToken>> {
        let entries = self.entries.as_ref()?;
        let found = entries.try_get(&HashedToken::of(token)).ok().flatten();
        match found {
            Some(_) => self.metrics.hits.inc(),
            None => self.metrics.misses.inc(),
        };
        found.map(|entry| entry.known)
    }

    fn remember(&self, known: &Arc<KnownToken>) {
        let Some(entries) = &self.entries else {
            return;
        };
        let entry = Entry {
            known: Arc::clone(known),
            weight: self.least_weight.max(known.bytes() as u64 + OVERHEAD),
        };
        // If another request holds the lock, a later request with this token stores it.
        let _ = entries.try_insert(Key(Arc::clone(known)), entry);
    }

    fn forget(&self, token: &str) {
        if let Some(entries) = &self.entries {
            // If this fails, the entry stays, but the next lookup rejects it again.
            let _ = entries.try_remove(&HashedToken::of(token));
        }
    }
}
