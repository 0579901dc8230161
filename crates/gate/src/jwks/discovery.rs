//! Finds the URL of a provider's keys (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).

use serde::Deserialize;
use url::Url;

use super::KeysError;
use super::content::Content;
use super::fetch::{FetchedDocument, Fetcher, Wanted};
use claimgate_config::values::{is_loopback, is_this_machine, key_url};
use claimgate_core::escaped::Escaped;
use claimgate_core::keyring::without_bom;

/// The members of provider metadata that matter here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Metadata that names another issuer than the configuration.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{url}` is the metadata of issuer `{}`, but `{configured}` is configured: {}",
    Escaped::from(named.as_str()),
    self.advice()
)]
pub struct OtherIssuer {
    /// The URL of the metadata.
    pub url: Url,
    /// The issuer that the metadata names.
    pub named: String,
    /// The issuer in the configuration.
    pub configured: String,
}

impl OtherIssuer {
    fn advice(&self) -> String {
        let remedy = self.remedy();
        match self.differs_by_slash() {
            true => format!("they differ by a trailing slash; {remedy}"),
            false => format!("if that is the `iss` of its tokens, {remedy}"),
        }
    }

    /// The setting that accepts tokens of the issuer that the metadata names.
    pub fn remedy(&self) -> String {
        let named = Escaped::from(self.named.as_str());
        match self.differs_by_slash() {
            true => format!("set `issuer: {named}`"),
            // Keycloak often has one name outside and another inside.
            false => format!("set `issuer: {named}` with `discovery_url: {}`", self.url),
        }
    }

    fn differs_by_slash(&self) -> bool {
        self.named.trim_end_matches('/') == self.configured.trim_end_matches('/')
    }
}

/// The URL of the keys of `issuer`, from the first of `places` that has its metadata.
///
/// # Errors
///
/// If no place has metadata, returns the error of the first. Metadata with another `issuer` must
/// not be used (OpenID Connect Discovery §4.3, RFC 8414 §3.3).
pub(super) async fn find_keys(
    fetcher: &Fetcher,
    issuer: &str,
    places: &[Url],
    allow_http: bool,
) -> Result<Url, KeysError> {
    let mut first = None;
    for url in places {
        let error = match fetcher.get(url, Wanted::Metadata, None).await {
            Ok(document) => match read(&document, url) {
                Ok(metadata) => return keys_of(&metadata, url, issuer, allow_http),
                Err(why) => KeysError::NotMetadata(why),
            },
            // Only a definite "not here" moves on to the next place. An outage must not.
            Err(error) if error.is_not_here() => error.into(),
            Err(error) => return Err(first.unwrap_or_else(|| error.into())),
        };
        first.get_or_insert(error);
    }
    Err(first.unwrap_or_else(|| KeysError::Metadata("there is no URL for it".to_owned())))
}

/// Parses the document from `url` as metadata.
fn read(document: &FetchedDocument, url: &Url) -> Result<Metadata, String> {
    let body = without_bom(document.body.as_deref().unwrap_or_default());
    serde_json::from_slice(body).map_err(|error| {
        let what = match Content::of(body) {
            Some(Content::KeySet) => {
                format!("it is a key set; set `jwks.uri: {url}` instead")
            }
            // The document looks like metadata, but a member is wrong, so the parser's error helps.
            Some(Content::Metadata(_)) | None => {
                Escaped::from(error.to_string().as_str()).to_string()
            }
            Some(other) => format!("it is {}", other.with_remedy(Wanted::Metadata)),
        };
        format!("{} is not provider metadata: {what}", document.place(url))
    })
}

/// The URL of the keys in the metadata from `url`.
fn keys_of(
    metadata: &Metadata,
    url: &Url,
    issuer: &str,
    allow_http: bool,
) -> Result<Url, KeysError> {
    if metadata.issuer != issuer {
        return Err(KeysError::OtherIssuer(Box::new(OtherIssuer {
            url: url.clone(),
            named: metadata.issuer.clone(),
            configured: issuer.to_owned(),
        })));
    }
    let unfit = |why: String| KeysError::Metadata(format!("`jwks_uri` of `{url}`: {why}"));
    let keys = key_url(&metadata.jwks_uri, allow_http).map_err(unfit)?;
    // Metadata from elsewhere must not direct requests to services on this machine.
    if is_this_machine(&keys) && !is_loopback(url) {
        return Err(unfit(format!(
            "`{keys}` is on this machine, but the metadata is not; if the keys are on the metadata's \
             host, set `jwks.uri: {}` instead of `discovery_url`, or give the provider its \
             public host name (Keycloak: `KC_HOSTNAME`)",
            at_origin_of(url, &keys)
        )));
    }
    Ok(keys)
}

/// The path and query of `there`, on the host of `url`.
fn at_origin_of(url: &Url, there: &Url) -> Url {
    let mut here = url.clone();
    here.set_path(there.path());
    here.set_query(there.query());
    here
}
