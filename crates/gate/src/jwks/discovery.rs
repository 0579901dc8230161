//! Finds where a provider's keys are: OpenID Connect Discovery 1.0 §4, RFC 8414 §3.

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

/// The address of the keys of `issuer`, from the first of `places` that has its metadata.
///
/// # Errors
///
/// When none has: then what is wrong with the first. Metadata whose `issuer` is another must not be
/// used (OpenID Connect Discovery §4.3, RFC 8414 §3.3).
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
            // Only "not here" sends on to the next place; an outage is an outage.
            Err(error) if error.is_not_here() => error.into(),
            Err(error) => return Err(first.unwrap_or_else(|| error.into())),
        };
        first.get_or_insert(error);
    }
    Err(first.unwrap_or_else(|| KeysError::Metadata("no place to look for it".to_owned())))
}

/// What came from `url`, if it is metadata at all.
fn read(document: &FetchedDocument, url: &Url) -> Result<Metadata, String> {
    let body = without_bom(document.body.as_deref().unwrap_or_default());
    serde_json::from_slice(body).map_err(|error| {
        let what = match Content::of(body) {
            Some(Content::KeySet) => {
                format!("it is a key set, whose address belongs into `jwks.uri: {url}`")
            }
            // It has what metadata has, and something is wrong with that.
            Some(Content::Metadata(_)) | None => {
                Escaped::from(error.to_string().as_str()).to_string()
            }
            Some(other) => format!("it is {other}"),
        };
        format!("{} is not provider metadata: {what}", document.place(url))
    })
}

/// Where the metadata from `url` says that the keys are.
fn keys_of(
    metadata: &Metadata,
    url: &Url,
    issuer: &str,
    allow_http: bool,
) -> Result<Url, KeysError> {
    if metadata.issuer != issuer {
        let named = Escaped::from(metadata.issuer.as_str());
        let advice = match metadata.issuer.trim_end_matches('/') == issuer.trim_end_matches('/') {
            true => format!("they differ by a trailing slash; set `issuer: {named}`"),
            // An issuer that has one name outside and another inside, as Keycloak's often does.
            false => format!(
                "if that is the `iss` of its tokens, set `issuer: {named}` with `discovery_url: {url}`"
            ),
        };
        return Err(KeysError::Metadata(format!(
            "`{url}` is the metadata of issuer `{named}`, configured is `{issuer}`: {advice}"
        )));
    }
    let unfit = |why: String| KeysError::Metadata(format!("`jwks_uri` of `{url}`: {why}"));
    let keys = key_url(&metadata.jwks_uri, allow_http).map_err(unfit)?;
    // What is elsewhere has no business with what listens on this machine.
    if is_this_machine(&keys) && !is_loopback(url) {
        return Err(unfit(format!(
            "`{keys}` is on this very machine, and the metadata is not; if the keys are where the \
             metadata is, set `jwks.uri: {}` instead of `discovery_url`, or give the provider its \
             public host name (Keycloak: `KC_HOSTNAME`)",
            at_origin_of(url, &keys)
        )));
    }
    Ok(keys)
}

/// The path and query of `there`, where `url` is.
fn at_origin_of(url: &Url, there: &Url) -> Url {
    let mut here = url.clone();
    here.set_path(there.path());
    here.set_query(there.query());
    here
}
