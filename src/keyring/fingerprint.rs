//! By which to see that a key set verifies the same as another, without comparing keys.

use aws_lc_rs::digest;

use super::Key;

/// What a key set comes to: equal for sets that verify the same, whatever their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// SHA-256 over what each key is and may do. The digests are sorted first: some providers
    /// list their keys in another order each time.
    pub(super) fn of(keys: &[Key]) -> Self {
        let mut digests: Vec<[u8; 32]> = keys.iter().map(key_digest).collect();
        digests.sort_unstable();
        Self(sha256(&digests.concat()))
    }
}

/// Each part with its length in front, so that no two keys come to the same bytes.
pub(super) fn key_digest(key: &Key) -> [u8; 32] {
    let Key {
        kid,
        algorithms,
        names_alg: _,
        issuer,
        public,
    } = key;
    let mut bytes = Vec::new();
    let (public, names) = (public.identity(), algorithms.to_string());
    for part in [
        Some(&*public),
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
