//! Tells what looks like a token or a secret, so that it is kept out of records.

/// How every JWT begins: `{"` in base64url.
pub const BEGINS_JWT: &str = "eyJ";

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

/// Whether the text contains something like a JWT, or begins with a scheme of credentials.
pub fn looks_like_token(text: &str) -> bool {
    let has_scheme = |scheme: &&str| {
        let start = text.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    text.contains(BEGINS_JWT) || SCHEMES.iter().any(has_scheme)
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
            ("bearer", false),
            ("prod", false),
            ("", false),
            ("é", false),
        ] {
            assert_eq!(looks_like_token(text), expected, "{text}");
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
