//! Why a document could not be had, and what to do about it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use rustls::{CertificateError, InvalidMessage};
use url::Url;

use super::Wanted;
use claimgate_config::values::is_this_machine;
use claimgate_core::escaped::Escaped;

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Name resolution, connection, TLS, or a time-out.
    #[error("cannot fetch `{url}`{}: {why}{}", through(proxy.as_deref()), hint(advice.as_deref()))]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// The proxy that was to be used, without its credentials.
        proxy: Option<String>,
        /// The causes, outermost first.
        why: String,
        /// Whether there never was a connection.
        unconnected: bool,
        /// What to do about it.
        advice: Option<String>,
    },
    /// Something else than 200.
    #[error("`{url}` answers {status}, expected 200{}", hint(advice.as_deref()))]
    Status {
        /// What was asked for.
        url: Url,
        /// The answer.
        status: StatusCode,
        /// How long it asks to be left alone (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
        /// What to do about it.
        advice: Option<String>,
    },
    /// A redirect that is not followed.
    #[error("`{url}` redirects to `{to}`, {why}{}", hint(advice.as_deref()))]
    Redirect {
        /// What was asked for.
        url: Url,
        /// Where the answer leads.
        to: Escaped,
        /// Why it is not followed.
        why: &'static str,
        /// What to do about it.
        advice: Option<String>,
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

fn through(proxy: Option<&str>) -> String {
    proxy.map_or_else(String::new, |proxy| format!(" through the proxy `{proxy}`"))
}

fn hint(advice: Option<&str>) -> String {
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}

impl FetchError {
    /// Whether the server is up and says that the document is not here, as opposed to not now.
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

    /// How long the provider asks to be left alone.
    pub(in crate::jwks) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether nobody answered, and it does not say why: DNS, egress rules, a proxy.
    pub(in crate::jwks) fn is_network(&self) -> bool {
        matches!(self, Self::Unreachable { advice: None, .. })
    }

    /// Whether there never was a connection.
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

/// An error and everything that led to it: the innermost part is what helps.
pub(super) fn causes(error: &reqwest::Error) -> String {
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

/// What to do when there was no answer.
pub(super) fn unreachable(
    error: &reqwest::Error,
    url: &Url,
    ca_file: Option<&Path>,
) -> Option<String> {
    if let Some(error) = tls_error(error) {
        return tls(error, ca_file);
    }
    // In a container, `localhost` seldom means what the author of the configuration meant.
    (error.is_connect() && is_this_machine(url)).then(|| {
        "in a container this address is the container itself: set `discovery_url` or `jwks.uri` to \
         the provider's address as seen from here"
            .to_owned()
    })
}

fn tls(error: &rustls::Error, ca_file: Option<&Path>) -> Option<String> {
    Some(match error {
        // A bad signature: an authority of the same name with another key.
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
                 leaves out an intermediate one",
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
                "its certificate is an authority's (`CA:TRUE`), which is accepted if this very \
                 certificate is in {file}"
            )
        }
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "renew its certificate, or set this machine's clock".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the URL must have a name that the certificate is for".to_owned(),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "this port does not speak TLS: is the address `http://`, or the port another?"
                .to_owned()
        }
        _ => return None,
    })
}

/// Whether a server's certificate was refused for being an authority's.
pub(super) fn is_ca_certificate(error: &rustls::OtherError) -> bool {
    matches!(
        error.0.downcast_ref::<webpki::Error>(),
        Some(webpki::Error::CaUsedAsEndEntity)
    )
}

/// The TLS error among the causes. An [`io::Error`] does not count what it wraps as its source.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let mut wrapped: Option<&(dyn Error + 'static)> = Some(inner);
        while let Some(error) = wrapped {
            if let Some(found) = error.downcast_ref::<rustls::Error>() {
                return Some(found);
            }
            wrapped = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|error| error as &(dyn Error + 'static));
        }
        cause = inner.source();
    }
    None
}

/// What to do about a status. `sent_to` is the origin that the configured bearer token is for, if
/// there is one, and `withheld` whether the token was not sent for that reason.
pub(super) fn status(
    status: StatusCode,
    url: &Url,
    wanted: Wanted,
    sent_to: Option<&str>,
    withheld: bool,
) -> Option<String> {
    let field = match wanted {
        Wanted::Metadata => "discovery_url",
        Wanted::Keys => "jwks.uri",
    };
    match (status, sent_to) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(origin)) if withheld => {
            Some(format!(
                "the token of `fetch.bearer_token_file` is sent to `{origin}` alone; if it may go \
                 there, set `{field}: {url}`"
            ))
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(_)) => {
            Some("the token of `fetch.bearer_token_file` was sent, and does not suffice".to_owned())
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => Some(
            "no credentials were sent; for the Kubernetes API server, set \
             `fetch.bearer_token_file`"
                .to_owned(),
        ),
        (StatusCode::BAD_REQUEST, _) if url.scheme() == "http" => {
            Some("does this port speak TLS? then the address is `https://`".to_owned())
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
            "if the metadata is there, set `discovery_url: {to}`; `jwks.uri` takes the address of \
             the keys"
        ),
    })
}
