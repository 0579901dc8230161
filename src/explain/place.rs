//! The provider that a token is from, and the place where it expects the token.

use crate::keyring::ProviderId;
use crate::policy::Policy;
use crate::token::Unverified;
use crate::token::source::{TokenSource, websocket};

/// The provider that a token claims to be from.
pub(crate) fn claimed_provider(policy: &Policy, token: &str) -> Option<ProviderId> {
    let unverified = Unverified::parse(token, policy.max_token_bytes()).ok()?;
    let (id, _) = policy.by_issuer(unverified.issuer().ok()?)?;
    Some(id)
}

/// The first place that may carry a provider's tokens. Without a provider, the first place of any.
pub(crate) fn place_of(policy: &Policy, provider: Option<ProviderId>) -> TokenSource {
    let own = provider
        .and_then(|id| policy.provider(id))
        .and_then(|provider| provider.token_from.first());
    own.or(policy.token_places().first())
        .map_or_else(TokenSource::authorization, |place| (**place).clone())
}

/// Puts a token into a request's path or header lines.
pub(crate) fn put(
    token: &str,
    place: &TokenSource,
    path: &mut String,
    lines: &mut Vec<(String, String)>,
) {
    match place {
        TokenSource::Header { name, scheme } => lines.push(match scheme {
            Some(scheme) => (name.clone(), format!("{scheme} {token}")),
            None => (name.clone(), token.to_owned()),
        }),
        TokenSource::Cookie(name) => {
            lines.push(("cookie".to_owned(), format!("{name}={token}")));
        }
        TokenSource::Query(name) => {
            let mark = if path.contains('?') { '&' } else { '?' };
            *path = format!("{path}{mark}{name}={token}");
        }
        TokenSource::WebSocket(name) => {
            lines.push((websocket::HEADER.to_owned(), websocket::offer(name, token)));
        }
    }
}
