//! Why a token is refused, with the message for each reason.

use std::time::Duration;

use super::claims::NumericDate;
use super::kind::Kind;
use crate::escaped::{Escaped, listed};
use crate::keyring::{Algorithm, AlgorithmSet, NoKey};
use crate::time::UnixTime;

/// Why a token is refused. The groups follow the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS in compact form that carries claims.
    #[error("{0}")]
    Malformed(String),
    /// Longer than the operator accepts.
    #[error("the token is too long: it has {bytes} bytes; `max_token_bytes` is {max}")]
    TooLong {
        /// The token's length in bytes.
        bytes: usize,
        /// The provider's `max_token_bytes`. While the provider is unknown, the largest of all
        /// providers.
        max: usize,
    },
    /// `alg` is an algorithm that claimgate does not verify.
    #[error(
        "the token's `alg` is `{0}`; supported are RS256 to RS512, PS256 to PS512, ES256, ES384, ES512, EdDSA and Ed25519"
    )]
    UnsupportedAlgorithm(Escaped),
    /// A JWT, but not an access token.
    #[error("the token is of another kind: {0}")]
    UnsupportedType(#[from] OtherKind),

    /// `iss` is not one that this provider issues tokens under.
    #[error("the provider does not issue tokens as `{0}`")]
    ForeignIssuer(Escaped),
    /// The operator does not accept this `alg` from the provider.
    #[error("the token is signed with {alg}; accepted from this provider: {accepted}")]
    AlgorithmNotAccepted {
        /// The token's `alg`.
        alg: Algorithm,
        /// The provider's `algorithms`.
        accepted: AlgorithmSet,
    },
    /// The provider has no key for this token.
    #[error("no key for the token{}: {why}", named(kid.as_ref()))]
    UnknownKey {
        /// The key id in the token's header.
        kid: Option<Escaped>,
        /// Why the provider has no key.
        why: NoKey,
    },
    /// The provider did not sign the token, or it was changed afterwards.
    #[error("the signature does not verify{}", named(kid.as_ref()))]
    BadSignature {
        /// The key id in the token's header.
        kid: Option<Escaped>,
    },

    /// `exp` has passed.
    #[error("the token expired at {exp}; it is now {now} (clock skew allowed: {} s)", skew.as_secs())]
    Expired {
        /// The token's `exp`.
        exp: UnixTime,
        /// The time of the decision.
        now: UnixTime,
        /// The provider's `clock_skew`.
        skew: Duration,
    },
    /// `nbf` or `iat` lies in the future.
    #[error("the token's `{date}` is {start}; it is now {now} (clock skew allowed: {} s)", skew.as_secs())]
    NotYetValid {
        /// The claim that lies in the future.
        date: NumericDate,
        /// The claim's value.
        start: UnixTime,
        /// The time of the decision.
        now: UnixTime,
        /// The provider's `clock_skew`.
        skew: Duration,
    },
    /// `aud` does not name this API.
    #[error(
        "the token is for {}; accepted: {}",
        listed(found, ", "),
        listed(accepted, ", ")
    )]
    WrongAudience {
        /// The token's audiences; of a long list, the first ones.
        found: Vec<Escaped>,
        /// The provider's `audiences`.
        accepted: Vec<String>,
    },
    /// A required claim is missing.
    #[error("the token has no `{0}` claim")]
    MissingClaim(String),
    /// A claim has another value than the one required.
    #[error(
        "the token's `{claim}` is `{found}`; required: {}",
        listed(expected, " or ")
    )]
    ClaimMismatch {
        /// The name or path of the claim.
        claim: String,
        /// The claim's value.
        found: Escaped,
        /// The accepted values.
        expected: Vec<String>,
    },
    /// The token is valid for longer than the operator accepts.
    #[error("the token lives for {} s; at most {} s are accepted", lifetime.as_secs(), max.as_secs())]
    LifetimeTooLong {
        /// From `iat` to `exp`.
        lifetime: Duration,
        /// The provider's `max_lifetime`.
        max: Duration,
    },
    /// The token is bound to a key, and only a sender with that key may use it.
    #[error(
        "the token is bound to its sender's key (`cnf`), and claimgate cannot check that proof"
    )]
    SenderConstraintUnmet,
}

/// Why a JWT is not an access token that claimgate can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherKind {
    /// The token is a JWE.
    #[error("it is encrypted (JWE, RFC 7516), and claimgate holds no decryption key")]
    Encrypted,
    /// The token contains another token.
    #[error("it holds another token (`cty: JWT`, RFC 7519 §5.2)")]
    Nested,
    /// `typ` names another kind of token.
    #[error("its `typ` is `{typ}`: it is {}", kind.name())]
    Typed {
        /// The token's `typ`.
        typ: Escaped,
        /// The kind that `typ` names.
        kind: Kind,
    },
    /// `typ` names a kind that claimgate does not know.
    #[error("its `typ` is `{0}`; if these are access tokens, list it in `token_types`")]
    Unlisted(Escaped),
    /// The operator does not accept this `typ`.
    #[error("its `typ` is `{found}`; accepted: {}", listed(accepted, ", "))]
    NotAccepted {
        /// The token's `typ`.
        found: Escaped,
        /// The provider's `token_types`.
        accepted: Vec<String>,
    },
    /// A claim reveals another kind of token.
    #[error("its claim `{claim}` shows that it is {}", kind.name())]
    Revealed {
        /// The kind that the claim reveals.
        kind: Kind,
        /// The claim that reveals it.
        claim: Escaped,
    },
}

fn named(kid: Option<&Escaped>) -> String {
    kid.map(|kid| format!(" (`kid`: `{kid}`)"))
        .unwrap_or_default()
}
