//! Guesses the likely cause of a denial and says what to do about it. A guess may be wrong, and it
//! never affects the decision. `claimgate check` and the log print the same hint.
//!
//! INVARIANT: of what a client sends, a hint repeats only what a token says about itself, always
//! through [`Escaped`], and never a part of the token's encoded text.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

mod audience;
mod credential;
mod issuer;
mod rules;
mod size;
mod times;
mod wait;

use credential::{PLACEHOLDER, WHOLE_ANSWER};
pub use wait::Wait;

use crate::decision::{Denial, Fault, NoLookUp, Reason};
use crate::escaped::Escaped;
use crate::keyring::{Keyring, Keys, NoKey};
use crate::policy::Policy;
use crate::request::Request;
use crate::token::bearer::{CredentialError, find_token};
use crate::token::{Kind, OtherKind, TokenError};

/// The audiences of Microsoft Graph.
const GRAPH: [&str; 2] = [
    "00000003-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
];

const GRAPH_TOKEN: &str = "this is a token for Microsoft Graph, which only Microsoft can verify; \
    request a scope of your own API, such as `api://…/.default`";

const ID_TOKEN: &str = "this is an ID token, which is for the client: send the `access_token` of the \
    token response; if the provider issues nothing else, or its access tokens look the same (Dex), \
    set `also_accept: [id_token]`";

const DEX_TOKEN: &str = "Dex's access tokens look like ID tokens and cannot be told apart from \
    them: set `also_accept: [id_token]` for this provider";

const OPAQUE: &str = "an opaque token, which only its provider can read: most providers issue a JWT if \
    the client names your API in `audience` or `resource`";

const REFRESH_TOKEN: &str =
    "this is a refresh token: send the `access_token` of the token response";

const LIGHTWEIGHT: &str = "this looks like a lightweight access token of Keycloak: switch on \"Add to \
    lightweight access token\" in the mapper, or switch off \"Always use lightweight access token\" \
    in the client";

/// The parts of a token that could be read. Nothing in it can be trusted.
struct UnverifiedParts<'t> {
    text: &'t str,
    header: Value,
    claims: Value,
}

impl<'t> UnverifiedParts<'t> {
    fn of(text: &'t str) -> Self {
        let part = |index| {
            let segment = text.split('.').nth(index).unwrap_or_default();
            let json = BASE64_URL_SAFE_NO_PAD
                .decode(segment.trim_end_matches('='))
                .unwrap_or_default();
            serde_json::from_slice(&json).unwrap_or_default()
        };
        Self {
            text,
            header: part(0),
            claims: part(1),
        }
    }

    fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    fn issuer_holds(&self, text: &str) -> bool {
        self.claim("iss").is_some_and(|iss| iss.contains(text))
    }

    fn is_keycloaks(&self) -> bool {
        self.issuer_holds("/realms/")
    }

    fn is_entras(&self) -> bool {
        self.issuer_holds("microsoftonline.com") || self.issuer_holds("sts.windows.net")
    }

    /// Keycloak omits from a lightweight token everything that no mapper adds on purpose, `sub`
    /// first.
    fn is_lightweight(&self) -> bool {
        self.is_keycloaks()
            && self.claim("typ") == Some("Bearer")
            && self.claims.get("sub").is_none()
    }

    /// Whether any Keycloak mapper has added roles to the token.
    fn has_roles(&self) -> bool {
        let written = ["realm_access", "resource_access"];
        written.iter().any(|name| self.claims.get(name).is_some())
    }

    /// Dex's `sub` is a protobuf message with two strings: the user's id and the connector's id.
    fn is_dexs(&self) -> bool {
        let names_two = |sub: &str| {
            let sub = BASE64_URL_SAFE_NO_PAD.decode(sub).ok()?;
            let [0x0a, length, rest @ ..] = sub.as_slice() else {
                return None;
            };
            let rest = rest.get(usize::from(*length)..)?;
            Some(rest.first() == Some(&0x12))
        };
        self.claims.get("federated_claims").is_some()
            || self.claim("iss").is_some_and(|iss| iss.ends_with("/dex"))
            || self.claim("sub").and_then(names_two).unwrap_or_default()
    }
}

