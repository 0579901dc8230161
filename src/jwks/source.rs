//! Where one provider's keys come from.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::fetch::{Document, Fetcher};
use super::{KeysError, discovery};
use crate::config::{KeySettings, KeySource};
use crate::keyring::KeySet;

/// Loads the keys of one provider, again and again.
#[derive(Debug)]
pub(super) struct Source {
    settings: KeySettings,
    /// Made when first needed, so that a wrong `ca_file` can be mended while we run.
    fetcher: Option<Fetcher>,
    /// Where discovery last found the keys.
    discovered: Option<Url>,
}

/// Keys, and for how long the provider says they may be kept.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: Arc<KeySet>,
    pub(super) freshness: Option<Duration>,
}

impl Source {
    pub(super) fn new(settings: &KeySettings) -> Self {
        Self {
            settings: settings.clone(),
            fetcher: None,
            discovered: None,
        }
    }

    /// Whether loading needs nobody else.
    pub(super) fn is_local(&self) -> bool {
        match self.settings.source {
            KeySource::File(_) | KeySource::Inline(_) => true,
            KeySource::Discovery { .. } | KeySource::Uri(_) => false,
        }
    }

    /// Loads the keys, asking the provider's metadata first where they are.
    pub(super) async fn load(&mut self) -> Result<Loaded, KeysError> {
        self.discovered = None;
        self.reload().await
    }

    /// Loads the keys from where they were last time: a request is waiting.
    pub(super) async fn reload(&mut self) -> Result<Loaded, KeysError> {
        match &self.settings.source {
            KeySource::Inline(keys) => Ok(Loaded {
                keys: Arc::clone(keys),
                freshness: None,
            }),
            KeySource::File(file) => read_file(file).await,
            KeySource::Uri(url) => {
                let url = url.clone();
                read_url(self.fetcher()?, &url).await
            }
            KeySource::Discovery { issuer, metadata } => {
                let (issuer, metadata) = (issuer.clone(), metadata.clone());
                let allow_http = self.settings.fetch.allow_http;
                let known = self.discovered.clone();
                let fetcher = self.fetcher()?;
                let url = match known {
                    Some(url) => url,
                    None => discovery::find_keys(fetcher, &issuer, &metadata, allow_http).await?,
                };
                let loaded = read_url(fetcher, &url).await?;
                self.discovered = Some(url);
                Ok(loaded)
            }
        }
    }

    fn fetcher(&mut self) -> Result<&Fetcher, KeysError> {
        if self.fetcher.is_none() {
            self.fetcher = Some(Fetcher::new(&self.settings.fetch).map_err(KeysError::Settings)?);
        }
        self.fetcher
            .as_ref()
            .ok_or_else(|| KeysError::Settings("no HTTP client".to_owned()))
    }
}

async fn read_file(file: &Path) -> Result<Loaded, KeysError> {
    let json = tokio::fs::read(file)
        .await
        .map_err(|error| KeysError::File {
            file: file.display().to_string(),
            error,
        })?;
    // A file costs nothing to read: look again as soon as the operator's bounds allow.
    parse(&json, &file.display(), Some(Duration::ZERO))
}

async fn read_url(fetcher: &Fetcher, url: &Url) -> Result<Loaded, KeysError> {
    let Document { body, freshness } = fetcher.get(url).await?;
    parse(&body, url, freshness)
}

fn parse(
    json: &[u8],
    place: &dyn std::fmt::Display,
    freshness: Option<Duration>,
) -> Result<Loaded, KeysError> {
    let keys = KeySet::from_json(json).map_err(|error| KeysError::Unusable {
        place: format!("`{place}`"),
        error,
    })?;
    Ok(Loaded {
        keys: Arc::new(keys),
        freshness,
    })
}
