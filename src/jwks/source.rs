//! Where one provider's keys come from.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
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
    /// The keys that were fetched last.
    last: Option<Fetched>,
}

/// Keys that the provider can be asked about again: are they still the same?
#[derive(Debug)]
struct Fetched {
    url: Url,
    etag: HeaderValue,
    keys: Arc<KeySet>,
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
            last: None,
        }
    }

    /// Whether loading needs nobody else.
    pub(super) fn is_local(&self) -> bool {
        match self.settings.source {
            KeySource::File(_) | KeySource::Inline(_) => true,
            KeySource::Discovery { .. } | KeySource::Uri(_) => false,
        }
    }

    /// Loads the keys, asking the provider's metadata first where they are. When the metadata
    /// cannot be had, they are taken to be where they were.
    pub(super) async fn load(&mut self) -> Result<Loaded, KeysError> {
        let before = self.discovered.take();
        let loaded = self.reload().await;
        if let (Err(KeysError::Fetch(_)), None, Some(_)) = (&loaded, &self.discovered, &before) {
            tracing::warn!(
                provider = self.settings.name,
                "cannot fetch metadata; the keys are fetched from where they were"
            );
            self.discovered = before;
            return self.reload().await;
        }
        if loaded.is_err() && self.settings.fetch.ca_file.is_some() {
            // Perhaps the file has been replaced.
            self.fetcher = None;
        }
        loaded
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
                self.fetch(&url).await
            }
            KeySource::Discovery { issuer, metadata } => {
                let (issuer, metadata) = (issuer.clone(), metadata.clone());
                let url = match self.discovered.clone() {
                    Some(url) => url,
                    None => self.discover(&issuer, &metadata).await?,
                };
                self.discovered = Some(url.clone());
                self.fetch(&url).await
            }
        }
    }

    async fn discover(&mut self, issuer: &str, metadata: &[Url]) -> Result<Url, KeysError> {
        let allow_http = self.settings.fetch.allow_http;
        discovery::find_keys(self.fetcher()?, issuer, metadata, allow_http).await
    }

    async fn fetch(&mut self, url: &Url) -> Result<Loaded, KeysError> {
        let last = self.last.take().filter(|last| last.url == *url);
        let known = last.as_ref().map(|last| &last.etag);
        let document = self.fetcher()?.get(url, known).await;
        let Document {
            body,
            freshness,
            etag,
        } = match document {
            Ok(document) => document,
            Err(error) => {
                self.last = last;
                return Err(error.into());
            }
        };
        let loaded = match (body, last) {
            (None, Some(last)) => Loaded {
                keys: last.keys,
                freshness,
            },
            (body, _) => parse(&body.unwrap_or_default(), url, freshness)?,
        };
        self.last = etag.map(|etag| Fetched {
            url: url.clone(),
            etag,
            keys: Arc::clone(&loaded.keys),
        });
        Ok(loaded)
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
