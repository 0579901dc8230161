//! The likely cause of a denial, and what to do about it: what people who have seen many such
//! tokens would say. It may be wrong, and decides nothing.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

mod audience;
mod issuer;
mod rules;

use crate::decision::{Denial, Fault};
use crate::keyring::{Keyring, Keys, NoKey};
use crate::policy::Policy;
use crate::shown::Shown;
use crate::token::bearer::CredentialError;
use crate::token::claims::NumericDate;
use crate::token::{Kind, OtherKind, TokenError};

/// Microsoft Graph, as an audience.
const GRAPH: [&str; 2] = [
    "00000003-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
];

const GRAPH_TOKEN: &str = "this is a token for Microsoft Graph, which nobody else can verify; \
    ask for a scope of your own API, such as `api://…/.default`";

const ID_TOKEN: &str = "this is an ID token, which is for the client: send the `access_token` of the \
    token response; for a provider that has nothing else, `also_accept: [id_token]`";

const REFRESH_TOKEN: &str =
    "this is a refresh token: send the `access_token` of the token response";

/// A token as far as it can be read. Nothing in it is to be believed.
struct Glimpse<'t> {
    text: &'t str,
    header: Value,
    claims: Value,
}

impl<'t> Glimpse<'t> {
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
}

/// Why this token was refused, as far as one can guess.
pub(super) fn likely_cause(
    denial: &Denial,
    policy: &Policy,
    keyring: &Keyring,
    token: &str,
) -> Option<String> {
    let token = Glimpse::of(token);
    match &denial.fault {
        Fault::Credential(error) => Some(credential(error).to_owned()),
        Fault::Token(TokenError::UnknownKey { why, .. }) => {
            unknown_key(why, denial, policy, keyring, &token)
        }
        Fault::Token(error) => wrong_token(error, &token),
        Fault::UnknownIssuer(_) => Some(issuer::unknown(token.claim("iss")?, policy)),
        Fault::Misplaced { .. } => {
            Some("let it be sent where it is looked for, or add that place to the provider's `token_from`".to_owned())
        }
        Fault::KeysUnavailable => Some(
            "the provider cannot be reached from here, or not as configured: DNS, egress rules, TLS, \
             `jwks.uri`; proxies that the environment names are not used"
                .to_owned(),
        ),
        Fault::NoRule(error) => Some(rules::none(error).to_owned()),
        Fault::Refused(refusal) => rules::refused(refusal).map(ToOwned::to_owned),
        Fault::NoPath | Fault::Internal => None,
    }
}

fn credential(error: &CredentialError) -> &'static str {
    match error {
        CredentialError::Missing(_) => {
            "the client sends none, or a proxy on the way has taken it out"
        }
        CredentialError::Repeated(_) => "a proxy adds a second one, or joins two lines",
        CredentialError::Empty(_) => "the client's token is empty: its login failed unnoticed",
        CredentialError::Malformed(_) => {
            "the token was copied with a line break, a space or quotes in it"
        }
        CredentialError::SeveralPlaces(..) => "a proxy adds a token of its own",
    }
}

fn wrong_token(error: &TokenError, token: &Glimpse<'_>) -> Option<String> {
    let text = match error {
        TokenError::Malformed(_) => return malformed(token),
        TokenError::UnsupportedAlgorithm(_) => unsupported_algorithm(token)?,
        TokenError::UnsupportedType(kind) => other_kind(kind)?,
        TokenError::BadSignature { .. } if token.header.get("nonce").is_some() => GRAPH_TOKEN,
        TokenError::BadSignature { .. } => {
            "the token was changed or cut on its way, or it is from another environment whose key \
             has the same `kid`"
        }
        TokenError::Expired { exp, now, .. } => match now.saturating_since(*exp).as_secs() {
            0..=600 => "the client goes on using its token a little too long, or clocks differ",
            _ => "an old token: get a new one",
        },
        TokenError::NotYetValid { start, now, .. } => {
            match start.saturating_since(*now).as_secs() {
                0..=3600 => "the provider's clock and this one differ; see `clock_skew`",
                _ => "it is meant for later, or this machine's clock is wrong",
            }
        }
        TokenError::WrongAudience { accepted, .. } => return audience::wrong(accepted, token),
        TokenError::MissingClaim(name) => return missing_claim(name, token),
        TokenError::ClaimMismatch { claim, .. } => claim_mismatch(claim, token)?,
        TokenError::SenderConstraintUnmet => {
            "the client asked for a token bound by DPoP or mTLS; let it ask for a plain bearer token"
        }
        TokenError::LifetimeTooLong { .. } => {
            "the provider's setting for this client or API; or raise `max_lifetime`"
        }
        TokenError::ForeignIssuer(_)
        | TokenError::AlgorithmNotAccepted { .. }
        | TokenError::UnknownKey { .. } => return None,
    };
    Some(text.to_owned())
}

