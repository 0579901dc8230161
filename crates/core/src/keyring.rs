//! The public keys of every provider, as one immutable snapshot.
//!
//! A key set is read key by key: a key that cannot verify tokens is left out and reported, and the
//! rest stay usable. Each key is bound to its algorithms here, when it is loaded; a token can never
//! widen them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

mod algorithm;
mod document;
mod ed25519;
mod fingerprint;
mod jwk;
mod last_use;
mod material;
mod public_key;
mod rsa;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use fingerprint::{Fingerprint, Thumbprint};
pub(crate) use jwk::MAX_KID_BYTES;
pub use jwk::UnfitKey;
pub use jwk::without_bom;
pub use last_use::LastUse;

use crate::escaped::Escaped;
use public_key::PublicKey;

/// A configured provider, by its position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(pub usize);

/// The keys of all providers at one moment.
#[derive(Clone, Debug)]
pub struct Keyring(Box<[Keys]>);

/// The state of one provider's keys.
#[derive(Clone, Debug)]
pub enum Keys {
    /// The last good key set.
    Known(Arc<KeySet>),
    /// No key set was ever fetched, or the last one is too old to trust.
    Unavailable,
}

impl Keyring {
    /// A keyring for `providers` providers, without any keys yet.
    pub fn empty(providers: usize) -> Self {
        Self(vec![Keys::Unavailable; providers].into())
    }

    /// The keys of one provider. An id from another configuration, out of range here, gets
    /// [`Keys::Unavailable`].
    pub fn keys(&self, provider: ProviderId) -> &Keys {
        self.0.get(provider.0).unwrap_or(&Keys::Unavailable)
    }

    /// A copy of this keyring with the keys of one provider replaced.
    #[must_use]
    pub fn with(&self, provider: ProviderId, keys: Keys) -> Self {
        let mut all = self.0.clone();
        if let Some(slot) = all.get_mut(provider.0) {
            *slot = keys;
        }
        Self(all)
    }
}

/// The usable keys of one provider. Never empty.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    by_kid: HashMap<Box<str>, Vec<usize>>,
    /// Indexes of all keys, in the order in which a token without `kid` tries them.
    unnamed: Vec<usize>,
    unfit: Vec<UnfitKey>,
    fingerprint: Fingerprint,
}

/// Two sets are equal if they have the same usable keys.
impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for KeySet {}

/// The maximum number of keys tried for one token that has no `kid`, or whose `kid` several keys
/// share.
///
/// Anyone can send such a token with a signature that fits no key, which forces a check against
/// each of these keys. A check on P-384 or P-521 costs several times as much as the others, so only
/// two keys are tried there: the current one and its successor.
const fn max_tried(alg: Algorithm) -> usize {
    match alg {
        Algorithm::Es384 | Algorithm::Es512 => 2,
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512
        | Algorithm::Es256
        | Algorithm::EdDsa
        | Algorithm::Ed25519 => 4,
    }
}

/// The maximum number of keys in a set.
pub const MAX_KEYS: usize = 200;

