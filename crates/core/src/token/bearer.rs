//! Finds the one token of a request (RFC 6750 §2).

use std::borrow::Cow;
use std::sync::Arc;

use super::source::places::TokenPlaces;
use super::source::{TokenSource, Unreadable};
use crate::escaped::joined;
use crate::request::Request;

/// A token, not yet verified, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The token. Borrowed from the request, unless it is encoded there.
    pub token: Cow<'a, str>,
    /// Where the request carries it.
    pub place: &'a Arc<TokenSource>,
}

/// Why a request has no token to judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Every place is empty, or holds credentials of another scheme.
    #[error("the request has no {}", joined(.0, ", and no "))]
    Missing(Arc<[Arc<TokenSource>]>),
    /// Several values in a place that may hold only one.
    #[error("the request has more than one {0}, or one with a comma in it")]
    Repeated(Arc<TokenSource>),
    /// A scheme with nothing after it, or an empty value.
    #[error("the {0} holds no token")]
    Empty(Arc<TokenSource>),
    /// Spaces or control characters where none are allowed, or bytes that are not ASCII.
    #[error("the {0} holds something other than one token")]
    Malformed(Arc<TokenSource>),
    /// The token comes under a name such as `Access_Token` or `access_token[]`, which some servers
    /// read as `access_token`.
    #[error("the request has the {0} under a different name that some servers read as that one")]
    Misspelled(Arc<TokenSource>),
    /// Two places hold a token. claimgate does not guess which one is meant (RFC 6750 §2).
    #[error("the request has one token in the {0} and another in the {1}")]
    SeveralPlaces(Arc<TokenSource>, Arc<TokenSource>),
}

/// The one token of a request, in whichever of `places` holds it.
///
/// # Errors
///
/// Fails if the request has no token, or several things that could be one.
pub fn find_token<'a>(
    places: &'a TokenPlaces,
    request: &Request<'a>,
) -> Result<Credential<'a>, CredentialError> {
    let mut found: Option<Credential<'a>> = None;
    for place in places.candidates(request) {
        let token = place.token(request).map_err(|why| {
            let place = Arc::clone(place);
            match why {
                Unreadable::Repeated => CredentialError::Repeated(place),
                Unreadable::Empty => CredentialError::Empty(place),
                Unreadable::Malformed => CredentialError::Malformed(place),
                Unreadable::Misspelled => CredentialError::Misspelled(place),
            }
        })?;
        let Some(token) = token else {
            continue;
        };
        if let Some(Credential { place: other, .. }) = &found {
            let (one, other) = (Arc::clone(other), Arc::clone(place));
            return Err(CredentialError::SeveralPlaces(one, other));
        }
        found = Some(Credential { token, place });
    }
    found.ok_or_else(|| CredentialError::Missing(Arc::clone(places.all())))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    /// The token, or the error's variant.
    fn find(places: &[Arc<TokenSource>], lines: Lines<'_>) -> String {
        let request = Request {
            headers: lines
                .iter()
                .map(|(name, line)| (*name, line.as_bytes()))
                .collect(),
            ..Request::default()
        };
        match find_token(&TokenPlaces::new(places.to_vec()), &request) {
            Ok(Credential { token, place }) => format!("{place} {token}"),
            Err(CredentialError::Missing(_)) => "missing".to_owned(),
            Err(CredentialError::Repeated(_)) => "repeated".to_owned(),
            Err(CredentialError::Empty(_)) => "empty".to_owned(),
            Err(CredentialError::Malformed(_)) => "malformed".to_owned(),
            Err(CredentialError::Misspelled(_)) => "misspelled".to_owned(),
            Err(CredentialError::SeveralPlaces(..)) => "several".to_owned(),
        }
    }

    #[test]
    fn one_token_or_none() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "missing"),
            (&["Bearer abc"], "`Authorization: Bearer` header abc"),
            (&["bearer abc"], "`Authorization: Bearer` header abc"),
            (&["BEARER abc"], "`Authorization: Bearer` header abc"),
            (&["bEaReR   abc"], "`Authorization: Bearer` header abc"),
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
            (&["Basic abc", "Basic def"], "missing"),
            (&["Basic abc", ""], "repeated"),
            (&["Basic abc,Basic def"], "missing"),
            (&["Basic abc,Bearer def"], "repeated"),
            (&["Basic abc, bearer def"], "repeated"),
            (&["Digest realm=\"a\", uri=\"Bearer x\""], "missing"),
        ];
        let places = [Arc::new(TokenSource::authorization())];
        for (lines, expected) in cases {
            let lines: Vec<_> = lines.iter().map(|line| ("Authorization", *line)).collect();
            assert_eq!(find(&places, &lines), *expected, "{lines:?}");
        }
        let request = Request {
            headers: [("authorization", &b"Bearer \xff"[..])]
                .into_iter()
                .collect(),
            ..Request::default()
        };
        assert!(matches!(
            find_token(&TokenPlaces::new(places.to_vec()), &request),
            Err(CredentialError::Malformed(_))
        ));
    }

    #[test]
    fn other_places() {
        let bare = |header: &str| TokenSource::Header {
            name: header.to_owned(),
            scheme: None,
        };
        let places = [bare("x-assertion"), TokenSource::authorization()].map(Arc::new);
        let cases: &[(Lines<'_>, &str)] = &[
            (&[("X-Assertion", "abc")], "`x-assertion` header abc"),
            (
                &[("authorization", "Bearer abc")],
                "`Authorization: Bearer` header abc",
            ),
            (
                &[("x-assertion", "abc"), ("authorization", "Basic def")],
                "`x-assertion` header abc",
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
