//! The task that keeps one provider's keys fresh.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until};

use super::changes::{MAX_LISTED, described, list, replaced};
use super::clock::{ClockDifference, ProviderTime};
use super::disk::Disk;
use super::source::{Loaded, Source};
use super::{KeysError, ProviderState, Status, schedule};
use crate::telemetry::spans::{FetchSpan, Tracer};
use claimgate_core::keyring::{KeySet, Keys};
use claimgate_core::time::Clock;

pub(super) struct Refresher {
    provider: Arc<ProviderState>,
    clock: Arc<dyn Clock>,
    tracer: Option<Tracer>,
    source: Source,
    disk: Option<Disk>,
    good: Option<(Instant, Arc<KeySet>)>,
    /// The unusable keys of the last set, as the log names them.
    unusable: BTreeSet<String>,
    failures: u32,
    /// When the next regular fetch is due.
    next: Instant,
}

impl Refresher {
    pub(super) fn new(
        provider: Arc<ProviderState>,
        clock: Arc<dyn Clock>,
        tracer: Option<Tracer>,
    ) -> Self {
        Self {
            source: Source::new(&provider.settings),
            disk: Disk::new(&provider.settings),
            provider,
            clock,
            tracer,
            good: None,
            unusable: BTreeSet::new(),
            failures: 0,
            next: Instant::now(),
        }
    }

    /// Loads what is on this machine: local keys, or those that an earlier run stored. `before` is
    /// the previous state of this provider, if its keys come from the same source.
    pub(super) async fn prepare(&mut self, before: Option<&ProviderState>) {
        match before {
            _ if self.source.is_local() => self.refresh().await,
            Some(before) if self.inherit(before) => {}
            _ => self.restore().await,
        }
    }

    /// Adopts the keys known so far. Returns whether there were any.
    fn inherit(&mut self, before: &ProviderState) -> bool {
        match before.keys() {
            Keys::Known(keys) => {
                self.provider.history.inherit(&before.history);
                self.adopt(keys, Status::clone(&before.status.load()));
                true
            }
            Keys::Unavailable => {
                // That there were keys is not forgotten.
                let status = before.status.load_full();
                self.provider.status.store(status);
                false
            }
        }
    }