impl KeySet {
    /// Reads a JWK Set (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// Fails if `json` is not a JWK Set, holds more than [`MAX_KEYS`] keys, or has no usable key.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        let (keys, unfit) = jwk::read_set(json)?;
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey { unfit });
        }
        let mut by_kid = HashMap::<Box<str>, Vec<usize>>::new();
        for (index, key) in keys.iter().enumerate() {
            if let Some(kid) = &key.kid {
                by_kid.entry(kid.clone()).or_default().push(index);
            }
        }
        let mut unnamed: Vec<usize> = (0..keys.len()).collect();
        for tried in by_kid.values_mut().chain([&mut unnamed]) {
            tried.sort_by_cached_key(|index| keys.get(*index).map(Key::turn));
        }
        Ok(Self {
            fingerprint: Fingerprint::of(&keys),
            keys,
            by_kid,
            unnamed,
            unfit,
        })
    }

    /// The keys that may have signed a token with this `kid` and `alg`: at most four,
    /// without duplicates, the likeliest and cheapest first.
    ///
    /// # Errors
    ///
    /// [`NoKey`] says why no key qualifies.
    pub fn candidates(&self, kid: Option<&str>, alg: Algorithm) -> Result<Vec<&Key>, NoKey> {
        let max = max_tried(alg);
        // An empty `kid` counts as absent, as in a key set.
        let Some(kid) = kid.filter(|kid| !kid.is_empty()) else {
            let fitting = self.fitting(&self.unnamed, alg, max + 1);
            return match fitting.len() {
                0 => Err(NoKey::NoneForAlgorithm),
                count if count > max => Err(NoKey::KidNeeded { max }),
                _ => Ok(fitting),
            };
        };
        let Some(named) = self.by_kid.get(kid) else {
            return Err(self.why_missing(kid));
        };
        let fitting = self.fitting(named, alg, max);
        match (fitting.is_empty(), named.first()) {
            (true, Some(index)) => Err(NoKey::OtherAlgorithm(
                self.keys
                    .get(*index)
                    .map(|key| key.algorithms)
                    .unwrap_or_default(),
            )),
            _ => Ok(fitting),
        }
    }

    /// The first `max` of these keys that verify `alg`. A key listed twice counts once.
    fn fitting(&self, indexes: &[usize], alg: Algorithm, max: usize) -> Vec<&Key> {
        let mut fitting: Vec<&Key> = Vec::new();
        let keys = indexes.iter().filter_map(|index| self.keys.get(*index));
        for key in keys.filter(|key| key.verifies(alg)) {
            if fitting.len() == max {
                break;
            }
            if !fitting.iter().any(|other| key.is_another_name_of(other)) {
                fitting.push(key);
            }
        }
        fitting
    }

    fn why_missing(&self, kid: &str) -> NoKey {
        self.unfit
            .iter()
            .find(|unfit| unfit.kid.as_deref() == Some(kid))
            .map_or_else(
                || NoKey::UnknownKid(kid.into()),
                |unfit| NoKey::Unfit(unfit.why.clone()),
            )
    }

    /// Equal for two sets that verify the same tokens.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The number of usable keys.
    #[expect(clippy::len_without_is_empty, reason = "a key set is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The usable keys, in document order.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Explains why these keys can verify no token signed with one of `accepted`. `None` if at
    /// least one key can.
    pub fn misfit(&self, accepted: AlgorithmSet) -> Option<String> {
        if self
            .keys
            .iter()
            .any(|key| key.algorithms.intersects(accepted))
        {
            return None;
        }
        let published = self.keys.iter().flat_map(|key| key.algorithms.iter());
        let published: AlgorithmSet = published.collect();
        Some(format!(
            "no key is for an algorithm that `algorithms` lists ({accepted}); the keys are for \
             {published}"
        ))
    }

    /// Explains why every token that names a key is refused, if no key in the set has a `kid`.
    pub fn nameless(&self) -> Option<&'static str> {
        self.by_kid.is_empty().then_some(
            "no key has a `kid`, so a token whose header names one is refused; have the provider \
             publish its keys with the `kid` that it signs with",
        )
    }

    /// The ids of all keys in the document, including unused keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        let usable = self.by_kid.keys().map(|kid| &**kid);
        usable.chain(self.unfit.iter().filter_map(|unfit| unfit.kid.as_deref()))
    }

    /// The keys in the document that are not used, each with the reason.
    pub fn unfit(&self) -> &[UnfitKey] {
        &self.unfit
    }
}

/// A public key and the algorithms that it may verify.
#[derive(Clone)]
pub struct Key {
    kid: Option<Box<str>>,
    algorithms: AlgorithmSet,
    /// Whether the document gives this key an `alg`.
    names_alg: bool,
    issuer: Option<Box<str>>,
    public: PublicKey,
    last_use: LastUse,
}

impl Key {
    /// The key's id in the set (RFC 7517 §4.5).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The signature algorithms that this key may verify.
    pub fn algorithms(&self) -> AlgorithmSet {
        self.algorithms
    }