/// The section about a reason: a document of the repository, and the heading's anchor.
pub fn section(reason: Reason) -> String {
    format!("docs/troubleshooting.md#{}", reason.code())
}

/// The likely reason for this denial. Reads the token's JSON, so it costs more than the decision
/// itself.
pub fn likely_cause(
    denial: &Denial,
    policy: &Policy,
    keyring: &Keyring,
    request: &Request<'_>,
) -> Option<String> {
    let found = find_token(policy.token_places(), request);
    let token = UnverifiedParts::of(found.as_ref().map_or("", |found| &*found.token));
    match &denial.fault {
        Fault::Credential(error) => Some(credential::unusable(error, policy, request)),
        Fault::Token(TokenError::UnknownKey { why, .. }) => {
            unknown_key(why, denial, policy, keyring, &token)
        }
        Fault::Token(error) => wrong_token(error, &token),
        Fault::UnknownIssuer(_) => Some(issuer::unknown(token.claim("iss")?, policy)),
        Fault::Misplaced { .. } => {
            Some("have the client send it in a place that accepts this provider's tokens, or add its place to the provider's `token_from`".to_owned())
        }
        Fault::KeysUnavailable
        | Fault::KeyNotLookedUp {
            why: NoLookUp::Failed,
            ..
        } => Some(
            "claimgate cannot reach the provider: check DNS, egress rules and `jwks.uri`; if a proxy \
             is the only way out, set `fetch.proxy`"
                .to_owned(),
        ),
        Fault::NoRule(error) => Some(rules::none(error, policy)),
        Fault::Conflict(_) => Some(
            "a bug of the program that calls `Check`: have it send the same in both places, or only the \
             field"
                .to_owned(),
        ),
        Fault::SpoofedHeader(_) => Some(
            "an attack, or a proxy or client that sets a header which only claimgate may set: have it \
             leave the header out"
                .to_owned(),
        ),
        Fault::Refused(refusal) => rules::refused(refusal, denial, &token),
        Fault::NoPath
        | Fault::KeyNotLookedUp { .. }
        | Fault::CheckTooLarge(_)
        | Fault::CheckUnreadable(_)
        | Fault::Overloaded
        | Fault::Internal => None,
    }
}

/// The later rules that match the request too, if the rule that decided refused its token, or the lack of
/// one.
pub fn later_rule(denial: &Denial, policy: &Policy, request: &Request<'_>) -> Option<String> {
    match &denial.fault {
        Fault::Refused(_) | Fault::Credential(CredentialError::Missing(_)) => {
            rules::later(denial.rule?, policy, request)
        }
        _ => None,
    }
}

fn wrong_token(error: &TokenError, token: &UnverifiedParts<'_>) -> Option<String> {
    let text = match error {
        TokenError::Malformed(why) => return malformed(why, token),
        TokenError::TooLong { .. } => return Some(size::what_to_leave_out(token)),
        TokenError::UnsupportedAlgorithm(_) => unsupported_algorithm(token)?,
        TokenError::UnsupportedType(kind) => other_kind(kind, token)?,
        TokenError::BadSignature { .. } if token.header.get("nonce").is_some() => GRAPH_TOKEN,
        TokenError::BadSignature { .. } => {
            "the token was changed or cut in transit, or it is from another environment whose key \
             has the same `kid`, or the provider replaced the key and kept its `kid`: keys older than \
             `unknown_key_cooldown` are fetched again, and tokens of the replaced key stay invalid"
        }
        TokenError::Expired { exp, now, .. } => return Some(times::expired(*exp, *now, token)),
        TokenError::NotYetValid { start, now, .. } => {
            return Some(times::not_yet_valid(*start, *now));
        }
        TokenError::WrongAudience { accepted, .. } => return audience::wrong(accepted, token),
        TokenError::MissingClaim(name) => return missing_claim(name, token),
        TokenError::ClaimMismatch { claim, .. } => claim_mismatch(claim, token)?,
        TokenError::SenderConstraintUnmet => {
            "the client requested a token bound by DPoP or mTLS; have it request a plain bearer token"
        }
        TokenError::LifetimeTooLong { .. } => {
            "shorten the lifetime in the provider's settings for this client or API, or raise `max_lifetime`"
        }
        TokenError::AlgorithmNotAccepted { alg, accepted } => {
            return Some(format!(
                "if the provider signs with {alg} on purpose, add it to the provider's \
                 `algorithms`; otherwise have it sign with {accepted}"
            ));
        }
        TokenError::ForeignIssuer(_) | TokenError::UnknownKey { .. } => return None,
    };
    Some(text.to_owned())
}

