//! What kind of JWT a token is. Providers sign many kinds with the same keys, and only one of them
//! is meant for APIs (RFC 8725 §3.11, §3.12).

use super::claims::Claims;
use super::json::Json;
use super::media_type::same_media_type;

/// A kind of JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For APIs: the kind that is accepted. Also what cannot be told from one.
    AccessToken,
    /// Tells a client who has logged in (OpenID Connect Core §2).
    IdToken,
    /// By which a client logs in at the provider (RFC 7523 §3).
    Assertion,
    /// By which a client gets new access tokens (RFC 6749 §1.5).
    RefreshToken,
    /// Tells that something has happened, such as a logout (RFC 8417, OpenID Connect Back-Channel
    /// Logout §2.4).
    SecurityEvent,
    /// Tells about another token (RFC 9701 §5).
    Introspection,
    /// Tells a client how a login went (JARM §2.1).
    AuthorizationResponse,
    /// Proves that a client holds a key (RFC 9449 §4.2).
    DpopProof,
}

impl Kind {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "an access token",
            Self::IdToken => "an ID token",
            Self::Assertion => "a client assertion",
            Self::RefreshToken => "a refresh token",
            Self::SecurityEvent => "a logout or security event token",
            Self::Introspection => "an introspection response",
            Self::AuthorizationResponse => "an authorization response",
            Self::DpopProof => "a DPoP proof",
        }
    }
}

/// The kind of a token with this `typ` and these claims, and what tells. A token that says in its
/// `typ` that it is an access token (RFC 9068 §2.1) is one; what others are shows in their claims.
pub(super) fn kind(typ: Option<&str>, claims: &Claims) -> (Kind, &'static str) {
    if typ.is_some_and(|typ| same_media_type(typ, "at+jwt")) {
        return (Kind::AccessToken, "typ");
    }
    let claims = claims.members();
    let has = |name: &str| claims.get(name).is_some_and(|value| !value.is_null());
    let text = |name: &str| claims.get(name).and_then(Json::as_str);
    if has("events") {
        return (Kind::SecurityEvent, "events");
    }
    if has("token_introspection") {
        return (Kind::Introspection, "token_introspection");
    }
    if has("htm") && has("htu") {
        return (Kind::DpopProof, "htu");
    }
    // It comes by way of the browser, and is about nobody.
    if !has("sub")
        && let Some(name) = ["code", "error"].into_iter().find(|name| has(name))
    {
        return (Kind::AuthorizationResponse, name);
    }
    // Keycloak and Cognito say it in a claim.
    match (text("typ"), text("token_use")) {
        (Some("Bearer"), _) => return (Kind::AccessToken, "typ"),
        (Some("ID"), _) => return (Kind::IdToken, "typ"),
        (Some("Refresh" | "Offline"), _) => return (Kind::RefreshToken, "typ"),
        (Some("Logout"), _) => return (Kind::SecurityEvent, "typ"),
        (_, Some("access")) => return (Kind::AccessToken, "token_use"),
        (_, Some("id")) => return (Kind::IdToken, "token_use"),
        (_, Some("refresh")) => return (Kind::RefreshToken, "token_use"),
        _ => {}
    }
    // OpenID Connect Core §2, §3.3.2.11.
    if let Some(name) = ["at_hash", "c_hash", "s_hash", "nonce"]
        .into_iter()
        .find(|name| has(name))
    {
        return (Kind::IdToken, name);
    }
    // RFC 7523 §3: who asserts, and about whom, are the same.
    if text("iss").is_some() && text("iss") == text("sub") {
        return (Kind::Assertion, "sub");
    }
    (Kind::AccessToken, "")
}
