//! Parses texts with a special form: durations, sizes, addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use super::{AdminListen, ClientName, ListenAddress, UnixSocket};
use claimgate_core::escaped::Escaped;

/// Reads `5s`, `100ms`, `24h`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is not a duration; write for example `30s`, `100ms` or `24h`")
    })
}

/// The duration in its largest whole unit: `90s`, `15m`, `24h`, `365d`.
pub fn in_words(duration: Duration) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let millis = duration.as_millis();
    units
        .into_iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
        .map_or_else(
            || format!("{millis}ms"),
            |(unit, name)| format!("{}{name}", millis / unit),
        )
}

/// Reads `65536`, `512KiB`, `1MiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = match text
        .trim()
        .split_at_checked(text.trim().len().saturating_sub(3))
    {
        Some((number, "KiB")) => (number, 1024),
        Some((number, "MiB")) => (number, 1024 * 1024),
        _ => (text, 1),
    };
    number
        .trim()
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| format!("`{text}` is not a size; write for example `512KiB` or `1MiB`"))
}

/// The size in its largest whole unit: `512KiB`, `64MiB`.
pub(crate) fn in_units(bytes: usize) -> String {
    match (bytes % (1024 * 1024), bytes % 1024) {
        (0, _) => format!("{}MiB", bytes / 1024 / 1024),
        (_, 0) => format!("{}KiB", bytes / 1024),
        _ => bytes.to_string(),
    }
}

/// Reads `0.0.0.0:9001`, `localhost:9001` or `unix:///run/claimgate/check.sock`.
pub fn listen_address(text: &str) -> Result<ListenAddress, String> {
    if let Some(path) = unix_path(text) {
        return path.map(|path| ListenAddress::Unix(UnixSocket::from(path)));
    }
    let address = socket_address(text)?;
    Ok(match text.starts_with("localhost:") {
        true => ListenAddress::Localhost(address.port()),
        false => ListenAddress::Tcp(address),
    })
}

/// Reads an address of the admin listener, or `off`.
pub fn admin_listen(text: &str) -> Result<AdminListen, String> {
    match text {
        "off" => Ok(AdminListen::Off),
        _ => listen_address(text).map(AdminListen::At),
    }
}

/// The path in `unix:///path`, `unix:/path` or `unix:path`, gRPC's names for sockets. `None` if the
/// text does not begin with `unix:`.
pub fn unix_path(text: &str) -> Option<Result<PathBuf, String>> {
    let rest = text.strip_prefix("unix:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let is_path = !path.is_empty() && (path.len() == rest.len() || Path::new(path).is_absolute());
    Some(match is_path {
        true => Ok(PathBuf::from(path)),
        false => Err(format!(
            "`{text}` has no absolute path; write `unix:///run/check.sock`"
        )),
    })
}

/// Reads a mode such as `0660`, as `chmod` takes it: three octal digits, with or without a leading
/// 0.
pub(crate) fn file_mode(text: &str) -> Result<u32, String> {
    let is_octal = |digits: &str| {
        digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
    };
    let digits = match text.len() {
        4 => text.strip_prefix('0'),
        _ => Some(text),
    };
    digits
        .filter(|digits| is_octal(digits))
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .ok_or_else(|| format!("`{text}` is not the mode of a file; write for example `'0660'`"))
}

/// Reads `envoy.example.com` or `spiffe://example.org/envoy`.
pub(crate) fn client_name(text: &str) -> Result<ClientName, String> {
    let shown = Escaped::from(text);
    if let Some((scheme, rest)) = text.split_once("://") {
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
        let is_uri = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(is_scheme)
            && !rest.is_empty()
            && rest.bytes().all(|byte| byte.is_ascii_graphic());
        return match is_uri {
            true => Ok(ClientName::Uri(text.to_owned())),
            false => Err(format!("`{shown}` is not a URI")),
        };
    }
    if text.contains('*') {
        return Err(format!(
            "`{shown}` is a pattern, but names are compared exactly; list each name"
        ));
    }
    match is_dns_name(text) {
        true => Ok(ClientName::Dns(text.to_owned())),
        false => Err(format!(
            "`{shown}` is neither a DNS name nor a URI; write for example `envoy.example.com` or \
             `spiffe://example.org/envoy`"
        )),
    }
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        !label.is_empty() && label.bytes().all(fits)
    })
}

/// Reads a DNS name under which clients address a listener. Returns it in lower case.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let shown = Escaped::from(text);
    if text.contains('*') {
        return Err(format!(
            "`{shown}` is a pattern, but names are compared exactly; list each name"
        ));
    }
    match is_dns_name(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!(
            "`{shown}` is not a DNS name; write it without scheme and port, for example \
             `claimgate.example.com`"
        )),
    }
}

/// Reads `127.0.0.1:9002`, `[::1]:9002` or `localhost:9002`.
pub fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let literal = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    literal.parse().map_err(|_| {
        format!("`{text}` is not an IP address and port; write for example `0.0.0.0:9001`")
    })
}

/// Whether the text begins or ends with an invisible character: white space of any script, a
/// zero-width character or a byte order mark. No token has such an issuer or audience.
pub fn has_blank_ends(text: &str) -> bool {
    let is_blank = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    };
    text.starts_with(is_blank) || text.ends_with(is_blank)
}

