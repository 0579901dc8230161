//! Finds a token among the subprotocols that a WebSocket client offers (RFC 6455 §4.1, §11.3.4).
//! Scripts in a browser can set no other header of the handshake.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Unreadable;
use crate::request::Headers;

/// The header that lists the offered subprotocols.
pub const HEADER: &str = "sec-websocket-protocol";

/// The name under which Kubernetes clients offer a token. A dot and the token in base64url follow
/// in the same subprotocol.
const KUBERNETES: &str = "base64url.bearer.authorization.k8s.io";

/// The token offered under this name, which is the next subprotocol (for Kubernetes, the same one).
pub(super) fn value<'a>(
    headers: &Headers<'a>,
    name: &str,
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    let offered: Vec<&[u8]> = offered(headers).collect();
    let mut tokens = tokens(&offered, |found| found == name.as_bytes());
    let Some(token) = tokens.next() else {
        return match is_pair(name) && offered.contains(&name.as_bytes()) {
            true => Err(Unreadable::Empty),
            false => Ok(None),
        };
    };
    let again = offered
        .iter()
        .filter(|protocol| **protocol == name.as_bytes());
    if tokens.next().is_some() || again.count() > 1 {
        return Err(Unreadable::Repeated);
    }
    if is_pair(name) {
        let token = str::from_utf8(token).map_err(|_| Unreadable::Malformed)?;
        return Ok(Some(token.into()));
    }
    let token = token.get(KUBERNETES.len() + 1..).unwrap_or_default();
    let token = BASE64_URL_SAFE_NO_PAD.decode(token);
    let token = token.ok().and_then(|token| String::from_utf8(token).ok());
    token
        .map(|token| Some(token.into()))
        .ok_or(Unreadable::Malformed)
}

/// The offered subprotocols as one header line, without the tokens under these names. `None` if
/// nothing remains. The names themselves stay, because the server must choose one of the offered
/// subprotocols, and a browser fails the handshake if it chooses none.
pub(crate) fn without(headers: &Headers<'_>, names: &[&str]) -> Option<String> {
    let offered: Vec<&[u8]> = offered(headers).collect();
    let names: HashSet<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let tokens: HashSet<&[u8]> = tokens(&offered, |name| names.contains(name)).collect();
    let left: Vec<&str> = offered
        .into_iter()
        .filter(|protocol| !tokens.contains(protocol))
        .filter_map(|protocol| str::from_utf8(protocol).ok())
        .filter(|protocol| !protocol.contains(char::is_control))
        .collect();
    (!left.is_empty()).then(|| left.join(", "))
}

/// The header value with which a client offers a token under this name.
pub fn offer(name: &str, token: &str) -> String {
    match is_pair(name) {
        true => format!("{name}, {token}"),
        false => format!("{name}.{}", BASE64_URL_SAFE_NO_PAD.encode(token)),
    }
}

/// Whether the token is a separate subprotocol after the name.
fn is_pair(name: &str) -> bool {
    name != KUBERNETES
}

/// Each subprotocol in order, across all header lines.
fn offered<'a>(headers: &Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&'a [u8]> = headers.all(HEADER).collect();
    lines
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty())
}

/// Calls `found` with every name under which the request has a token, or should have one.
pub(super) fn each_name(headers: &Headers<'_>, mut found: impl FnMut(&[u8])) {
    for protocol in offered(headers) {
        if is_of_kubernetes(protocol) {
            found(KUBERNETES.as_bytes());
        }
        if protocol != KUBERNETES.as_bytes() {
            found(protocol);
        }
    }
}

