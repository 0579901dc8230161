//! What a JSON Web Key holds, whatever its type.

use super::AlgorithmSet;
use super::public_key::PublicKey;

/// The public key itself.
pub(super) struct Material {
    /// Every algorithm that its type and curve allow.
    pub(super) algorithms: AlgorithmSet,
    pub(super) public: PublicKey,
}
