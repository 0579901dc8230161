//! The contents of a JSON Web Key, whatever its type.

use super::AlgorithmSet;
use super::public_key::PublicKey;

/// The key material and its algorithms.
pub(super) struct Material {
    /// Every algorithm that the key's type and curve allow.
    pub(super) algorithms: AlgorithmSet,
    pub(super) public: PublicKey,
}

/// A big-endian number without leading zeros.
pub(super) fn without_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}
