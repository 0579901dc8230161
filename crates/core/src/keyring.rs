//! Whom we trust now: the public keys of every provider, as one immutable snapshot.
//!
//! A key set is read leniently key by key and strictly per algorithm: a key that is not fit to
//! verify tokens is left out and said so, the others stay. What a key may verify is settled
//! here, when it is loaded; a token never widens it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

mod algorithm;
mod document;
mod ed25519;
mod fingerprint;
mod jwk;
mod material;
mod public_key;
mod rsa;

pub use algorithm::{Algorithm, AlgorithmSet};
pub use fingerprint::{Fingerprint, Thumbprint};
pub use jwk::UnfitKey;
pub use jwk::{MAX_KID_BYTES, without_bom};

use crate::escaped::Escaped;
use public_key::PublicKey;

/// Which of the configured providers, by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderId(pub usize);

/// The keys of all providers at one moment.
#[derive(Clone, Debug)]
pub struct Keyring(Box<[Keys]>);

/// What is known of one provider's keys.
#[derive(Clone, Debug)]
pub enum Keys {
    /// The last good set.
    Known(Arc<KeySet>),
    /// None was ever had, or the last one is too old to trust.
    Unavailable,
}

impl Keyring {
    /// A keyring for `providers` providers, none of whose keys are known.
    pub fn empty(providers: usize) -> Self {
        Self(vec![Keys::Unavailable; providers].into())
    }

    /// The keys of one provider. A provider of another configuration has none.
    pub fn keys(&self, provider: ProviderId) -> &Keys {
        self.0.get(provider.0).unwrap_or(&Keys::Unavailable)
    }

    /// This keyring, with the keys of one provider replaced.
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
    /// All keys, in the order in which they are tried for a token without `kid`.
    unnamed: Vec<usize>,
    unfit: Vec<UnfitKey>,
    fingerprint: Fingerprint,
}

/// Whether both have the same usable keys.
impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for KeySet {}

/// How many keys one token is tried against, if it has no `kid` or several keys share that `kid`.
///
/// Anyone can send such a token with a signature that fits no key, and makes us check it by all of
/// them. One check on P-384 or P-521 costs several times as much as the others, so that only two
/// keys are tried there: a key and its successor.
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

/// How many keys a set may hold.
pub const MAX_KEYS: usize = 200;

impl KeySet {
    /// Reads a JWK Set (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// When `json` is not a JWK Set, holds more than [`MAX_KEYS`] keys, or none that is usable.
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

    /// The keys that a token with this `kid` and `alg` may have been signed with: a few, without
    /// duplicates, the likeliest and cheapest first.
    ///
    /// # Errors
    ///
    /// [`NoKey`] says why there is none.
    pub fn candidates(&self, kid: Option<&str>, alg: Algorithm) -> Result<Vec<&Key>, NoKey> {
        let max = max_tried(alg);
        // An empty `kid` counts as absent, as it does in a key set.
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

    /// The first `max` of these keys that verify `alg`. A key that is listed twice counts once.
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

    /// By which to see whether two sets verify the same.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How many keys are usable.
    #[expect(clippy::len_without_is_empty, reason = "a key set is never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The usable keys, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Why no token can be verified that is signed by one of `accepted`, if that is so.
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

    /// Why tokens that name a key are refused, if none of the keys has a name.
    pub fn nameless(&self) -> Option<&'static str> {
        self.by_kid.is_empty().then_some(
            "no key has a `kid`, so a token whose header names one is refused; let the provider \
             publish its keys with the `kid` that it signs with",
        )
    }

    /// The ids of all keys of the document, those that are not used included.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        let usable = self.by_kid.keys().map(|kid| &**kid);
        usable.chain(self.unfit.iter().filter_map(|unfit| unfit.kid.as_deref()))
    }

    /// The keys of the document that are not used, and why.
    pub fn unfit(&self) -> &[UnfitKey] {
        &self.unfit
    }
}

/// A public key, and what it may verify.
#[derive(Clone)]
pub struct Key {
    kid: Option<Box<str>>,
    algorithms: AlgorithmSet,
    /// Whether the document has an `alg` for it.
    names_alg: bool,
    issuer: Option<Box<str>>,
    public: PublicKey,
}

impl Key {
    /// Its id in the set (RFC 7517 §4.5).
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The signature algorithms that it may verify.
    pub fn algorithms(&self) -> AlgorithmSet {
        self.algorithms
    }

    /// The only `iss` whose tokens it verifies, if the provider says so: Entra ID keeps the keys of
    /// several issuers in one set. It may hold `{tenantid}`.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Sorts the keys that one token is tried against: first those with an `alg`, then those without
    /// an id, as the token has none either, then the smaller ones, which cost less. The digest makes
    /// the order independent of the document's, as the fingerprint is.
    fn turn(&self) -> (bool, bool, usize, [u8; 32]) {
        let digest = fingerprint::key_digest(self);
        (
            !self.names_alg,
            self.kid.is_some(),
            self.public.bytes(),
            digest,
        )
    }

    /// Whether it is the same key for the same issuer, so that trying both is of no use.
    fn is_another_name_of(&self, other: &Self) -> bool {
        self.public.is(&other.public) && self.issuer == other.issuer
    }

    /// By which to recognise it under another `kid`, or to see that it is another under the same.
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::of(&self.public)
    }

    /// Whether a signature by `alg` may be checked with this key.
    pub fn verifies(&self, alg: Algorithm) -> bool {
        self.algorithms.contains(alg)
    }

    /// Whether `signature` (RFC 7518 §3.3–3.5, RFC 8037 §3.1) is this key's over `message`. False
    /// for an algorithm that the key is not for.
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
    /// Perhaps the provider has a new key that we have not fetched yet.
    #[error("the provider's key set has no key with this `kid`")]
    UnknownKid(Box<str>),
    /// The key is there, but unfit.
    #[error("the key with this `kid` cannot verify tokens: {0}")]
    Unfit(String),
    /// The key is there, for other algorithms.
    #[error("the key with this `kid` is for {0}")]
    OtherAlgorithm(AlgorithmSet),
    /// The key is there, for the tokens of another issuer.
    #[error("the key with this `kid` is for the issuer `{0}` alone")]
    OtherIssuer(Escaped),
    /// The token names no key, and none is for its algorithm.
    #[error("the token has no `kid`, and no key of the provider is for its algorithm")]
    NoneForAlgorithm,
    /// The token names no key, and too many would have to be tried.
    #[error("the token has no `kid`, and more than {max} keys would have to be tried")]
    KidNeeded {
        /// How many are tried at most.
        max: usize,
    },
}

/// Why a document is not a usable key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or no object with an array `keys`.
    #[error("not a JWK Set (RFC 7517 §5): {0}")]
    NotASet(String),
    /// Too large to be honest.
    #[error("the set holds {0} keys, at most {MAX_KEYS} are read")]
    TooManyKeys(usize),
    /// The set is empty, or none of its keys is fit.
    #[error("no usable key in the set{}", describe(unfit))]
    NoUsableKey {
        /// What is wrong with each.
        unfit: Vec<UnfitKey>,
    },
}

/// How many unfit keys an error names.
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
