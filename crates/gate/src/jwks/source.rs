//! Loads one provider's keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::sleep;
use url::Url;

use super::clock::ProviderTime;
use super::content::Content;
use super::fetch::{FetchError, Fetcher, Wanted};
use super::{KeysError, discovery};
use crate::files::{Files, LOOK_INTERVAL, Stamp};
use claimgate_config::{KeySettings, KeySource};
use claimgate_core::keyring::{KeySet, KeySetError};

/// Loads the keys of one provider repeatedly.
#[derive(Debug)]
pub(super) struct Source {
    settings: KeySettings,
    files: Files,
    /// Created when first needed, so that a wrong `ca_file` can be corrected while the service
    /// runs.
    fetcher: Option<Fetcher>,
    /// The URL where discovery last found the keys.
    discovered: Option<Url>,
    /// The result of the last fetch.
    last: Option<Fetched>,
    /// The state of the file when it was last read.
    stamp: Option<Stamp>,
}

/// Keys with the entity tag to ask the server whether they have changed.
#[derive(Debug)]
struct Fetched {
    url: Url,
    etag: HeaderValue,
    keys: Arc<KeySet>,
    document: Option<Arc<[u8]>>,
}

/// Loaded keys, and how long the provider says they stay fresh.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: Arc<KeySet>,
    pub(super) freshness: Option<Duration>,
    /// The document as it was fetched, if it is to be stored.
    pub(super) document: Option<Arc<[u8]>>,
    /// The time by the provider's clock, if the keys were fetched and the response says.
    pub(super) time: Option<ProviderTime>,
}

impl Source {
    pub(super) fn new(settings: &KeySettings) -> Self {
        Self {
            settings: settings.clone(),
            files: Files::default(),
            fetcher: None,
            discovered: None,
            last: None,
            stamp: None,
        }
    }

    /// Whether loading needs no network.
    pub(super) fn is_local(&self) -> bool {
        self.settings.source.url().is_none()
    }

    /// Completes when the key file has changed. Never completes for other sources.
    pub(super) async fn changed(&self) {
        let KeySource::File(file) = &self.settings.source else {
            return std::future::pending().await;
        };
        loop {
            sleep(LOOK_INTERVAL).await;
            if self.files.stamp(file).await != self.stamp {
                return;
            }
        }
    }

    /// Loads the keys. With discovery, fetches the metadata first; if that fails, uses the previous
    /// URL of the keys.
    pub(super) async fn load(&mut self) -> Result<Loaded, KeysError> {
        let before = self.discovered.take();
        let mut loaded = self.reload().await;
        if loaded.is_err() && self.discovered.is_none() {
            // Restored for this load, for the next one, and for requests that wait.
            self.discovered = before;
            // Falls back only if there was no usable metadata. Metadata that exists but is wrong
            // must not be ignored.
            if let (Err(error @ (KeysError::Fetch(_) | KeysError::NotMetadata(_))), Some(_)) =
                (&loaded, &self.discovered)
            {
                let again = self.reload().await;
                // Otherwise the fetch has failed, which has a line of its own.
                if again.is_ok() {
                    tracing::warn!(
                        provider = self.settings.name,
                        %error,
                        "cannot fetch metadata; using the previous `jwks_uri`"
                    );
                }
                loaded = again;
            }
        }
        if loaded.is_err() && self.settings.fetch.ca_file.is_some() {
            // The file may have been replaced, so read it again next time.
            self.fetcher = None;
        }
        loaded
    }

    /// Loads the keys from their previous URL, because a request waits for a new one. Always
    /// fetches the whole document. If the keys are no longer there, asks the metadata for their new
    /// URL.
    pub(super) async fn load_new(&mut self) -> Result<Loaded, KeysError> {
        self.forget();
        let before = self.discovered.clone();
        let loaded = self.reload().await;
        match (&loaded, before) {
            (Err(error), Some(before)) if error.is_moved() => match self.moved(&before).await {
                Some(url) => self.fetch(&url).await,
                None => loaded,
            },
            _ => loaded,
        }
    }

    /// The new URL of the keys, if they have moved.
    async fn moved(&mut self, before: &Url) -> Option<Url> {
        let KeySource::Discovery { issuer, metadata } = self.settings.source.clone() else {
            return None;
        };
        let provider = &self.settings.name.clone();
        match self.discover(&issuer, &metadata).await {
            Ok(url) if url == *before => None,
            Ok(url) => {
                tracing::info!(provider, from = %before, to = %url, "the provider's keys have moved");
                self.discovered = Some(url.clone());
                Some(url)
            }
            Err(error) => {
                // The failed fetch has a line of its own.
                tracing::info!(provider, %error, "cannot find out whether the keys have moved");
                None
            }
        }
    }

