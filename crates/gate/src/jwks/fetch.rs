//! Fetches a provider's documents over HTTP, with limits on time, size and origin.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, DATE, ETAG, EXPIRES, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use tokio::time::Instant;
use url::{Origin, Url};

mod cluster;
mod error;
mod proxy;
mod silence;
pub mod trust;

use cluster::Cluster;
pub use error::FetchError;
use error::causes;
use proxy::Proxy;

use super::clock::ProviderTime;
use super::schedule::{self, Caching};
use crate::clusters;
use crate::files::{Files, MAX_SMALL_BYTES};
use claimgate_config::Fetch;
use claimgate_config::files::unreadable;
use claimgate_core::escaped::Escaped;
use claimgate_core::time::UnixTime;

/// The maximum number of redirects followed within the same origin.
const MAX_REDIRECTS: usize = 3;

/// How claimgate names itself to a provider.
const OWN_NAME: &str = concat!("claimgate/", env!("CARGO_PKG_VERSION"));

/// Fetches the documents of one provider.
#[derive(Debug)]
pub(super) struct Fetcher {
    direct: Client,
    proxied: Option<Proxied>,
    /// The cluster of the proxy to fetch through, instead of with a client.
    cluster: Option<Cluster>,
    ca_file: Option<PathBuf>,
    timeout: Duration,
    max_bytes: usize,
    bearer: Option<Bearer>,
}

/// A client whose requests all go through a proxy.
struct Proxied {
    client: Client,
    proxy: Proxy,
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, proxy } = self;
        write!(f, "Proxied({proxy})")
    }
}

/// The kind of document to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Metadata,
    Keys,
}

impl Wanted {
    /// The field of the configuration that holds the document's URL.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Metadata => "discovery_url",
            Self::Keys => "jwks.uri",
        }
    }
}

/// A bearer token that is sent to one origin only, because metadata may point anywhere.
#[derive(Debug)]
struct Bearer {
    file: PathBuf,
    origin: Origin,
    files: Files,
}

/// A fetched document, and how long it may be cached.
#[derive(Debug)]
pub(super) struct FetchedDocument {
    /// `None` if the document has not changed since the `known` entity tag.
    pub(super) body: Option<Vec<u8>>,
    pub(super) freshness: Option<Duration>,
    /// The entity tag for asking whether the document has changed (RFC 9110 §8.8.3).
    pub(super) etag: Option<HeaderValue>,
    /// The time by the provider's clock.
    pub(super) time: Option<ProviderTime>,
    /// The final URL, if there were redirects within the origin.
    pub(super) redirected: Option<Url>,
}

impl FetchedDocument {
    /// The document's URL, for errors.
    pub(super) fn place(&self, url: &Url) -> String {
        match &self.redirected {
            None => format!("`{url}`"),
            Some(last) => format!("`{url}` (redirected to `{}`)", Escaped::from(last.as_str())),
        }
    }
}

impl Fetcher {
    /// A fetcher with these settings. A bearer token is sent only to the origin of `trusted`.
    ///
    /// # Errors
    ///
    /// Fails if `fetch.ca_file` or the proxy cannot be used.
    pub(super) async fn new(
        settings: &Fetch,
        trusted: Option<&Url>,
        files: Files,
    ) -> Result<Self, String> {
        let tls = match &settings.ca_file {
            None => None,
            Some(file) => {
                let cannot = |error: &dyn fmt::Display| {
                    format!("cannot use `fetch.ca_file` `{}`: {error}", file.display())
                };
                let pem = files.read(file, MAX_SMALL_BYTES).await;
                let pem = pem.map_err(|error| cannot(&unreadable(&error)))?;
                Some(trust::only(&pem).map_err(|error| cannot(&error))?)
            }
        };
        let client = || {
            let client = client(settings.timeout);
            match tls.clone() {
                None => client,
                Some(tls) => client.tls_backend_preconfigured(tls),
            }
        };
        let build = |client: ClientBuilder| client.build().map_err(|error| causes(&error));
        let proxy = match &settings.proxy {
            None => None,
            Some(setting) => Proxy::new(setting, |name| std::env::var(name).ok())?,
        };
        let proxied = match proxy {
            None => None,
            Some(proxy) => Some(Proxied {
                client: build(client().proxy(proxy.to_reqwest()?))?,
                proxy,
            }),
        };
        Ok(Self {
            direct: build(client())?,
            proxied,
            cluster: match &settings.envoy_cluster {
                None => None,
                Some(name) => Some(Cluster::new(name, clusters::provided())?),
            },
            ca_file: settings.ca_file.clone(),
            timeout: settings.timeout,
            max_bytes: settings.max_bytes,
            bearer: trusted
                .zip(settings.bearer_token_file.clone())
                .map(|(url, file)| Bearer {
                    file,
                    origin: url.origin(),
                    files,
                }),
        })
    }

