//! Bytes as a token: raw, as changes to a good one, and as header and claims that a trusted key
//! signs. Nothing panics, nothing is allowed that should not be, and `jsonwebtoken` agrees.

#![no_main]

use claimgate::decision::Decision;
use claimgate::keyring::Algorithm;
use claimgate::token::json::Json;
use claimgate_fuzz::{AUDIENCE, GATE, ISSUER, NOW};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    match mode % 3 {
        0 => raw(data),
        1 => changed(usize::from(mode / 3), data),
        _ => signed(usize::from(mode / 3), data),
    }
});

fn raw(token: &[u8]) {
    if let Decision::Allow(_) = GATE.judge_token(token) {
        assert!(GATE.good.iter().any(|good| good.as_bytes() == token));
    }
}

/// Every three bytes are a position and a value to write there. A position beyond the end cuts or
/// extends the token.
fn changed(which: usize, changes: &[u8]) {
    let which = which % GATE.good.len();
    let good = GATE.good[which].as_bytes();
    let mut token = good.to_vec();
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]]));
        match place.checked_sub(token.len()) {
            None => token[place] = change[2],
            Some(beyond) if beyond % 2 == 0 => token.truncate(beyond / 2),
            Some(_) => token.push(change[2]),
        }
    }
    if let Decision::Allow(_) = GATE.judge_token(&token) {
        // An ECDSA signature can be written in two ways; everything else must be unchanged.
        let signed = |token: &[u8]| token.iter().rposition(|byte| *byte == b'.');
        let until = signed(good);
        assert_eq!(signed(&token), until);
        assert_eq!(token[..until.unwrap()], good[..until.unwrap()]);
        let is_ecdsa = matches!(
            GATE.signers[which].alg(),
            Algorithm::Es256 | Algorithm::Es384
        );
        assert!(is_ecdsa || token == good, "another signature");
    }
}

/// The provider's header and claims are usually well-formed, but need not be.
fn signed(which: usize, data: &[u8]) {
    let signer = &GATE.signers[which % GATE.signers.len()];
    let text = String::from_utf8_lossy(data);
    let (header, claims) = text.split_once('\n').unwrap_or(("", &text));
    let header = match header {
        "" => signer.header().to_string(),
        header => header.to_owned(),
    };
    let token = signer.sign(&header, claims).unwrap();
    if let Decision::Allow(permit) = GATE.judge_token(token.as_bytes()) {
        let header: Value = serde_json::from_str(&header).unwrap();
        assert_eq!(header["alg"], signer.alg().name());
        for name in ["crit", "b64", "zip", "enc"] {
            assert!(header.get(name).is_none());
        }
        let claims: Value = serde_json::from_str(claims).unwrap();
        assert_eq!(claims["iss"], ISSUER);
        assert!(claims["exp"].as_f64().unwrap() + 60.0 > NOW as f64);
        assert!(
            claims["aud"] == AUDIENCE
                || claims["aud"].as_array().unwrap().contains(&AUDIENCE.into())
        );
        assert!(claims["cnf"].is_null());
        let bearer = permit.bearer().unwrap();
        let read = Json::Object(bearer.token().claims().members()).to_string();
        assert!(same(&serde_json::from_str(&read).unwrap(), &claims));
    }
}

/// Whether two values differ only in how their numbers are spelled and rounded.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= one.abs() * 1e-9
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_same = |(name, value)| other.get(name).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(has_same)
        }
        _ => one == other,
    }
}
