//! What stands where a token should be.

use crate::policy::{CorsPreflight, Policy};
use crate::request::Request;
use crate::token::bearer::CredentialError;
use crate::token::source::TokenSource;

pub(super) const WHOLE_ANSWER: &str = "this is the provider's whole answer, as JSON, or in quotes: take the text of `access_token` alone";

pub(super) const PLACEHOLDER: &str = "this is a placeholder and not a token: the client sends it without having one (`undefined`, \
     `null`), or a variable such as `$TOKEN` was not replaced";

/// Schemes that a hint may name (RFC 9110 §16.4.1, and what clients write by mistake). Another text
/// in front of a space may be a part of a secret.
const SCHEMES: [&str; 16] = [
    "Basic",
    "Bearer",
    "JWT",
    "Token",
    "Digest",
    "DPoP",
    "Negotiate",
    "NTLM",
    "OAuth",
    "HOBA",
    "Mutual",
    "PrivateToken",
    "ApiKey",
    "GNAP",
    "Hawk",
    "AWS4-HMAC-SHA256",
];

pub(super) fn unusable(error: &CredentialError, policy: &Policy, request: &Request<'_>) -> String {
    let text = match error {
        CredentialError::Missing(_) => return missing(policy, request),
        CredentialError::Repeated(place) => match sent(place, request) {
            Some(sent) if is_json(sent.token) => WHOLE_ANSWER,
            _ => "a proxy adds a second one, or joins two lines",
        },
        CredentialError::Empty(_) => "the client's token is empty: its login failed unnoticed",
        CredentialError::Malformed(place) => match sent(place, request) {
            Some(sent) if is_json(sent.token) => WHOLE_ANSWER,
            Some(sent) if is_placeholder(sent.token) => PLACEHOLDER,
            Some(sent) if sent.token.starts_with([':', '=']) => {
                "between the scheme and the token stands one space, and nothing else"
            }
            Some(Sent { scheme, token }) if !scheme.is_empty() && starts_with(token, scheme) => {
                "the scheme is there twice: the client puts it in front of a text that has it already"
            }
            _ => "the token was copied with a line break, a space or quotes in it",
        },
        CredentialError::Misspelled(_) => {
            "the name is to be sent as it is configured, in the same case, without brackets or escapes"
        }
        CredentialError::SeveralPlaces(..) => "a proxy adds a token of its own",
    };
    text.to_owned()
}

fn missing(policy: &Policy, request: &Request<'_>) -> String {
    if request.is_cors_preflight() && policy.cors_preflight() == CorsPreflight::Judge {
        return "this is a browser's CORS preflight, which never has a token: `cors_preflight: allow`"
            .to_owned();
    }
    let mut places = policy.token_places().in_headers(&request.headers);
    places
        .find_map(|place| another_scheme(place, request))
        .unwrap_or_else(|| {
            "the client sends none, or a proxy on the way has taken it out".to_owned()
        })
}

/// What to say of a header that is there, and does not begin with its scheme.
fn another_scheme(place: &TokenSource, request: &Request<'_>) -> Option<String> {
    let TokenSource::Header {
        scheme: Some(scheme),
        ..
    } = place
    else {
        return None;
    };
    let Sent { token: line, .. } = sent(place, request)?;
    let is_token = line.starts_with("eyJ");
    if !is_token && is_placeholder(line) {
        return Some(PLACEHOLDER.to_owned());
    }
    let named = SCHEMES.iter().find(|known| {
        let rest = line.split_at_checked(known.len());
        starts_with(line, known) && rest.is_some_and(|(_, rest)| !rest.starts_with(is_word))
    });
    Some(match named {
        _ if is_token => {
            format!(
                "the header holds a token alone: the client must write `{scheme} ` in front of it"
            )
        }
        Some(found) => format!(
            "the header has the scheme `{found}`: the client must send its token as `{scheme} …`"
        ),
        None => format!("the header does not begin with `{scheme} `"),
    })
}

/// A header line, taken apart.
struct Sent<'a> {
    /// As configured; empty if the line begins otherwise.
    scheme: &'a str,
    /// What follows.
    token: &'a str,
}

/// The first line of the header where a token should be.
fn sent<'a>(place: &'a TokenSource, request: &Request<'a>) -> Option<Sent<'a>> {
    let TokenSource::Header { name, scheme } = place else {
        return None;
    };
    let line = request.headers.all(name).next()?;
    let line = str::from_utf8(line).ok()?.trim();
    let scheme = scheme.as_deref().unwrap_or_default();
    let rest = line
        .get(scheme.len()..)
        .filter(|rest| starts_with(line, scheme) && !rest.starts_with(is_word));
    Some(match rest {
        Some(rest) if !scheme.is_empty() => Sent {
            scheme,
            token: rest.trim_start(),
        },
        _ => Sent {
            scheme: "",
            token: line,
        },
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-'
}

fn starts_with(text: &str, prefix: &str) -> bool {
    let start = text.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Whether a text is JSON of some kind, be it cut or joined with another.
pub(super) fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[']) && text.contains('"')
}

/// Whether a text stands for a token that is not there.
pub(super) fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 17] = [
        "undefined",
        "null",
        "none",
        "nil",
        "nan",
        "true",
        "false",
        "token",
        "access_token",
        "accesstoken",
        "your_token",
        "your-token",
        "your_access_token",
        "your-access-token",
        "jwt",
        "[object object]",
        "[object promise]",
    ];
    let text = text.trim_matches(['"', '\'', ' ']);
    let between = |start: char, end: char| text.starts_with(start) && text.ends_with(end);
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.starts_with(['$', '<'])
        || between('{', '}') && !text.contains('"')
        || between('%', '%')
        || text.starts_with("process.env.")
}
