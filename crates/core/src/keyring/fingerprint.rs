//! Digests that identify keys and key sets.

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::Key;
use super::public_key::PublicKey;

/// The SHA-256 thumbprint of a public key (RFC 7638): equal for the same key, whatever its `kid`,
/// `alg` and `use`. Displayed as base64url, as in other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    pub(super) fn of(key: &PublicKey) -> Self {
        Self(sha256(key.canonical_json().as_bytes()))
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A digest of a key set: equal for sets that verify the same tokens, whatever the order of their
/// keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// SHA-256 over the digests of all keys. The digests are sorted first, because some providers
    /// change the order of their keys with every response.
    pub(super) fn of(keys: &[Key]) -> Self {
        let mut digests: Vec<[u8; 32]> = keys.iter().map(key_digest).collect();
        digests.sort_unstable();
        Self(sha256(&digests.concat()))
    }
}

/// SHA-256 over the key, its algorithms, `kid` and issuer. Each part is prefixed with its length,
/// so two different keys never hash the same bytes.
pub(super) fn key_digest(key: &Key) -> [u8; 32] {
    let Key {
        kid,
        algorithms,
        names_alg: _,
        issuer,
        public,
        last_use: _,
    } = key;
    let mut bytes = Vec::new();
    let (Thumbprint(public), names) = (Thumbprint::of(public), algorithms.to_string());
    for part in [
        Some(&public[..]),
        Some(names.as_bytes()),
        kid.as_deref().map(str::as_bytes),
        issuer.as_deref().map(str::as_bytes),
    ] {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        bytes.extend(length.to_be_bytes());
        bytes.extend(part.unwrap_or_default());
    }
    sha256(&bytes)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    hash.iter_mut()
        .zip(digest.as_ref())
        .for_each(|(to, from)| *to = *from);
    hash
}