    /// The only `iss` whose tokens this key verifies, if the provider restricts it: Entra ID
    /// publishes the keys of several issuers in one set. May contain `{tenantid}`.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The sort key for the order in which one token tries keys: keys with an `alg` first, then
    /// keys without an id (such a token has none either), then smaller keys, which cost less. The
    /// digest makes the order independent of document order, as the fingerprint is.
    fn turn(&self) -> (bool, bool, usize, [u8; 32]) {
        let digest = fingerprint::key_digest(self);
        (
            !self.names_alg,
            self.kid.is_some(),
            self.public.bytes(),
            digest,
        )
    }

    /// Whether both are the same key for the same issuer, so that trying both is pointless.
    fn is_another_name_of(&self, other: &Self) -> bool {
        self.public.is(&other.public) && self.issuer == other.issuer
    }

    /// Identifies the key material: it recognises one key under two ids, and tells two keys under
    /// one id apart.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.public)
    }

    /// When the key last verified a token's signature. Tokens that are remembered do not count.
    pub fn last_use(&self) -> &LastUse {
        &self.last_use
    }

    /// Whether this key may check a signature made with `alg`.
    pub fn verifies(&self, alg: Algorithm) -> bool {
        self.algorithms.contains(alg)
    }

    /// Whether checking a signature with this key takes more than about 50 µs.
    pub fn is_slow(&self) -> bool {
        self.public.is_slow()
    }

    /// Whether `signature` (RFC 7518 §3.3–3.5, RFC 8037 §3.1) is this key's signature over
    /// `message`. False if the key does not verify `alg`.
    pub fn accepts(&self, alg: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verifies(alg) && self.public.accepts(alg, message, signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// Why a key set has no key for a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// The provider may have a new key that has not been fetched yet.
    #[error("the provider's key set has no key with this `kid`")]
    UnknownKid(Box<str>),
    /// The key exists but cannot verify tokens.
    #[error("the key with this `kid` cannot verify tokens: {0}")]
    Unfit(String),
    /// The key exists, but for other algorithms.
    #[error("the key with this `kid` is for {0}")]
    OtherAlgorithm(AlgorithmSet),
    /// The key exists, but for the tokens of another issuer.
    #[error("the key with this `kid` is only for the issuer `{0}`")]
    OtherIssuer(Escaped),
    /// The token has no `kid`, and no key is for its algorithm.
    #[error("the token has no `kid`, and no key of the provider is for its algorithm")]
    NoneForAlgorithm,
    /// The token has no `kid`, and too many keys would have to be tried.
    #[error("the token has no `kid`, and more than {max} keys would have to be tried")]
    KidNeeded {
        /// The maximum number of keys tried.
        max: usize,
    },
}

/// Why a document is not a usable key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// The document is not JSON, or not an object with an array `keys`.
    #[error("not a JWK Set (RFC 7517 §5): {0}")]
    NotASet(String),
    /// The set has more than [`MAX_KEYS`] keys, which no honest provider publishes.
    #[error("the set holds {0} keys; at most {MAX_KEYS} are read")]
    TooManyKeys(usize),
    /// The set is empty, or none of its keys can verify tokens.
    #[error("no usable key in the set{}", describe(unfit))]
    NoUsableKey {
        /// The unusable keys, each with the reason.
        unfit: Vec<UnfitKey>,
    },
}

/// The maximum number of unusable keys that an error names.
const MAX_DESCRIBED: usize = 5;

fn describe(unfit: &[UnfitKey]) -> String {
    if unfit.is_empty() {
        return " (it is empty)".to_owned();
    }
    let mut each: Vec<_> = unfit
        .iter()
        .take(MAX_DESCRIBED)
        .map(ToString::to_string)
        .collect();
    if unfit.len() > MAX_DESCRIBED {
        each.push(format!("and {} more", unfit.len() - MAX_DESCRIBED));
    }
    format!(": {}", each.join("; "))
}
