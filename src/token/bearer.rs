//! Where a request carries its token: as RFC 6750 §2.1 has it, in the `Authorization` header (RFC
//! 9110 §11.6.2), or in a header of the operator's choice.

use std::fmt;
use std::sync::Arc;

use crate::request::Headers;

/// A place in a request where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// The header's name, in lower case.
    pub header: String,
    /// What is in front of the token; nothing if the header holds the token alone.
    pub scheme: Option<String>,
}

impl TokenSource {
    /// `Authorization: Bearer …`.
    pub fn authorization() -> Self {
        Self {
            header: "authorization".to_owned(),
            scheme: Some("Bearer".to_owned()),
        }
    }
}

impl fmt::Display for TokenSource {
    /// `Authorization: Bearer`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.header.as_str() {
            "authorization" => f.write_str("Authorization")?,
            header => f.write_str(header)?,
        }
        match &self.scheme {
            Some(scheme) => write!(f, ": {scheme}"),
            None => Ok(()),
        }
    }
}

/// A token, and where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The token.
    pub token: &'a str,
    /// Where it was.
    pub place: &'a Arc<TokenSource>,
}

/// Why a request carries no token that could be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No such header, or one of another scheme.
    #[error("the request has no `{}` header", list(.0))]
    Missing(Vec<Arc<TokenSource>>),
    /// The header is a singleton field.
    #[error("the request has more than one `{0}` value")]
    Repeated(Arc<TokenSource>),
    /// A scheme, and nothing behind it; or nothing at all.
    #[error("the `{0}` header holds no token")]
    Empty(Arc<TokenSource>),
    /// Spaces or control characters where they have no place, or bytes that are not ASCII.
    #[error("the `{place}` header is not {}, and nothing else", wanted(.0), place = .0)]
    Malformed(Arc<TokenSource>),
    /// Which of them is meant is not for us to guess (RFC 6750 §2).
    #[error("the request has one token as `{0}` and another as `{1}`")]
    SeveralPlaces(Arc<TokenSource>, Arc<TokenSource>),
}

fn list(places: &[Arc<TokenSource>]) -> String {
    let places: Vec<_> = places.iter().map(ToString::to_string).collect();
    places.join("`, nor `")
}

fn wanted(place: &TokenSource) -> String {
    match &place.scheme {
        Some(scheme) => format!("`{scheme}`, spaces, and one token"),
        None => "one token".to_owned(),
    }
}

/// The one token of a request, from the one of `places` that has it. A scheme is taken in any
/// case, followed by one or more spaces.
///
/// # Errors
///
/// When there is none, or more than one thing that could be one.
pub fn find_token<'a>(
    places: &'a [Arc<TokenSource>],
    headers: &Headers<'a>,
) -> Result<Credential<'a>, CredentialError> {
    let mut found: Option<Credential<'a>> = None;
    for place in places {
        let Some(token) = place.token(headers)? else {
            continue;
        };
        if let Some(Credential { place: other, .. }) = found {
            let (one, other) = (Arc::clone(other), Arc::clone(place));
            return Err(CredentialError::SeveralPlaces(one, other));
        }
        found = Some(Credential { token, place });
    }
    found.ok_or_else(|| CredentialError::Missing(places.to_vec()))
}

