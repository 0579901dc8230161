//! The contents of a JSON Web Key, whatever its type.

use super::AlgorithmSet;
use super::public_key::PublicKey;

/// The key material and its algorithms.
pub(super) struct Material {
    /// Every algorithm that the key's type and curve allow.
    pub(super) algorithms: AlgorithmSet,
    pub(super) public: PublicKey,
}
