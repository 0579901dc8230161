//! Valid tokens, changed in every single bit: none is accepted.

use claimgate::config::{Config, KeySource};
use claimgate::decision::{Decision, decide};
use claimgate::keyring::{Algorithm, Keyring, Keys};
use claimgate::request::Request;
use claimgate::time::UnixTime;
use serde_json::json;

use crate::support::gate::NOW;
use crate::support::keys::signer;

#[test]
fn no_flipped_bit_passes() {
    let keys = Algorithm::ALL.map(|alg| signer(alg, alg.name()));
    let set = json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()});
    let config = json!({"providers": [{
        "name": "acme",
        "issuer": "https://idp.example.com",
        "audiences": ["api"],
        "jwks": {"inline": set},
    }]});
    let config = Config::from_yaml(&config.to_string()).unwrap();
    let (id, _) = config.policy.providers().next().unwrap();
    let KeySource::Inline(known) = &config.keys[0].source else {
        panic!("inline keys were given")
    };
    let keyring = Keyring::empty(1).with(id, Keys::Known(known.clone()));
    let allows = |token: &[u8]| {
        let line = [b"Bearer ", token].concat();
        let request = Request {
            path: "/",
            headers: [("authorization", line.as_slice())].into_iter().collect(),
            ..Request::default()
        };
        let now = UnixTime::from_secs(NOW);
        matches!(
            decide(&config.policy, &keyring, &(), &request, now, &mut ()),
            Decision::Allow(_)
        )
    };

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
