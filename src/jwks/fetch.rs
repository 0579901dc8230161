//! Gets a provider's documents over HTTP, within bounds of time, size and origin.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AGE, AUTHORIZATION, CACHE_CONTROL, DATE, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH,
};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response, StatusCode};
use url::{Origin, Url};

use super::files::{Files, MOST_SMALL_BYTES};
use super::schedule::{self, Caching};
use crate::config::Fetch;

/// How many redirects within the same origin are followed.
const MOST_REDIRECTS: usize = 3;

/// Fetches the documents of one provider.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    max_bytes: usize,
    bearer: Option<Bearer>,
}

/// A bearer token that is sent along, to one origin only: metadata may point anywhere.
#[derive(Debug)]
struct Bearer {
    file: PathBuf,
    origin: Origin,
    files: Files,
}

/// A document, and for how long it may be kept.
#[derive(Debug)]
pub(super) struct Document {
    /// `None` when it is still the one that the asker has.
    pub(super) body: Option<Vec<u8>>,
    pub(super) freshness: Option<Duration>,
    /// By which to ask whether it has changed (RFC 9110 §8.8.3).
    pub(super) etag: Option<HeaderValue>,
}

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Name resolution, connection, TLS, or a time-out.
    #[error("cannot fetch `{url}`: {why}")]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// The causes, outermost first.
        why: String,
    },
    /// Something else than 200.
    #[error("`{url}` answers {status}, expected 200")]
    Status {
        /// What was asked for.
        url: Url,
        /// The answer.
        status: StatusCode,
    },
    /// There is no bearer token to send along.
    #[error("cannot use `fetch.bearer_token_file` `{}`: {why}", file.display())]
    NoBearerToken {
        /// Where it should be.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// More than is read.
    #[error("`{url}` answers with more than {max_bytes} bytes (`fetch.max_bytes`)")]
    TooLarge {
        /// What was asked for.
        url: Url,
        /// The bound.
        max_bytes: usize,
    },
}

impl Fetcher {
    /// Fetches as `settings` say; a bearer token goes to the origin of `trusted` only.
    ///
    /// # Errors
    ///
    /// When the file of certificate authorities cannot be used.
    pub(super) async fn new(
        settings: &Fetch,
        trusted: Option<&Url>,
        files: Files,
    ) -> Result<Self, String> {
        let mut client = Client::builder()
            .user_agent(concat!("claimgate/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .redirect(Policy::custom(|attempt| {
                let from = attempt.previous().last().map(Url::origin);
                if attempt.previous().len() > MOST_REDIRECTS {
                    attempt.error("too many redirects")
                } else if from != Some(attempt.url().origin()) {
                    attempt.error("redirected to another origin, which is not followed")
                } else {
                    attempt.follow()
                }
            }))
            // Keys must not come by way of whatever the environment names.
            .no_proxy();
        if let Some(file) = &settings.ca_file {
            let cannot = |error: &dyn std::fmt::Display| {
                format!("cannot use `fetch.ca_file` `{}`: {error}", file.display())
            };
            let pem = files.read(file, MOST_SMALL_BYTES).await;
            let pem = pem.map_err(|error| cannot(&error))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| cannot(&error))?;
            if authorities.is_empty() {
                return Err(cannot(&"it holds no PEM certificate"));
            }
            client = client.tls_certs_only(authorities);
        }
        Ok(Self {
            client: client.build().map_err(|error| causes(&error))?,
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

    /// The document at `url`, whose scheme has been checked when the URL was read; without its
    /// body if it is still the one with the entity tag `known`.
    pub(super) async fn get(
        &self,
        url: &Url,
        known: Option<&HeaderValue>,
    ) -> Result<Document, FetchError> {
        let unreachable = |error: reqwest::Error| FetchError::Unreachable {
            url: url.clone(),
            why: causes(&error.without_url()),
        };
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT, "application/json, application/jwk-set+json");
        if let Some(etag) = known {
            request = request.header(IF_NONE_MATCH, etag.clone());
        }
        if let Some(bearer) = &self.bearer
            && bearer.origin == url.origin()
        {
            request = request.header(AUTHORIZATION, bearer.header().await?);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() == StatusCode::NOT_MODIFIED && known.is_some() {
            return Ok(Document {
                body: None,
                freshness: freshness(&response),
                etag: known.cloned(),
            });
        }
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status {
                url: url.clone(),
                status: response.status(),
            });
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
        Ok(Document {
            body: Some(body),
            freshness,
            etag,
        })
    }
}

impl Bearer {
    /// Reads the token anew: Kubernetes replaces it every hour or so.
    async fn header(&self) -> Result<HeaderValue, FetchError> {
        let unusable = |why: String| FetchError::NoBearerToken {
            file: self.file.clone(),
            why,
        };
        let token = self.files.read(&self.file, MOST_SMALL_BYTES).await;
        let token = token.map_err(|error| unusable(error.to_string()))?;
        let token = String::from_utf8_lossy(&token);
        let token = token.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable("it does not hold one token".to_owned()));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|error| unusable(error.to_string()))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

fn freshness(response: &Response) -> Option<Duration> {
    let text = |name| response.headers().get(name)?.to_str().ok();
    let date = |name| httpdate::parse_http_date(text(name)?).ok();
    schedule::freshness(&Caching {
        cache_control: text(CACHE_CONTROL).unwrap_or_default(),
        age: text(AGE).and_then(|age| age.trim().parse().ok()),
        date: date(DATE),
        expires: date(EXPIRES),
    })
}

/// An error and everything that led to it: the innermost part is what helps.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