fn other_kind(other: &OtherKind, token: &UnverifiedParts<'_>) -> Option<&'static str> {
    Some(match other {
        OtherKind::Encrypted => "have the provider sign its tokens without encrypting them",
        OtherKind::NotAccepted { .. } => {
            "the provider does not mark its access tokens as `token_types` expects; many providers use `JWT`"
        }
        OtherKind::Typed { kind, .. } | OtherKind::Revealed { kind, .. } => match kind {
            Kind::IdToken if token.is_dexs() => DEX_TOKEN,
            Kind::IdToken => ID_TOKEN,
            Kind::RefreshToken => REFRESH_TOKEN,
            Kind::Assertion => {
                "this token authenticates a client at the provider: send the access token that the client gets in return"
            }
            Kind::AccessToken
            | Kind::RegistrationToken
            | Kind::SecurityEvent
            | Kind::Introspection
            | Kind::AuthorizationRequest
            | Kind::AuthorizationResponse
            | Kind::DpopProof
            | Kind::Credential
            | Kind::Statement => return None,
        },
        OtherKind::Nested | OtherKind::Unlisted(_) => return None,
    })
}

fn malformed(why: &str, token: &UnverifiedParts<'_>) -> Option<String> {
    if let Some(date) = times::impossible(why, token) {
        return Some(date);
    }
    let text = match (token.text, token.text.matches('.').count()) {
        _ if why.contains("number out of range") => {
            "a number in the token is larger than JSON parsers accept: have the provider write dates \
             as seconds since 1970"
        }
        (text, _) if credential::is_placeholder(text) => PLACEHOLDER,
        (text, _) if text.starts_with(['{', '"', '\'']) => WHOLE_ANSWER,
        (text, _) if text.starts_with("ya29.") => {
            "Google's access tokens are for Google's own APIs: send an ID token for your audience"
        }
        (text, _) if text.starts_with("ory_at_") => {
            "an opaque token of Ory Hydra, which only Hydra can read: set `strategies.access_token: jwt` \
             there, or `access_token_strategy: jwt` for the client"
        }
        (text, _) if text.starts_with("ory_rt_") => REFRESH_TOKEN,
        (_, 0) => OPAQUE,
        // Some opaque tokens have a dot. Base64 of JSON begins with `e`, as `{` does.
        (text, 1) if !text.starts_with('e') => OPAQUE,
        (_, 1) => "the token was cut off when it was copied, or is not signed",
        (text, 2) if text.ends_with('.') => "the token is not signed",
        (text, 2) if text.contains('=') => {
            "its parts are padded with `=`, which a JWT never has (AWS load balancers add it)"
        }
        (_, 2) if token.header.is_object() && token.claims.is_object() => return None,
        _ => "the token was cut off or changed when it was copied",
    };
    Some(text.to_owned())
}

fn unsupported_algorithm(token: &UnverifiedParts<'_>) -> Option<&'static str> {
    let alg = token.header.get("alg").and_then(Value::as_str)?;
    let says = |name: &str, kinds: &[&str]| {
        let found = token.claim(name);
        found.is_some_and(|found| kinds.iter().any(|kind| found.eq_ignore_ascii_case(kind)))
    };
    Some(match alg {
        "HS256" | "HS384" | "HS512" => match () {
            () if says("typ", &["Refresh", "Offline"]) || says("token_use", &["refresh"]) => {
                REFRESH_TOKEN
            }
            () if says("typ", &["ID"]) || says("token_use", &["id"]) => ID_TOKEN,
            () if token.is_keycloaks() => {
                "this is a token that Keycloak issues for its own use: send the `access_token` \
                 of the token response"
            }
            () => {
                "the provider signs with a shared secret: have it sign with a key pair, using RS256 or \
                 ES256 (Auth0: the API's signing algorithm; Authentik: the provider's signing key)"
            }
        },
        alg if alg.eq_ignore_ascii_case("none") => {
            "the token is not signed, so anyone could have written it"
        }
        "ES256K" => "have the provider sign with ES256 or RS256",
        _ => return None,
    })
}

fn unknown_key(
    why: &NoKey,
    denial: &Denial,
    policy: &Policy,
    keyring: &Keyring,
    token: &UnverifiedParts<'_>,
) -> Option<String> {
    let text = match why {
        NoKey::Unfit(why) if why.contains("encryption") => {
            "the key set has this `kid`, but only for encryption: the provider signs with the wrong key"
        }
        NoKey::OtherIssuer(_) => {
            "the key is for the accounts of another tenant; is the token from a personal account?"
        }
        NoKey::Unfit(why) => return Some(unfit_key(why).to_owned()),
        NoKey::OtherAlgorithm(_) => {
            "the token's header does not match the provider's key: was the token made by hand?"
        }
        NoKey::NoneForAlgorithm | NoKey::KidNeeded { .. } => {
            "have the provider put `kid` into its tokens' headers"
        }
        NoKey::UnknownKid(_) => {
            let Keys::Known(keys) = keyring.keys(denial.provider?) else {
                return None;
            };
            let name = &policy.provider(denial.provider?)?.name;
            let kids: Vec<_> = keys.iter().filter_map(|key| key.kid()).take(5).collect();
            if kids.is_empty() {
                return Some(format!(
                    "`{name}` publishes its keys without `kid`, so the token's `kid` matches none of \
                     them: have it publish them with `kid`, or issue tokens without"
                ));
            }
            let kids: Vec<_> = kids
                .iter()
                .map(|kid| Escaped::from(*kid).to_string())
                .collect();
            let hint = match token.is_entras() {
                true => "; an application with its own signing key needs `?appid=` in `jwks.uri`",
                false => "",
            };
            return Some(format!(
                "the token is older than the provider's last key rotation, or from another \
                 environment; `{name}` has the keys `{}`{hint}",
                kids.join("`, `")
            ));
        }
    };
    Some(text.to_owned())
}

/// The hint for a key that the provider signs with and that claimgate cannot use.
fn unfit_key(why: &str) -> &'static str {
    if why.contains("curve") || why.contains("kty") {
        "the provider signs with a kind of key that claimgate does not support: have it sign with \
         RS256, ES256 or Ed25519"
    } else if why.contains("private") {
        "the provider publishes a private key, so anyone can sign with it: have it create a new one"
    } else {
        "the provider's key set is faulty, so the key that it signs with cannot be used: have it \
         publish the key correctly, or create a new one"
    }
}

fn missing_claim(name: &str, token: &UnverifiedParts<'_>) -> Option<String> {
    let text = match name {
        _ if token.is_lightweight() && name != "exp" => LIGHTWEIGHT,
        "aud" if token.is_keycloaks() => {
            "Keycloak adds no audience by default: add an audience mapper to the client scope"
        }
        "aud" if token.issuer_holds("cognito-idp.") => {
            "Cognito's access tokens have no `aud`: set `audience_claim: client_id`"
        }
        "aud" => "have the provider name your API as the audience, or set `audience_claim`",
        "exp" => {
            "a token that never expires is not accepted; legacy Kubernetes tokens and signed answers \
             of a userinfo endpoint are like that"
        }
        "tid" => "not a token of Entra ID, or a very old one",
        "iat" => "`max_lifetime` needs it",
        "token_use" | "typ" => {
            "not an access token, or `required_claims` is meant for another provider"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn claim_mismatch(claim: &str, token: &UnverifiedParts<'_>) -> Option<&'static str> {
    match (claim, token.claim(claim)?) {
        ("token_use", "id") | ("typ", "ID") => Some(ID_TOKEN),
        ("typ", "Refresh" | "Offline") => Some(REFRESH_TOKEN),
        _ => None,
    }
}
