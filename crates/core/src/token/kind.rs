//! Tells the kinds of JWT apart. Providers sign many kinds with the same keys, and only one of them
//! is meant for APIs (RFC 8725 §3.11, §3.12).

use super::claims::Claims;
use super::json::{Json, Object};
use super::media_type::{same_media_type, stem};
use super::scopes::is_scope;

/// A kind of JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For APIs, and the only kind accepted by default. Also any token that looks like one.
    AccessToken,
    /// Tells a client who logged in (OpenID Connect Core §2).
    IdToken,
    /// Authenticates a client at the provider (RFC 7523 §3).
    Assertion,
    /// Lets a client get new access tokens (RFC 6749 §1.5).
    RefreshToken,
    /// Lets a client register itself (RFC 7591 §3, RFC 7592 §1).
    RegistrationToken,
    /// Reports an event, such as a logout (RFC 8417, OpenID Connect Back-Channel Logout §2.4).
    SecurityEvent,
    /// Describes another token (RFC 9701 §5).
    Introspection,
    /// Asks the provider for a login (RFC 9101 §4).
    AuthorizationRequest,
    /// Tells a client the result of a login (JARM §2.1).
    AuthorizationResponse,
    /// Proves that a client holds a key (RFC 9449 §4.2).
    DpopProof,
    /// Describes its holder to any verifier (SD-JWT VC §3, W3C VC Data Model), or is part of such a
    /// credential.
    Credential,
    /// Describes a provider or its keys (OpenID Federation §3).
    Statement,
}

impl Kind {
    /// The kind in words, with its article.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "an access token",
            Self::IdToken => "an ID token",
            Self::Assertion => "a client assertion",
            Self::RefreshToken => "a refresh token",
            Self::RegistrationToken => "a client registration token",
            Self::SecurityEvent => "a logout or security event token",
            Self::Introspection => "an introspection response",
            Self::AuthorizationRequest => "an authorization request",
            Self::AuthorizationResponse => "an authorization response",
            Self::DpopProof => "a DPoP proof",
            Self::Credential => "a verifiable credential",
            Self::Statement => "a statement about a provider",
        }
    }

    /// The kind that `typ` names, if that kind is not meant for APIs. Ignores case, `_`, `-`,
    /// spaces, `application/`, `+jwt`, `+sd-jwt` and parameters.
    pub fn named(typ: &str) -> Option<Self> {
        let stem = stem(typ);
        NAMES
            .iter()
            .find(|(name, _)| is_spelt(stem, name))
            .map(|(_, kind)| *kind)
    }
}

/// The names that providers and standards use for these kinds, in the form that [`is_spelt`]
/// compares.
const NAMES: [(&str, Kind); 27] = [
    ("id", Kind::IdToken),
    ("idtoken", Kind::IdToken),
    ("refresh", Kind::RefreshToken),
    ("refreshtoken", Kind::RefreshToken),
    ("rt", Kind::RefreshToken),
    ("offline", Kind::RefreshToken),
    ("offlinetoken", Kind::RefreshToken),
    ("initialaccesstoken", Kind::RegistrationToken),
    ("registrationaccesstoken", Kind::RegistrationToken),
    ("logout", Kind::SecurityEvent),
    ("logouttoken", Kind::SecurityEvent),
    ("secevent", Kind::SecurityEvent),
    ("securityevent", Kind::SecurityEvent),
    ("tokenintrospection", Kind::Introspection),
    ("dpop", Kind::DpopProof),
    ("oauthauthzreq", Kind::AuthorizationRequest),
    ("clientauthentication", Kind::Assertion),
    ("authorizationgrant", Kind::Assertion),
    ("oauthidjag", Kind::Assertion),
    ("dc", Kind::Credential),
    ("vc", Kind::Credential),
    ("vp", Kind::Credential),
    // The key binding of an SD-JWT's holder (RFC 9901 §4.3).
    ("kb", Kind::Credential),
    ("sdjwt", Kind::Credential),
    ("entitystatement", Kind::Statement),
    ("jwkset", Kind::Statement),
    ("trustmark", Kind::Statement),
];

/// Whether the text is this name, ignoring case, `_`, `-` and spaces. The name itself is in lower
/// case without any of these.
fn is_spelt(text: &str, name: &str) -> bool {
    text.bytes()
        .filter(|byte| !matches!(byte, b'_' | b'-' | b' '))
        .map(|byte| byte.to_ascii_lowercase())
        .eq(name.bytes())
}

/// The claims in which providers name the kind, in the form that [`is_spelt`] compares: Keycloak's
/// `typ`, Cognito's `token_use`, `token_type` or `tokenType` of many libraries, and Curity's
/// `purpose`.
const NAMING_CLAIMS: [&str; 4] = ["typ", "tokenuse", "tokentype", "purpose"];

