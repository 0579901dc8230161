//! Ed25519 public keys (RFC 8037 §2). Rejects keys for which anybody can sign.

use aws_lc_rs::signature::ED25519;

use super::Algorithm;
use super::material::Material;
use super::public_key::PublicKey;

/// Reads a key of 32 octets (RFC 8032 §5.1.5).
pub(super) fn read(public: Vec<u8>) -> Result<Material, String> {
    let is_weak = has_small_order(&public);
    // aws-lc reads longer input as a key in an envelope, so the length is checked first.
    let public = Some(public)
        .filter(|public| public.len() == 32)
        .and_then(|public| PublicKey::on_curve(&ED25519, public).ok())
        .ok_or("its `x` is not an Ed25519 public key of 32 octets")?;
    if is_weak {
        return Err("its `x` is a point of small order, for which anybody can sign".to_owned());
    }
    Ok(Material {
        algorithms: [Algorithm::EdDsa, Algorithm::Ed25519].into_iter().collect(),
        public,
    })
}

/// The y coordinates of the two pairs of points of order 8, least significant octet first.
const OF_ORDER_8: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

/// Whether a point is one of the eight whose order divides 8. For these, a signature that needs no
/// private key holds for about one message in a few. The other y coordinates of such points are 0,
/// 1 and -1; each also has a second encoding, with the prime 2^255 - 19 added, where that fits.
fn has_small_order(public: &[u8]) -> bool {
    let [first, between @ .., last] = public else {
        return false;
    };
    // The top bit is the sign of the x coordinate.
    let last = last & 0x7f;
    let all = |octet| between.iter().all(|own| *own == octet);
    let near_zero = *first <= 1 && all(0) && last == 0;
    let near_prime = matches!(first, 0xec..=0xee) && all(0xff) && last == 0x7f;
    near_zero
        || near_prime
        || OF_ORDER_8.iter().any(
            |height| matches!(height, [f, b @ .., l] if f == first && b == between && *l == last),
        )
}
