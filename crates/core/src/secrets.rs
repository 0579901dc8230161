//! Tells what looks like a token or a secret, so that it is kept out of records.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What stands in records in place of a JWT: how most begin, `{"` in base64url.
const CUT: &str = "eyJ…";

/// How often a text is decoded in search of tokens. Some proxies decode once more than others.
const MAX_DECODED: usize = 4;

/// The maximum number of characters at the beginning of a JWT that may encode white space.
const MAX_SPACE: usize = 64;

/// Schemes of `Authorization` (RFC 9110 §11.1) whose credentials are secrets.
const SCHEMES: [&str; 4] = ["basic ", "bearer ", "dpop ", "token "];

/// Words in the names of headers, claims and parameters that hold secrets or client certificates, in
/// lower case and without separators.
const SECRET_WORDS: [&str; 15] = [
    "accesskey",
    "apikey",
    "assertion",
    "authorization",
    "bearer",
    "clientcert",
    "cookie",
    "credential",
    "jwt",
    "passw",
    "privatekey",
    "secret",
    "session",
    "signature",
    "token",
];

/// Whether the text contains something like a JWT, or begins with a scheme of credentials. Percent
/// encoding does not hide it.
pub fn looks_like_token(text: &str) -> bool {
    let trimmed = text.trim_start();
    let has_scheme = |scheme: &&str| {
        let start = trimmed.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    SCHEMES.iter().any(has_scheme) || hides_jwt(text)
}

/// The text with `eyJ…` in place of each part that looks like a JWT. Where percent encoding hides one,
/// the text is shown decoded.
pub fn without_jwts(text: &str) -> Cow<'_, str> {
    if !hides_jwt(text) {
        return Cow::Borrowed(text);
    }
    let mut shown = cut_jwts(text);
    for _ in 0..MAX_DECODED {
        if !hides_jwt(&shown) {
            break;
        }
        let decoded = percent_decode_str(&shown).decode_utf8_lossy().into_owned();
        shown = Cow::Owned(cut_jwts(&decoded).into_owned());
    }
    shown
}

/// Whether there is a JWT in the text, decoded often enough.
fn hides_jwt(text: &str) -> bool {
    let mut reading = Cow::Borrowed(text);
    for _ in 0..MAX_DECODED {
        if next_jwt(&reading).is_some() {
            return true;
        }
        if !reading.contains('%') {
            return false;
        }
        reading = Cow::Owned(
            percent_decode_str(&reading)
                .decode_utf8_lossy()
                .into_owned(),
        );
    }
    next_jwt(&reading).is_some()
}

fn cut_jwts(text: &str) -> Cow<'_, str> {
    let Some(first) = next_jwt(text) else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::new();
    let (mut rest, mut next) = (text, Some(first));
    while let Some(at) = next {
        let (before, jwt) = rest.split_at(at);
        shown.extend([before, CUT]);
        let belongs = |c: char| c.is_ascii_alphanumeric() || "-_.…".contains(c);
        rest = jwt.trim_start_matches(belongs);
        next = next_jwt(rest);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// Where the first JWT of the text begins. What was cut before does not count.
fn next_jwt(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // What a brace and each kind of white space begin with.
    let may_begin = |byte: &u8| matches!(byte, b'e' | b'I' | b'C' | b'D');
    let mut begins = bytes.iter().enumerate().filter(|(_, byte)| may_begin(byte));
    let found = begins.find(|(at, _)| {
        let own = bytes.get(*at..).unwrap_or_default();
        begins_jwt(own) && !own.starts_with(CUT.as_bytes())
    });
    found.map(|(at, _)| at)
}

/// Whether the text begins with a JSON object in base64url: a brace, a quote and a letter, with white
/// space around the brace or without. Less, such as `{}`, is found in ids and words, too.
fn begins_jwt(text: &[u8]) -> bool {
    if text.starts_with(b"eyJ") {
        return true;
    }
    let (mut bits, mut length, mut expected) = (0u32, 0, b'{');
    for sextet in text.iter().take(MAX_SPACE).map_while(|byte| sextet(*byte)) {
        bits = (bits << 6) | sextet;
        length += 6;
        if length < 8 {
            continue;
        }
        length -= 8;
        let byte = u8::try_from((bits >> length) & 0xff).unwrap_or_default();
        match (byte, expected) {
            (b' ' | b'\t' | b'\n' | b'\r', b'{' | b'"') => {}
            (b'{', b'{') => expected = b'"',
            (b'"', b'"') => expected = b'a',
            (b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'\\', b'a') => return true,
            _ => return false,
        }
    }
    // So much white space is no accident.
    text.len() >= MAX_SPACE
        && text
            .iter()
            .take(MAX_SPACE)
            .all(|byte| sextet(*byte).is_some())
}

/// The value of a character of base64url (RFC 4648 §5).
fn sextet(byte: u8) -> Option<u32> {
    Some(
        match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        }
        .into(),
    )
}

