//! The path of a request (RFC 3986 §3.3), in the one form that rules compare.
//!
//! Proxies and servers disagree about what `/public/..%2fadmin` names. A rule must not depend on
//! whose reading is right, so a path that could be read in two ways is refused.

use std::borrow::Cow;

use icu_normalizer::DecomposingNormalizerBorrowed;

use super::Request;

/// Why a path could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// A relative path, an absolute URL, or `*`.
    #[error("does not begin with `/`")]
    NotAbsolute,
    /// `.` or `..`, plain or encoded.
    #[error("has a segment `.` or `..`")]
    DotSegment,
    /// Some servers drop a dot at the end.
    #[error("has a segment that ends in `.`")]
    DotAtEnd,
    /// Some servers drop outer white space.
    #[error("has a segment that begins or ends with white space")]
    OuterSpace,
    /// Some servers merge adjacent slashes.
    #[error("has an empty segment (`//`)")]
    EmptySegment,
    /// Some servers treat a backslash as a slash.
    #[error("has a backslash")]
    Backslash,
    /// NUL, a line end or similar, plain or encoded.
    #[error("has a control character")]
    Control,
    /// A space or a character outside ASCII, which must be encoded.
    #[error("has a character that must be percent-encoded")]
    Unencoded,
    /// A `#` ends the path for some servers.
    #[error("has a `#`")]
    Fragment,
    /// Some servers drop a `;` and what follows it.
    #[error("has a `;`")]
    Parameter,
    /// `%2f`, `%5c`, `%2e`, `%3f`, `%23` or `%3b`, in upper or lower case.
    #[error("has an encoded `/`, `\\`, `.`, `?`, `#` or `;`")]
    EncodedDelimiter,
    /// `%61`, `%7e`: a character that never needs encoding (RFC 3986 §2.3). Servers that route
    /// without decoding treat it as different from the plain character.
    #[error("has a letter, a digit, `-`, `_` or `~` percent-encoded")]
    EncodedUnreserved,
    /// A character that Unicode's NFKC turns into a delimiter.
    #[error("has a character that some servers read as `.`, `/`, `\\`, `;`, `?`, `#` or `%`")]
    LookAlike,
    /// `%252f`, `%25u002f`: decoding yields another escape.
    #[error("is percent-encoded twice")]
    EncodedTwice,
    /// `%` without two hexadecimal digits, or bytes that are not UTF-8 after decoding.
    #[error("is not percent-encoded UTF-8")]
    Encoding,
    /// The proxy replaced bytes that the client sent.
    #[error("has bytes that are not UTF-8")]
    NotUtf8,
    /// The proxy may have replaced a byte that the client sent, and does not say.
    #[error(
        "has a `!`, in whose place there may have been a byte that is not UTF-8; Envoy tells with \
         `encode_raw_headers: true`"
    )]
    PerhapsNotUtf8,
}

/// The path of a request without its query, as the client sent it.
///
/// # Errors
///
/// Fails if the proxy replaced bytes of the path that are not UTF-8.
pub fn as_sent<'r>(request: &Request<'r>) -> Result<&'r str, Ambiguity> {
    let (path, _) = request.split_path();
    match request.path_bytes {
        // Envoy never writes a `?` in place of another byte, so the first `?` ends the path in
        // both.
        Some(sent) if sent.split(|byte| *byte == b'?').next() != Some(path.as_bytes()) => {
            Err(Ambiguity::NotUtf8)
        }
        Some(_) | None => Ok(path),
    }
}

/// The decoded path of a request: see [`canonical`].
///
/// # Errors
///
/// Fails if the path could be read in two ways, or the proxy may have replaced bytes of it.
pub fn of<'r>(request: &Request<'r>) -> Result<Cow<'r, str>, Ambiguity> {
    let path = as_sent(request)?;
    // Without the original bytes, a `!` may stand for a byte that is not UTF-8: Envoy puts it
    // there.
    if request.path_bytes.is_none() && path.contains('!') {
        return Err(Ambiguity::PerhapsNotUtf8);
    }
    canonical(path)
}

/// The decoded path. Only `/` separates its segments, and only the last segment may be empty.
///
/// # Errors
///
/// Fails if the path could be read in two ways.
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
            // Some servers drop dots and spaces at the end of a segment, which leaves `.` or `..`.
            dots if dots.starts_with('.') && dots.trim_matches(['.', ' ']).is_empty() => {
                return Err(Ambiguity::DotSegment);
            }
            "" if segments.peek().is_some() => return Err(Ambiguity::EmptySegment),
            _ if segment.ends_with('.') => return Err(Ambiguity::DotAtEnd),
            _ if segment.trim_matches(is_space) != segment => return Err(Ambiguity::OuterSpace),
            _ => {}
        }
    }
    Ok(path)
}

/// Whether the `trim` of any language removes the character. JavaScript's also removes the byte
/// order mark.
fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
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
    // A `%` that remains was itself encoded.
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
    match !decoded.is_ascii() && has_look_alike(&decoded) {
        true => Err(Ambiguity::LookAlike),
        false => Ok(decoded),
    }
}

/// Whether NFKC turns a character into a delimiter. Delimiters compose with nothing (Unicode
/// Standard Annex #15), so NFKD, which only decomposes, yields the same ones.
fn has_look_alike(decoded: &str) -> bool {
    const NFKD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfkd();
    NFKD.normalize_iter(decoded.chars().filter(|c| !c.is_ascii()))
        .any(|c| DELIMITERS.contains(&c))
}

/// The characters that separate, end or encode parts of a path for some server.
const DELIMITERS: [char; 7] = ['.', '/', '\\', ';', '?', '#', '%'];