impl TokenSource {
    fn token<'a>(
        self: &Arc<Self>,
        headers: &Headers<'a>,
    ) -> Result<Option<&'a str>, CredentialError> {
        let mut lines = headers.all(&self.header);
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        if lines.next().is_some() {
            return Err(CredentialError::Repeated(Arc::clone(self)));
        }
        let value =
            str::from_utf8(line).map_err(|_| CredentialError::Malformed(Arc::clone(self)))?;
        let token = match &self.scheme {
            Some(scheme) => self.after_scheme(scheme, value)?,
            None => Some(value),
        };
        match token {
            Some("") => Err(CredentialError::Empty(Arc::clone(self))),
            // Envoy joins repeated header lines with a comma.
            Some(token) if token.contains(',') => Err(CredentialError::Repeated(Arc::clone(self))),
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(CredentialError::Malformed(Arc::clone(self)))
            }
            token => Ok(token),
        }
    }

    /// What follows the scheme and its spaces, `None` after another scheme.
    fn after_scheme<'a>(
        self: &Arc<Self>,
        scheme: &str,
        value: &'a str,
    ) -> Result<Option<&'a str>, CredentialError> {
        let scheme_ends = value
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(value.len());
        let (found, rest) = value.split_at(scheme_ends);
        if found.is_empty() && rest.is_empty() {
            return Err(CredentialError::Empty(Arc::clone(self)));
        }
        if found.is_empty() {
            return Err(CredentialError::Malformed(Arc::clone(self)));
        }
        if !found.eq_ignore_ascii_case(scheme) {
            // A line of another scheme may have been joined with one of ours.
            let is_ours = |part: &str| {
                let word = part.trim_start().split(' ').next();
                word.is_some_and(|word| word.eq_ignore_ascii_case(scheme))
            };
            return match rest.split(',').skip(1).any(is_ours) {
                true => Err(CredentialError::Repeated(Arc::clone(self))),
                false => Ok(None),
            };
        }
        let token = rest.trim_start_matches(' ');
        if rest.len() == token.len() && !token.is_empty() && !token.contains(',') {
            return Err(CredentialError::Malformed(Arc::clone(self)));
        }
        Ok(Some(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    /// The token, or the error's variant.
    fn find(places: &[Arc<TokenSource>], lines: Lines<'_>) -> String {
        let headers = lines
            .iter()
            .map(|(name, line)| (*name, line.as_bytes()))
            .collect();
        match find_token(places, &headers) {
            Ok(Credential { token, place }) => format!("{place} {token}"),
            Err(CredentialError::Missing(_)) => "missing".to_owned(),
            Err(CredentialError::Repeated(_)) => "repeated".to_owned(),
            Err(CredentialError::Empty(_)) => "empty".to_owned(),
            Err(CredentialError::Malformed(_)) => "malformed".to_owned(),
            Err(CredentialError::SeveralPlaces(..)) => "several".to_owned(),
        }
    }

    #[test]
    fn one_token_or_none() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "missing"),
            (&["Bearer abc"], "Authorization: Bearer abc"),
            (&["bearer abc"], "Authorization: Bearer abc"),
            (&["BEARER abc"], "Authorization: Bearer abc"),
            (&["bEaReR   abc"], "Authorization: Bearer abc"),
            (&["Basic abc"], "missing"),
            (&["Negotiate"], "missing"),
            (&["BearerX abc"], "missing"),
            (&["DPoP abc"], "missing"),
            (&[""], "empty"),
            (&["Bearer"], "empty"),
            (&["Bearer "], "empty"),
            (&["Bearer\tabc"], "malformed"),
            (&["Bearer:abc"], "malformed"),
            (&[" Bearer abc"], "malformed"),
            (&["Bearer abc "], "malformed"),
            (&["Bearer abc def"], "malformed"),
            (&["Bearer a\u{0}b"], "malformed"),
            (&["Bearer abć"], "malformed"),
            (&["Bearer abc,Bearer def"], "repeated"),
            (&["Bearer abc, Bearer def"], "repeated"),
            (&["Bearer abc,"], "repeated"),
            (&["Bearer abc", "Bearer abc"], "repeated"),
            (&["Basic abc", "Bearer def"], "repeated"),
            (&["Basic abc,Bearer def"], "repeated"),
            (&["Basic abc, bearer def"], "repeated"),
            (&["Digest realm=\"a\", uri=\"Bearer x\""], "missing"),
        ];
        let places = [Arc::new(TokenSource::authorization())];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("Authorization", *line)).collect();
            assert_eq!(find(&places, &lines), *expected, "{lines:?}");
        }
        let headers = [("authorization", &b"Bearer \xff"[..])]
            .into_iter()
            .collect();
        assert!(matches!(
            find_token(&places, &headers),
            Err(CredentialError::Malformed(_))
        ));
    }

    #[test]
    fn other_places() {
        let bare = |header: &str| TokenSource {
            header: header.to_owned(),
            scheme: None,
        };
        let places = [bare("x-assertion"), TokenSource::authorization()].map(Arc::new);
        let cases: &[(Lines<'_>, &str)] = &[
            (&[("X-Assertion", "abc")], "x-assertion abc"),
            (
                &[("authorization", "Bearer abc")],
                "Authorization: Bearer abc",
            ),
            (
                &[("x-assertion", "abc"), ("authorization", "Basic def")],
                "x-assertion abc",
            ),
            (
                &[("x-assertion", "abc"), ("authorization", "Bearer abc")],
                "several",
            ),
            (
                &[("x-assertion", "abc"), ("authorization", "Bearer")],
                "empty",
            ),
            (
                &[("x-assertion", ""), ("authorization", "Bearer abc")],
                "empty",
            ),
            (&[("x-assertion", "Bearer abc")], "malformed"),
            (&[("x-assertion", "abc,def")], "repeated"),
            (
                &[("x-assertion", "abc"), ("x-assertion", "def")],
                "repeated",
            ),
            (&[("x_assertion", "abc")], "missing"),
            (&[], "missing"),
        ];
        for (lines, expected) in cases {
            assert_eq!(find(&places, lines), *expected, "{lines:?}");
        }
        assert_eq!(
            find(&places[..1], &[("authorization", "Bearer abc")]),
            "missing"
        );
    }
}
