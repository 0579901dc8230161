//! Stores a provider's last good keys in a file, so that a restart works without the provider.
//!
//! Anyone who can write this file can have forged tokens accepted. So a file or directory that
//! another user can write is never used (see [`PrivateDirectory`]).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

mod private;

use private::PrivateDirectory;

use crate::files::Files;
use claimgate_config::{KeySettings, KeySource};
use claimgate_core::keyring::KeySet;
use claimgate_core::time::UnixTime;

/// The characters that are not encoded in a file name.
const IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// How far the clock that stamped a file may have been ahead.
const MAX_AHEAD: Duration = Duration::from_mins(5);

/// The file with one provider's keys.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    /// The file's name in the directory.
    name: String,
    /// The source of the keys. A file with another origin belongs to another configuration.
    origin: String,
    max_bytes: u64,
    files: Files,
}

/// The contents of the file.
#[derive(Deserialize, Serialize)]
struct StoredJwks {
    origin: String,
    /// When the document was fetched, in seconds since 1970.
    fetched: u64,
    /// The document as it was fetched.
    keys: String,
}

impl Disk {
    /// `None` if no directory is configured, or if the keys are on this machine anyway.
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
            // The document is JSON text inside JSON, so each character may take two bytes.
            max_bytes: settings.fetch.max_bytes as u64 * 2 + 64 * 1024,
            files: Files::default(),
        })
    }

    /// The stored keys and their age. `None` if nothing is stored.
    ///
    /// # Errors
    ///
    /// Says why the file cannot be used.
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
            return Err(cannot(&"it has the keys of another configuration"));
        }
        let fetched = UnixTime::from_secs(kept.fetched);
        if fetched > now.saturating_add(MAX_AHEAD) {
            return Err(cannot(
                &"its keys are from the future, by this machine's clock",
            ));
        }
        let age = now.saturating_since(fetched);
        if age >= max_stale {
            return Err(cannot(&format_args!(
                "its keys are {} s old, more than `refresh.max_stale` ({} s); a larger one puts \
                 them back in use until the provider answers, with keys that it may have withdrawn",
                age.as_secs(),
                max_stale.as_secs()
            )));
        }
        let keys = KeySet::from_json(kept.keys.as_bytes()).map_err(|error| cannot(&error))?;
        Ok(Some((Arc::new(keys), age)))
    }

    /// Stores a document that was just fetched. If the disk does not respond, only this call waits.
    ///
    /// # Errors
    ///
    /// Says why the document could not be stored.
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