    /// Adopts the keys that an earlier run stored, until newer ones are fetched.
    async fn restore(&mut self) {
        let Some(disk) = &self.disk else {
            return;
        };
        let provider = &self.provider;
        let (name, refresh) = (&provider.settings.name, &provider.settings.refresh);
        let (keys, age) = match disk.read(self.clock.now(), refresh.max_stale).await {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(provider = name, %error, "the stored keys are not used");
                let status = Status::clone(&provider.status.load());
                provider.status.store(Arc::new(Status {
                    stored: Some(error.into()),
                    ..status
                }));
                return;
            }
        };
        let Some(fetched) = Instant::now().checked_sub(age) else {
            return;
        };
        tracing::info!(
            provider = name,
            keys = keys.len(),
            age_seconds = age.as_secs(),
            "using the keys of an earlier run until newer ones are fetched"
        );
        let status = Status {
            fetched: Some(fetched),
            last_fetched: Some(fetched),
            from_disk: true,
            ..Status::default()
        };
        self.adopt(keys, status);
    }

    /// Fetches whenever a regular fetch is due, a file changes, or a request asks.
    pub(super) async fn run(mut self) {
        loop {
            self.provider.plan(self.next);
            let asked = tokio::select! {
                () = sleep_until(self.next) => false,
                () = self.source.changed() => false,
                () = self.provider.wake.notified() => true,
            };
            match asked {
                true => self.load_new().await,
                false => self.refresh().await,
            }
        }
    }

    /// A regular fetch. Nothing else can move the next regular fetch to a later time, so no request
    /// can delay it.
    async fn refresh(&mut self) {
        if self.begin() {
            self.source.forget();
        }
        let span = self.begin_span();
        let loaded = unbroken(self.source.load()).await;
        self.end_span(span, &loaded);
        let refresh = self.provider.settings.refresh.clone();
        let pause = match &loaded {
            Ok(loaded) => {
                self.failures = 0;
                schedule::after_success(&refresh, loaded.freshness, fastrand::f64())
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let retry_after = error.retry_after();
                schedule::after_failure(&refresh, self.failures, retry_after, fastrand::f64())
            }
        };
        self.next = Instant::now() + pause;
        self.take(loaded);
    }

    /// A fetch for a waiting request, unless a regular fetch has already served it.
    async fn load_new(&mut self) {
        if !self.provider.attempts.borrow().is_asked() {
            return;
        }
        self.begin();
        let span = self.begin_span();
        let loaded = unbroken(self.source.load_new()).await;
        self.end_span(span, &loaded);
        self.take(loaded);
    }

    /// Begins to record a fetch over the network.
    fn begin_span(&self) -> Option<FetchSpan> {
        match self.source.is_local() {
            true => None,
            false => FetchSpan::begin(self.tracer.as_ref()),
        }
    }

    fn end_span(&self, span: Option<FetchSpan>, loaded: &Result<Loaded, KeysError>) {
        if let Some(span) = span {
            let keys = loaded.as_ref().map(|loaded| &*loaded.keys);
            span.end(&self.provider.settings, keys, &*self.clock);
        }
    }

    /// Begins a fetch. Returns whether requests wait for it.
    fn begin(&self) -> bool {
        let mut asked = false;
        let attempts = &self.provider.attempts;
        attempts.send_modify(|attempts| asked = attempts.begin());
        asked
    }

    fn take(&mut self, loaded: Result<Loaded, KeysError>) {
        let good = loaded.is_ok();
        let mut not_before = None;
        let document = match loaded {
            Ok(loaded) => {
                self.succeeded(loaded.keys, loaded.time);
                loaded.document
            }
            Err(error) => {
                let max = self.provider.settings.refresh.max;
                let wait = error.retry_after().map(|wait| wait.min(max));
                not_before = wait.map(|wait| Instant::now() + wait);
                self.failed(error);
                None
            }
        };
        let attempts = &self.provider.attempts;
        attempts.send_modify(|attempts| attempts.end(good, not_before));
        if let Some(document) = document {
            self.keep(document);
        }
    }

    /// Stores the document for the next run. By now, all waiting requests have the keys.
    fn keep(&self, document: Arc<[u8]>) {
        let now = self.clock.now();
        let Some(disk) = self.disk.clone() else {
            return;
        };
        let provider = self.provider.settings.name.clone();
        // A separate task, so that later requests do not wait for the disk.
        tokio::spawn(async move {
            if let Err(error) = disk.write(&document, now).await {
                tracing::warn!(provider, %error, "cannot store the keys for the next run");
            }
        });
    }

    fn succeeded(&mut self, keys: Arc<KeySet>, time: Option<ProviderTime>) {
        if self.report_change(&keys) {
            // A key may be missing by mistake, or in one replica only. Tokens of a withdrawn key
            // trigger no fetch, so fetch again soon.
            let soon = Instant::now() + self.provider.settings.refresh.min;
            self.next = self.next.min(soon);
        }
        self.report_unusable(&keys);
        self.report_replaced(&keys);
        let clock = time.map(|time| ClockDifference::between(self.clock.now(), time));
        self.report_clock(clock);
        let now = Some(Instant::now());
        let status = Status {
            fetched: now,
            last_fetched: now,
            clock,
            ..Status::default()
        };
        self.adopt(keys, status);
        self.provider.metrics.fetched.inc();
    }

    /// Makes these the provider's keys.
    fn adopt(&mut self, keys: Arc<KeySet>, status: Status) {
        let fetched = status.fetched;
        self.provider.settle(&keys);
        self.provider.status.store(Arc::new(status));
        self.provider.publish(Keys::Known(Arc::clone(&keys)));
        self.good = fetched.map(|fetched| (fetched, keys));
    }

    fn failed(&mut self, error: KeysError) {
        let before = self.provider.status.load_full();
        let max_stale = self.provider.settings.refresh.max_stale;
        let left = match &self.good {
            Some((fetched, _)) => max_stale.saturating_sub(fetched.elapsed()),
            None => Duration::MAX,
        };
        let discarded = self.good.take_if(|_| left.is_zero());
        if discarded.is_none()
            && let Some(too_old) = Instant::now().checked_add(left)
        {
            self.next = self.next.min(too_old);
        }
        tracing::warn!(
            provider = self.provider.settings.name,
            error = %error,
            failures = self.failures,
            keys_in_use = self.good.as_ref().map_or(0, |(_, keys)| keys.len()),
            next_fetch_seconds = self.next.duration_since(Instant::now()).as_secs(),
            "cannot fetch keys"
        );
        self.provider.status.store(Arc::new(Status {
            fetched: self.good.as_ref().map(|(fetched, _)| *fetched),
            from_disk: before.from_disk && self.good.is_some(),
            error: Some(Arc::new(error)),
            last_fetched: before.last_fetched,
            stored: before.stored.clone(),
            clock: before.clock,
        }));
        if let Some((fetched, keys)) = discarded {
            tracing::warn!(
                provider = self.provider.settings.name,
                keys = keys.len(),
                age_seconds = fetched.elapsed().as_secs(),
                "keys discarded: older than `refresh.max_stale`; tokens of this provider get 503"
            );
            self.provider.publish(Keys::Unavailable);
        }
        self.provider.metrics.failed.inc();
    }

    /// Logs which keys were added and removed, if the set has changed. Returns whether any were
    /// removed.
    fn report_change(&self, keys: &KeySet) -> bool {
        let before = self.good.as_ref().map(|(_, keys)| keys);
        if before.is_some_and(|before| before.fingerprint() == keys.fingerprint()) {
            return false;
        }
        let old = before.map(|keys| described(keys)).unwrap_or_default();
        let new = described(keys);
        let removed = list(&old, &new);
        tracing::info!(
            provider = self.provider.settings.name,
            keys = keys.len(),
            added = list(&new, &old),
            removed,
            "{}",
            match before {
                Some(_) => "keys have changed",
                None => "keys fetched",
            },
        );
        let provider = &self.provider.settings.name;
        if let Some(why) = keys.misfit(self.provider.settings.algorithms) {
            tracing::warn!(provider, %why, "the provider's keys verify no token");
        }
        if let Some(why) = keys.nameless() {
            tracing::warn!(provider, %why, "the provider's keys have no ids");
        }
        !removed.is_empty()
    }

    /// Remembers and logs each key that was replaced by another one with the same id.
    fn report_replaced(&self, keys: &KeySet) {
        let Some((_, before)) = &self.good else {
            return;
        };
        for kid in replaced(before, keys) {
            tracing::warn!(
                provider = self.provider.settings.name,
                %kid,
                "the provider has replaced a key and kept its id; tokens signed with the previous key \
                 are refused"
            );
            self.provider.history.note_replaced(kid, self.clock.now());
        }
    }

    /// Logs when the clocks begin to differ too much.
    fn report_clock(&self, now: Option<ClockDifference>) {
        let is_large =
            |clock: Option<ClockDifference>| clock.is_some_and(ClockDifference::is_large);
        if let Some(difference) = now
            && is_large(now)
            && !is_large(self.provider.status.load().clock)
        {
            tracing::warn!(
                provider = self.provider.settings.name,
                "tokens may be refused as expired or not yet valid: {difference}"
            );
        }
    }

    /// Logs each unusable key when it appears. Keys for another purpose are not logged.
    fn report_unusable(&mut self, keys: &KeySet) {
        let unusable = keys.unfit().iter().filter(|key| !key.is_for_something_else);
        let now: BTreeSet<String> = unusable.map(ToString::to_string).collect();
        let before = std::mem::replace(&mut self.unusable, now);
        let provider = &self.provider.settings.name;
        let new = || self.unusable.difference(&before);
        for key in new().take(MAX_LISTED) {
            tracing::warn!(provider, key, "a key of the provider is not used");
        }
        if let Some(more) = new().count().checked_sub(MAX_LISTED + 1) {
            tracing::warn!(provider, keys = more + 1, "further keys are not used");
        }
    }
}

/// A panic while loading must not end the refresher, because then nothing would fetch keys again.
async fn unbroken(
    loading: impl Future<Output = Result<Loaded, KeysError>>,
) -> Result<Loaded, KeysError> {
    AssertUnwindSafe(loading)
        .catch_unwind()
        .await
        .unwrap_or(Err(KeysError::Internal))
}