fn escaped(high: Option<u8>, low: Option<u8>) -> Result<u8, Ambiguity> {
    let digit = |byte: Option<u8>| byte.and_then(hex).ok_or(Ambiguity::Encoding);
    match digit(high)? << 4 | digit(low)? {
        b'/' | b'\\' | b'.' | b'?' | b'#' | b';' => Err(Ambiguity::EncodedDelimiter),
        0..b' ' | 0x7f => Err(Ambiguity::Control),
        b'-' | b'_' | b'~' => Err(Ambiguity::EncodedUnreserved),
        byte if byte.is_ascii_alphanumeric() => Err(Ambiguity::EncodedUnreserved),
        byte => Ok(byte),
    }
}

fn hex(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    #[test]
    fn paths() {
        use Ambiguity::*;
        for (raw, expected) in [
            ("/", Ok("/")),
            ("/orders", Ok("/orders")),
            ("/orders/", Ok("/orders/")),
            ("/orders/7/items", Ok("/orders/7/items")),
            ("/a.b/..c/.d/e..f", Ok("/a.b/..c/.d/e..f")),
            ("/~user/a-b_c!$&'()*+,=:@", Ok("/~user/a-b_c!$&'()*+,=:@")),
            (
                "/%40me/%24a%2Bb%3A%2C%3D%26%21%27%28%29%2A",
                Ok("/@me/$a+b:,=&!'()*"),
            ),
            ("/%61dmin", Err(EncodedUnreserved)),
            ("/publi%63/settings", Err(EncodedUnreserved)),
            ("/%5A%7a", Err(EncodedUnreserved)),
            ("/v%31", Err(EncodedUnreserved)),
            ("/a%2Db", Err(EncodedUnreserved)),
            ("/a%5fb", Err(EncodedUnreserved)),
            ("/%7Euser", Err(EncodedUnreserved)),
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
            ("/orders.", Err(DotAtEnd)),
            ("/orders./7", Err(DotAtEnd)),
            ("/orders../7", Err(DotAtEnd)),
            ("/orders.%20", Err(OuterSpace)),
            ("/orders%20.", Err(DotAtEnd)),
            ("/orders%20", Err(OuterSpace)),
            ("/orders%20/7", Err(OuterSpace)),
            ("/%20orders", Err(OuterSpace)),
            ("/a/%20", Err(OuterSpace)),
            ("/orders%C2%A0", Err(OuterSpace)),
            ("/orders%E3%80%80/7", Err(OuterSpace)),
            ("/orders%EF%BB%BF", Err(OuterSpace)),
            ("/orders%C2%85", Err(OuterSpace)),
            ("/a%C2%A0b", Ok("/a\u{a0}b")),
            ("/public/%ef%bc%8e%ef%bc%8e/admin", Err(LookAlike)),
            ("/public%ef%bc%8fadmin", Err(LookAlike)),
            ("/public/%E2%80%A5/admin", Err(LookAlike)),
            ("/public/%EF%B8%B0/admin", Err(LookAlike)),
            ("/public/%E2%80%A6", Err(LookAlike)),
            ("/public%CD%BEadmin", Err(LookAlike)),
            ("/public%EF%BC%852e", Err(LookAlike)),
            ("/v%E2%92%88", Err(LookAlike)),
            ("/cafe%CC%81/%EF%AC%81n", Ok("/cafe\u{301}/\u{fb01}n")),
            ("/%E6%96%B0%E3%80%82", Ok("/新。")),
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
            ("/public%25%32%66admin", Err(EncodedUnreserved)),
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

    /// Compares with NFKC itself, for every character that NFKC changes.
    #[test]
    fn look_alikes() {
        let nfkc = icu_normalizer::ComposingNormalizerBorrowed::new_nfkc();
        let mut found = Vec::new();
        for c in ('\u{80}'..=char::MAX).filter(|c| !is_space(*c)) {
            let mut buffer = [0; 4];
            let text: &str = c.encode_utf8(&mut buffer);
            let folded = nfkc.normalize(text);
            if folded == text {
                continue;
            }
            let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC);
            let expected = match folded.contains(DELIMITERS) {
                true => Err(Ambiguity::LookAlike),
                false => Ok(format!("/x{c}x")),
            };
            let path = format!("/x{encoded}x");
            assert_eq!(canonical(&path).map(Cow::into_owned), expected, "{c:?}");
            found.extend(expected.is_err().then_some(c));
        }
        let some = "\u{37e}․‥…⁇⁈⁉℀℁℅℆⒈㏂︔︖︙︰﹒﹔﹖﹟﹨﹪．／＼；？＃％\u{1f100}";
        for c in some.chars() {
            assert!(found.contains(&c), "{c:?}");
        }
    }

    #[test]
    fn bytes_that_the_proxy_replaced() {
        use Ambiguity::*;
        for (path, sent, expected) in [
            ("/intern!", Some(&b"/intern\xe9"[..]), Err(NotUtf8)),
            ("/intern!", Some(b"/intern!"), Ok("/intern!")),
            ("/intern!", None, Err(PerhapsNotUtf8)),
            ("/intern%21", None, Ok("/intern!")),
            ("/intern", None, Ok("/intern")),
            ("/intern?a!", None, Ok("/intern")),
            ("/intern?a!", Some(b"/intern?a\xe9"), Ok("/intern")),
            ("/intern!?a", Some(b"/intern\xe9?a"), Err(NotUtf8)),
            ("/intern", Some(b"/extern"), Err(NotUtf8)),
            ("/intern", Some(b""), Err(NotUtf8)),
        ] {
            let request = Request {
                path,
                path_bytes: sent,
                ..Request::default()
            };
            let found = of(&request);
            assert_eq!(
                found.as_deref().map_err(|why| *why),
                expected,
                "{path} {sent:?}"
            );
        }
    }
}
