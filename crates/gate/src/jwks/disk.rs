//! Keeps a provider's last good keys in a file, so that a restart can do without the provider.
//!
//! Anyone who can write the file can have tokens of their own accepted, so a file or directory that
//! another user can write is not used (see [`PrivateDirectory`]).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

mod private;

use private::PrivateDirectory;

use super::files::Files;
use claimgate_config::{KeySettings, KeySource};
use claimgate_core::keyring::KeySet;
use claimgate_core::time::UnixTime;

/// What stays as it is in a file's name.
const IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// How far the clock that stamped a file may have run ahead.
const MAX_AHEAD: Duration = Duration::from_mins(5);

/// Where one provider's keys are kept.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    /// The name of the file in it.
    name: String,
    /// Where the keys are from: those of another configuration are of no use.
    origin: String,
    max_bytes: u64,
    files: Files,
}

/// What is in the file.
#[derive(Deserialize, Serialize)]
struct StoredJwks {
    origin: String,
    /// Seconds since 1970.
    fetched: u64,
    /// The document, as it was fetched.
    keys: String,
}

impl Disk {
    /// Nothing when no directory is configured, or the keys are on this machine anyway.
    pub(super) fn new(settings: &KeySettings) -> Option<Self> {
        let origin = match &settings.source {
            KeySource::Discovery { issuer, metadata } => {
                let places: Vec<_> = metadata.iter().map(url::Url::as_str).collect();
                format!("{issuer} {}", places.join(" "))
            }
            KeySource::Uri(url) => url.to_string(),
            KeySource::File(_) | KeySource::Inline(_) => return None,
        };
        let name = utf8_percent_encode(&settings.name, IN_NAMES);
        Some(Self {
            directory: settings.refresh.cache_dir.clone()?,
            name: format!("{name}.jwks.json"),
            origin,
            // The document is text in a document: each character may take two.
            max_bytes: settings.fetch.max_bytes as u64 * 2 + 64 * 1024,
            files: Files::default(),
        })
    }

    /// The keys that were kept, and how old they are; `None` if there are none.
    ///
    /// # Errors
    ///
    /// Why the file is of no use.
    pub(super) async fn read(
        &self,
        now: UnixTime,
        max_stale: Duration,
    ) -> Result<Option<(Arc<KeySet>, Duration)>, String> {
        let cannot = |why: &dyn std::fmt::Display| format!("`{}`: {why}", self.file());
        let (directory, name, max_bytes) =
            (self.directory.clone(), self.name.clone(), self.max_bytes);
        let reading = move || PrivateDirectory::open(&directory)?.read(&name, max_bytes);
        let json = match self.files.run(reading).await {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot(&error)),
        };
        let kept: StoredJwks = serde_json::from_slice(&json).map_err(|error| cannot(&error))?;
        if kept.origin != self.origin {
            return Err(cannot(&"it holds the keys of another configuration"));
        }
        let fetched = UnixTime::from_secs(kept.fetched);
        if fetched > now.saturating_add(MAX_AHEAD) {
            return Err(cannot(
                &"by this machine's clock its keys are from the future",
            ));
        }
        let age = now.saturating_since(fetched);
        if age >= max_stale {
            return Err(cannot(&format_args!(
                "its keys are {} s old, more than `refresh.max_stale`",
                age.as_secs()
            )));
        }
        let keys = KeySet::from_json(kept.keys.as_bytes()).map_err(|error| cannot(&error))?;
        Ok(Some((Arc::new(keys), age)))
    }

    /// Keeps a document that was fetched just now. A disk that does not answer holds up nothing
    /// but itself.
    ///
    /// # Errors
    ///
    /// Why it could not be kept.
    pub(super) async fn write(&self, document: &[u8], now: UnixTime) -> Result<(), String> {
        let cannot = |why: &dyn std::fmt::Display| format!("cannot write `{}`: {why}", self.file());
        let kept = StoredJwks {
            origin: self.origin.clone(),
            fetched: now.as_secs(),
            keys: String::from_utf8_lossy(document).into_owned(),
        };
        let json = serde_json::to_vec(&kept).map_err(|error| cannot(&error))?;
        let (directory, name) = (self.directory.clone(), self.name.clone());
        let writing = move || PrivateDirectory::create(&directory)?.replace(&name, &json);
        let written = self.files.run(writing).await;
        written.map_err(|error| cannot(&error))
    }

    fn file(&self) -> String {
        self.directory.join(&self.name).display().to_string()
    }
}
