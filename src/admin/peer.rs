//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;

/// The address from which Istio's sidecar connects to the application for clients elsewhere.
const ISTIO_INBOUND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// Headers that a proxy adds.
const ADDED_BY_PROXIES: [&str; 4] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-proto"];

/// The header of a request that shows that a proxy has forwarded it.
pub(super) fn forwarded_by(headers: &HeaderMap) -> Option<&'static str> {
    let mut names = ADDED_BY_PROXIES.into_iter();
    names.find(|name| headers.contains_key(*name))
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A process that may open the Unix domain socket.
    Unix,
    /// A process on this machine, or in this pod: `kubectl port-forward` and `kubectl exec` too.
    Loopback,
    /// Another machine, with a client certificate that is valid and listed.
    Certified,
    /// Another machine.
    Remote,
}

impl Peer {
    /// The client of a TCP connection.
    pub(super) fn at(address: Option<SocketAddr>, is_certified: bool) -> Self {
        let is_near = address.is_some_and(|address| {
            let ip = address.ip().to_canonical();
            ip.is_loopback() && ip != ISTIO_INBOUND
        });
        match (is_near, is_certified) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Certified,
            (false, false) => Self::Remote,
        }
    }

    /// The client of one request, which a proxy on this machine may have forwarded.
    pub(super) fn behind(self, headers: &HeaderMap) -> Self {
        match self {
            Self::Unix | Self::Loopback if forwarded_by(headers).is_some() => Self::Remote,
            peer => peer,
        }
    }

    /// Whether it is on this machine or in this pod.
    pub(super) fn is_local(self) -> bool {
        matches!(self, Self::Unix | Self::Loopback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_local() {
        for (address, expected) in [
            ("127.0.0.1:1", Peer::Loopback),
            ("127.8.0.1:1", Peer::Loopback),
            ("[::1]:1", Peer::Loopback),
            ("[::ffff:127.0.0.1]:1", Peer::Loopback),
            ("127.0.0.6:1", Peer::Remote),
            ("10.0.0.7:1", Peer::Remote),
            ("[::ffff:10.0.0.7]:1", Peer::Remote),
            ("[fe80::1]:1", Peer::Remote),
        ] {
            let peer = Peer::at(address.parse().ok(), false);
            assert_eq!(peer, expected, "{address}");
            let certified = Peer::at(address.parse().ok(), true);
            assert_eq!(certified.is_local(), peer.is_local(), "{address}");
        }
        assert_eq!(Peer::at(None, false), Peer::Remote);
    }
}
