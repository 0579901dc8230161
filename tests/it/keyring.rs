//! Which keys of a set are used, for what, and why the others are not.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use claimgate::dev::signer::Signer;
use claimgate::keyring::{Algorithm, KeySet, KeySetError, NoKey};
use claimgate::trace::{Step, Trace};
use serde_json::{Value, json};

use crate::support::gate::NOW;
use crate::support::judge::{ISSUER, Judge};
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
        (Algorithm::Es512, json!({"alg": null}), "ES512"),
        (Algorithm::Es512, json!({}), "ES512"),
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
        (Algorithm::Rs256, json!({"n": ""}), "has no `n`"),
        (Algorithm::Rs256, json!({"n": "AA"}), "has 0 bits"),
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
            "its point is not on the curve",
        ),
        (
            Algorithm::Es384,
            json!({"crv": "P-256", "alg": "ES256"}),
            "`x` has 48 octets, the curve wants 32",
        ),
        (
            Algorithm::Es512,
            json!({"crv": "P-256", "alg": null}),
            "octets, the curve wants 32",
        ),
        (
            Algorithm::Es256,
            json!({"crv": "P-521", "alg": null}),
            "its point is not on the curve",
        ),
        (
            Algorithm::Es256,
            json!({"alg": "ES512"}),
            "its `alg` is `ES512`, this kind of key can be for ES256",
        ),
        (
            Algorithm::Es512,
            json!({"alg": "ES384"}),
            "its `alg` is `ES384`, this kind of key can be for ES512",
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

/// Some providers write every member that their type of a key has.
#[test]
fn a_member_that_is_null_or_empty_is_absent() {
    let good = signer(Algorithm::Rs256, "k").jwk();
    let nothing = [Value::Null, json!(""), json!([])];
    for name in [
        "d", "p", "q", "dp", "dq", "qi", "oth", "k", "use", "alg", "key_ops", "crv", "issuer",
        "kid", "x5c", "x5t", "x", "y",
    ] {
        for value in &nothing {
            let mut key = good.clone();
            key[name] = value.clone();
            let set = read(&[key]).unwrap_or_else(|error| panic!("{name} {value}: {error}"));
            let key = set.iter().next().unwrap();
            let kid = (name != "kid").then_some("k");
            assert_eq!(key.kid(), kid, "{name} {value}");
            assert_eq!(key.issuer(), None, "{name} {value}");
            let count = if name == "alg" { 6 } else { 1 };
            assert_eq!(key.algorithms().iter().count(), count, "{name} {value}");
        }
    }
    for name in ["kty", "n", "e"] {
        for value in &nothing {
            let mut key = good.clone();
            key[name] = value.clone();
            let error = read(&[key]).unwrap_err().to_string();
            assert!(error.contains(&format!("it has no `{name}`")), "{error}");
        }
    }
    // Any other value may be a secret.
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        for value in [
            json!("AAAA"),
            json!(" "),
            json!(0),
            json!(false),
            json!({}),
            json!([null]),
        ] {
            let mut key = good.clone();
            key[name] = value.clone();
            let error = read(&[key]).unwrap_err().to_string();
            let why = format!("private member `{name}`");
            assert!(error.contains(&why), "{name} {value}: {error}");
        }
    }
}