/// Whether what has this name is probably a secret or a client certificate: `x-api-key`,
/// `clientSecret`, `x-forwarded-client-cert`.
pub fn names_secret(name: &str) -> bool {
    let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
    let letters: Vec<u8> = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    SECRET_WORDS.iter().any(|word| {
        let mut parts = letters.windows(word.len());
        parts.any(|part| part == word.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (text, expected) in [
            ("eyJhbGciOiJub25lIn0.e30.", true),
            ("a=eyJhbGci", true),
            ("Bearer opaque", true),
            ("bearer opaque", true),
            ("Basic YTpi", true),
            (" Bearer opaque", true),
            // The header begins with white space, or has some after the brace.
            ("ewogICJhbGciOiAibm9uZSJ9.e30.", true),
            ("eyAiYWxnIjoibm9uZSJ9.e30.", true),
            ("IHsiYWxnIjoibm9uZSJ9.e30.", true),
            ("CXsKImFsZyI6Im5vbmUifQ.e30.", true),
            ("DQp7ImFsZyI6Im5vbmUifQ.e30.", true),
            (&"ICAg".repeat(20), true),
            ("a=%65yJhbGci", true),
            ("a=ey%4ahbGci", true),
            ("a=%2565yJhbGci", true),
            ("0b7de30e-4f2b-4d7e-9e30-1b5be30fe30f", false),
            ("keyId,keyLength,keyKind", false),
            ("homework", false),
            ("ewoks", false),
            ("Interactive-Console", false),
            ("e1%zz", false),
            ("bearer", false),
            ("prod", false),
            ("", false),
            ("é", false),
        ] {
            assert_eq!(looks_like_token(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_tokens() {
        for (text, expected) in [
            ("/a/eyJhbGciOi.e30.c2ln/x", "/a/eyJ…/x"),
            ("/a/eyJhbGciOi.e30.c2ln,eyJh", "/a/eyJ…,eyJ…"),
            ("/a/ewogICJhbGciOi.e30.c2ln/x", "/a/eyJ…/x"),
            ("/a/%65yJhbGciOi.%65yJzdWIi.c2ln/%C3%A4", "/a/eyJ…/ä"),
            ("/eyJh/%2565yJh", "/eyJ…/eyJ…"),
            ("/eyJ…/x", "/eyJ…/x"),
            ("/a%20b", "/a%20b"),
            ("/ewok", "/ewok"),
        ] {
            assert_eq!(without_jwts(text), expected, "{text}");
        }
    }

    #[test]
    fn names_of_secrets() {
        for (name, expected) in [
            ("x-api-key", true),
            ("X_API_KEY", true),
            ("clientSecret", true),
            ("access_token", true),
            ("proxy-authorization", true),
            ("set-cookie", true),
            ("x-password", true),
            ("x-forwarded-client-cert", true),
            ("client-cert-chain", true),
            ("ssl-client-cert", true),
            ("x-amzn-mtls-clientcert-leaf", true),
            ("x-client-id", false),
            ("x-env", false),
            ("idempotency-key", false),
            ("sub", false),
            ("", false),
        ] {
            assert_eq!(names_secret(name), expected, "{name}");
        }
    }
}
