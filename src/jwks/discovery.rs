//! Finds where a provider's keys are: OpenID Connect Discovery 1.0 §4, RFC 8414 §3.

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::KeysError;
use super::fetch::{FetchError, Fetcher};
use crate::config::values::{is_loopback, is_this_machine, key_url};
use crate::shown::Shown;

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
/// When none has. Metadata whose `issuer` is another must not be used (OpenID Connect Discovery
/// §4.3, RFC 8414 §3.3).
pub(super) async fn find_keys(
    fetcher: &Fetcher,
    issuer: &str,
    places: &[Url],
    allow_http: bool,
) -> Result<Url, KeysError> {
    let mut missing = None;
    for url in places {
        match fetcher.get(url, None).await {
            Ok(document) => {
                return read(&document.body.unwrap_or_default(), url, issuer, allow_http);
            }
            // Only "not here" sends on to the next place; an outage is an outage.
            Err(error @ FetchError::Status { status, .. }) if is_elsewhere(status) => {
                missing.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match missing {
        Some(error) => Err(error.into()),
        None => Err(KeysError::Metadata("no place to look for it".to_owned())),
    }
}

/// "Not here", as opposed to "not now".
fn is_elsewhere(status: StatusCode) -> bool {
    status.is_client_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}

fn read(body: &[u8], url: &Url, issuer: &str, allow_http: bool) -> Result<Url, KeysError> {
    let metadata: Metadata = serde_json::from_slice(body).map_err(|error| {
        let error = Shown::from(error.to_string().as_str());
        KeysError::Metadata(format!("`{url}` is not provider metadata: {error}"))
    })?;
    if metadata.issuer != issuer {
        return Err(KeysError::Metadata(format!(
            "`{url}` is the metadata of issuer `{}`, configured is `{issuer}`{}",
            Shown::from(metadata.issuer.as_str()),
            if metadata.issuer.trim_end_matches('/') == issuer.trim_end_matches('/') {
                ": they differ by a trailing slash"
            } else {
                ""
            }
        )));
    }
    let unfit = |why: String| KeysError::Metadata(format!("`jwks_uri` of `{url}`: {why}"));
    let keys = key_url(&metadata.jwks_uri, allow_http).map_err(unfit)?;
    // What is elsewhere has no business with what listens on this machine.
    if is_this_machine(&keys) && !is_loopback(url) {
        return Err(unfit(format!("`{keys}` is on this very machine")));
    }
    Ok(keys)
}
