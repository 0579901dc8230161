//! Why a document could not be fetched, and what to do about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use rustls::{CertificateError, InvalidMessage};
use url::Url;

use super::Wanted;
use claimgate_core::escaped::Escaped;

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Name resolution, connection or TLS failed, or the time ran out.
    #[error("cannot fetch `{url}`{}: {why}; {advice}", through(proxy.as_deref()))]
    Unreachable {
        /// The requested URL.
        url: Url,
        /// The proxy for the request, without its credentials.
        proxy: Option<String>,
        /// The causes, outermost first.
        why: String,
        /// Whether no connection was ever established.
        unconnected: bool,
        /// What to do about it.
        advice: String,
    },
    /// The response status is not 200.
    #[error("`{url}` answers {status}, expected 200{}", hint(advice.as_deref()))]
    Status {
        /// The requested URL.
        url: Url,
        /// The response status.
        status: StatusCode,
        /// The pause that the response asks for (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
        /// What to do about it.
        advice: Option<String>,
    },
    /// A redirect that is not followed.
    #[error("`{url}` redirects to `{to}`, {why}{}", hint(advice.as_deref()))]
    Redirect {
        /// The requested URL.
        url: Url,
        /// The target of the redirect.
        to: Escaped,
        /// Why it is not followed.
        why: &'static str,
        /// What to do about it.
        advice: Option<String>,
    },
    /// The bearer token to send along cannot be read.
    #[error("cannot use `fetch.bearer_token_file` `{}`: {why}", file.display())]
    NoBearerToken {
        /// The file that should contain it.
        file: PathBuf,
        /// What is wrong with the file.
        why: String,
    },
    /// The document exceeds `fetch.max_bytes`.
    #[error("`{url}` answers with more than {max_bytes} bytes (`fetch.max_bytes`)")]
    TooLarge {
        /// The requested URL.
        url: Url,
        /// The limit in bytes.
        max_bytes: usize,
    },
}

fn through(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |proxy| format!(" through the proxy `{proxy}`"))
}

fn hint(advice: Option<&str>) -> String {
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}

impl FetchError {
    /// Whether the server works and says that the document is not at this URL, as opposed to not
    /// available at the moment.
    pub(in crate::jwks) fn is_not_here(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                !status.is_server_error()
                    && *status != StatusCode::TOO_MANY_REQUESTS
                    && *status != StatusCode::REQUEST_TIMEOUT
            }
            Self::Redirect { .. } | Self::TooLarge { .. } => true,
            Self::Unreachable { .. } | Self::NoBearerToken { .. } => false,
        }
    }

    /// The pause that the provider asks for.
    pub(in crate::jwks) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether no connection was ever established.
    pub(in crate::jwks) fn is_unconnected(&self) -> bool {
        matches!(
            self,
            Self::Unreachable {
                unconnected: true,
                ..
            }
        )
    }
}

/// The error with all its causes. The innermost one usually helps most, and the outer ones that only say
/// that a request failed are left out.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let text = crate::causes::all(error);
    let inner = text.strip_prefix("error sending request: ");
    let inner = inner.map(|inner| {
        inner
            .strip_prefix("client error (Connect): ")
            .unwrap_or(inner)
    });
    inner.unwrap_or(&text).to_owned()
}

/// What to do about an error of TLS. `None` if the error itself says it.
pub(super) fn tls(error: &rustls::Error, ca_file: Option<&Path>) -> Option<String> {
    Some(match error {
        // A bad signature means that another authority has the same name but a different key.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => match ca_file {
            None => {
                "no authority that this system trusts has signed its certificate: for a private \
                     authority, set `fetch.ca_file`"
                    .to_owned()
            }
            Some(file) => format!(
                "no certificate in `fetch.ca_file` `{}` has signed its certificate, or the server \
                 omits an intermediate certificate",
                file.display()
            ),
        },
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if is_ca_certificate(other) =>
        {
            let file = match ca_file {
                None => "`fetch.ca_file`".to_owned(),
                Some(file) => format!("`fetch.ca_file` `{}`", file.display()),
            };
            format!(
                "its certificate is an authority's (`CA:TRUE`), which is accepted only if this exact \
                 certificate is in {file}"
            )
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew its certificate, or correct this machine's clock".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the host name in the URL must be one that the certificate covers".to_owned(),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "this port does not speak TLS: should the URL begin with `http://`, or have another port?"
                .to_owned()
        }
        _ => return None,
    })
}

/// Whether a server's certificate was refused because it belongs to an authority.
pub(super) fn is_ca_certificate(error: &rustls::OtherError) -> bool {
    matches!(
        error.0.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

/// What to do about a status. `sent_to` is the origin for which the bearer token is configured, if
/// any. `withheld` says whether the token was not sent because the URL has another origin.
pub(super) fn status(
    status: StatusCode,
    url: &Url,
    wanted: Wanted,
    sent_to: Option<&str>,
    withheld: bool,
) -> Option<String> {
    let field = wanted.field();
    match (status, sent_to) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(origin)) if withheld => {
            Some(format!(
                "the token in `fetch.bearer_token_file` is sent only to `{origin}`; if this URL may \
                 receive it too, set `{field}: {url}`"
            ))
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(_)) => Some(
            "the token in `fetch.bearer_token_file` was sent, but is not sufficient".to_owned(),
        ),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => Some(
            "no credentials were sent; for the Kubernetes API server, set \
             `fetch.bearer_token_file`"
                .to_owned(),
        ),
        (StatusCode::BAD_REQUEST, _) if url.scheme() == "http" => {
            Some("does this port speak TLS? then the URL must begin with `https://`".to_owned())
        }
        _ => None,
    }
}

/// What to do about a redirect to another origin.
pub(super) fn redirect(to: &Url, wanted: Wanted) -> Option<String> {
    if to.scheme() != "https" && to.scheme() != "http" {
        return None;
    }
    let to = Escaped::from(to.as_str());
    Some(match wanted {
        Wanted::Keys => format!("if the keys are there, set `jwks.uri: {to}`"),
        Wanted::Metadata => format!(
            "if the metadata is there, set `discovery_url: {to}`; `jwks.uri` is for the URL of \
             the keys"
        ),
    })
}
