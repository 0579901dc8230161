//! Why tokens are refused, in words.

use std::time::Duration;

use super::claims::NumericDate;
use super::kind::Kind;
use crate::escaped::{Escaped, listed};
use crate::keyring::{Algorithm, AlgorithmSet, NoKey};
use crate::time::UnixTime;

/// Why a token is refused. Grouped by how far it got.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWS in compact form that carries claims.
    #[error("{0}")]
    Malformed(String),
    /// Longer than the operator accepts.
    #[error("the token is too long: it has {bytes} bytes, `max_token_bytes` is {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The provider's `max_token_bytes`; of a token whose provider is not known yet, the
        /// largest of all.
        most: usize,
    },
    /// Its `alg` is none that claimgate verifies.
    #[error(
        "the token's `alg` is `{0}`; verified are RS256 to RS512, PS256 to PS512, ES256, ES384, ES512, EdDSA and Ed25519"
    )]
    UnsupportedAlgorithm(Escaped),
    /// A kind of token that is no access token.
    #[error("the token is of another kind: {0}")]
    UnsupportedType(#[from] OtherKind),

    /// From nobody whom the provider speaks for.
    #[error("the provider does not issue tokens as `{0}`")]
    ForeignIssuer(Escaped),
    /// Its `alg` is not accepted from this provider.
    #[error("the token is signed with {alg}, accepted from this provider: {accepted}")]
    AlgorithmNotAccepted {
        /// The token's.
        alg: Algorithm,
        /// The provider's.
        accepted: AlgorithmSet,
    },
    /// The provider has no key for it.
    #[error("no key for the token{}: {why}", named(kid.as_ref()))]
    UnknownKey {
        /// The key that the token names.
        kid: Option<Escaped>,
        /// Why it was not found.
        why: NoKey,
    },
    /// Not signed by the provider, or changed since.
    #[error("the signature does not verify{}", named(kid.as_ref()))]
    BadSignature {
        /// The key that the token names.
        kid: Option<Escaped>,
    },

    /// Too late.
    #[error("the token expired at {exp}, it is {now} (clock skew allowed: {} s)", skew.as_secs())]
    Expired {
        /// Its `exp`.
        exp: UnixTime,
        /// When it was judged.
        now: UnixTime,
        /// The provider's `clock_skew`.
        skew: Duration,
    },
    /// Too early.
    #[error("the token's `{date}` is {start}, it is {now} (clock skew allowed: {} s)", skew.as_secs())]
    NotYetValid {
        /// Which claim says so.
        date: NumericDate,
        /// Its value.
        start: UnixTime,
        /// When it was judged.
        now: UnixTime,
        /// The provider's `clock_skew`.
        skew: Duration,
    },
    /// Meant for others.
    #[error(
        "the token is for {}, accepted: {}",
        listed(found, ", "),
        listed(accepted, ", ")
    )]
    WrongAudience {
        /// Its `aud`; of a long list, the beginning.
        found: Vec<Escaped>,
        /// The provider's `audiences`.
        accepted: Vec<String>,
    },
    /// A claim that must be there is not.
    #[error("the token has no `{0}` claim")]
    MissingClaim(String),
    /// A claim that must have a certain value has another.
    #[error(
        "the token's `{claim}` is `{found}`, required: {}",
        listed(expected, " or ")
    )]
    ClaimMismatch {
        /// Which.
        claim: String,
        /// Its value.
        found: Escaped,
        /// The provider's `required_claims`.
        expected: Vec<String>,
    },
    /// Valid for longer than the operator puts up with.
    #[error("the token lives for {} s, at most {} s are accepted", lifetime.as_secs(), most.as_secs())]
    LifetimeTooLong {
        /// From `iat` to `exp`.
        lifetime: Duration,
        /// The provider's `max_lifetime`.
        most: Duration,
    },
    /// Bound to a key that its sender should prove to have.
    #[error(
        "the token is bound to its sender's key (`cnf`), and claimgate cannot check that proof"
    )]
    SenderConstraintUnmet,
}

/// What a token is instead of an access token that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherKind {
    /// A JWE.
    #[error("it is encrypted (JWE, RFC 7516), and claimgate holds no decryption key")]
    Encrypted,
    /// A token in a token.
    #[error("it holds another token (`cty: JWT`, RFC 7519 §5.2)")]
    Nested,
    /// Its `typ` is that of something else.
    #[error("its `typ` is `{typ}`: it is {}", kind.name())]
    Typed {
        /// The token's.
        typ: Escaped,
        /// What it is.
        kind: Kind,
    },
    /// Its `typ` says that it is something of its own.
    #[error("its `typ` is `{0}`; if these are access tokens, list it in `token_types`")]
    Unlisted(Escaped),
    /// Its `typ` is none that the operator accepts.
    #[error("its `typ` is `{found}`, accepted: {}", listed(accepted, ", "))]
    NotAccepted {
        /// The token's.
        found: Escaped,
        /// The provider's `token_types`.
        accepted: Vec<String>,
    },
    /// It says so in its claims.
    #[error("its claim `{claim}` shows that it is {}", kind.name())]
    Escaped {
        /// What it is.
        kind: Kind,
        /// The claim that tells.
        claim: Escaped,
    },
}

fn named(kid: Option<&Escaped>) -> String {
    kid.map(|kid| format!(" (`kid`: `{kid}`)"))
        .unwrap_or_default()
}
