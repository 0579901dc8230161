//! What a JSON Web Key holds, whatever its type.

use jsonwebtoken::DecodingKey;

use super::AlgorithmSet;

/// The public key itself.
pub(super) struct Material {
    /// Every algorithm that its type and curve allow.
    pub(super) algorithms: AlgorithmSet,
    pub(super) public: Vec<u8>,
    pub(super) decoding: DecodingKey,
}
