//! The path that a request is for (RFC 3986 §3.3), in the one form that rules are compared with.
//!
//! Proxies and servers disagree about what `/public/..%2fadmin` names. A rule must not be decided
//! by whose reading it is, so a path that could be read in two ways is no path at all.

use std::borrow::Cow;

/// Why a path could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// Relative, in absolute form, or `*`.
    #[error("does not begin with `/`")]
    NotAbsolute,
    /// `.` or `..`, in plain or encoded.
    #[error("has a segment `.` or `..`")]
    DotSegment,
    /// Nothing between two slashes.
    #[error("has an empty segment (`//`)")]
    EmptySegment,
    /// Which some servers take for a slash.
    #[error("has a backslash")]
    Backslash,
    /// NUL, a line end or the like, in plain or encoded.
    #[error("has a control character")]
    Control,
    /// Not ASCII, or a space: it must be encoded.
    #[error("has a character that must be percent-encoded")]
    Unencoded,
    /// Which ends the path for some.
    #[error("has a `#`")]
    Fragment,
    /// What follows it is dropped by some.
    #[error("has a `;`")]
    Parameter,
    /// `%2f`, `%5c`, `%2e`, `%3f`, `%23` or `%3b`, in either case.
    #[error("has an encoded `/`, `\\`, `.`, `?`, `#` or `;`")]
    EncodedDelimiter,
    /// A character that some servers take for a slash, a backslash or a dot (Unicode NFKC).
    #[error("has a character that looks like `/`, `\\` or `.` to some servers")]
    LookAlike,
    /// `%252f`, `%25u002f`: another escape once it is decoded.
    #[error("is percent-encoded twice")]
    EncodedTwice,
    /// `%` without two hexadecimal digits, or not UTF-8 once it is decoded.
    #[error("is not percent-encoded UTF-8")]
    Encoding,
}

/// The path, decoded. `/` alone separates its segments, none of which is empty but the last.
///
/// # Errors
///
/// When it could be read in two ways.
pub fn canonical(raw: &str) -> Result<Cow<'_, str>, Ambiguity> {
    if !raw.starts_with('/') {
        return Err(Ambiguity::NotAbsolute);
    }
    for byte in raw.bytes() {
        match byte {
            b'\\' => return Err(Ambiguity::Backslash),
            b'#' => return Err(Ambiguity::Fragment),
            b';' => return Err(Ambiguity::Parameter),
            0..b' ' | 0x7f => return Err(Ambiguity::Control),
            b' ' | 0x80.. => return Err(Ambiguity::Unencoded),
            _ => {}
        }
    }
    let path = match raw.contains('%') {
        true => Cow::Owned(decode(raw)?),
        false => Cow::Borrowed(raw),
    };
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // Some servers drop dots and spaces at the end of a segment.
            dots if dots.starts_with('.') && dots.trim_matches(['.', ' ']).is_empty() => {
                return Err(Ambiguity::DotSegment);
            }
            "" if segments.peek().is_some() => return Err(Ambiguity::EmptySegment),
            _ => {}
        }
    }
    Ok(path)
}

fn decode(raw: &str) -> Result<String, Ambiguity> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => escaped(bytes.next(), bytes.next())?,
            byte => byte,
        });
    }
    // A `%` that is left was itself encoded.
    let mut after = decoded.split(|byte| *byte == b'%').skip(1);
    let is_hex = |byte: &u8| hex(*byte).is_some();
    if after.any(|rest| match rest {
        [b'u' | b'U', rest @ ..] => rest.iter().take_while(|byte| is_hex(byte)).count() >= 4,
        [high, low, ..] => is_hex(high) && is_hex(low),
        _ => false,
    }) {
        return Err(Ambiguity::EncodedTwice);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| Ambiguity::Encoding)?;
    match decoded.contains(LOOK_ALIKES) {
        true => Err(Ambiguity::LookAlike),
        false => Ok(decoded),
    }
}

/// What Unicode's NFKC makes `.`, `/` or `\` of.
const LOOK_ALIKES: [char; 6] = [
    '\u{2024}', '\u{fe52}', '\u{fe68}', '\u{ff0e}', '\u{ff0f}', '\u{ff3c}',
];

