//! RSA public keys (RFC 7518 §6.3.1), refused when they are weak.

use super::Algorithm;
use super::jwk::without_zeros;
use super::material::Material;
use super::public_key::PublicKey;

/// Moduli that are neither too weak (RFC 7518 §3.3) nor a way to burn time.
const BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Reads a key of a modulus and an exponent, both big-endian.
pub(super) fn read(modulus: &[u8], exponent: &[u8]) -> Result<Material, String> {
    // RFC 7518 §6.3.1.1 forbids leading zero octets; some providers send one all the same.
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    check_modulus(modulus)?;
    check_exponent(exponent)?;
    let algorithms = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
    ];
    Ok(Material {
        algorithms: algorithms.into_iter().collect(),
        public: PublicKey::rsa(modulus, exponent),
    })
}

fn check_modulus(modulus: &[u8]) -> Result<(), String> {
    let bits = modulus.len() * 8
        - modulus
            .first()
            .map_or(0, |top| top.leading_zeros() as usize);
    if !BITS.contains(&bits) {
        return Err(format!(
            "its RSA modulus has {bits} bits, {} to {} are accepted",
            BITS.start(),
            BITS.end()
        ));
    }
    if modulus.last().is_none_or(|last| last % 2 == 0) {
        return Err("its RSA modulus is even".to_owned());
    }
    if has_roca_weakness(modulus) {
        return Err(
            "its RSA modulus was made by a faulty chip, and can be factored (ROCA, CVE-2017-15361)"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_exponent(exponent: &[u8]) -> Result<(), String> {
    let value = exponent
        .iter()
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if exponent.len() > 4 || value < 3 || value % 2 == 0 {
        return Err("its RSA exponent is not an odd number from 3 to 2^32".to_owned());
    }
    Ok(())
}

/// The primes by which ROCA is told: those among the first whose powers of 65537 are few.
const TELLING: [u32; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];

/// The faulty chips made primes that are powers of 65537 modulo many small primes, and so are
/// their products. Another modulus looks like that about once in 2^27.
fn has_roca_weakness(modulus: &[u8]) -> bool {
    TELLING.into_iter().all(|prime| {
        let rest = modulus
            .iter()
            .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let mut power = 1;
        for _ in 0..prime {
            if power == rest {
                return true;
            }
            power = power * 65_537 % prime;
        }
        false
    })
}
