//! What makes a token too long.

use super::UnverifiedParts;
use crate::escaped::Escaped;

/// Names the largest claims, and for providers known for large ones, the setting that shrinks them.
pub(super) fn what_to_leave_out(token: &UnverifiedParts<'_>) -> String {
    const MAX_NAMED: usize = 3;
    let mut claims: Vec<(usize, &str)> = token
        .claims
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (value.to_string().len(), name.as_str()))
        .collect();
    claims.sort_unstable_by(|one, other| other.cmp(one));
    let total: usize = claims.iter().map(|(bytes, _)| bytes).sum();
    let large: Vec<String> = claims
        .iter()
        .take_while(|(bytes, _)| bytes * 5 > total)
        .take(MAX_NAMED)
        .map(|(bytes, name)| format!("`{}` ({bytes} bytes)", Escaped::from(*name)))
        .collect();
    let how = if token.is_entras() {
        "in Entra ID, have the token list only the groups that are assigned to the application, or \
         use app roles instead of groups"
    } else if token.is_keycloaks() {
        "in Keycloak, switch off the client's \"Full scope allowed\", or the mapper's \"Add to \
         access token\""
    } else {
        "have the provider put into its access tokens only what the API needs"
    };
    match large.is_empty() {
        true => format!(
            "leave out what makes it long, usually groups or roles: {how}; or raise the \
             provider's `max_token_bytes`"
        ),
        false => format!(
            "leave out what makes it long, {}: {how}; or raise the provider's `max_token_bytes`",
            large.join(", ")
        ),
    }
}
