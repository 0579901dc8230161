//! Holds the current keys of one configuration's providers for readers.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use claimgate_core::keyring::{Keyring, Keys, ProviderId};

/// The keys of all providers of one configuration. Readers never wait.
pub(super) struct Board {
    keyring: ArcSwap<Keyring>,
    /// Notified of every change.
    changed: watch::Sender<()>,
}

impl Board {
    pub(super) fn new(providers: usize, changed: watch::Sender<()>) -> Self {
        Self {
            keyring: ArcSwap::from_pointee(Keyring::empty(providers)),
            changed,
        }
    }

    /// The keys known at this moment.
    pub(super) fn snapshot(&self) -> Guard<Arc<Keyring>> {
        self.keyring.load()
    }

    /// Replaces the keys of a provider.
    pub(super) fn put(&self, provider: ProviderId, keys: &Keys) {
        self.keyring
            .rcu(|keyring| keyring.with(provider, keys.clone()));
        self.changed.send_replace(());
    }

    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}