/// The message for such a text.
pub(crate) fn blank_ends(text: &str) -> String {
    let shown = Escaped::from(text);
    format!("`{shown}` has white space at its beginning or end")
}

/// The maximum length of a URL in bytes, because errors show it.
const MAX_URL_BYTES: usize = 1024;

/// Reads the URL of a document that keys depend on. Requires https except on this machine, unless
/// `allow_http` is set.
pub fn key_url(text: &str, allow_http: bool) -> Result<Url, String> {
    let shown = Escaped::from(text);
    if text.len() > MAX_URL_BYTES {
        return Err(format!("`{shown}` is over {MAX_URL_BYTES} bytes"));
    }
    if has_blank_ends(text) {
        return Err(blank_ends(text));
    }
    let url = Url::parse(text).map_err(|error| format!("`{shown}` is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL with a user name or password is not accepted".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http || is_loopback(&url) => Ok(url),
        "http" => Err(format!(
            "`{shown}` is not https, so anyone on the network path could replace the keys; \
             set `fetch.allow_http: true` to accept that"
        )),
        other => Err(format!(
            "`{shown}` has the scheme `{other}`, expected https"
        )),
    }
}

/// The URL of a proxy. Only its scheme, host and port are ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// Reads `http://proxy.example.com:3128`, with or without user name and password.
    ///
    /// # Errors
    ///
    /// Fails if the text is anything else. The message does not quote it, because it may contain a
    /// password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write for example `http://proxy.example.com:3128`";
        let url = Url::parse(text).map_err(|error| format!("not a URL: {error}; {example}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = Escaped::from(url.scheme());
            return Err(format!(
                "a proxy with the scheme `{scheme}` is not supported; {example}"
            ));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("the URL of a proxy ends with its port; {example}"));
        }
        Ok(Self(url))
    }

    /// The user name and password, still percent-encoded. `None` if the URL has neither.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        let (user, password) = (self.0.username(), self.0.password());
        (!user.is_empty() || password.is_some()).then(|| (user, password.unwrap_or_default()))
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

/// Checks a URL for people and clients: it must be safe to quote in a header.
pub(crate) fn web_url(text: &str) -> Result<(), String> {
    let shown = Escaped::from(text);
    if has_blank_ends(text) {
        return Err(blank_ends(text));
    }
    let url = Url::parse(text).map_err(|error| format!("`{shown}` is not a URL: {error}"))?;
    let quotable = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    match url.scheme() {
        "https" | "http" if text.chars().all(quotable) => Ok(()),
        "https" | "http" => Err(format!("`{shown}` has characters that must be encoded")),
        other => Err(format!(
            "`{shown}` has the scheme `{other}`, expected https"
        )),
    }
}

/// Reads the URL of a collector: `http://` or `https://`, without credentials, query and fragment.
pub fn otlp_endpoint(text: &str) -> Result<Url, String> {
    let example = "write for example `http://localhost:4317`";
    if has_blank_ends(text) {
        return Err(blank_ends(text));
    }
    // Such a text is not quoted, because it may contain a password or a key.
    if text.contains(['@', '?', '#']) {
        return Err(format!(
            "an endpoint has no user name, query or fragment; {example}, and put keys into headers"
        ));
    }
    let shown = Escaped::from(text);
    // `localhost:4317` would be a URL with the scheme `localhost`.
    if !text.contains("://") {
        return Err(format!("`{shown}` has no scheme; {example}"));
    }
    let url = Url::parse(text).map_err(|error| format!("`{shown}` is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!(
            "`{shown}` has the scheme `{}`; {example}",
            Escaped::from(other)
        )),
    }
}

/// Checks an origin: it must be written as browsers send it (RFC 6454 §6.2), in lower case, without
/// a path or a default port.
pub(crate) fn origin(text: &str) -> Result<(), String> {
    let shown = Escaped::from(text);
    let fits = |c: char| c.is_ascii_graphic() && !c.is_ascii_uppercase() && !"/?#@\"\\".contains(c);
    let is_plain = text
        .split_once("://")
        .is_some_and(|(_, host)| !host.is_empty() && host.chars().all(fits));
    match Url::parse(text).map(|url| url.origin()) {
        Ok(origin) if origin.is_tuple() => match origin.ascii_serialization() {
            written if written == text => Ok(()),
            written => Err(format!("`{shown}` is sent by browsers as `{written}`")),
        },
        Ok(_) if is_plain => Ok(()),
        _ => Err(format!(
            "`{shown}` is not an origin; write for example `https://shop.example.com`"
        )),
    }
}

/// Checks text that a header can carry unchanged: visible ASCII and inner spaces (RFC 9110 §5.5).
pub(crate) fn header_text(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    match text.bytes().all(fits) && text.trim() == text && !text.is_empty() {
        true => Ok(text.to_owned()),
        false => Err("a header value is visible ASCII without spaces at its ends".to_owned()),
    }
}

/// Whether the URL may reach this machine in any spelling. Used to refuse URLs, so it errs on the
/// side of true.
pub fn is_this_machine(url: &Url) -> bool {
    let address = match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            return name == "localhost" || name.ends_with(".localhost");
        }
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical(),
        None => return false,
    };
    address.is_loopback() || address.is_unspecified()
}

/// Whether the URL certainly names this machine. Used to trust URLs, so it errs on the side of
/// false.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}
