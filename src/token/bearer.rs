//! The token in the `Authorization` header (RFC 6750 §2.1, RFC 9110 §11.6.2).

use crate::request::Headers;

/// Why a request carries no token that could be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No `Authorization` header, or one of another scheme.
    #[error("the request has no `Authorization: Bearer` header")]
    Missing,
    /// `Authorization` is a singleton field.
    #[error("the request has more than one `Authorization` value")]
    Repeated,
    /// `Bearer`, and nothing behind it; or nothing at all.
    #[error("the `Authorization` header holds no token")]
    Empty,
    /// Spaces or control characters where they have no place, or bytes that are not ASCII.
    #[error("the `Authorization` header is not `Bearer`, spaces, and one token")]
    Malformed,
}

/// The one bearer token of a request. The scheme is taken in any case, followed by one or more
/// spaces.
///
/// # Errors
///
/// When there is none, or more than one thing that could be one.
pub fn bearer_token<'a>(headers: &Headers<'a>) -> Result<&'a str, CredentialError> {
    let mut lines = headers.all("authorization");
    let line = lines.next().ok_or(CredentialError::Missing)?;
    if lines.next().is_some() {
        return Err(CredentialError::Repeated);
    }
    let value = str::from_utf8(line).map_err(|_| CredentialError::Malformed)?;
    let scheme_ends = value
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_ends);
    match scheme {
        "" if rest.is_empty() => return Err(CredentialError::Empty),
        "" => return Err(CredentialError::Malformed),
        bearer if bearer.eq_ignore_ascii_case("bearer") => {}
        _ => return Err(CredentialError::Missing),
    }
    let token = rest.trim_start_matches(' ');
    if token.is_empty() {
        return Err(CredentialError::Empty);
    }
    // Envoy joins repeated header lines with a comma.
    if token.contains(',') {
        return Err(CredentialError::Repeated);
    }
    if rest.len() == token.len() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CredentialError::Malformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_or_none() {
        use CredentialError::{Empty, Malformed, Missing, Repeated};
        let cases: &[(&[&str], Result<&str, CredentialError>)] = &[
            (&[], Err(Missing)),
            (&["Bearer abc"], Ok("abc")),
            (&["bearer abc"], Ok("abc")),
            (&["BEARER abc"], Ok("abc")),
            (&["bEaReR   abc"], Ok("abc")),
            (&["Basic abc"], Err(Missing)),
            (&["Negotiate"], Err(Missing)),
            (&["BearerX abc"], Err(Missing)),
            (&["DPoP abc"], Err(Missing)),
            (&[""], Err(Empty)),
            (&["Bearer"], Err(Empty)),
            (&["Bearer "], Err(Empty)),
            (&["Bearer\tabc"], Err(Malformed)),
            (&["Bearer:abc"], Err(Malformed)),
            (&[" Bearer abc"], Err(Malformed)),
            (&["Bearer abc "], Err(Malformed)),
            (&["Bearer abc def"], Err(Malformed)),
            (&["Bearer a\u{0}b"], Err(Malformed)),
            (&["Bearer abć"], Err(Malformed)),
            (&["Bearer abc,Bearer def"], Err(Repeated)),
            (&["Bearer abc, Bearer def"], Err(Repeated)),
            (&["Bearer abc,"], Err(Repeated)),
            (&["Bearer abc", "Bearer abc"], Err(Repeated)),
            (&["Basic abc", "Bearer def"], Err(Repeated)),
        ];
        for (lines, expected) in cases {
            let headers = lines
                .iter()
                .map(|line| ("Authorization", line.as_bytes()))
                .collect();
            assert_eq!(bearer_token(&headers), *expected, "{lines:?}");
        }
        let headers = [("authorization", &b"Bearer \xff"[..])]
            .into_iter()
            .collect();
        assert_eq!(bearer_token(&headers), Err(Malformed));
    }
}
