//! Bytes as a JWK Set. Nothing panics, the limits hold, and no key in such a set verifies what a
//! stranger signed.

#![no_main]

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::keyring::{Algorithm, KeySet, MAX_KEYS};
use claimgate_fuzz::GATE;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(set) = KeySet::from_json(data) else {
        return;
    };
    assert!((1..=MAX_KEYS).contains(&set.len()));
    let again = KeySet::from_json(data).unwrap();
    assert_eq!(set.fingerprint(), again.fingerprint());
    for key in set.iter() {
        assert!(!key.algorithms().is_empty());
        assert!(key.kid().is_none_or(|kid| kid.len() <= 256));
        if let Some(kid) = key.kid() {
            let alg = key.algorithms().iter().next().unwrap();
            assert!(!set.candidates(Some(kid), alg).unwrap().is_empty());
        }
    }
    for token in &GATE.good {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        for alg in Algorithm::ALL {
            for key in set.iter() {
                assert!(!key.accepts(alg, message.as_bytes(), &signature));
            }
            assert!(
                set.candidates(None, alg)
                    .is_ok_and(|found| found.len() <= 4)
                    || set.candidates(None, alg).is_err()
            );
        }
    }
});
