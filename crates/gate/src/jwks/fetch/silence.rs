//! What to do if a request had no response.

use std::io;
use std::path::Path;
use std::time::Duration;

use url::Url;

use super::Wanted;
use super::error::tls;
use crate::causes;
use claimgate_config::values::is_this_machine;

/// A request that had no response.
pub(super) struct Attempt<'a> {
    pub(super) url: &'a Url,
    pub(super) wanted: Wanted,
    pub(super) is_proxied: bool,
    /// `fetch.timeout`.
    pub(super) timeout: Duration,
    pub(super) ca_file: Option<&'a Path>,
}

/// What went wrong before a response, apart from TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    TimedOut,
    /// The name of the host could not be resolved.
    NoAddress,
    /// The other end refused the connection.
    Refused,
    /// There was no connection for another reason.
    Unconnected,
    /// The connection ended early.
    Ended,
}

/// What to do if there was no response.
pub(super) fn unreachable(error: &reqwest::Error, attempt: &Attempt<'_>) -> String {
    let advice = causes::find(error).and_then(|error| tls(error, attempt.ca_file));
    advice.unwrap_or_else(|| remedy(Silence::of(error), attempt))
}

impl Silence {
    fn of(error: &reqwest::Error) -> Self {
        let kind = causes::find::<io::Error>(error).map(io::Error::kind);
        if error.is_timeout() {
            Self::TimedOut
        } else if !error.is_connect() {
            Self::Ended
        } else if super::error::causes(error).contains("dns error") {
            // The type of this error is private to hyper.
            Self::NoAddress
        } else if kind == Some(io::ErrorKind::ConnectionRefused) {
            Self::Refused
        } else {
            Self::Unconnected
        }
    }
}

fn remedy(silence: Silence, attempt: &Attempt<'_>) -> String {
    let Attempt {
        url,
        wanted,
        is_proxied,
        timeout,
        ca_file: _,
    } = *attempt;
    let field = wanted.field();
    let host = url.host_str().unwrap_or_default();
    match silence {
        Silence::TimedOut => format!(
            "the time ran out (`fetch.timeout`, {timeout:?}): the provider, or a proxy in front of it, \
             hangs, or a firewall or an egress rule drops the packets. `curl -v` from this machine shows \
             whether it connects; if the provider is just slow, raise `fetch.timeout`"
        ),
        _ if is_proxied => {
            "check that this machine reaches the proxy (`fetch.proxy`), and that the \
                            proxy lets it connect to this host"
                .to_owned()
        }
        // In a container, `localhost` is rarely what the author of the configuration meant.
        Silence::Refused if is_this_machine(url) => format!(
            "nothing listens on port {}: start the provider; in a container this address is the \
             container itself: set `{field}` to an address at which the container can reach the provider",
            port(url)
        ),
        Silence::NoAddress | Silence::Unconnected if is_this_machine(url) => {
            format!(
                "in a container this address is the container itself: set `{field}` to an address at \
                 which the container can reach the provider"
            )
        }
        Silence::NoAddress => format!(
            "this machine cannot resolve `{host}`: check its spelling, DNS, and egress to the DNS \
             server; if the provider has another name in this network, set `{field}`"
        ),
        Silence::Refused => format!(
            "nothing listens on port {} of `{host}`, or a firewall refuses: check the port, and \
             that the provider runs; if it has another address in this network, set `{field}`",
            port(url)
        ),
        Silence::Ended if url.scheme() == "http" => format!(
            "the port may expect TLS: try `https` in `{field}`; else check egress rules and firewalls on \
             the way; if a proxy is the only way out, set `fetch.proxy`"
        ),
        Silence::Unconnected | Silence::Ended => {
            "check egress rules and firewalls on the way; if a \
                                                  proxy is the only way out, set `fetch.proxy`"
                .to_owned()
        }
    }
}

fn port(url: &Url) -> u16 {
    url.port_or_known_default().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_without_a_response() {
        for (silence, url, is_proxied, expected) in [
            (
                Silence::Refused,
                "https://idp.example.com/x",
                false,
                "nothing listens on port 443 of `idp.example.com`, or a firewall refuses: check the \
                 port, and that the provider runs; if it has another address in this network, set \
                 `jwks.uri`",
            ),
            (
                Silence::Refused,
                "http://localhost:8080/x",
                false,
                "nothing listens on port 8080: start the provider; in a container this address is the \
                 container itself: set `jwks.uri`",
            ),
            (
                Silence::Ended,
                "http://localhost:8080/x",
                false,
                "the port may expect TLS: try `https` in `jwks.uri`",
            ),
            (
                Silence::Ended,
                "https://idp.example.com/x",
                false,
                "check egress rules and firewalls on the way",
            ),
            (
                Silence::NoAddress,
                "https://idp.example.com/x",
                true,
                "check that this machine reaches the proxy (`fetch.proxy`)",
            ),
            (
                Silence::TimedOut,
                "https://idp.example.com/x",
                true,
                "the time ran out (`fetch.timeout`, 5s)",
            ),
            (
                Silence::Unconnected,
                "https://idp.example.com/x",
                false,
                "check egress rules and firewalls on the way",
            ),
        ] {
            let attempt = Attempt {
                url: &Url::parse(url).unwrap(),
                wanted: Wanted::Keys,
                is_proxied,
                timeout: Duration::from_secs(5),
                ca_file: None,
            };
            let advice = remedy(silence, &attempt);
            assert!(advice.starts_with(expected), "{silence:?}: {advice}");
        }
    }
}