fn other_kind(other: &OtherKind) -> Option<&'static str> {
    Some(match other {
        OtherKind::Encrypted => "let the provider sign its tokens and not encrypt them",
        OtherKind::NotAccepted { .. } => {
            "the provider does not mark its access tokens as `token_types` expects; many use `JWT`"
        }
        OtherKind::Shown { kind, .. } => match kind {
            Kind::IdToken => ID_TOKEN,
            Kind::RefreshToken => REFRESH_TOKEN,
            Kind::Assertion => {
                "this is how a client logs in at the provider: send the token that it gets for it"
            }
            Kind::AccessToken
            | Kind::SecurityEvent
            | Kind::Introspection
            | Kind::AuthorizationResponse
            | Kind::DpopProof => return None,
        },
        OtherKind::Nested | OtherKind::Known(_) | OtherKind::Unlisted(_) => return None,
    })
}

fn malformed(token: &Glimpse<'_>) -> Option<String> {
    let in_milliseconds = |date: NumericDate| {
        let seconds = token.claims.get(date.to_string())?.as_f64()?;
        (seconds > 1e11).then_some(date)
    };
    let dates = [NumericDate::Exp, NumericDate::Nbf, NumericDate::Iat];
    if let Some(date) = dates.into_iter().find_map(in_milliseconds) {
        return Some(format!(
            "`{date}` is in milliseconds; it must be in seconds"
        ));
    }
    let text = match (token.text, token.text.matches('.').count()) {
        (text, _) if text.starts_with(['{', '"', '\'']) => {
            "this is the whole answer, or in quotes: take the text of `access_token` alone"
        }
        (text, _) if text.starts_with("ya29.") => {
            "Google's access tokens are for Google's own APIs: send an ID token for your audience"
        }
        (_, 0) => {
            "an opaque token, which only its provider can read: most providers issue a JWT when the \
             client names your API in `audience` or `resource`"
        }
        (_, 1) => "the token was cut off when it was copied, or is not signed",
        (text, 2) if text.ends_with('.') => "the token is not signed",
        (text, 2) if text.contains('=') => {
            "its parts are padded with `=`, which no JWT has (AWS load balancers do that)"
        }
        (_, 2) if token.header.is_object() && token.claims.is_object() => return None,
        _ => "the token was cut off, or changed, when it was copied",
    };
    Some(text.to_owned())
}

fn unsupported_algorithm(token: &Glimpse<'_>) -> Option<&'static str> {
    let alg = token.header.get("alg").and_then(Value::as_str)?;
    Some(match alg {
        "HS256" | "HS384" | "HS512" => {
            "the provider signs with a shared secret: let it sign with a key pair, RS256 or ES256 \
             (Auth0: the API's signing algorithm; Authentik: the provider's signing key; Keycloak \
             signs refresh tokens so)"
        }
        alg if alg.eq_ignore_ascii_case("none") => "the token is not signed: anyone can write such",
        "ES256K" => "let the provider sign with ES256 or RS256",
        _ => return None,
    })
}

fn unknown_key(
    why: &NoKey,
    denial: &Denial,
    policy: &Policy,
    keyring: &Keyring,
    token: &Glimpse<'_>,
) -> Option<String> {
    let text = match why {
        NoKey::Unfit(why) if why.contains("encryption") => {
            "the key set has this `kid`, but for encryption: the provider signs with the wrong key"
        }
        NoKey::OtherIssuer(_) => {
            "the key is for the accounts of another tenant; is the token from a personal account?"
        }
        NoKey::Unfit(_) | NoKey::OtherAlgorithm(_) => {
            "the token's header does not go with the provider's key: was it made by hand?"
        }
        NoKey::NoneForAlgorithm | NoKey::KidNeeded { .. } => {
            "let the provider put `kid` into its tokens' headers"
        }
        NoKey::UnknownKid => {
            let Keys::Known(keys) = keyring.keys(denial.provider?) else {
                return None;
            };
            let kids: Vec<_> = keys.iter().filter_map(|key| key.kid()).take(5).collect();
            let kids: Vec<_> = kids
                .iter()
                .map(|kid| Shown::from(*kid).to_string())
                .collect();
            let name = &policy.provider(denial.provider?)?.name;
            let hint = match token.issuer_holds("microsoftonline.com")
                || token.issuer_holds("sts.windows.net")
            {
                true => {
                    "; an application with a signing key of its own needs `?appid=` in `jwks.uri`"
                }
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

fn missing_claim(name: &str, token: &Glimpse<'_>) -> Option<String> {
    let text = match name {
        "aud" if token.issuer_holds("/realms/") => {
            "Keycloak names no audience by itself: add an audience mapper to the client scope"
        }
        "aud" if token.issuer_holds("cognito-idp.") => {
            "Cognito's access tokens have no `aud`: set `audience_claim: client_id`"
        }
        "aud" => "let the provider name your API as the audience, or set `audience_claim`",
        "exp" => "a token without end is none to accept; legacy Kubernetes tokens are such",
        "tid" => "not a token of Entra ID, or a very old one",
        "iat" => "`max_lifetime` needs it",
        "token_use" | "typ" => "not an access token, or `required_claims` is for another provider",
        _ => return None,
    };
    Some(text.to_owned())
}

fn claim_mismatch(claim: &str, token: &Glimpse<'_>) -> Option<&'static str> {
    match (claim, token.claim(claim)?) {
        ("token_use", "id") | ("typ", "ID") => Some(ID_TOKEN),
        ("typ", "Refresh" | "Offline") => Some(REFRESH_TOKEN),
        _ => None,
    }
}