/// Of two members with one name the last counts, but none takes back what is private.
#[test]
fn a_member_that_comes_twice() {
    let key = signer(Algorithm::Es256, "k").jwk().to_string();
    for (more, why) in [
        (r#""d":"AAAA","d":null"#, Some("private member `d`")),
        (r#""d":null,"d":"AAAA""#, Some("private member `d`")),
        (r#""d":"","d":null"#, None),
        (r#""use":"enc","use":null"#, None),
        (r#""use":null,"use":"enc""#, Some("for encryption")),
        (r#""key_ops":["sign"],"key_ops":[]"#, None),
    ] {
        let set = format!("{{\"keys\":[{},{more}}}]}}", key.trim_end_matches('}'));
        match (KeySet::from_json(set.as_bytes()), why) {
            (Ok(_), None) => {}
            (Err(error), Some(why)) if error.to_string().contains(why) => {}
            (found, _) => panic!("{more}: {found:?}"),
        }
    }
}

/// RFC 7518 §6.2.1.2 wants coordinates of a fixed length; some providers write them as numbers.
#[test]
fn zeros_in_front_of_a_coordinate_do_not_matter() {
    let octets = |jwk: &Value, name: &str| {
        let text = jwk[name].as_str().unwrap();
        BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    for alg in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let (key, short) = std::iter::repeat_with(|| Signer::generate(alg, "k").unwrap())
            .find_map(|key| {
                let jwk = key.jwk();
                let short = ["x", "y"]
                    .into_iter()
                    .find(|name| octets(&jwk, name)[0] == 0);
                short.map(|short| (key, short))
            })
            .unwrap();
        let jwk = key.jwk();
        let whole = octets(&jwk, short);
        let token = key.token(&json!({})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let fingerprint = read(std::slice::from_ref(&jwk)).unwrap().fingerprint();
        for (what, coordinate) in [
            ("one less", whole[1..].to_vec()),
            ("one more", [&[0], &*whole].concat()),
            ("many more", [&[0; 70], &*whole].concat()),
        ] {
            let mut other = jwk.clone();
            other[short] = BASE64_URL_SAFE_NO_PAD.encode(coordinate).into();
            let set = read(&[other]).unwrap_or_else(|error| panic!("{alg}, {what}: {error}"));
            let key = set.iter().next().unwrap();
            assert!(
                key.accepts(alg, signed.as_bytes(), &signature),
                "{alg}, {what}"
            );
            assert_eq!(set.fingerprint(), fingerprint, "{alg}, {what}");
        }
        for (coordinate, why) in [
            ([&[1], &*whole].concat(), "octets, the curve wants"),
            (whole[..whole.len() - 1].to_vec(), "not on the curve"),
            (vec![0; whole.len()], "not on the curve"),
        ] {
            let mut other = jwk.clone();
            other[short] = BASE64_URL_SAFE_NO_PAD.encode(coordinate).into();
            let error = read(&[other]).unwrap_err().to_string();
            assert!(error.contains(why), "{alg}: {error}");
        }
    }
    // Ed25519's are octets in another order, not a number.
    let jwk = jwk(Algorithm::EdDsa, &json!({}));
    for coordinate in [
        [&[0], &*octets(&jwk, "x")].concat(),
        octets(&jwk, "x")[1..].to_vec(),
    ] {
        let mut other = jwk.clone();
        other["x"] = BASE64_URL_SAFE_NO_PAD.encode(coordinate).into();
        let error = read(&[other]).unwrap_err().to_string();
        assert!(error.contains("not an Ed25519 public key"), "{error}");
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

/// The examples of RFC 7638 §3.1, RFC 8037 §A.3, and the keys of RFC 7517 §A.1.
#[test]
fn thumbprints() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
             ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY\
             368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM\
             4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
    let y = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
    let rsa = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
    for (key, expected) in [
        (
            json!({"kty": "RSA", "e": "AQAB", "n": n, "alg": "RS256", "kid": "2011-04-29"}),
            rsa,
        ),
        // Neither its id, nor what it is for, nor zeros in front make it another key.
        (
            json!({"kty": "RSA", "e": "AAEAAQ", "n": n, "alg": "PS512", "use": "sig"}),
            rsa,
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "1"}),
            "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        ),
    ] {
        let set = read(&[key]).unwrap();
        let found = set.iter().next().unwrap().thumbprint().to_string();
        assert_eq!(found, expected);
    }
    let p384 = signer(Algorithm::Es384, "k").jwk();
    let (x, y) = (p384["x"].as_str().unwrap(), p384["y"].as_str().unwrap());
    let text = format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let found = read(std::slice::from_ref(&p384)).unwrap();
    let found = found.iter().next().unwrap().thumbprint().to_string();
    assert_eq!(found, BASE64_URL_SAFE_NO_PAD.encode(hash));
}

#[test]
fn a_key_for_something_else_is_told_from_an_unusable_one() {
    use Algorithm::{EdDsa, Es256, Rs256};
    for (alg, change, expected) in [
        (Rs256, json!({"use": "enc", "alg": "RSA-OAEP"}), true),
        (Rs256, json!({"use": "other"}), true),
        (Es256, json!({"use": "x509-svid"}), true),
        (
            Rs256,
            json!({"use": null, "key_ops": ["encrypt", "wrapKey"]}),
            true,
        ),
        (Rs256, json!({"use": null, "alg": "RSA-OAEP-256"}), true),
        (Es256, json!({"use": null, "alg": "ECDH-ES+A128KW"}), true),
        (
            EdDsa,
            json!({"use": null, "alg": null, "crv": "X25519"}),
            true,
        ),
        (
            EdDsa,
            json!({"use": null, "alg": null, "crv": "X448"}),
            true,
        ),
        // Not what they should be.
        (Rs256, json!({"use": "enc", "d": "AAAA"}), false),
        (Rs256, json!({"use": "sig", "alg": "RSA-OAEP"}), false),
        (Rs256, json!({"use": "sig", "key_ops": ["encrypt"]}), false),
        (Rs256, json!({"use": null, "key_ops": ["sign"]}), false),
        (Rs256, json!({"use": 1}), false),
        (Rs256, json!({"n": "w".repeat(171)}), false),
        (Rs256, json!({"use": null, "alg": "HS256"}), false),
        (EdDsa, json!({"crv": "Ed448"}), false),
        (Es256, json!({"x": "A".repeat(43)}), false),
    ] {
        let good = signer(Es256, "good").jwk();
        let set = read(&[jwk(alg, &change), good]).unwrap();
        let [unfit] = set.unfit() else {
            panic!("{change}: {:?}", set.unfit());
        };
        assert_eq!(unfit.is_for_something_else, expected, "{change}: {unfit}");
    }
}

#[test]
fn candidates_are_few_and_fit() {
    let named = |alg, kid: &str| signer(alg, kid).jwk();
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
        NoKey::UnknownKid("b".into())
    );
    assert_eq!(
        set.candidates(Some("A"), es).unwrap_err(),
        NoKey::UnknownKid("A".into())
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
        NoKey::KidNeeded { max: 4 }
    );
    assert_eq!(set.candidates(Some(""), es).unwrap().len(), 2);
    let same = vec![named(es, "same"); 9];
    assert_eq!(
        read(&same)
            .unwrap()
            .candidates(Some("same"), es)
            .unwrap()
            .len(),
        1,
        "one key, nine times"
    );
}

/// Keys with an `alg` come first, then those without a `kid`, as the token has none either, then
/// the cheapest, in whatever order the document lists them.
#[test]
fn keys_are_tried_in_the_order_of_what_is_likely_and_cheap() {
    let rsa = |kid: Value, alg: Value, bits: usize| {
        let mut octets = vec![0xc5; bits / 8];
        octets.extend(kid.to_string().bytes().chain([alg.is_null().into(), 1]));
        json!({"kty": "RSA", "e": "AQAB", "kid": kid, "alg": alg, "n": BASE64_URL_SAFE_NO_PAD.encode(octets)})
    };
    let expected = [
        rsa(json!(null), json!("RS256"), 4096),
        rsa(json!("small"), json!("RS256"), 2048),
        rsa(json!("large"), json!("RS256"), 4096),
        rsa(json!(null), json!(null), 2048),
    ];
    let kids = [None, Some("small"), Some("large"), None];
    for turn in 0..4 {
        let mut keys = expected.to_vec();
        keys.rotate_left(turn);
        let set = read(&keys).unwrap();
        let candidates = set.candidates(None, Algorithm::Rs256).unwrap();
        let found: Vec<_> = candidates.iter().map(|key| key.kid()).collect();
        assert_eq!(found, kids);
        assert_eq!(candidates[0].algorithms().iter().count(), 1);
        assert_eq!(candidates[3].algorithms().iter().count(), 6);
    }
}

/// Counts how many keys a signature is checked by.
#[derive(Default)]
struct Checks(usize);

impl Trace for Checks {
    fn passed(&mut self, _: Step<'_>) {}

    fn tries_key(&mut self) {
        self.0 += 1;
    }
}

/// A bad signature costs as much as a good one, and anyone can send it.
#[test]
fn a_token_without_kid_costs_few_signature_checks() {
    for (alg, published, most) in [
        (Algorithm::Es256, 4, 4),
        (Algorithm::Es256, 5, 0),
        (Algorithm::EdDsa, 4, 4),
        (Algorithm::Es384, 1, 1),
        (Algorithm::Es384, 2, 2),
        (Algorithm::Es384, 3, 0),
        (Algorithm::Es384, 4, 0),
        (Algorithm::Es512, 2, 2),
        (Algorithm::Es512, 3, 0),
    ] {
        let signers: Vec<_> = (0..published)
            .map(|number| signer(alg, &format!("counted {number}")))
            .collect();
        let named: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        // The same keys, each a second time under another name, and all of them under one.
        let mut renamed = named.clone();
        for (number, key) in renamed.iter_mut().enumerate() {
            key["kid"] = format!("again {number}").into();
        }
        let mut twins = named.clone();
        for key in &mut twins {
            key["kid"] = "twin".into();
        }
        let twin_checks = published.min(if alg == Algorithm::EdDsa || alg == Algorithm::Es256 {
            4
        } else {
            2
        });
        let twice = [named.clone(), renamed].concat();
        for (keys, kid, checks) in [
            (&named, Value::Null, most),
            (&named, json!(""), most),
            (&twice, Value::Null, most),
            (&twins, json!("twin"), twin_checks),
            (&named, json!("counted 0"), 1),
            (&named, json!("unknown"), 0),
        ] {
            let header = json!({"alg": alg.name(), "kid": kid});
            let mut header = header.as_object().unwrap().clone();
            header.retain(|_, value| !value.is_null());
            let garbage = signer(alg, "nobody's");
            let claims = json!({"iss": ISSUER, "aud": "api", "exp": NOW + 60}).to_string();
            let token = garbage
                .sign(&Value::from(header).to_string(), &claims)
                .unwrap();
            let mut counted = Checks::default();
            let judge = Judge::trusting(keys, &["api"]);
            assert!(!judge.allows_traced(token.as_bytes(), NOW, &mut counted));
            assert_eq!(counted.0, checks, "{alg}, {published} keys, kid {kid}");
        }
    }
}