/// The scopes of OpenID Connect itself (Core §5.4, §11). They grant nothing at an API, and some ID
/// tokens repeat them (for example UAA's).
const LOGIN_SCOPES: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "offline_access",
];

/// The kind of a token with this `typ` and these claims, and the claim that reveals it. A token
/// whose `typ` is that of an access token (RFC 9068 §2.1) is one; for other tokens, the claims
/// decide.
pub(super) fn kind<'c>(typ: Option<&str>, claims: &'c Claims) -> (Kind, &'c str) {
    if typ.is_some_and(|typ| same_media_type(typ, "at+jwt")) {
        return (Kind::AccessToken, "typ");
    }
    let claims = claims.members();
    let has = |name: &str| claims.get(name).is_some_and(|value| !value.is_null());
    let text = |name: &str| claims.get(name).and_then(Json::as_str);
    let first_of = |names: &[&'static str]| names.iter().copied().find(|name| has(name));
    if has("events") {
        return (Kind::SecurityEvent, "events");
    }
    if has("token_introspection") {
        return (Kind::Introspection, "token_introspection");
    }
    if has("htm") && has("htu") {
        return (Kind::DpopProof, "htu");
    }
    // SD-JWT VC §3.2.2.1, RFC 9901 §4.1. `vc` and `vp`: W3C VC Data Model 1.1 §6.3.1.
    if let Some(name) = first_of(&["vct", "_sd", "_sd_alg"]) {
        return (Kind::Credential, name);
    }
    let is_object = |name: &str| matches!(claims.get(name), Some(Json::Object(_)));
    if let Some(name) = ["vc", "vp"].into_iter().find(|name| is_object(name)) {
        return (Kind::Credential, name);
    }
    // An authorization response arrives through the browser and has no subject.
    if !has("sub")
        && let Some(name) = first_of(&["code", "error"])
    {
        return (Kind::AuthorizationResponse, name);
    }
    if let Some(named) = claims.iter().find_map(named_by) {
        return named;
    }
    // Spring Security: `ati` is the id of the access token that belongs to this refresh token. UAA:
    // refresh tokens have `granted_scopes` in place of `scope`.
    if text("jti").is_some() && text("ati").is_some() {
        return (Kind::RefreshToken, "ati");
    }
    if has("granted_scopes") && !has("scope") {
        return (Kind::RefreshToken, "granted_scopes");
    }
    // Only ID tokens have one of these (OpenID Connect Core §2, §3.3.2.11; FAPI 1.0 §5.1).
    if let Some(name) = first_of(&["at_hash", "c_hash", "s_hash"]) {
        return (Kind::IdToken, name);
    }
    let is = |name: &str, value: &str| text(name).is_some_and(|text| is_spelt(text, value));
    if is("typ", "bearer") || is("token_use", "access") {
        return (Kind::AccessToken, "");
    }
    // Some providers repeat the login's `nonce` in access tokens, but those also have scopes.
    if has("nonce") && !grants_scopes(claims) {
        return (Kind::IdToken, "nonce");
    }
    // In an assertion, issuer and subject are the same (RFC 7523 §3).
    if text("iss").is_some() && text("iss") == text("sub") {
        return (Kind::Assertion, "sub");
    }
    (Kind::AccessToken, "")
}

/// The kind that this claim names, if it is a claim that names kinds.
fn named_by<'c>((name, value): (&'c str, Json<'c>)) -> Option<(Kind, &'c str)> {
    // A claim `type` means many things, but only a refresh token has certain values there.
    let is_type = name == "type";
    if !is_type && !NAMING_CLAIMS.iter().any(|own| is_spelt(name, own)) {
        return None;
    }
    let kind = Kind::named(value.as_str()?)?;
    let is_named = match kind {
        // Keycloak uses this name for access tokens that are bound to a key; `cnf` covers those.
        Kind::DpopProof => false,
        Kind::RefreshToken if is_type => is_refresh(value),
        _ => !is_type,
    };
    is_named.then_some((kind, name))
}

fn is_refresh(value: Json<'_>) -> bool {
    let is = |name| value.as_str().is_some_and(|text| is_spelt(text, name));
    is("refresh") || is("refreshtoken")
}

/// Whether the token has scopes besides those of a login.
fn grants_scopes(claims: Object<'_>) -> bool {
    let grants = |scope: &str| is_scope(scope) && !LOGIN_SCOPES.contains(&scope);
    ["scope", "scp"]
        .into_iter()
        .any(|name| match claims.get(name) {
            Some(Json::String(text)) => text.split(' ').any(grants),
            Some(Json::Array(elements)) => elements.iter().filter_map(Json::as_str).any(grants),
            _ => false,
        })
}
