//! The host of a request (RFC 9110 §7.2), in the one form that rules compare.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The host in an authority: in lower case, without port and without a dot at the end. An IPv6
/// address keeps its brackets and takes the form of RFC 5952.
///
/// `None` if the host cannot be told apart from others: empty, with user information, or with
/// characters that no host name has (RFC 3986 §3.2.2, RFC 1123 §2.1, and `_`).
pub fn canonical(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = split_port(authority);
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(address) = address(host) {
        return Some(Cow::Owned(format!("[{address}]")));
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if !is_name(host) {
        return None;
    }
    Some(match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    })
}

/// Whether the authority, apart from its port, is already in the form that rules compare.
///
/// Hosts are compared ignoring case (RFC 9110 §4.2.3), as proxies do. But some servers compare
/// bytes: they treat `STATIC.example.com` or `static.example.com.` as an unknown host. A
/// proxy that compares whole authorities takes `static.example.com:` for another host than
/// `static.example.com`.
pub fn is_as_compared(authority: &str) -> bool {
    let (host, _) = split_port(authority);
    !authority.ends_with(':')
        && !host.ends_with('.')
        && !host.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        // The colons inside brackets belong to an IPv6 address.
        Some((_, after)) if after.contains(']') => (authority, ""),
        Some((host, port)) => (host, port),
        None => (authority, ""),
    }
}

fn address(host: &str) -> Option<Ipv6Addr> {
    let inner = host.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok()
}

fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    host.split('.')
        .all(|label| !label.is_empty() && label.bytes().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_compared() {
        for (authority, expected) in [
            ("api.example.com", true),
            ("api.example.com:8443", true),
            ("[2001:db8::1]:80", true),
            ("API.example.com", false),
            ("api.example.com.", false),
            ("api.example.com.:443", false),
            ("api.example.com:", false),
            ("[::1]:", false),
            ("[2001:DB8::1]", false),
        ] {
            assert_eq!(is_as_compared(authority), expected, "{authority}");
        }
    }

    #[test]
    fn hosts() {
        for (authority, expected) in [
            ("api.example.com", Some("api.example.com")),
            ("API.Example.COM", Some("api.example.com")),
            ("api.example.com:8443", Some("api.example.com")),
            ("api.example.com.", Some("api.example.com")),
            ("api.example.com.:443", Some("api.example.com")),
            ("api.example.com:", Some("api.example.com")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("[::1]:80", Some("[::1]")),
            ("[2001:DB8::1]", Some("[2001:db8::1]")),
            ("[0:0:0:0:0:0:0:1]:80", Some("[::1]")),
            ("[::ffff:102:304]", Some("[::ffff:1.2.3.4]")),
            ("[::1].", None),
            ("my_service", Some("my_service")),
            ("", None),
            (".", None),
            (":80", None),
            ("api.example.com..", None),
            ("api..example.com", None),
            (".example.com", None),
            ("user@api.example.com", None),
            ("api.example.com:80@evil.example", None),
            ("api.example.com:http", None),
            ("api.example.com/x", None),
            ("api.example.com,evil.example", None),
            ("api%2eexample.com", None),
            ("bücher.example", None),
            ("api\u{3002}example.com", None),
            ("api\u{ff61}example.com", None),
            ("api\u{ff0e}example.com", None),
            ("api.example\u{2024}com", None),
            ("ａpi.example.com", None),
            ("api.example.com\u{ff0f}.evil.example", None),
            ("api.example.com\u{2100}", None),
            ("api.example.com!", None),
            ("api.example.com ", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[api]", None),
            (" api.example.com", None),
        ] {
            assert_eq!(canonical(authority).as_deref(), expected, "{authority}");
        }
    }
}
