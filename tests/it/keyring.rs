//! Which keys of a set are used, for what, and why the others are not.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::keyring::{Algorithm, KeySet, KeySetError, NoKey};
use serde_json::{Value, json};

use crate::support::keys::signer;

/// The key of an algorithm, changed; `null` takes a member away.
fn jwk(alg: Algorithm, change: &Value) -> Value {
    let mut jwk = signer(alg, "k").jwk();
    let members = jwk.as_object_mut().unwrap();
    members.extend(change.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    jwk
}

fn read(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::from_json(json!({"keys": keys}).to_string().as_bytes())
}

#[test]
fn a_key_is_bound_to_its_algorithms() {
    for (alg, change, algorithms) in [
        (Algorithm::Rs256, json!({}), "RS256"),
        (
            Algorithm::Rs256,
            json!({"alg": null}),
            "RS256, RS384, RS512, PS256, PS384, PS512",
        ),
        (Algorithm::Rs256, json!({"alg": "PS384"}), "PS384"),
        (
            Algorithm::Rs256,
            json!({"alg": null, "use": null, "kid": null}),
            "RS256, RS384, RS512, PS256, PS384, PS512",
        ),
        (Algorithm::Es256, json!({"alg": null}), "ES256"),
        (Algorithm::Es384, json!({"alg": null}), "ES384"),
        (Algorithm::EdDsa, json!({"alg": null}), "EdDSA, Ed25519"),
        (Algorithm::EdDsa, json!({}), "EdDSA"),
        (Algorithm::Ed25519, json!({}), "Ed25519"),
        (
            Algorithm::Es256,
            json!({"use": "jwt-svid", "alg": null}),
            "ES256",
        ),
        (
            Algorithm::Es256,
            json!({"key_ops": ["verify"], "x5c": ["AAAA"], "unknown": 1}),
            "ES256",
        ),
        (Algorithm::Rs256, json!({"e": "AQAB=="}), "RS256"),
        (Algorithm::Rs256, json!({"e": "AAEAAQ"}), "RS256"),
        (Algorithm::Rs256, json!({"e": "Aw"}), "RS256"),
    ] {
        let set = read(&[jwk(alg, &change)]).unwrap_or_else(|error| panic!("{change}: {error}"));
        let found = set.iter().next().unwrap().algorithms().to_string();
        assert_eq!(found, algorithms, "{change}");
    }
}

#[test]
fn an_unfit_key_is_left_out_and_said_so() {
    let short = json!({"n": "w".repeat(171)});
    let long = json!({"n": "w".repeat(1_400)});
    for (alg, change, why) in [
        (Algorithm::Rs256, json!({"use": "enc"}), "for encryption"),
        (
            Algorithm::Rs256,
            json!({"use": "other"}),
            "its `use` is `other`",
        ),
        (Algorithm::Rs256, json!({"use": 1}), "`use` is not a string"),
        (
            Algorithm::Rs256,
            json!({"key_ops": ["encrypt"], "use": null}),
            "does not list `verify`",
        ),
        (
            Algorithm::Rs256,
            json!({"key_ops": "verify"}),
            "does not list `verify`",
        ),
        (
            Algorithm::Rs256,
            json!({"alg": "ES256"}),
            "its `alg` is `ES256`",
        ),
        (
            Algorithm::Rs256,
            json!({"alg": "RSA-OAEP"}),
            "its `alg` is `RSA-OAEP`",
        ),
        (
            Algorithm::Rs256,
            json!({"alg": "none"}),
            "its `alg` is `none`",
        ),
        (Algorithm::Rs256, short, "has 1024 bits"),
        (Algorithm::Rs256, long, "has 8400 bits"),
        (Algorithm::Rs256, json!({"n": null}), "has no `n`"),
        (Algorithm::Rs256, json!({"n": "+/"}), "`n` is not base64url"),
        (Algorithm::Rs256, json!({"n": ""}), "has 0 bits"),
        (Algorithm::Rs256, json!({"e": "AQ"}), "exponent"),
        (Algorithm::Rs256, json!({"e": "AQAA"}), "exponent"),
        (Algorithm::Rs256, json!({"e": "AQAAAAAB"}), "exponent"),
        (Algorithm::Rs256, json!({"d": "AAAA"}), "private member `d`"),
        (
            Algorithm::Rs256,
            json!({"kty": "oct", "k": "AAAA"}),
            "private member `k`",
        ),
        (Algorithm::Rs256, json!({"kty": "oct"}), "symmetric"),
        (Algorithm::Rs256, json!({"kty": null}), "has no `kty`"),
        (
            Algorithm::Rs256,
            json!({"kty": "AKP"}),
            "its `kty` `AKP` is not supported",
        ),
        (Algorithm::Rs256, json!({"kid": 7}), "`kid` is not a string"),
        (
            Algorithm::Rs256,
            json!({"kid": "k".repeat(257)}),
            "over 256 bytes",
        ),
        (
            Algorithm::Rs256,
            json!({"n": roca_modulus()}),
            "made by a faulty chip",
        ),
        (
            Algorithm::Es256,
            json!({"key_ops": ["verify", "deriveKey"]}),
            "something else than its `use`",
        ),
        (
            Algorithm::Es256,
            json!({"use": "x509-svid"}),
            "its `use` is `x509-svid`",
        ),
        (
            Algorithm::Es256,
            json!({"issuer": ["https://a.example"]}),
            "`issuer` is not a string",
        ),
        (Algorithm::Es256, json!({"crv": null}), "has no `crv`"),
        (
            Algorithm::Es256,
            json!({"crv": "secp256k1"}),
            "curve `secp256k1` is not supported",
        ),
        (
            Algorithm::Es256,
            json!({"crv": "P-384"}),
            "`x` has 32 octets, the curve wants 48",
        ),
        (
            Algorithm::Es256,
            json!({"x": "A".repeat(43)}),
            "not on the curve",
        ),
        (
            Algorithm::Es384,
            json!({"alg": "ES256"}),
            "its `alg` is `ES256`",
        ),
        (
            Algorithm::EdDsa,
            json!({"crv": "Ed448"}),
            "curve `Ed448` is not supported",
        ),
        (
            Algorithm::EdDsa,
            json!({"crv": "P-256"}),
            "curve `P-256` is not supported",
        ),
        (
            Algorithm::EdDsa,
            json!({"x": "AAAA"}),
            "not an Ed25519 public key",
        ),
        (
            // A good point in an envelope of DER (RFC 8410 §4).
            Algorithm::EdDsa,
            json!({"x": format!("MCowBQYDK2VwAyEA{}A", "B".repeat(42))}),
            "not an Ed25519 public key",
        ),
    ] {
        let good = signer(Algorithm::Es256, "good").jwk();
        let set =
            read(&[jwk(alg, &change), good]).unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(set.len(), 1, "{change}");
        assert!(
            set.unfit()[0].why.contains(why),
            "{change}: {}",
            set.unfit()[0]
        );
    }
}

#[test]
fn a_document_that_is_no_usable_set_is_refused() {
    let key = signer(Algorithm::Es256, "k").jwk();
    for (json, why) in [
        (String::new(), "not a JWK Set"),
        ("[]".to_owned(), "expected an object with an array `keys`"),
        ("{}".to_owned(), "no array `keys`"),
        (r#"{"keys": {}}"#.to_owned(), "expected an array `keys`"),
        (r#"{"keys": []}"#.to_owned(), "it is empty"),
        (
            r#"{"keys": [1, null, "x"]}"#.to_owned(),
            "not a JSON object",
        ),
        (json!({"keys": vec![key; 201]}).to_string(), "201 keys"),
    ] {
        let error = KeySet::from_json(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// A number of 2049 bits that the faulty chips could have made: a power of 65537.
fn roca_modulus() -> String {
    let mut octets: Vec<u8> = vec![1];
    for _ in 0..128 {
        // Times 65537 is itself, two octets up, plus itself. Least significant octet first.
        let shifted = [vec![0, 0], octets.clone()].concat();
        let mut carry = 0;
        octets = shifted
            .iter()
            .enumerate()
            .map(|(index, octet)| {
                let sum =
                    carry + u16::from(*octet) + octets.get(index).copied().map_or(0, u16::from);
                carry = sum >> 8;
                u8::try_from(sum & 0xff).unwrap()
            })
            .collect();
        octets.extend((carry > 0).then_some(1));
    }
    octets.reverse();
    BASE64_URL_SAFE_NO_PAD.encode(octets)
}

#[test]
fn sets_that_verify_the_same_have_one_fingerprint() {
    let (a, b) = (
        jwk(Algorithm::Es256, &json!({"kid": "a"})),
        jwk(Algorithm::EdDsa, &json!({"kid": "b"})),
    );
    let of = |keys: &[Value]| read(keys).unwrap().fingerprint();
    let both = of(&[a.clone(), b.clone()]);
    assert_eq!(both, of(&[b.clone(), a.clone()]), "in another order");
    let unfit = json!({"kty": "oct"});
    assert_eq!(
        both,
        of(&[a.clone(), unfit, b.clone()]),
        "with an unfit key"
    );
    let changed = |change| [jwk(Algorithm::Es256, &change), b.clone()];
    let other = signer(Algorithm::Es256, "another key").jwk();
    for (what, keys) in [
        ("one less", vec![a.clone()]),
        ("one twice", vec![a.clone(), a.clone(), b.clone()]),
        ("another id", changed(json!({"kid": "c"})).to_vec()),
        ("no id", changed(json!({"kid": null})).to_vec()),
        (
            "for one issuer",
            changed(json!({"kid": "a", "issuer": "https://a.example"})).to_vec(),
        ),
        (
            "for more algorithms",
            vec![
                a.clone(),
                jwk(Algorithm::EdDsa, &json!({"kid": "b", "alg": null})),
            ],
        ),
        (
            "another key under the same id",
            changed(json!({"kid": "a", "x": other["x"], "y": other["y"]})).to_vec(),
        ),
    ] {
        assert_ne!(both, of(&keys), "{what}");
    }
}

#[test]
fn candidates_are_few_and_fit() {
    let named = |alg, kid: &str| jwk(alg, &json!({"kid": kid}));
    let es = Algorithm::Es256;
    let set = read(&[
        named(es, "a"),
        named(es, "twice"),
        named(Algorithm::EdDsa, "twice"),
        jwk(es, &json!({"kid": "enc", "use": "enc"})),
    ])
    .unwrap();
    assert_eq!(set.candidates(Some("a"), es).unwrap().len(), 1);
    assert_eq!(
        set.candidates(Some("twice"), es).unwrap().len(),
        1,
        "the one that fits"
    );
    assert_eq!(set.candidates(None, es).unwrap().len(), 2);
    assert_eq!(
        set.candidates(Some("b"), es).unwrap_err(),
        NoKey::UnknownKid
    );
    assert_eq!(
        set.candidates(Some("A"), es).unwrap_err(),
        NoKey::UnknownKid
    );
    assert!(matches!(
        set.candidates(Some("enc"), es),
        Err(NoKey::Unfit(_))
    ));
    assert!(matches!(
        set.candidates(Some("a"), Algorithm::EdDsa),
        Err(NoKey::OtherAlgorithm(_))
    ));
    assert_eq!(
        set.candidates(None, Algorithm::Rs256).unwrap_err(),
        NoKey::NoneForAlgorithm
    );

    let many: Vec<Value> = (0..5)
        .map(|number| named(es, &number.to_string()))
        .collect();
    assert_eq!(
        read(&many).unwrap().candidates(None, es).unwrap_err(),
        NoKey::KidNeeded
    );
    let same = vec![named(es, "same"); 9];
    assert_eq!(
        read(&same)
            .unwrap()
            .candidates(Some("same"), es)
            .unwrap()
            .len(),
        4
    );
}
