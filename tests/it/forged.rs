//! Forged signatures, headers and claims.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use claimgate::keyring::Algorithm;
use claimgate::keyring::Algorithm::{EdDsa, Es256, Es384, Es512};
use serde_json::{Value, json};

use crate::support::gate::{Gate, NOW};
use crate::support::keys::signer;

fn claims() -> Value {
    json!({"iss": "https://idp.example.com", "aud": "api", "sub": "root", "exp": NOW + 600})
}

async fn gate(keys: &Value) -> Gate {
    let keys = json!({"keys": keys});
    Gate::start(&format!(
        "providers: [{{ name: acme, issuer: https://idp.example.com, audiences: [api], jwks: {{ inline: {keys} }} }}]"
    ))
    .await
}

fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    format!(
        "{}.{}.{}",
        B64.encode(header.to_string()),
        B64.encode(claims.to_string()),
        B64.encode(signature)
    )
}

/// Public keys for which anybody can sign: R = identity and S = 0 hold for one message in a few.
#[tokio::test(start_paused = true)]
async fn nobody_signs_for_a_key_of_small_order() {
    let identity = hex(&format!("01{}", "00".repeat(31)));
    let forged = [identity.clone(), vec![0; 32]].concat();
    for (name, point) in [
        ("order 1", identity),
        ("order 4", vec![0; 32]),
        ("order 2", hex(&format!("ec{}7f", "ff".repeat(30)))),
        (
            "order 4, plus the prime",
            hex(&format!("ed{}7f", "ff".repeat(30))),
        ),
        (
            "order 1, plus the prime",
            hex(&format!("ee{}7f", "ff".repeat(30))),
        ),
        (
            "order 4, the other sign",
            hex(&format!("{}80", "00".repeat(31))),
        ),
        (
            "order 8",
            hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        ),
        (
            "order 8, too",
            hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        ),
    ] {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": B64.encode(point)});
        let gate = gate(&json!([jwk, signer(EdDsa, "good").jwk()])).await;
        for number in 0..64 {
            let mut claims = claims();
            claims["jti"] = number.into();
            let token = raw(&json!({"alg": "EdDSA", "kid": "weak"}), &claims, &forged);
            assert_eq!(gate.check(&token).await.status(), 401, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn signatures_of_no_key() {
    for (alg, order) in orders() {
        let key = signer(alg, alg.name());
        let gate = gate(&json!([key.jwk()])).await;
        let zero = vec![0; order.len()];
        let mut one = zero.clone();
        *one.last_mut().unwrap() = 1;
        let mut less = order.clone();
        *less.last_mut().unwrap() -= 1;
        let values = [zero, one, order.clone(), less];
        for r in &values {
            for s in &values {
                let token = raw(&key.header(), &claims(), &[r.clone(), s.clone()].concat());
                assert_eq!(gate.check(&token).await.status(), 401);
            }
        }
        // DER, one leading zero too many in each half, one too few, and values that are equal
        // modulo the order.
        let good = key.token(&claims()).unwrap();
        let signature = B64.decode(good.rsplit_once('.').unwrap().1).unwrap();
        let (r, s) = signature.split_at(order.len());
        let int = |v: &[u8]| [&[2, u8::try_from(v.len() + 1).unwrap(), 0][..], v].concat();
        let body = [int(r), int(s)].concat();
        let length = u8::try_from(body.len()).unwrap();
        let long = (length > 127).then_some(0x81);
        let start = [0x30].into_iter().chain(long).chain([length]);
        let der: Vec<u8> = start.chain(body).collect();
        let one_zero = |half: &[u8]| [&[0], half].concat();
        let halves = |r: &[u8], s: &[u8]| [r, s].concat();
        for (what, odd) in [
            ("DER", der),
            ("zeros in front", halves(&one_zero(r), &one_zero(s))),
            ("a zero in front", halves(&one_zero(r), s)),
            ("a zero between", halves(r, &one_zero(s))),
            ("a zero behind", halves(&signature, &[0])),
            ("cut in front", signature[1..].to_vec()),
            ("cut behind", signature[..signature.len() - 1].to_vec()),
            ("half", r.to_vec()),
            ("twice", halves(&signature, &signature)),
            ("halves exchanged", halves(s, r)),
            ("r plus n", halves(&sum(r, &order), s)),
            ("s plus n", halves(r, &sum(s, &order))),
        ] {
            let token = raw(&key.header(), &claims(), &odd);
            assert_eq!(gate.check(&token).await.status(), 401, "{alg}: {what}");
        }
        assert!(gate.check(&good).await.is_allow());
    }
}

/// Anyone who sees an ECDSA signature can write it in another form (s and n - s), and both are
/// valid. So a token's text cannot identify it, for example to revoke it.
#[tokio::test(start_paused = true)]
async fn an_ecdsa_signature_has_two_forms() {
    for (alg, order) in orders() {
        let key = signer(alg, alg.name());
        let gate = gate(&json!([key.jwk()])).await;
        let good = key.token(&claims()).unwrap();
        let signature = B64.decode(good.rsplit_once('.').unwrap().1).unwrap();
        let (r, s) = signature.split_at(order.len());
        let mut borrow = 0;
        let mut other: Vec<u8> = order
            .iter()
            .zip(s)
            .rev()
            .map(|(order, s)| {
                let difference = i16::from(*order) - i16::from(*s) - borrow;
                borrow = i16::from(difference < 0);
                u8::try_from(difference.rem_euclid(256)).unwrap()
            })
            .collect();
        other.reverse();
        let (signed, _) = good.rsplit_once('.').unwrap();
        let twin = format!("{signed}.{}", B64.encode([r, &other].concat()));
        assert_ne!(good, twin);
        for token in [&good, &twin] {
            assert!(gate.check(token).await.is_allow(), "{alg}");
        }
    }
}

/// The order of each curve.
fn orders() -> [(Algorithm, Vec<u8>); 3] {
    [
        (
            Es256,
            hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        ),
        (
            Es384,
            hex(
                "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
            ),
        ),
        (
            Es512,
            hex(
                "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
            ),
        ),
    ]
}

/// The sum of two numbers of the same length. It may be one octet longer.
fn sum(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let pairs = one.iter().zip(two).rev();
    let mut sum: Vec<u8> = pairs
        .map(|(one, two)| {
            let sum = u16::from(*one) + u16::from(*two) + carry;
            carry = sum >> 8;
            u8::try_from(sum & 0xff).unwrap()
        })
        .collect();
    sum.extend((carry > 0).then_some(1));
    sum.reverse();
    sum
}

#[tokio::test(start_paused = true)]
async fn too_much_of_anything() {
    let key = signer(Es256, "a");
    let gate = gate(&json!([key.jwk()])).await;
    let mut big = claims();
    big["pad"] = "x".repeat(13_000).into();
    let mut wide = claims();
    wide["aud"] = vec!["x"; 3_500].into();
    let deep = format!(
        "{{\"iss\":\"https://idp.example.com\",\"aud\":\"api\",\"exp\":{},\"a\":{}{}}}",
        NOW + 60,
        "[".repeat(200),
        "]".repeat(200)
    );
    for claims in [big.to_string(), wide.to_string(), deep] {
        let token = key.sign(&key.header().to_string(), &claims).unwrap();
        assert_eq!(gate.check(&token).await.status(), 401);
    }
    for encoded in ["{\"iss\":\"https://idp.example.com\"}", "{}"].map(|json| {
        let units: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
        format!(
            "{}.{}.AAAA",
            B64.encode(key.header().to_string()),
            B64.encode(units)
        )
    }) {
        assert_eq!(gate.check(&encoded).await.status(), 401, "UTF-16");
    }
    for header in [
        r#"{"alg":"ES256","kid":"a","x":"#.to_owned() + &"[".repeat(300) + &"]".repeat(300) + "}",
        "\u{feff}{\"alg\":\"ES256\",\"kid\":\"a\"}".to_owned(),
        json!({"alg": "ES256", "kid": "a\u{0}"}).to_string(),
        json!({"alg": "ES256", "kid": "a".repeat(257)}).to_string(),
        json!({"alg": "ES256", "kid": {}}).to_string(),
        json!({"alg": ["ES256"], "kid": "a"}).to_string(),
    ] {
        let token = key.sign(&header, &claims().to_string()).unwrap();
        assert_eq!(gate.check(&token).await.status(), 401, "{header}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
