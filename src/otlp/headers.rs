//! Headers that an operator sends along with exports, such as an API key. No message shows a value.

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// A header to send along. Its value is marked as sensitive.
pub(super) type Header = (HeaderName, HeaderValue);

/// Names that HTTP or gRPC set themselves.
const RESERVED: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// Reads `name=value,name=value`, as in `OTEL_EXPORTER_OTLP_HEADERS`. Values are percent-encoded.
pub(super) fn listed(text: &str) -> Result<Vec<Header>, String> {
    let entries = text.split(',').map(str::trim).enumerate();
    let entries = entries.filter(|(_, entry)| !entry.is_empty());
    let read = entries.map(|(index, entry)| {
        let number = index + 1;
        let (name, value) = entry
            .split_once('=')
            .ok_or_else(|| format!("entry {number} is not `name=value`"))?;
        let value = percent_decode_str(value.trim()).decode_utf8();
        let value = value.map_err(|_| format!("the value of entry {number} is not UTF-8"))?;
        header(name.trim(), &value).map_err(|why| format!("entry {number}: {why}"))
    });
    read.collect()
}

/// Reads lines `name: value`. Empty lines and those that begin with `#` do not count.
pub(super) fn lines(text: &str) -> Result<Vec<Header>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = lines.map(|(index, line)| {
        let number = index + 1;
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("line {number} is not `name: value`"))?;
        header(name.trim(), value.trim()).map_err(|why| format!("line {number}: {why}"))
    });
    read.collect()
}

fn header(name: &str, value: &str) -> Result<Header, String> {
    let name: HeaderName = name
        .parse()
        .map_err(|_| "the name is not that of a header".to_owned())?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("grpc-") {
        return Err(format!("`{name}` cannot be set"));
    }
    let mut value: HeaderValue = value
        .parse()
        .map_err(|_| format!("the value of `{name}` cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = fn(&str) -> Result<Vec<Header>, String>;

    #[test]
    fn headers() {
        for (read, text, expected) in [
            (listed as Read, "api-key=a%3Db, x=1", "api-key=a=b x=1"),
            (listed, "api-key=a,", "api-key=a"),
            (listed, "a=b=c", "a=b=c"),
            (listed, "key", "entry 1 is not `name=value`"),
            (
                listed,
                "a=1,k ey=2",
                "entry 2: the name is not that of a header",
            ),
            (
                listed,
                "a=%0A",
                "entry 1: the value of `a` cannot be sent in a header",
            ),
            (listed, "a=%ff", "the value of entry 1 is not UTF-8"),
            (
                listed,
                "content-type=b",
                "entry 1: `content-type` cannot be set",
            ),
            (
                lines,
                "# key\nAuthorization: Bearer a:b\n\nx: 1\n",
                "authorization=Bearer a:b x=1",
            ),
            (lines, "x: 1\nsecret", "line 2 is not `name: value`"),
            (
                lines,
                "grpc-timeout: 1S",
                "line 1: `grpc-timeout` cannot be set",
            ),
        ] {
            let shown = match read(text) {
                Err(why) => why,
                Ok(headers) => {
                    assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
                    let pairs = headers
                        .iter()
                        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
                    pairs.collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