    /// Makes the next load fetch the whole document, whether or not the server thinks it has
    /// changed, because a request waits for newer keys.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    async fn reload(&mut self) -> Result<Loaded, KeysError> {
        match &self.settings.source {
            KeySource::Inline(keys) => Ok(Loaded {
                keys: Arc::clone(keys),
                freshness: None,
                document: None,
                time: None,
            }),
            KeySource::File(file) => {
                // Taken before reading, so that a write in between is noticed next time.
                let file = file.clone();
                self.stamp = self.files.stamp(&file).await;
                self.read_file(&file).await
            }
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
        discovery::find_keys(self.fetcher().await?, issuer, metadata, allow_http).await
    }

    async fn fetch(&mut self, url: &Url) -> Result<Loaded, KeysError> {
        let last = self.last.take().filter(|last| last.url == *url);
        let known = last.as_ref().map(|last| &last.etag);
        let document = self.fetcher().await?.get(url, Wanted::Keys, known).await;
        let mut document = match document {
            Ok(document) => document,
            Err(error) => {
                // The server may not accept a conditional request, so the next one is
                // unconditional.
                let refused = matches!(
                    error,
                    FetchError::Status { status, .. } if status.is_client_error()
                );
                self.last = last.filter(|_| !refused);
                return Err(error.into());
            }
        };
        let freshness = document.freshness;
        let loaded = match (document.body.take(), last) {
            (None, Some(last)) => Loaded {
                keys: last.keys,
                freshness,
                document: last.document,
                time: document.time,
            },
            (body, _) => {
                let body = body.unwrap_or_default();
                let remedy = |content: &Content| content.with_remedy(Wanted::Keys);
                let loaded = parse(&body, &document.place(url), freshness, remedy)?;
                let kept = self.settings.refresh.cache_dir.is_some();
                Loaded {
                    document: kept.then(|| body.into()),
                    time: document.time,
                    ..loaded
                }
            }
        };
        self.last = document.etag.map(|etag| Fetched {
            url: url.clone(),
            etag,
            keys: Arc::clone(&loaded.keys),
            document: loaded.document.clone(),
        });
        Ok(loaded)
    }

    /// Reads the files that fetching needs, if anything is fetched or a `ca_file` is set.
    pub(super) async fn prepare(&mut self) -> Result<(), KeysError> {
        match self.is_local() && self.settings.fetch.ca_file.is_none() {
            true => Ok(()),
            false => self.fetcher().await.map(drop),
        }
    }

    async fn fetcher(&mut self) -> Result<&Fetcher, KeysError> {
        if self.fetcher.is_none() {
            let (fetch, url) = (&self.settings.fetch, self.settings.source.url());
            let fetcher = Fetcher::new(fetch, url, self.files.clone()).await;
            self.fetcher = Some(fetcher.map_err(KeysError::Settings)?);
        }
        self.fetcher
            .as_ref()
            .ok_or_else(|| KeysError::Settings("no HTTP client".to_owned()))
    }

    async fn read_file(&self, file: &Path) -> Result<Loaded, KeysError> {
        let max_bytes = self.settings.fetch.max_bytes as u64;
        let json = self.files.read(file, max_bytes).await;
        let json = json.map_err(|error| KeysError::File {
            file: file.display().to_string(),
            error,
        })?;
        // Reading a file is cheap, so the next read comes as soon as `refresh.min` allows.
        parse(
            &json,
            &format!("`{}`", file.display()),
            Some(Duration::ZERO),
            Content::to_string,
        )
    }
}

/// `describe` says what another document than a key set is.
fn parse(
    json: &[u8],
    place: &str,
    freshness: Option<Duration>,
    describe: impl Fn(&Content) -> String,
) -> Result<Loaded, KeysError> {
    let place = || place.to_owned();
    let keys = KeySet::from_json(json).map_err(|error| match (&error, Content::of(json)) {
        (KeySetError::NotASet(_), Some(content)) if content != Content::KeySet => {
            KeysError::NotKeys {
                place: place(),
                content: describe(&content),
            }
        }
        _ => KeysError::Unusable {
            place: place(),
            error,
        },
    })?;
    Ok(Loaded {
        keys: Arc::new(keys),
        freshness,
        document: None,
        time: None,
    })
}
