//! What a request has in place of a token.

use crate::policy::{CorsPreflight, Policy};
use crate::request::Request;
use crate::token::bearer::CredentialError;
use crate::token::source::TokenSource;

pub(super) const WHOLE_ANSWER: &str = "this is the provider's whole response as JSON, or a token in quotes: send only the text of `access_token`";

pub(super) const PLACEHOLDER: &str = "this is a placeholder and not a token: the client sent it without having a token (`undefined`, \
     `null`), or a variable such as `$TOKEN` was not replaced";

/// The schemes that a hint may name (RFC 9110 §16.4.1, and common mistakes). Any other text before
/// a space may be part of a secret.
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
            _ => "a proxy adds a second token, or joins two header lines",
        },
        CredentialError::Empty(_) => {
            "the client's token is empty: its login probably failed unnoticed"
        }
        CredentialError::Malformed(place) => match sent(place, request) {
            Some(sent) if is_json(sent.token) => WHOLE_ANSWER,
            Some(sent) if is_placeholder(sent.token) => PLACEHOLDER,
            Some(sent) if sent.token.starts_with([':', '=']) => {
                "exactly one space must separate the scheme from the token"
            }
            Some(Sent { scheme, token }) if !scheme.is_empty() && starts_with(token, scheme) => {
                "the scheme occurs twice: the client adds it to a text that already has it"
            }
            _ => "the token was copied with a line break, a space or quotes in it",
        },
        CredentialError::Misspelled(_) => {
            "the client must send the name exactly as configured: in the same case, without brackets or escapes"
        }
        CredentialError::SeveralPlaces(..) => {
            "the client sends its token twice, such as a cookie beside the header, or a proxy adds its \
             own: send it in one place, or remove the other place from `token_from`"
        }
    };
    text.to_owned()
}

fn missing(policy: &Policy, request: &Request<'_>) -> String {
    if request.is_cors_preflight() && policy.cors_preflight() == CorsPreflight::Judge {
        return "this is a browser's CORS preflight, which never carries a token: set `cors_preflight: allow`"
            .to_owned();
    }
    let mut places = policy.token_places().in_headers(&request.headers);
    places
        .find_map(|place| another_scheme(place, request))
        .unwrap_or_else(|| "the client sends no token, or a proxy on the way removes it".to_owned())
}

/// The hint for a header that is present but does not begin with its scheme.
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
            format!("the header holds only a token: the client must write `{scheme} ` before it")
        }
        Some(found) => format!(
            "the header has the scheme `{found}`: the client must send its token as `{scheme} …`"
        ),
        None => format!("the header does not begin with `{scheme} `"),
    })
}

/// A header line, split at its scheme.
struct Sent<'a> {
    /// The scheme as configured; empty if the line does not begin with it.
    scheme: &'a str,
    /// The rest of the line.
    token: &'a str,
}

/// The first line of the header that should carry the token.
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

/// Whether the text looks like JSON, even if it is cut off or joined with other text.
pub(super) fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[']) && text.contains('"')
}

/// Whether the text stands for a token that is missing.
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