/// The subprotocols that are tokens under one of these names.
fn tokens<'o, 'a>(
    offered: &'o [&'a [u8]],
    is_name: impl Fn(&[u8]) -> bool + 'o,
) -> impl Iterator<Item = &'a [u8]> + 'o {
    let takes_kubernetes = is_name(KUBERNETES.as_bytes());
    let holds_token = move |before: &[u8], protocol: &[u8]| {
        (takes_kubernetes && is_of_kubernetes(protocol))
            || (before != protocol && before != KUBERNETES.as_bytes() && is_name(before))
    };
    let before = [&[][..]].into_iter().chain(offered.iter().copied());
    before
        .zip(offered.iter().copied())
        .filter(move |(before, protocol)| holds_token(before, protocol))
        .map(|(_, protocol)| protocol)
}

fn is_of_kubernetes(protocol: &[u8]) -> bool {
    matches!(
        protocol.strip_prefix(KUBERNETES.as_bytes()),
        Some([b'.', ..])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn subprotocols() {
        use Unreadable::{Empty, Malformed, Repeated};
        type Expected = (
            Result<Option<&'static str>, Unreadable>,
            Option<&'static str>,
        );
        let cases: &[(&str, &[&str], Expected)] = &[
            ("bearer", &[], (Ok(None), None)),
            (
                "bearer",
                &["bearer, abc"],
                (Ok(Some("abc")), Some("bearer")),
            ),
            ("bearer", &["bearer,abc"], (Ok(Some("abc")), Some("bearer"))),
            (
                "bearer",
                &["bearer", "abc"],
                (Ok(Some("abc")), Some("bearer")),
            ),
            (
                "bearer",
                &["chat, bearer, abc, superchat"],
                (Ok(Some("abc")), Some("chat, bearer, superchat")),
            ),
            (
                "bearer",
                &["chat, superchat"],
                (Ok(None), Some("chat, superchat")),
            ),
            ("bearer", &["Bearer, abc"], (Ok(None), Some("Bearer, abc"))),
            ("bearer", &["bearer"], (Err(Empty), Some("bearer"))),
            (
                "bearer",
                &["abc, bearer, "],
                (Err(Empty), Some("abc, bearer")),
            ),
            (
                "bearer",
                &["bearer, abc, abc"],
                (Ok(Some("abc")), Some("bearer")),
            ),
            (
                "bearer",
                &["abc, bearer, abc"],
                (Ok(Some("abc")), Some("bearer")),
            ),
            (
                "bearer",
                &["bearer, bearer, abc"],
                (Err(Repeated), Some("bearer, bearer")),
            ),
            (
                "bearer",
                &["bearer, abc", "bearer, def"],
                (Err(Repeated), Some("bearer, bearer")),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &["base64url.bearer.authorization.k8s.io.YS5iLmM, v4.channel.k8s.io"],
                (Ok(Some("a.b.c")), Some("v4.channel.k8s.io")),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &["base64url.bearer.authorization.k8s.io.YS5iLmM"],
                (Ok(Some("a.b.c")), None),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &["base64url.bearer.authorization.k8s.io."],
                (Ok(Some("")), None),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &["base64url.bearer.authorization.k8s.io.YQ=="],
                (Err(Malformed), None),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &["base64url.bearer.authorization.k8s.io._w"],
                (Err(Malformed), None),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &[
                    "base64url.bearer.authorization.k8s.io.YQ, base64url.bearer.authorization.k8s.io.Yg",
                ],
                (Err(Repeated), None),
            ),
            (
                "base64url.bearer.authorization.k8s.io",
                &["bearer, abc"],
                (Ok(None), Some("bearer, abc")),
            ),
        ];
        for (name, lines, (expected, left)) in cases {
            let headers = lines
                .iter()
                .map(|line| ("Sec-WebSocket-Protocol", line.as_bytes()))
                .collect();
            let found = value(&headers, name);
            let found = found.as_ref().map(Option::as_deref).map_err(|why| *why);
            assert_eq!(found, *expected, "{name}: {lines:?}");
            assert_eq!(
                without(&headers, &[*name]).as_deref(),
                *left,
                "{name}: {lines:?}"
            );
        }
    }
}