fn escaped(high: Option<u8>, low: Option<u8>) -> Result<u8, Ambiguity> {
    let digit = |byte: Option<u8>| byte.and_then(hex).ok_or(Ambiguity::Encoding);
    match digit(high)? << 4 | digit(low)? {
        b'/' | b'\\' | b'.' | b'?' | b'#' | b';' => Err(Ambiguity::EncodedDelimiter),
        0..b' ' | 0x7f => Err(Ambiguity::Control),
        byte => Ok(byte),
    }
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        use Ambiguity::*;
        for (raw, expected) in [
            ("/", Ok("/")),
            ("/orders", Ok("/orders")),
            ("/orders/", Ok("/orders/")),
            ("/orders/7/items", Ok("/orders/7/items")),
            ("/a.b/..c/.d/e..", Ok("/a.b/..c/.d/e..")),
            ("/~user/a-b_c!$&'()*+,=:@", Ok("/~user/a-b_c!$&'()*+,=:@")),
            ("/%61dmin", Ok("/admin")),
            ("/caf%C3%A9", Ok("/café")),
            ("/a%20b", Ok("/a b")),
            ("/100%25", Ok("/100%")),
            ("/100%25/x", Ok("/100%/x")),
            ("/100%25zz", Ok("/100%zz")),
            ("", Err(NotAbsolute)),
            ("*", Err(NotAbsolute)),
            ("admin", Err(NotAbsolute)),
            ("http://api.example.com/", Err(NotAbsolute)),
            ("/public/../admin", Err(DotSegment)),
            ("/public/..", Err(DotSegment)),
            ("/./admin", Err(DotSegment)),
            ("/.", Err(DotSegment)),
            ("/public/.../admin", Err(DotSegment)),
            ("/public/..%20/admin", Err(DotSegment)),
            ("/public/%ef%bc%8e%ef%bc%8e/admin", Err(LookAlike)),
            ("/public%ef%bc%8fadmin", Err(LookAlike)),
            ("/public/%25u002e%25u002e/admin", Err(EncodedTwice)),
            ("/100%25users", Ok("/100%users")),
            ("//admin", Err(EmptySegment)),
            ("/a//b", Err(EmptySegment)),
            ("/a//", Err(EmptySegment)),
            ("/public\\admin", Err(Backslash)),
            ("/a\0b", Err(Control)),
            ("/a\tb", Err(Control)),
            ("/a\x7fb", Err(Control)),
            ("/a b", Err(Unencoded)),
            ("/café", Err(Unencoded)),
            ("/public#/admin", Err(Fragment)),
            ("/public;/admin", Err(Parameter)),
            ("/admin;v=1", Err(Parameter)),
            ("/public/%2e%2e/admin", Err(EncodedDelimiter)),
            ("/public/%2E%2E/admin", Err(EncodedDelimiter)),
            ("/public/.%2e/admin", Err(EncodedDelimiter)),
            ("/public%2fadmin", Err(EncodedDelimiter)),
            ("/public%2Fadmin", Err(EncodedDelimiter)),
            ("/public%5cadmin", Err(EncodedDelimiter)),
            ("/public%5Cadmin", Err(EncodedDelimiter)),
            ("/public%3fadmin", Err(EncodedDelimiter)),
            ("/public%23admin", Err(EncodedDelimiter)),
            ("/public%3badmin", Err(EncodedDelimiter)),
            ("/a%00b", Err(Control)),
            ("/a%0d%0ab", Err(Control)),
            ("/public%252fadmin", Err(EncodedTwice)),
            ("/public/%252e%252e/admin", Err(EncodedTwice)),
            ("/public%25%32%66admin", Err(EncodedTwice)),
            ("/a%", Err(Encoding)),
            ("/a%2", Err(Encoding)),
            ("/a%zz", Err(Encoding)),
            ("/a%+1b", Err(Encoding)),
            ("/a%ff", Err(Encoding)),
            ("/%c0%af", Err(Encoding)),
            ("/%c0%ae%c0%ae/admin", Err(Encoding)),
        ] {
            let found = canonical(raw);
            assert_eq!(found.as_deref().map_err(|why| *why), expected, "{raw:?}");
        }
    }
}