    /// Fetches the document at `url`, whose scheme was checked when the URL was read. If `known` is
    /// still the document's entity tag, the result has no body.
    pub(super) async fn get(
        &self,
        url: &Url,
        wanted: Wanted,
        known: Option<&HeaderValue>,
    ) -> Result<FetchedDocument, FetchError> {
        let proxied = self.proxied.as_ref();
        let proxied = proxied.filter(|proxied| proxied.proxy.is_for(url));
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            FetchError::Unreachable {
                url: url.clone(),
                proxy: proxied.map(|proxied| proxied.proxy.to_string()),
                why: causes(&error),
                unconnected: error.is_connect() && !error.is_timeout(),
                advice: silence::unreachable(
                    &error,
                    &silence::Attempt {
                        url,
                        wanted,
                        is_proxied: proxied.is_some(),
                        timeout: self.timeout,
                        ca_file: self.ca_file.as_deref(),
                    },
                ),
            }
        };
        let headers = self.headers(url, known).await?;
        let mut response = match &self.cluster {
            Some(cluster) => cluster.get(url, &headers, self.timeout).await?,
            None => {
                let client = proxied.map_or(&self.direct, |proxied| &proxied.client);
                let sent = client.get(url.clone()).headers(headers).send();
                sent.await.map_err(unreachable)?
            }
        };
        let time = provider_time(&response);
        if response.status() == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(FetchedDocument {
                body: None,
                freshness: freshness(&response),
                etag: known.cloned(),
                time,
                redirected: None,
            });
        }
        if response.status() != StatusCode::OK {
            return Err(self.unusable(&response, url, wanted));
        }
        let freshness = freshness(&response);
        let etag = response.headers().get(ETAG).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > self.max_bytes {
                return Err(FetchError::TooLarge {
                    url: url.clone(),
                    max_bytes: self.max_bytes,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(FetchedDocument {
            body: Some(body),
            freshness,
            etag,
            time,
            redirected: Some(response.url().clone()).filter(|last| last != url),
        })
    }

    async fn headers(
        &self,
        url: &Url,
        known: Option<&HeaderValue>,
    ) -> Result<HeaderMap, FetchError> {
        let accepted = "application/json, application/jwk-set+json";
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accepted))]);
        headers.extend(known.map(|etag| (IF_NONE_MATCH, etag.clone())));
        if let Some(bearer) = self.bearer_for(url) {
            headers.insert(AUTHORIZATION, bearer.header().await?);
        }
        Ok(headers)
    }

    /// The bearer token, if it may be sent to this URL.
    fn bearer_for(&self, url: &Url) -> Option<&Bearer> {
        let bearer = self.bearer.as_ref();
        bearer.filter(|bearer| bearer.origin == url.origin())
    }

    /// The error for a response other than 200.
    fn unusable(&self, response: &Response, url: &Url, wanted: Wanted) -> FetchError {
        let (url, status) = (url.clone(), response.status());
        let location = response.headers().get(LOCATION);
        let location = location.filter(|_| status.is_redirection());
        let Some(location) = location.and_then(|location| location.to_str().ok()) else {
            let sent_to = self.bearer.as_ref();
            let sent_to = sent_to.map(|bearer| bearer.origin.ascii_serialization());
            let withheld = self.bearer_for(&url).is_none();
            return FetchError::Status {
                advice: error::status(status, &url, wanted, sent_to.as_deref(), withheld),
                url,
                status,
                retry_after: retry_after(response),
            };
        };
        let to = response.url().join(location);
        let (why, advice) = match &to {
            Ok(to) if to.origin() == url.origin() => ("after too many redirects", None),
            Ok(to) => (
                "another origin, which is not followed",
                error::redirect(to, wanted),
            ),
            Err(_) => ("which is not a URL", None),
        };
        let to = to.as_ref().map_or(location, Url::as_str);
        FetchError::Redirect {
            url,
            to: Escaped::from(to),
            why,
            advice,
        }
    }
}

/// A client builder with the settings that all fetchers share.
fn client(timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(OWN_NAME)
        .timeout(timeout)
        .redirect(Policy::custom(|attempt| {
            let from = attempt.previous().last().map(Url::origin);
            let within = from == Some(attempt.url().origin());
            match within && attempt.previous().len() <= MAX_REDIRECTS {
                true => attempt.follow(),
                false => attempt.stop(),
            }
        }))
        // The environment must not silently choose how keys are fetched. `fetch.proxy` decides.
        .no_proxy()
}

impl Bearer {
    /// Reads the token for each request, because Kubernetes replaces it about once an hour.
    async fn header(&self) -> Result<HeaderValue, FetchError> {
        let unusable = |why: String| FetchError::NoBearerToken {
            file: self.file.clone(),
            why,
        };
        let token = self.files.read(&self.file, MAX_SMALL_BYTES).await;
        let token = token.map_err(|error| unusable(unreadable(&error)))?;
        let token = String::from_utf8_lossy(&token);
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable("it does not contain exactly one token".to_owned()));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| unusable(error.to_string()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn freshness(response: &Response) -> Option<Duration> {
    schedule::freshness(&Caching {
        cache_control: text(response, CACHE_CONTROL).unwrap_or_default(),
        age: text(response, AGE).and_then(|age| age.trim().parse().ok()),
        date: date(response, DATE),
        expires: date(response, EXPIRES),
    })
}

/// `Date` is when the origin sent the response, and `Age` how long it was in caches since (RFC 9111
/// §5.1).
fn provider_time(response: &Response) -> Option<ProviderTime> {
    let date = date(response, DATE)?.duration_since(SystemTime::UNIX_EPOCH);
    let age = text(response, AGE).and_then(|age| age.trim().parse().ok());
    let sent = UnixTime::from_duration(date.ok()?);
    Some(ProviderTime {
        sent: sent.saturating_add(Duration::from_secs(age.unwrap_or_default())),
        received: Instant::now(),
    })
}

fn retry_after(response: &Response) -> Option<Duration> {
    schedule::retry_after(text(response, RETRY_AFTER)?, date(response, DATE))
}

fn text(response: &Response, name: HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn date(response: &Response, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(response, name)?).ok()
}
