//! Valid tokens with every single bit flipped: none is accepted.

use claimgate::keyring::Algorithm;
use serde_json::json;

use crate::support::gate::NOW;
use crate::support::judge::Judge;
use crate::support::keys::signer;

#[test]
fn no_flipped_bit_passes() {
    let keys = Algorithm::ALL.map(|alg| signer(alg, alg.name()));
    let set = keys.iter().map(|key| key.jwk()).collect::<Vec<_>>();
    let judge = Judge::trusting(&set, &["api"]);
    let allows = |token: &[u8]| judge.allows(&(), token, NOW);

    let mut tried = 0;
    for key in keys {
        let claims = json!({"iss": "https://idp.example.com", "aud": "api", "exp": NOW + 60});
        let good = key.token(&claims).unwrap().into_bytes();
        assert!(allows(&good), "{}", key.alg());
        for index in 0..good.len() {
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[index] ^= 1 << bit;
                assert!(
                    !allows(&flipped),
                    "{}: bit {bit} of byte {index}",
                    key.alg()
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000);
}
